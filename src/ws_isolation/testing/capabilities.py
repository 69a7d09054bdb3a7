"""
The rules of ``Revocation`` and ``Presence``, for ``check_backplane``: only of an engine that has them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, final

from ..backplanes.base import Backplane, Bus, Lease, Presence, Revocation
from ..ids import new_uuid7
from ..keys import Identity

if TYPE_CHECKING:
    from ..events import Envelope

__all__ = ("ALIKE", "Rule", "marked", "require", "rules_of")

Rule: TypeAlias = Callable[[Any, Identity], Awaitable[None]]
"""One rule; its docstring says it."""

ALIKE: Final[tuple[tuple[tuple[str | None, str], tuple[str | None, str]], ...]] = (
    (("a", "b"), (None, "a:b")),
    (("a:b", "c"), ("a", "b:c")),
    (("a.b", "c"), ("a", "b.c")),
    (("a|b", "c"), ("a", "b|c")),
    (("a", "b"), ("c", "b")),
    ((None, "a"), ("None", "a")),
    ((None, "a"), (None, "A")),
    ((None, "*"), (None, "a")),
    ((None, "{x}"), (None, "x")),
)
"""Pairs of identities (tenant, user) that a key joined from ids, a pattern, or one without the tenant takes for one."""

_SECONDS: Final = 5.0
"""How long an announcement, or the end of a lease, may take."""
_LONG: Final = 600.0
"""A lease that outlasts the checks, in seconds."""
_SHORT: Final = 0.05
"""A lease that does not."""
_LOOKS: Final = 500
_TURNS: Final = 20
"""Looks without waiting: an engine in memory announces at once."""
_CROWD: Final = 12
_MOST: Final = 3


def require(holds: object, what: str, /) -> None:
    """
    Say what does not hold.

    Raises:
        AssertionError: It does not hold.
    """
    if not holds:
        raise AssertionError(what)


def marked(ids: tuple[str | None, str], mark: str, /) -> Identity:
    """Return an identity that no other check of this engine has used, with the separators where they are."""
    tenant, user = ids
    return Identity(tenant, f"{user}{mark}")


class _Revoking(Bus, Revocation, Protocol):
    """An engine with records."""


class _Counting(Bus, Presence, Protocol):
    """An engine with leases."""


@final
class _Ear:
    """A listener that counts what it is told, and whose."""

    def __init__(self) -> None:
        self.revocations = 0
        self.gone: list[str] = []

    def arrived(self, envelope: Envelope, /) -> None:
        """Hear nothing: these rules publish nothing."""

    def revoked(self) -> None:
        """Count."""
        self.revocations += 1

    def replaced(self, connection_id: str, /) -> None:
        """Keep it."""
        self.gone.append(connection_id)

    def interrupted(self) -> None:
        """Do nothing: the rules read for themselves."""


async def _becomes(holds: Callable[[], Awaitable[object]]) -> bool:
    """Wait a while until it holds."""
    for look in range(_LOOKS):
        if await holds():
            return True
        await asyncio.sleep(0 if look < _TURNS else _SECONDS / _LOOKS)
    return False


# Revocation.


async def _records_and_lifts(plane: _Revoking, whose: Identity) -> None:
    """A revoked identity is barred for good until lift(), which tells whether it was; doing either twice is no harm."""
    require(not await plane.bars(whose), "(barred from the beginning)")
    require(await plane.lift(whose) is False, "(lift() tells of a record that is not there)")
    await plane.revoke(whose, None)
    await plane.revoke(whose, None)
    require(await plane.bars(whose), "(not barred)")
    require(await plane.lift(whose) is True, "(lift() does not tell of the record)")
    require(not await plane.bars(whose), "(barred after lift())")
    require(await plane.lift(whose) is False, "(lift() tells of a record that is gone)")


async def _ends_records_in_time(plane: _Revoking, whose: Identity) -> None:
    """A record ends at its time and not before, and of two the later end holds, in whatever order they come."""
    now = time.time()
    await plane.revoke(whose, now - 1)
    require(not await plane.bars(whose), "(barred after its time)")
    require(await plane.lift(whose) is False, "(lift() tells of a record whose time is over)")
    await plane.revoke(whose, now + _LONG)
    await plane.revoke(whose, now - 1)
    require(await plane.bars(whose), "(an earlier end took the place of a later one)")
    await plane.revoke(whose, None)
    await plane.revoke(whose, now - 1)
    require(await plane.bars(whose), "(an end took the place of none)")
    await plane.lift(whose)
    await asyncio.gather(*(plane.revoke(whose, end) for end in (now - 1, None, now - 2)))
    require(await plane.bars(whose), "(of several at once another than the latest holds)")
    await plane.lift(whose)


async def _announces_revocations(plane: _Revoking, whose: Identity) -> None:
    """Listeners of the identity hear of a revocation once its record can be read, and nobody else does."""
    ear, other = _Ear(), _Ear()
    somebody = Identity(whose.tenant_id, f"{whose.user_id}-other")
    await plane.subscribe(whose, ear)
    await plane.subscribe(somebody, other)

    async def told() -> bool:
        return ear.revocations > 0

    await plane.revoke(whose, None)
    require(await _becomes(told), "(nobody was told)")
    require(await plane.bars(whose), "(told, and no record is there)")
    require(other.revocations == 0, "(somebody else was told)")
    await plane.lift(whose)
    plane.release(whose, ear)
    plane.release(somebody, other)


async def _keeps_records_apart(plane: _Revoking, whose: Identity) -> None:
    """A revocation is never another identity's, whatever their ids look like."""
    for one, two in ALIKE:
        a, b = marked(one, whose.user_id), marked(two, whose.user_id)
        await plane.revoke(a, None)
        require(not await plane.bars(b), f"(records of {one} and {two})")
        require(await plane.lift(b) is False, f"(lifting {one} and {two})")
        require(await plane.bars(a), f"(lifting {one} and {two})")
        await plane.lift(a)


# Presence.


def _lease(whose: Identity, since: float = 1_700_000_000.0) -> Lease:
    return Lease(whose, new_uuid7(), since)


async def _enter(
    plane: _Counting, lease: Lease, *, most: int | None = _MOST, replace: bool = False, seconds: float = _LONG
) -> tuple[str, ...] | None:
    return await plane.enter(lease, most=most, replace=replace, seconds=seconds)


async def _ids(plane: _Counting, whose: Identity) -> list[str]:
    return [lease.connection_id for lease in await plane.present(whose)]


async def _admits_to_the_limit(plane: _Counting, whose: Identity) -> None:
    """As many enter as may, the next is refused without a trace, and a place that is given back is free at once."""
    inside = [_lease(whose, 1_700_000_000.0 + number) for number in range(_MOST)]
    for lease in inside:
        require(await _enter(plane, lease) == (), "(there was room)")
    refused = _lease(whose)
    require(await _enter(plane, refused) is None, "(one too many)")
    require(list(await plane.present(whose)) == inside, "(present() says otherwise, or in another order)")
    plane.leave(refused)
    plane.leave(Lease(Identity(whose.tenant_id, f"{whose.user_id}-other"), inside[0].connection_id, inside[0].since))
    require(await _enter(plane, refused) is None, "(leave() gave another one's place back)")
    plane.leave(inside[0])
    plane.leave(inside[0])
    require(await _enter(plane, refused) == (), "(a place that was given back is not free)")
    require(await _enter(plane, _lease(whose), most=None) == (), "(without a limit there is always room)")
    require(len(await plane.present(whose)) == _MOST + 1, "(present() says otherwise)")


async def _decides_in_one_step(plane: _Counting, whose: Identity) -> None:
    """Of many that enter at the same time exactly as many are admitted as there is room for."""
    entered = await asyncio.gather(*(_enter(plane, _lease(whose)) for _ in range(_CROWD)))
    require(sum(gone is not None for gone in entered) == _MOST, "(more or fewer)")
    require(len(await plane.present(whose)) == _MOST, "(present() says otherwise)")


async def _replaces_the_oldest(plane: _Counting, whose: Identity) -> None:
    """At the limit the one that came first loses its lease, is named and told, and cannot renew it."""
    ear = _Ear()
    await plane.subscribe(whose, ear)
    oldest, second, third = (_lease(whose, 1_700_000_000.0 + number) for number in range(3))
    for lease in (second, oldest, third):
        await _enter(plane, lease, replace=True)
    await plane.renew([oldest, second], seconds=_LONG)  # a sign of life makes nobody younger
    newest = _lease(whose, 1_700_000_009.0)
    require(await _enter(plane, newest, replace=True) == (oldest.connection_id,), "(another one, or none)")

    async def told() -> bool:
        return ear.gone == [oldest.connection_id]

    require(await _becomes(told), "(its listener was not told, or of others)")
    require(await plane.renew([oldest, newest], seconds=_LONG) == (oldest.connection_id,), "(it renewed its lease)")
    require(await _ids(plane, whose) == [one.connection_id for one in (second, third, newest)], "(present() differs)")
    gone = await _enter(plane, _lease(whose, 1_700_000_010.0), most=_MOST - 1, replace=True)
    require(gone == (second.connection_id, third.connection_id), "(not as many as the limit says, oldest first)")
    plane.release(whose, ear)


async def _ends_leases_in_time(plane: _Counting, whose: Identity) -> None:
    """A lease that is not renewed ends by its time; one that is renewed does not, and one that ended is taken again."""
    slow, kept = _lease(whose, 1_700_000_000.0), _lease(whose, 1_700_000_001.0)
    await _enter(plane, slow, seconds=_SHORT)
    await _enter(plane, kept, seconds=_SHORT)
    require(await plane.renew([kept], seconds=_LONG) == (), "(a lease that was not taken is lost)")

    async def over() -> bool:
        return await _ids(plane, whose) == [kept.connection_id]

    require(await _becomes(over), "(a lease does not end, or one that was renewed does)")
    others = [_lease(whose, 1_700_000_002.0), _lease(whose, 1_700_000_003.0)]
    for other in others:
        require(await _enter(plane, other) == (), "(the place of a lease that ended is not free)")
    require(await plane.renew([slow], seconds=_LONG) == (), "(a slow node's session has to go)")
    ids = [lease.connection_id for lease in (slow, kept, *others)]
    require(await _ids(plane, whose) == ids, "(it was not taken again)")
    require(await _enter(plane, _lease(whose)) is None, "(above the limit there is room)")


async def _keeps_leases_apart(plane: _Counting, whose: Identity) -> None:
    """A lease is never counted, shown or taken for another identity, whatever their ids look like."""
    for one, two in ALIKE:
        a, b = marked(one, whose.user_id), marked(two, whose.user_id)
        mine, theirs = _lease(a), _lease(b)
        require(await _enter(plane, mine, most=1) == (), f"(room for {one} and {two})")
        require(await _enter(plane, theirs, most=1, replace=True) == (), f"(the oldest of {one} and {two})")
        require(await plane.renew([mine, theirs], seconds=_LONG) == (), f"(renewing {one} and {two})")
        require(await plane.present(a) == (mine,), f"(who is there, of {one} and {two})")
        plane.leave(theirs)
        require(await plane.present(a) == (mine,), f"(leaving of {one} and {two})")
        plane.leave(mine)


_REVOCATION_RULES: Final[tuple[Rule, ...]] = (
    _records_and_lifts,
    _ends_records_in_time,
    _announces_revocations,
    _keeps_records_apart,
)
_PRESENCE_RULES: Final[tuple[Rule, ...]] = (
    _admits_to_the_limit,
    _decides_in_one_step,
    _replaces_the_oldest,
    _ends_leases_in_time,
    _keeps_leases_apart,
)


def rules_of(plane: Backplane, /) -> tuple[Rule, ...]:
    """Return the rules of what *plane* can do besides."""
    capable: object = plane
    return (
        *(_REVOCATION_RULES if isinstance(capable, Revocation) else ()),
        *(_PRESENCE_RULES if isinstance(capable, Presence) else ()),
    )
