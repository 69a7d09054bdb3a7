"""
Checks of the manners, run over the library and over variants without what keeps the promise: those must fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol, TypeAlias

import pytest

from tests.cores import START, make_core, text, written
from tests.shell import Bench
from ws_isolation import Session, Settings, closing
from ws_isolation.errors import InvalidStateError
from ws_isolation.keys import Identity
from ws_isolation.revocations import MemoryRevocations, Revocations
from ws_isolation.session_core import SessionCore
from ws_isolation.spreading import closing_delays
from ws_isolation.steps import Received, Renewed
from ws_isolation.testing import make_context
from ws_isolation.testing.clock import settle

ALICE, BOB, CAROL = (Identity(None, name) for name in ("alice", "bob", "carol"))


# Revocation.


def check_records(records: Revocations) -> None:
    """Prove of records for two that who is revoked stays barred until the end, whoever else is revoked."""
    records.add(ALICE, None, 0.0)
    records.add(BOB, 10.0, 0.0)
    assert records.bars(ALICE, 5.0), "the way back is open"
    with suppress(InvalidStateError):
        records.add(CAROL, None, 5.0)
    assert records.bars(ALICE, 5.0), "somebody was let back in to make room"
    assert not records.bars(BOB, 10.0), "the end is no end"


class Announced:
    """A revocation that is announced to open sessions and recorded nowhere."""

    def add(self, identity: Identity, until: float | None, now: float, /) -> None:
        """Record nothing."""

    def lift(self, identity: Identity, /) -> bool:
        """Know nobody."""
        return not identity.key

    def bars(self, identity: Identity, now: float, /) -> bool:
        """Bar nobody."""
        return not identity.key and now < 0


class Forgetful(Announced):
    """Records that forget the oldest to make room."""

    def __init__(self) -> None:
        self.until: dict[Identity, float | None] = {}

    def add(self, identity: Identity, until: float | None, now: float, /) -> None:
        """Push the oldest out where two are there."""
        if len(self.until) == 2:
            del self.until[next(iter(self.until))]
        self.until[identity] = until

    def bars(self, identity: Identity, now: float, /) -> bool:
        """Tell what is left."""
        end = self.until.get(identity, now)
        return end is None or end > now


class Endless(Forgetful):
    """Records that have no end."""

    def add(self, identity: Identity, until: float | None, now: float, /) -> None:
        """Forget the end, and refuse where two are there."""
        if len(self.until) == 2:
            raise InvalidStateError("two are there")
        self.until[identity] = None


@pytest.mark.requirement("WS-10")
def test_records() -> None:
    """The library's records pass."""
    check_records(MemoryRevocations(2))


@pytest.mark.requirement("WS-10")
@pytest.mark.parametrize(
    ("variant", "problem"), [(Announced, "way back"), (Forgetful, "to make room"), (Endless, "no end")]
)
def test_records_without(variant: Callable[[], Revocations], problem: str) -> None:
    """A message in place of a record, an eviction, a lost end: each is caught."""
    with pytest.raises(AssertionError, match=problem):
        check_records(variant())


# Drain.


class Spread(Protocol):
    """What says when the sessions of a drain close."""

    def __call__(self, jitter: Sequence[float], /, *, share: float, within: float) -> list[float]:
        """Return the delays."""
        ...


def check_spread(spread: Spread) -> None:
    """Prove that 1,000 sessions leave at most 21 in a second, all in time, each at a moment of its own choosing."""
    low = spread([0.0] * 1_000, share=0.02, within=100.0)
    high = spread([0.99] * 1_000, share=0.02, within=100.0)
    assert all(sum(n <= delay < n + 1 for delay in low) <= 21 for n in range(101)), "too many at once"
    assert all(early < late for early, late in zip(low, high, strict=True)), "no jitter"
    assert max(spread([0.5] * 1_000, share=0.02, within=5.0)) <= 5.0, "too late"


def at_once(jitter: Sequence[float], /, *, share: float, within: float) -> list[float]:
    """Close all of them now."""
    return [0.0 * share * within for _ in jitter]


def without_jitter(jitter: Sequence[float], /, *, share: float, within: float) -> list[float]:
    """Close them in even steps."""
    return closing_delays([0.5] * len(jitter), share=share, within=within)


def without_end(jitter: Sequence[float], /, *, share: float, within: float) -> list[float]:
    """Keep to the share, however long it takes."""
    return closing_delays(jitter, share=share, within=within * 1_000)


@pytest.mark.requirement("P2")
def test_spread() -> None:
    """The library's drain passes."""
    check_spread(closing_delays)


@pytest.mark.requirement("P2")
@pytest.mark.parametrize(
    ("variant", "problem"), [(at_once, "at once"), (without_jitter, "no jitter"), (without_end, "too late")]
)
def test_spread_without(variant: Spread, problem: str) -> None:
    """All at once, in even steps, or past the bound: each is caught."""
    with pytest.raises(AssertionError, match=problem):
        check_spread(variant)


# Refresh.

Renew: TypeAlias = Callable[[SessionCore, Renewed], object]


def check_renewal(renew: Renew) -> None:
    """Prove that a refresh changes claims only: not the user, not the tenant, not the thread."""
    for other, code in (
        (make_context("bob"), closing.FORBIDDEN),
        (make_context(tenant_id="t"), closing.FORBIDDEN),
        (make_context(thread_id="thread-2"), closing.CLAIMS_CHANGED),
    ):
        core = make_core()
        before = core.context
        core.handle(Received(text(type="ws.refresh", credential="new"), START))
        renew(core, Renewed(other, None, START))
        assert core.context is before, "it is somebody else's now"
        assert core.code is code, "the session goes on"
        assert {"ws.welcome", "ws.goodbye"} == {frame["type"] for frame in written(core)}


def believing(core: SessionCore, renewed: Renewed) -> None:
    """Take whatever context comes."""
    core.context = renewed.context


def ignoring(core: SessionCore, renewed: Renewed) -> None:
    """Keep the context, and say nothing."""
    core.handle(Renewed(core.context, renewed.expires_in, renewed.now))


@pytest.mark.scenario("S60")
@pytest.mark.requirement("P1")
def test_renewal() -> None:
    """The library's core passes."""
    check_renewal(SessionCore.handle)


@pytest.mark.scenario("S60")
@pytest.mark.requirement("P1")
@pytest.mark.parametrize(("variant", "problem"), [(believing, "somebody else"), (ignoring, "goes on")])
def test_renewal_without(variant: Renew, problem: str) -> None:
    """A refresh that may change the identity, and one that lets a foreign credential pass: each is caught."""
    with pytest.raises(AssertionError, match=problem):
        check_renewal(variant)


# The limit.

Evict: TypeAlias = Callable[[Bench, list[Session]], object]


async def check_eviction(evict: Evict) -> None:
    """Prove that at the limit exactly one session ends, with 4009: the one that came first, busy or not."""
    bench = Bench.new(Settings(sessions_per_identity=3, session_limit="replace_oldest"))
    served = [await bench.serve() for _ in range(3)]
    served[0].transport.client_sends({"type": "hello"})
    await settle()
    evict(bench, [one.session for one in served])
    codes = [one.session.code for one in served]
    assert [closing.REPLACED] == [code for code in codes if code is not None], "not exactly one"
    assert closing.REPLACED is codes[0], "another one than the oldest"


def the_library(bench: Bench, _sessions: list[Session]) -> None:
    """Make room as the library does."""
    bench.factory.make_room(make_context())


def the_quietest(_bench: Bench, sessions: list[Session]) -> None:
    """Guess who is gone: whoever sent nothing."""
    sessions[1].close(closing.REPLACED)


def everybody(_bench: Bench, sessions: list[Session]) -> None:
    """Start again from nothing."""
    for session in sessions:
        session.close(closing.REPLACED)


@pytest.mark.scenario("S20", "S23")
@pytest.mark.requirement("P5")
async def test_eviction() -> None:
    """The library's policy passes."""
    await check_eviction(the_library)


WITHOUT: Final = [(the_quietest, "another one"), (everybody, "not exactly one")]


@pytest.mark.scenario("S20", "S23")
@pytest.mark.requirement("P5")
@pytest.mark.parametrize(("variant", "problem"), WITHOUT)
async def test_eviction_without(variant: Evict, problem: str) -> None:
    """An eviction by guess, and one that clears the table: each is caught."""
    with pytest.raises(AssertionError, match=problem):
        await check_eviction(variant)
