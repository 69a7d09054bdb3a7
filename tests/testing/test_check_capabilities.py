"""
The suite for backplanes proves revocation and presence where an engine has them, and names the rule that is broken.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import pytest

from tests.testing.test_check_backplane import Around
from ws_isolation.backplanes.base import Backplane, Lease, Presence, Revocation
from ws_isolation.backplanes.memory import MemoryBackplane
from ws_isolation.keys import Identity
from ws_isolation.testing import check_backplane


class Records(Around):
    """
    Keeps revocations as the engine in memory does.
    """

    async def revoke(self, identity: Identity, until: float | None, /) -> None:
        """
        Pass on.
        """
        await self.inner.revoke(identity, until)

    async def lift(self, identity: Identity, /) -> bool:
        """
        Pass on.
        """
        return await self.inner.lift(identity)

    async def bars(self, identity: Identity, /) -> bool:
        """
        Pass on.
        """
        return await self.inner.bars(identity)


class Counts(Around):
    """
    Counts sessions as the engine in memory does.
    """

    async def enter(
        self, lease: Lease, /, *, most: int | None, replace: bool, seconds: float
    ) -> tuple[str, ...] | None:
        """
        Pass on.
        """
        return await self.inner.enter(lease, most=most, replace=replace, seconds=seconds)

    async def renew(self, leases: Sequence[Lease], /, *, seconds: float) -> tuple[str, ...]:
        """
        Pass on.
        """
        return await self.inner.renew(leases, seconds=seconds)

    def leave(self, lease: Lease, /) -> None:
        """
        Pass on.
        """
        self.inner.leave(lease)

    async def present(self, identity: Identity, /) -> tuple[Lease, ...]:
        """
        Pass on.
        """
        return await self.inner.present(identity)


class RecordsNothing(Records):
    """
    Announces without a record.
    """

    async def revoke(self, identity: Identity, until: float | None, /) -> None:
        """
        Tell listeners alone.
        """
        await self.inner.revoke(identity, until)
        await self.inner.lift(identity)


class TellsNobody(Records):
    """
    Records without an announcement.
    """

    async def revoke(self, identity: Identity, until: float | None, /) -> None:
        """
        Write the record alone.
        """
        self.inner._revocations.add(identity, until, 0.0)


class TellsEverybody(Records):
    """
    Announces to every listener there is.
    """

    async def revoke(self, identity: Identity, until: float | None, /) -> None:
        """
        Tell all.
        """
        await self.inner.revoke(identity, until)
        for listener in self.known:
            listener.revoked()


class LastWins(Records):
    """
    Lets the last record take the place of the one before.
    """

    async def revoke(self, identity: Identity, until: float | None, /) -> None:
        """
        Forget the one before.
        """
        await self.inner.lift(identity)
        await self.inner.revoke(identity, until)


class NeverEnds(Records):
    """
    Keeps a record for good.
    """

    async def revoke(self, identity: Identity, until: float | None, /) -> None:
        """
        Forget the end.
        """
        await self.inner.revoke(identity, None)


class LiftsBlindly(Records):
    """
    Says that there was a record, always.
    """

    async def lift(self, identity: Identity, /) -> bool:
        """
        Say so.
        """
        await self.inner.lift(identity)
        return True


class BarsWithoutTenant(Records):
    """
    Keys records by the user alone.
    """

    async def revoke(self, identity: Identity, until: float | None, /) -> None:
        """
        Bar all tenants' users of that id.
        """
        await self.inner.revoke(identity, until)
        await self.inner.revoke(Identity(None, identity.user_id), until)
        await self.inner.revoke(Identity("c", identity.user_id), until)


class CountsThenEnters(Counts):
    """
    Looks, waits, and enters: two get the last place.
    """

    async def enter(
        self, lease: Lease, /, *, most: int | None, replace: bool, seconds: float
    ) -> tuple[str, ...] | None:
        """
        Decide in two steps.
        """
        there = await self.inner.present(lease.identity)
        await asyncio.sleep(0)
        if most is not None and len(there) >= most and not replace:
            return None
        return await self.inner.enter(lease, most=None if not replace else most, replace=replace, seconds=seconds)


class OneTooMany(Counts):
    """
    Counts from zero.
    """

    async def enter(
        self, lease: Lease, /, *, most: int | None, replace: bool, seconds: float
    ) -> tuple[str, ...] | None:
        """
        Let one more in.
        """
        more = None if most is None else most + 1
        return await self.inner.enter(lease, most=more, replace=replace, seconds=seconds)


class LeavesByUser(Counts):
    """
    Gives back the place of whoever has the connection id.
    """

    def leave(self, lease: Lease, /) -> None:
        """
        Look at no identity.
        """
        for leases in tuple(self.inner._leases.values()):
            leases.leave(lease.connection_id, 0.0)


class Stays(Counts):
    """
    Gives no place back before its time.
    """

    def leave(self, lease: Lease, /) -> None:
        """
        Do nothing.
        """


class TheQuietest(Counts):
    """
    Counts a renewal as a coming: the one that was quiet for longest goes.
    """

    async def renew(self, leases: Sequence[Lease], /, *, seconds: float) -> tuple[str, ...]:
        """
        Make them younger.
        """
        younger = [msgspec.structs.replace(lease, since=lease.since + 8) for lease in leases]
        return await self.inner.renew(younger, seconds=seconds)


class Silent(Counts):
    """
    Tells nobody whose place was taken.
    """

    async def enter(
        self, lease: Lease, /, *, most: int | None, replace: bool, seconds: float
    ) -> tuple[str, ...] | None:
        """
        Take listeners off meanwhile.
        """
        heard, self.inner._heard = self.inner._heard, {}
        gone = await self.inner.enter(lease, most=most, replace=replace, seconds=seconds)
        self.inner._heard = heard
        return gone


class ForgetsWhoWent(Counts):
    """
    Lets one whose lease was taken renew it.
    """

    async def renew(self, leases: Sequence[Lease], /, *, seconds: float) -> tuple[str, ...]:
        """
        Take every lease again.
        """
        for lease in leases:
            self.inner.leave(lease)
        return await self.inner.renew(leases, seconds=seconds)


class NeverExpires(Counts):
    """
    Holds leases for an hour.
    """

    async def enter(
        self, lease: Lease, /, *, most: int | None, replace: bool, seconds: float
    ) -> tuple[str, ...] | None:
        """
        Take no time.
        """
        return await self.inner.enter(lease, most=most, replace=replace, seconds=3_600)


class CutsTheSlow(Counts):
    """
    Says of a lease that ended that its session has to go.
    """

    async def renew(self, leases: Sequence[Lease], /, *, seconds: float) -> tuple[str, ...]:
        """
        Take none again.
        """
        there = [one.connection_id for lease in leases for one in await self.inner.present(lease.identity)]
        gone = await self.inner.renew([one for one in leases if one.connection_id in there], seconds=seconds)
        return (*gone, *(one.connection_id for one in leases if one.connection_id not in (*there, *gone)))


class SharesLeases(Counts):
    """
    Keys leases by the user alone.
    """

    async def enter(
        self, lease: Lease, /, *, most: int | None, replace: bool, seconds: float
    ) -> tuple[str, ...] | None:
        """
        Forget the tenant.
        """
        bare = msgspec.structs.replace(lease, identity=Identity(None, lease.identity.user_id))
        return await self.inner.enter(bare, most=most, replace=replace, seconds=seconds)

    def leave(self, lease: Lease, /) -> None:
        """
        Forget it here.
        """
        self.inner.leave(msgspec.structs.replace(lease, identity=Identity(None, lease.identity.user_id)))

    async def present(self, identity: Identity, /) -> tuple[Lease, ...]:
        """
        Forget it here as well.
        """
        there = await self.inner.present(Identity(None, identity.user_id))
        return tuple(msgspec.structs.replace(lease, identity=identity) for lease in there)


BROKEN: Final[dict[str, tuple[Callable[[], Backplane], str]]] = {
    "no record": (RecordsNothing, "A revoked identity is barred for good until lift()"),
    "no announcement": (TellsNobody, "(nobody was told)"),
    "tells everybody": (TellsEverybody, "(somebody else was told)"),
    "the last wins": (LastWins, "(an earlier end took the place of a later one)"),
    "for good": (NeverEnds, "(barred after its time)"),
    "lifts blindly": (LiftsBlindly, "(lift() tells of a record that is not there)"),
    "bars without the tenant": (BarsWithoutTenant, "(records of ('a', 'b') and ('c', 'b'))"),
    "two steps": (CountsThenEnters, "exactly as many are admitted as there is room for. (more or fewer)"),
    "one too many": (OneTooMany, "(one too many)"),
    "leaves by connection": (LeavesByUser, "(leave() gave another one's place back)"),
    "stays": (Stays, "(a place that was given back is not free)"),
    "the quietest": (TheQuietest, "(another one, or none)"),
    "silent": (Silent, "(its listener was not told, or of others)"),
    "forgets who went": (ForgetsWhoWent, "(it renewed its lease)"),
    "never expires": (NeverExpires, "(a lease does not end, or one that was renewed does)"),
    "cuts the slow": (CutsTheSlow, "(a slow node's session has to go)"),
    "leases without the tenant": (SharesLeases, "('a', 'b') and ('c', 'b')"),
}
"""How to make each, and what ``check_backplane`` says of it."""


@pytest.mark.scenario("S65")
@pytest.mark.requirement("WS-10", "P5")
@pytest.mark.parametrize("make", [Records, Counts])
async def test_sound_engines(make: Callable[[], Backplane]) -> None:
    """An engine that has one of the two keeps its rules, and is not asked for the other."""
    engine: object = make()
    assert (make is Records, make is Counts) == (isinstance(engine, Revocation), isinstance(engine, Presence))
    await check_backplane(make)


def test_the_shipped_engine_has_both() -> None:
    """The engine in memory is proved for both, by the suite of the streams."""
    engine: object = MemoryBackplane()
    assert isinstance(engine, Revocation)
    assert isinstance(engine, Presence)


@pytest.mark.scenario("S65")
@pytest.mark.requirement("WS-10", "P5")
@pytest.mark.parametrize(("make", "said"), BROKEN.values(), ids=BROKEN)
async def test_broken_engine_is_caught(
    make: Callable[[], Backplane], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each engine that breaks a rule fails the suite, which says that rule."""
    monkeypatch.setattr(sys.modules["ws_isolation.testing.capabilities"], "_SECONDS", 0.2)
    with pytest.raises(AssertionError, match=re.escape(said)) as caught:
        await check_backplane(make)

    assert str(caught.value).startswith("check_backplane: ")
