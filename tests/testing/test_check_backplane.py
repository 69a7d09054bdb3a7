"""
The suite for backplanes passes the shipped engine, and names the rule that another breaks.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from typing import Any, Final

import attrs
import msgspec
import pytest

from ws_isolation.backplanes.base import Backplane, Listener
from ws_isolation.backplanes.memory import MemoryBackplane
from ws_isolation.errors import InvalidEventError
from ws_isolation.events import Envelope
from ws_isolation.keys import Identity
from ws_isolation.settings import Settings
from ws_isolation.stream import Cursor, Draft, Page, Start
from ws_isolation.testing import check_backplane


class Around:
    """
    Passes everything on to an engine in memory, and keeps its listeners in a set as well, as engines do.
    """

    def __init__(self) -> None:
        self.inner = MemoryBackplane()
        self.known: set[Listener] = set()

    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """
        Pass on.
        """
        return await self.inner.publish(identity, draft)

    async def subscribe(self, identity: Identity, listener: Listener, /) -> None:
        """
        Pass on.
        """
        self.known.add(listener)
        await self.inner.subscribe(identity, listener)

    def release(self, identity: Identity, listener: Listener, /) -> None:
        """
        Pass on.
        """
        self.inner.release(identity, listener)

    async def read(self, identity: Identity, start: Start, /) -> Page:
        """
        Pass on.
        """
        return await self.inner.read(identity, start)


class Later(Around):
    """
    Announces some turns after publish has returned, as an engine across a network does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.relays: dict[int, _Relay] = {}

    async def subscribe(self, identity: Identity, listener: Listener, /) -> None:
        """
        Put a relay in between.
        """
        relay = self.relays[id(listener)] = _Relay(listener)
        await self.inner.subscribe(identity, relay)

    def release(self, identity: Identity, listener: Listener, /) -> None:
        """
        Take the relay off.
        """
        relay = self.relays.get(id(listener))
        if relay is not None:
            self.inner.release(identity, relay)


@attrs.define(eq=False)
class _Relay:
    listener: Listener

    def arrived(self, envelope: Envelope, /) -> None:
        """
        Announce in the next turn.
        """
        asyncio.get_running_loop().call_soon(self.listener.arrived, envelope)

    def revoked(self) -> None:
        """
        Announce in the next turn.
        """
        asyncio.get_running_loop().call_soon(self.listener.revoked)

    def replaced(self, connection_id: str, /) -> None:
        """
        Announce in the next turn.
        """
        asyncio.get_running_loop().call_soon(self.listener.replaced, connection_id)

    def interrupted(self) -> None:
        """
        Announce in the next turn.
        """
        asyncio.get_running_loop().call_soon(self.listener.interrupted)


class TwoSteps(Around):
    """
    Reads the top, waits, and writes: two nodes get the same place.
    """

    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """
        Allot and store in two steps.
        """
        top = (await self.inner.read(identity, None)).top
        await asyncio.sleep(0)
        made = await self.inner.publish(identity, draft)
        return msgspec.structs.replace(made, seq=top.seq + 1, prev=top.id)


class KeepsDeltas(Around):
    """
    Gives every event a place.
    """

    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """
        Count deltas as well.
        """
        made = await self.inner.publish(identity, draft)
        return made if made.durable else msgspec.structs.replace(made, seq=made.seq + 1)


class ForgetsPrev(Around):
    """
    Has a counter and no chain.
    """

    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """
        Leave the id of the one before out.
        """
        return msgspec.structs.replace(
            await self.inner.publish(identity, draft), prev="00000000-0000-0000-0000-000000000000"
        )


class StoresTooBig(Around):
    """
    Stores first and complains afterwards.
    """

    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """
        Complain about what is in the stream by then.
        """
        made = await self.inner.publish(identity, msgspec.structs.replace(draft, event_bytes=65_536))
        if made.size > draft.event_bytes:
            raise InvalidEventError("$", "too big", "custom")
        return made


class TakesTooBig(Around):
    """
    Has no bound.
    """

    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """
        Take everything.
        """
        return await self.inner.publish(identity, msgspec.structs.replace(draft, event_bytes=65_536))


class SubscribesSoon(Around):
    """
    Returns from subscribe before it listens.
    """

    async def subscribe(self, identity: Identity, listener: Listener, /) -> None:
        """
        Subscribe after the first event that follows.
        """
        self.soon: Any = (identity, listener)

    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """
        Publish, then subscribe who waits.
        """
        made = await self.inner.publish(identity, draft)
        waiting, self.soon = getattr(self, "soon", None), None
        if waiting is not None:
            await self.inner.subscribe(*waiting)
        return made


class ReleasesEquals(Around):
    """
    Releases by ``==``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.listeners: list[Listener] = []

    async def subscribe(self, identity: Identity, listener: Listener, /) -> None:
        """
        Note the listener.
        """
        self.listeners.append(listener)
        await self.inner.subscribe(identity, listener)

    def release(self, identity: Identity, listener: Listener, /) -> None:
        """
        Release the first that is equal.
        """
        if listener in self.listeners:
            first = self.listeners[self.listeners.index(listener)]
            self.listeners.remove(listener)
            self.inner.release(identity, first)


class NeverReleases(Around):
    """
    Keeps who has gone.
    """

    def release(self, identity: Identity, listener: Listener, /) -> None:
        """
        Do nothing.
        """


class ReadsInclusive(Around):
    """
    Returns the entry at the cursor as well.
    """

    async def read(self, identity: Identity, start: Start, /) -> Page:
        """
        Begin one too early.
        """
        if isinstance(start, Cursor) and start.seq > 0:
            start = Cursor(start.epoch, start.seq - 1, start.id)
        return await self.inner.read(identity, start)


class BelievesCursors(Around):
    """
    Takes a client's cursor for the top where it is further.
    """

    async def read(self, identity: Identity, start: Start, /) -> Page:
        """
        Answer with the larger of both.
        """
        page = await self.inner.read(identity, start)
        if isinstance(start, Cursor) and start.seq > page.top.seq:
            return Page(start, ())
        return page


@attrs.define
class _Keyed:
    """
    Keeps streams under keys that two identities may have.
    """

    by: Callable[[Identity], str]
    inner: MemoryBackplane = attrs.field(factory=MemoryBackplane)

    def _key(self, identity: Identity) -> Identity:
        return Identity(None, self.by(identity))

    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """
        Publish under the key.
        """
        return await self.inner.publish(self._key(identity), draft)

    async def subscribe(self, identity: Identity, listener: Listener, /) -> None:
        """
        Listen under the key.
        """
        await self.inner.subscribe(self._key(identity), listener)

    def release(self, identity: Identity, listener: Listener, /) -> None:
        """
        Release under the key.
        """
        self.inner.release(self._key(identity), listener)

    async def read(self, identity: Identity, start: Start, /) -> Page:
        """
        Read under the key.
        """
        return await self.inner.read(self._key(identity), start)


class Relabels(Around):
    """
    Makes everything the stream's own.
    """

    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """
        Change the owner.
        """
        return await self.inner.publish(identity, msgspec.structs.replace(draft, owner=identity))


def _unbounded() -> Backplane:
    return MemoryBackplane(Settings(window_events=1_000_000, window_bytes=1_073_741_824))


class FailsOddly(Around):
    """
    Cannot be asked.
    """

    async def read(self, identity: Identity, start: Start, /) -> Page:
        """
        Fail.
        """
        raise LookupError


BROKEN: Final[dict[str, tuple[Callable[[], Backplane], str]]] = {
    "two steps": (TwoSteps, "published at the same time get different places"),
    "a counter": (ForgetsPrev, "(prev is not the id of the event before)"),
    "deltas have places": (KeepsDeltas, "A delta takes no place"),
    "stores what it refuses": (StoresTooBig, "(it left a trace)"),
    "refuses nothing": (
        TakesTooBig,
        "is too big raises InvalidEventError, and nothing is stored or announced. (it was",
    ),
    "listens too late": (SubscribesSoon, "(something is missing, twice, or older)"),
    "releases equals": (ReleasesEquals, "(another one was taken off)"),
    "releases nobody": (NeverReleases, "(it still hears)"),
    "reads inclusive": (ReadsInclusive, "(other entries from a cursor)"),
    "believes cursors": (BelievesCursors, "read() takes any well-formed cursor"),
    "keys joined": (
        lambda: _Keyed(lambda identity: ":".join(filter(None, (identity.tenant_id, identity.user_id)))),
        "of ('a', 'b') and (None, 'a:b')",
    ),
    "keys without the tenant": (lambda: _Keyed(lambda identity: identity.user_id), "('a', 'b') and ('c', 'b')"),
    "keys without a difference of None": (
        lambda: _Keyed(lambda identity: f"{len(str(identity.tenant_id))}{identity.tenant_id}{identity.user_id}"),
        "(None, 'a') and ('None', 'a')",
    ),
    "keys without case": (
        lambda: _Keyed(lambda identity: repr((identity.tenant_id, identity.user_id.lower()))),
        "(None, 'a') and (None, 'A')",
    ),
    "no bound": (_unbounded, "(600 events are kept)"),
    "relabels": (Relabels, "(it was relabelled)"),
    "raises": (FailsOddly, "(LookupError: )"),
}
"""How to make each, and what ``check_backplane`` says of it."""


@pytest.mark.scenario("S65")
@pytest.mark.requirement("P1", "P3")
@pytest.mark.parametrize("make", [MemoryBackplane, Around, Later])
async def test_sound_engines(make: Callable[[], Backplane]) -> None:
    """The shipped engine keeps every rule, and so does one that announces later than it publishes."""
    await check_backplane(make)


@pytest.mark.scenario("S65")
@pytest.mark.requirement("P1", "P3")
@pytest.mark.parametrize(("make", "said"), BROKEN.values(), ids=BROKEN)
async def test_broken_engine_is_caught(
    make: Callable[[], Backplane], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each engine that breaks a rule fails the suite, which says that rule."""
    monkeypatch.setattr(sys.modules["ws_isolation.testing.check_backplane"], "_SECONDS", 0.05)
    with pytest.raises(AssertionError, match=re.escape(said)) as caught:
        await check_backplane(make)

    assert str(caught.value).startswith("check_backplane: ")
