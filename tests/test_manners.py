"""
Manners: drain, revocation, limits, rates, refresh and maximum age, through the real shell and a hand-moved clock.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from tests.cores import START, make_core, text, types, written
from tests.openings import MemoryOpening
from tests.shell import Bench, Served, note
from ws_isolation import Handshake, Run, Session, Settings, UserExecutionContext, closing, errors
from ws_isolation.handshake import Credential
from ws_isolation.keys import Identity
from ws_isolation.rates import TokenBucket
from ws_isolation.revocations import MemoryRevocations
from ws_isolation.serving import serve_opening
from ws_isolation.session_core import State
from ws_isolation.spreading import closing_delays
from ws_isolation.steps import Draining, Received, Renewed, Ticked
from ws_isolation.testing import make_context
from ws_isolation.testing.clock import settle

REFRESH = text(type="ws.refresh", credential="new")


# Maximum age.


@pytest.mark.parametrize("seconds", [None, 3_600.0])
def test_max_age(seconds: float | None) -> None:
    """A session ends with 4201 at its maximum age and not before; without one it lives on."""
    core = make_core(settings=Settings(max_age_seconds=seconds), enforce_pongs=False)
    core.handle(Ticked(START + 3_599))
    assert core.is_open
    core.handle(Ticked(START + 3_600))

    assert (None if seconds is None else closing.MAX_AGE) is core.code


@pytest.mark.requirement("WS-11")
def test_inactivity() -> None:
    """
    Without a message for so long a session ends with 4102: pongs, acks and refreshes are no messages, events neither.
    """
    core = make_core(settings=Settings(inactivity_seconds=600.0))
    core.handle(Received(text(type="hello"), START + 100))
    for second in range(120, 700, 20):
        core.handle(Ticked(START + second))
        for frame in written(core, START + second):
            if "ws.ping" == frame["type"]:
                core.handle(Received(text(type="ws.pong", n=frame["n"]), START + second))
    assert core.is_open
    assert START + 700 == core.next_deadline()
    core.handle(Received(REFRESH, START + 699))
    core.handle(Renewed(core.context, None, START + 699))
    core.handle(Ticked(START + 699.9))
    assert core.is_open
    core.handle(Ticked(START + 700))

    assert closing.INACTIVE is core.code
    assert "reauthenticate" == closing.INACTIVE.action


def test_listening_is_fine() -> None:
    """
    Without the setting a client that only answers pings lives on.
    """
    core = make_core(enforce_pongs=False)
    core.handle(Ticked(START + 1_000_000))

    assert core.is_open


# Drain.


@pytest.mark.parametrize(("count", "within", "span"), [(10, 8.0, 0.0), (50, 8.0, 5.0), (5_000, 8.0, 8.0)])
def test_closing_delays(count: int, within: float, span: float) -> None:
    """A few close at once, more are spread evenly at 2 % a second, and all of them within the bound."""
    delays = closing_delays([0.5] * count, share=0.02, within=within)

    assert sorted(delays) == delays
    assert max(delays) <= within
    assert pytest.approx(span, abs=span / count) == max(delays)


@pytest.mark.requirement("P2", "P3")
async def test_drain_is_spread() -> None:
    """Sessions of a drain get their events until their own moment, then goodbye with 4200; new ones are refused."""
    bench = Bench.new()
    served = [await bench.serve(user=f"user-{n}") for n in range(30)]
    draining = asyncio.create_task(bench.factory.drain(retry_after_ms=700))
    await settle()
    again = asyncio.create_task(bench.factory.drain())
    last = served[-1]
    assert last.session.is_open
    assert "a drain goes on" == bench.factory.begin_handshake(None)
    await bench.manager("user-29").send(note("late"))
    await bench.clock.advance(1.5)
    open_then = sum(one.session.is_open for one in served)
    await bench.clock.advance(8)
    await asyncio.gather(draining, again)

    assert 0 < open_then < 30
    assert all(one.ended_with(4200) for one in served)
    assert ["late"] == [event["data"]["value"] for event in last.transport.events]
    assert (700, "resume") == (last.goodbye["retry_after_ms"], last.goodbye["action"])
    await bench.factory.stop()
    await bench.factory.drain()


def test_drain_keeps_the_earlier_moment() -> None:
    """A second moment counts only where it is earlier."""
    core = make_core()
    core.handle(Draining(START + 5, START))
    core.handle(Draining(START + 9, START))
    assert (State.DRAINING, START + 5) == (core.state, core.next_deadline())
    assert () == core.handle(Received(REFRESH, START))
    core.handle(Ticked(START + 5))

    assert closing.DRAIN is core.code


# Revocation.


@pytest.mark.scenario("S37")
@pytest.mark.requirement("WS-10", "I13", "WS-21")
async def test_revoke() -> None:
    """All sessions and work of the identity end, the same user id of another tenant lives on, and lift lets it back."""
    bench = Bench.new()
    alice, second, other = await bench.serve(), await bench.serve(), await bench.serve(user="bob")
    tenant = await bench.serve(user=make_context("alice", tenant_id="t"))
    work = alice.session.spawn(asyncio.Event().wait())
    runs: list[Run] = []

    async def answer() -> None:
        async with bench.manager().run("assistant") as run:
            runs.append(run)
            await asyncio.Event().wait()

    answering = asyncio.create_task(answer())
    await settle()
    told = await bench.factory.revoke(Identity(None, "alice"))
    await asyncio.gather(answering, return_exceptions=True)
    await alice.over()
    await second.over()

    assert (2, True, True) == (told, work.cancelled(), not runs[0].is_open)
    assert alice.ended_with(4010)
    assert second.ended_with(4010)
    assert other.session.is_open
    assert tenant.session.is_open
    assert [4010] == await _codes(bench, Settings(), "alice")
    assert await bench.factory.lift(make_context())
    assert not await bench.factory.lift(make_context())
    assert not await bench.factory.bars(make_context())


@pytest.mark.requirement("WS-10", "I13")
async def test_revoke_while_leaving() -> None:
    """A session that ends for another reason, and still has events to say, says none once revoked."""
    bench = Bench.new()
    alice, bob = await bench.serve(), await bench.serve(user="bob")
    for served, user in ((alice, "alice"), (bob, "bob")):
        served.transport.client_stops_reading()
        for value in range(3):
            await bench.manager(user).send(note(value))
        served.session.close()
    await settle()
    assert 0 == await bench.factory.revoke(make_context())
    for served in (alice, bob):
        served.transport.client_reads_again()
        await served.over()

    events = [sum(frame["type"] == "custom" for frame in served.transport.frames) for served in (alice, bob)]
    assert (1, 3) == (events[0], events[1])  # the first was on its way already
    assert alice.ended_with(1000)
    assert {} == bench.factory._runtime.leaving


@pytest.mark.requirement("P2")
async def test_stop_waits_for_those_that_leave() -> None:
    """A stop returns when goodbyes are written, also of sessions that had begun to end before."""
    bench = Bench.new()
    alice = await bench.serve()
    alice.transport.client_stops_reading()
    await bench.manager().send(note())
    alice.session.close()
    await settle()
    stopping = asyncio.create_task(bench.factory.stop())
    await settle()
    assert not stopping.done()
    alice.transport.client_reads_again()
    await alice.over()
    await stopping

    assert alice.ended_with(1000)


async def test_a_drain_that_gives_up_leaves_nothing_behind() -> None:
    """A drain that does not wait for a handler any longer says so, and asyncio has nothing to complain of."""
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, about: complaints.append(about))
    bench = Bench.new(Settings(drain_seconds=2, close_seconds=2))

    async def stubborn(session: Session) -> None:
        while session.is_open or not left.is_set():
            with suppress(asyncio.CancelledError):
                await left.wait()

    left = asyncio.Event()
    served = await bench.serve(stubborn)
    draining = asyncio.create_task(bench.factory.drain())
    await settle()
    await bench.clock.advance(2.1)
    assert draining.done()
    left.set()
    await served.over()
    del draining
    gc.collect()
    await settle()

    assert [] == complaints


async def test_revoke_from_inside() -> None:
    """Called in a run of the identity, it tells everybody before that run is left."""
    bench = Bench.new()
    served = await bench.serve()
    work = served.session.spawn(asyncio.Event().wait())
    async with bench.manager().run("assistant"):
        await bench.factory.revoke(make_context())
    await served.over()

    assert work.cancelled()
    assert served.ended_with(4010)
    assert await bench.factory.bars(make_context())


async def _codes(bench: Bench, _settings: Settings, user: str) -> list[int]:
    """Return the close codes of one handshake of *user*."""

    async def authenticate(_handshake: Handshake) -> UserExecutionContext:
        return make_context(user)

    opening = MemoryOpening()
    await serve_opening(opening, bench.factory, authenticate, None)
    return [] if opening.transport.closed is None else [opening.transport.closed[0]]


async def test_revoke_one_session() -> None:
    """One session ends with 4010, its sibling lives on, and nothing is barred."""
    bench = Bench.new()
    one, sibling = await bench.serve(), await bench.serve()

    assert (1, 0) == (await bench.factory.revoke(one.session), await bench.factory.revoke(one.session))
    await one.over()
    assert one.ended_with(4010)
    assert sibling.session.is_open
    assert not await bench.factory.bars(make_context())


def test_records_are_bounded() -> None:
    """A record ends at its time, none is dropped for room before that, and the later of two ends holds."""
    records = MemoryRevocations(2)
    alice, bob, carol = (Identity(None, name) for name in ("alice", "bob", "carol"))
    records.add(alice, 10.0, 0.0)
    records.add(bob, None, 0.0)
    records.add(bob, 5.0, 0.0)
    with pytest.raises(errors.InvalidStateError, match="2 revocations already"):
        records.add(carol, None, 9.0)
    records.add(carol, None, 10.0)

    assert [False, True, True, 2] == [*(records.bars(one, 10.0) for one in (alice, bob, carol)), len(records)]
    records.add(carol, None, 10.0)
    records.lift(carol)
    records.add(alice, 11.0, 10.0)
    assert [True, False] == [records.bars(alice, 10.5), records.bars(alice, 11.0)]


# Limits and rates.


@pytest.mark.scenario("S20")
@pytest.mark.requirement("P5")
async def test_replace_oldest() -> None:
    """At the limit the oldest of the identity gets 4009, nobody else; one more connect, exactly one end."""
    bench = Bench.new(Settings(sessions_per_identity=2, session_limit="replace_oldest"))
    bob = await bench.serve(user="bob")
    first, second = await bench.serve(), await bench.serve()

    assert bench.factory.make_room(make_context())
    await first.over()
    assert first.ended_with(4009)
    assert second.session.is_open
    assert bob.session.is_open
    assert bench.factory.make_room(make_context("carol"))


@pytest.mark.scenario("S20")
async def test_reject_new_harms_nobody() -> None:
    """At the limit the next one is refused with 4029, and those that are open stay."""
    bench = Bench.new(Settings(sessions_per_identity=1))
    first = await bench.serve()

    assert [4029] == await _codes(bench, Settings(), "alice")
    assert first.session.is_open


@pytest.mark.requirement("WS-15", "P5")
async def test_rate_of_an_identity() -> None:
    """Two sessions share one budget: the one that exceeds it ends with 4329, another user is unaffected."""
    bench = Bench.new(Settings(identity_message_burst=4))
    one, two, bob = await bench.serve(), await bench.serve(), await bench.serve(user="bob")
    for served in (one, two, bob):
        for _ in range(2):
            served.transport.client_sends({"type": "hello"})
    await settle()
    assert one.session.is_open
    assert two.session.is_open
    two.transport.client_sends({"type": "hello"})
    await two.over()

    assert two.ended_with(4329)
    assert one.session.is_open
    assert bob.session.is_open


def test_bucket() -> None:
    """It holds the burst at most, refuses what is more, and refills by the minute."""
    bucket = TokenBucket(per_minute=60.0, burst=2, now=0.0)

    assert [True, True, False, False] == [bucket.take(0.0), bucket.take(0.0), bucket.take(0.0), bucket.take(0.9)]
    assert [True, True, False] == [bucket.take(100.0), bucket.take(100.0), bucket.take(100.0)]


# Refresh.


async def _connected(answer: object, *, until: datetime) -> tuple[Bench, Served, list[Handshake]]:
    """Return a session whose *answer* to a refresh is a context, an error or None, and what authenticate saw."""
    bench = Bench.new()
    seen: list[Handshake] = []

    async def authenticate(handshake: Handshake) -> UserExecutionContext | None:
        seen.append(handshake)
        if len(seen) == 1:
            return make_context(expires_at=until)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]  # whatever the test wants

    served = await bench.admit(authenticate)
    served.transport.client_sends(REFRESH)
    await settle()
    return bench, served, seen


UNTIL = datetime.fromtimestamp(1_700_000_000, UTC) + timedelta(seconds=60)


@pytest.mark.scenario("S60")
@pytest.mark.requirement("P1", "I6")
async def test_refresh() -> None:
    """A new credential of the same identity keeps the session, moves its end and changes its claims."""
    renewed = make_context(claims={"role": "admin"}, expires_at=UNTIL + timedelta(hours=1))
    bench, served, seen = await _connected(renewed, until=UNTIL)

    assert "new" == seen[1].bearer_token
    assert (3_660_000, "ws.ping") == tuple(served.transport.frames[-1][name] for name in ("expires_in_ms", "type"))
    assert served.session.context is renewed is served.session.manager.context
    await bench.clock.advance(200)
    assert served.session.is_open
    served.session.close()
    await served.over()


@pytest.mark.scenario("S60")
@pytest.mark.requirement("P1", "I6")
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (make_context("bob"), 4003),
        (make_context(tenant_id="t"), 4003),
        (make_context(thread_id="thread-2"), 4103),
        (errors.ClaimsChangedError("another role"), 4103),
        (None, 4001),
        (errors.ForbiddenError("no"), 4003),
        (RuntimeError("down"), 4300),
    ],
)
async def test_refused_refresh(answer: object, code: int) -> None:
    """Somebody else's credential, another thread or a refusal ends the session; its identity never changes."""
    _, served, _ = await _connected(answer, until=UNTIL)
    await served.over()

    assert served.ended_with(code)
    assert "alice" == served.session.context.user_id == served.session.manager.context.user_id


async def test_refresh_of_an_attached_socket() -> None:
    """Where nobody can check a credential, a refresh is out of turn."""
    bench = Bench.new()
    served = await bench.serve()
    served.transport.client_sends(REFRESH)
    await served.over()

    assert served.ended_with(4000)


def test_events_go_on_while_refreshing() -> None:
    """A session that waits for its new credential is open; a second refresh meanwhile is out of turn."""
    core = make_core()
    core.handle(Received(REFRESH, START))
    assert (State.REFRESHING, True) == (core.state, core.is_open)
    core.handle(Draining(START + 5, START))
    core.handle(Renewed(make_context(), None, START))
    assert State.DRAINING is core.state
    assert ["ws.welcome", "ws.ping"] == types(written(core))

    other = make_core()
    other.handle(Received(REFRESH, START))
    other.handle(Received(REFRESH, START))
    assert closing.BAD_FRAME is other.code


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (text(type="ws.refresh"), 4022),
        (text(type="ws.refresh", credential=""), 4022),
        (text(type="ws.refresh", credential="x", extra=1), 4022),
        (text(type="ws.refresh", credential="x" * 4_096), 4013),
    ],
)
def test_malformed_refresh(frame: str, code: int) -> None:
    """A refresh of the wrong shape ends the session with the code that fits."""
    core = make_core()
    core.handle(Received(frame, START))

    assert core.code is not None
    assert code == core.code.code


def test_a_credential_is_never_shown() -> None:
    """No repr shows the secret, and the handshake of a refresh carries no other one."""
    credential = Credential("bearer", "s3cret")
    made = Handshake(subprotocols=("bearer.old", "ws-isolation.v1")).with_credential(credential)

    assert "s3cret" not in f"{credential} {made}"
    assert (("ws-isolation.v1",), "s3cret", ("frame",)) == (
        made.subprotocols,
        made.bearer_token,
        made.credential_sources(),
    )
