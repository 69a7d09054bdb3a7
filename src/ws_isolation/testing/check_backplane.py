"""
The conformance suite for backplanes: what every engine behind the streams must do.

Public, so that an engine of one's own is proved by the same checks as the
shipped ones. The rules are those of ``ws_isolation.backplanes.base``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Final, TypeAlias, final

from ..backplanes.base import Backplane
from ..errors import InvalidEventError
from ..events import AgentMessageDelta, Custom, Envelope
from ..ids import new_uuid7
from ..keys import Identity
from ..stream import NIL_ID, Cursor, Draft, Page
from .capabilities import ALIKE, Rule, marked, require, rules_of

__all__ = ("check_backplane",)

MakeBackplane: TypeAlias = Callable[[], Backplane]
"""Returns a backplane: ``MemoryBackplane``, or one of your own with default bounds."""

_EVENTS: Final = 4
_CROWD: Final = 20
"""Publishes at the same time."""
_SECONDS: Final = 5.0
"""How long an announcement may take."""
_LOOKS: Final = 500
_TURNS: Final = 20
"""Looks without waiting: an engine in memory announces at once."""
_MOST_KEPT: Final = 600
"""More than the default window of 512 events."""


@final
class _Ear:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Envelope] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Ear)  # equal to every other one: a release must go by object

    def __hash__(self) -> int:
        return 0

    def arrived(self, envelope: Envelope, /) -> None:
        """Keep it."""
        self.heard.append(envelope)

    def revoked(self) -> None:
        """Do nothing: other rules are about that."""

    def replaced(self, connection_id: str, /) -> None:
        """Do nothing: other rules are about that."""

    def interrupted(self) -> None:
        """Do nothing: whether an announcement is missing is seen otherwise."""

    async def hears(self, envelope: Envelope) -> bool:
        """Wait a while for *envelope*."""
        for look in range(_LOOKS):
            if envelope.id in _ids(self.heard):
                return True
            await asyncio.sleep(0 if look < _TURNS else _SECONDS / _LOOKS)
        return False


async def check_backplane(make: MakeBackplane, /) -> None:
    """
    Prove that the backplanes that *make* returns keep the Protocol's contract.

    Args:
        make: Called once, and once for each rule. Each rule uses identities that no other call used, so the engine
            behind it may be shared and need not be empty. Its bounds must hold 20 events, and not more than 600. What
            it has of ``Revocation`` and ``Presence`` is proved as well; it must be able to hold 20 revocations.

    Raises:
        AssertionError: Names the first rule that does not hold.

    Run it in an event loop: ``await check_backplane(MemoryBackplane)``. It
    waits up to 5 seconds for an announcement that does not come.
    """
    for rule in (*_RULES, *rules_of(make())):
        try:
            await rule(make(), Identity(None, f"check-{new_uuid7()}"))
        except AssertionError as error:
            raise _broken(rule, str(error)) from error
        except Exception as error:
            raise _broken(rule, f"({type(error).__qualname__}: {error})") from error


def _broken(rule: Rule, what: str) -> AssertionError:
    return AssertionError(f"check_backplane: {rule.__doc__} {what}")


def _draft(owner: Identity, value: int = 1, *, event_bytes: int = 65_536) -> Draft:
    event = Custom(name="check.backplane", value=value)
    return Draft(event=event, owner=owner, id=new_uuid7(), time="2026-01-01T00:00:00.000000Z", event_bytes=event_bytes)


def _piece(owner: Identity) -> Draft:
    event = AgentMessageDelta(run_id="r", thread_id="t", message_id="m", delta="...")
    return Draft(event=event, owner=owner, id=new_uuid7(), time="2026-01-01T00:00:00.000000Z")


def _ids(envelopes: tuple[Envelope, ...] | list[Envelope]) -> list[str]:
    return [envelope.id for envelope in envelopes]


def _at(envelope: Envelope) -> Cursor:
    return Cursor(envelope.epoch, envelope.seq, envelope.id)


async def _publish(plane: Backplane, whose: Identity, count: int = _EVENTS) -> list[Envelope]:
    return [await plane.publish(whose, _draft(whose, number)) for number in range(count)]


def _must_be_chained(envelopes: list[Envelope] | tuple[Envelope, ...]) -> None:
    for before, after in pairwise(envelopes):
        require(after.epoch == before.epoch, "(the epoch changed)")
        require(after.seq == before.seq + 1, "(seq has holes or repeats)")
        require(after.prev == before.id, "(prev is not the id of the event before)")


async def _gives_places(plane: Backplane, whose: Identity) -> None:
    """publish() gives each durable event the next place, and the id of the one before it as prev."""
    top = (await plane.read(whose, None)).top
    require((top.seq, top.id) == (0, NIL_ID), "(a new stream does not begin at 0)")
    drafts = [_draft(whose, number) for number in range(_EVENTS)]
    envelopes = [await plane.publish(whose, draft) for draft in drafts]
    require(_ids(envelopes) == [draft.id for draft in drafts], "(the ids are not the drafts')")
    first = envelopes[0]
    require((first.epoch, first.seq, first.prev) == (top.epoch, 1, NIL_ID), "(the first is not at 1 behind nothing)")
    _must_be_chained(envelopes)


async def _orders_concurrent_publishes(plane: Backplane, whose: Identity) -> None:
    """Events published at the same time get different places, and every listener hears them in that order."""
    ears = [_Ear(), _Ear()]
    for ear in ears:
        await plane.subscribe(whose, ear)
    made = await asyncio.gather(*(plane.publish(whose, _draft(whose, number)) for number in range(_CROWD)))
    made.sort(key=lambda envelope: envelope.seq)
    _must_be_chained(made)
    for ear in ears:
        require(await ear.hears(made[-1]), "(a listener did not hear the last one)")
        require(_ids(ear.heard) == _ids(made), "(a listener heard another order, or something twice, or not all)")


async def _keeps_no_deltas(plane: Backplane, whose: Identity) -> None:
    """A delta takes no place and is announced, but not kept."""
    ear = _Ear()
    await plane.subscribe(whose, ear)
    (first,) = await _publish(plane, whose, 1)
    piece = await plane.publish(whose, _piece(whose))
    require(not piece.durable and piece.seq == first.seq, "(it is not stamped with the last place)")
    (second,) = await _publish(plane, whose, 1)
    _must_be_chained([first, second])
    require(await ear.hears(second), "(an announcement is missing)")
    require(_ids(ear.heard) == _ids([first, piece, second]), "(it was not announced in its turn)")
    page = await plane.read(whose, "window")
    require(_ids(page.entries) == _ids([first, second]), "(it was kept)")


async def _stores_nothing_that_is_too_big(plane: Backplane, whose: Identity) -> None:
    """An event that is too big raises InvalidEventError, and nothing is stored or announced."""
    ear = _Ear()
    await plane.subscribe(whose, ear)
    (first,) = await _publish(plane, whose, 1)
    try:
        await plane.publish(whose, _draft(whose, event_bytes=1))
    except InvalidEventError:
        pass
    else:
        msg = "(it was accepted)"
        raise AssertionError(msg)
    page = await plane.read(whose, "window")
    require(page.top == _at(first) and _ids(page.entries) == [first.id], "(it left a trace)")
    (second,) = await _publish(plane, whose, 1)
    _must_be_chained([first, second])
    require(await ear.hears(second), "(an announcement is missing)")
    require(_ids(ear.heard) == _ids([first, second]), "(it was announced)")


async def _misses_nothing(plane: Backplane, whose: Identity) -> None:
    """Once subscribe() has returned, nothing that is published is missed, and nothing older is heard."""
    await _publish(plane, whose, 1)
    ear = _Ear()
    await plane.subscribe(whose, ear)
    made = await _publish(plane, whose)
    require(await ear.hears(made[-1]), "(the last one was not announced)")
    require(_ids(ear.heard) == _ids(made), "(something is missing, twice, or older)")


async def _releases_by_object(plane: Backplane, whose: Identity) -> None:
    """release() takes off this very listener, and no other that is equal to it; twice does no harm."""
    stays, goes = _Ear(), _Ear()
    plane.release(whose, goes)  # it is not there yet
    await plane.subscribe(whose, stays)
    await plane.subscribe(whose, goes)
    plane.release(whose, goes)
    plane.release(whose, goes)
    made = await _publish(plane, whose, 1)
    require(await stays.hears(made[0]), "(another one was taken off)")
    require(not goes.heard, "(it still hears)")


async def _reads_behind_a_cursor(plane: Backplane, whose: Identity) -> None:
    """read() returns the top and every event after the cursor; all that is kept for 'window', none for None."""
    empty = await plane.read(whose, None)
    made = await _publish(plane, whose)
    top = _at(made[-1])
    pages: list[tuple[str, Page, list[Envelope]]] = [
        ("None", await plane.read(whose, None), []),
        ("'window'", await plane.read(whose, "window"), made),
        ("the beginning", await plane.read(whose, empty.top), made),
        ("a cursor", await plane.read(whose, _at(made[1])), made[2:]),
        ("the top", await plane.read(whose, top), []),
    ]
    for name, page, expected in pages:
        require(page.top == top, f"(the top is another, from {name})")
        require(_ids(page.entries) == _ids(expected), f"(other entries from {name})")
        require([_at(entry) for entry in page.entries] == [_at(entry) for entry in expected], "(entries were moved)")


async def _takes_any_cursor(plane: Backplane, whose: Identity) -> None:
    """read() takes any well-formed cursor, and answers with the true top; what it means is decided elsewhere."""
    made = await _publish(plane, whose)
    top = _at(made[-1])
    for cursor in (
        Cursor(top.epoch, top.seq, NIL_ID),
        Cursor(top.epoch, top.seq + 100, new_uuid7()),
        Cursor("another-epoch", 2, new_uuid7()),
        Cursor("*", 2**53 - 1, NIL_ID),
    ):
        page = await plane.read(whose, cursor)
        require(page.top == top, f"(the top is another, from {cursor})")
        _must_be_chained(page.entries)


async def _keeps_identities_apart(plane: Backplane, whose: Identity) -> None:
    """Two identities never share places, announcements or history, whatever their ids look like."""
    mark = whose.user_id
    for one, two in ALIKE:
        a, b = marked(one, mark), marked(two, mark)
        which = f"of {one} and {two}"
        ear = _Ear()
        before = (await plane.read(a, None)).top
        await plane.subscribe(a, ear)
        first = await plane.publish(a, _draft(a))
        other = await plane.publish(b, _draft(b))
        last = await plane.publish(a, _draft(a))
        require((first.seq, last.seq, last.prev) == (before.seq + 1, before.seq + 2, first.id), f"(places {which})")
        require(await ear.hears(last) and other.id not in _ids(ear.heard), f"(announcements {which})")
        require(other.id not in _ids((await plane.read(a, "window")).entries), f"(history {which})")
        plane.release(b, ear)
        again = await plane.publish(a, _draft(a))
        require(await ear.hears(again), f"(a release {which})")
        plane.release(a, ear)


async def _bounds_its_window(plane: Backplane, whose: Identity) -> None:
    """What is kept of one identity is bounded, and the oldest is forgotten first."""
    made = await _publish(plane, whose, _MOST_KEPT)
    page = await plane.read(whose, "window")
    kept = len(page.entries)
    require(kept < _MOST_KEPT, f"({kept} events are kept)")
    require(_ids(page.entries) == _ids(made[_MOST_KEPT - kept :]), "(not the last ones)")
    require(page.top == _at(made[-1]), "(the top is another)")


async def _keeps_the_owner(plane: Backplane, whose: Identity) -> None:
    """The owner of a draft is kept as it is, published, announced and read, also in another's stream."""
    owner = Identity("tenant", "somebody-else")
    ear = _Ear()
    await plane.subscribe(whose, ear)
    made = await plane.publish(whose, _draft(owner))
    require(await ear.hears(made), "(it was not announced)")
    page = await plane.read(whose, "window")
    for envelope in (made, *ear.heard, *page.entries):
        require(envelope.owner == owner, "(it was relabelled)")
    require(len(page.entries) == 1, "(it was not kept)")


_RULES: Final[tuple[Rule, ...]] = (
    _gives_places,
    _misses_nothing,
    _orders_concurrent_publishes,
    _keeps_no_deltas,
    _stores_nothing_that_is_too_big,
    _releases_by_object,
    _reads_behind_a_cursor,
    _takes_any_cursor,
    _keeps_identities_apart,
    _bounds_its_window,
    _keeps_the_owner,
)
