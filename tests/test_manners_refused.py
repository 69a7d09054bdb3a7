"""
Manners, the other side: what a revocation, a refresh, a limit or a drain must not do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final, cast

import pytest

from tests.openings import MemoryOpening
from tests.shell import Bench, Served, note
from ws_isolation import Handshake, Session, Settings, UserExecutionContext, errors
from ws_isolation.keys import Identity
from ws_isolation.serving import serve_opening
from ws_isolation.spreading import closing_delays
from ws_isolation.testing import RecordingTransport, make_context
from ws_isolation.testing.clock import settle

ALICE: Final = Identity(None, "alice")


async def _knock(bench: Bench, user: str = "alice") -> int | None:
    """Return the close code that a handshake of *user* ends with, None where it gets a session."""

    async def authenticate(_handshake: Handshake) -> UserExecutionContext:
        return make_context(user)

    async def leave(_session: Session) -> None:
        pass

    opening = MemoryOpening()
    await serve_opening(opening, bench.factory, authenticate, leave)
    assert opening.transport.closed
    code = opening.transport.closed[0]
    return None if code == 1000 else code


# Revocation.


@pytest.mark.requirement("WS-10")
async def test_revocation_bars_the_way_back() -> None:
    """Ended sessions may come back, revoked identities may not, until the moment given and not before."""
    bench = Bench.new()
    served = await bench.serve()
    served.session.close()
    await served.over()
    assert await _knock(bench) is None
    await bench.factory.revoke(ALICE, until=bench.factory.utc_now() + timedelta(seconds=60))
    codes = [await _knock(bench), await _knock(bench, "bob")]
    await bench.clock.advance(59)
    codes.append(await _knock(bench))
    await bench.clock.advance(1)
    codes.append(await _knock(bench))

    assert [4010, None, 4010, None] == codes


@pytest.mark.requirement("WS-10")
async def test_revoked_while_it_refreshes() -> None:
    """Revoked while authenticate is asked about a new credential, the session ends with 4010 and is not renewed."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def authenticate(handshake: Handshake) -> UserExecutionContext:
        if handshake.bearer_token == "new":
            asked.set()
            await go_on.wait()
        return make_context()

    async with _serving(Bench.new(), authenticate) as (bench, served):
        before = served.session.context
        served.transport.client_sends({"type": "ws.refresh", "credential": "new"})
        await asked.wait()
        await bench.factory.revoke(ALICE)
        go_on.set()
        await served.over()

    assert served.ended_with(4010)
    assert before is served.session.context


@pytest.mark.requirement("WS-10")
async def test_revoked_between_authentication_and_session() -> None:
    """Revoked while its socket is being accepted, a client gets 4010 and no session."""
    bench = Bench.new()

    async def authenticate(_handshake: Handshake) -> UserExecutionContext:
        return make_context()

    async def revoke() -> None:
        await bench.factory.revoke(ALICE)

    opening = MemoryOpening(before_accept=revoke)
    await serve_opening(opening, bench.factory, authenticate, None)

    assert ["ws.goodbye"] == opening.transport.types()
    assert opening.transport.closed
    assert 4010 == opening.transport.closed[0]


@pytest.mark.requirement("WS-10")
async def test_a_socket_of_one_s_own_is_barred_as_well() -> None:
    """``attach()`` of a revoked identity ends with 4010, and nothing that is sent reaches it."""
    bench = Bench.new()
    socket = RecordingTransport()
    async with bench.factory:
        await bench.factory.revoke(ALICE)
        async with bench.factory.attach(make_context(), socket) as session:
            await session.manager.send(note("canary"))
            await settle()

    assert (4010, []) == (socket.closed and socket.closed[0], socket.events)


@pytest.mark.parametrize("until", [datetime(2030, 1, 1), "2030-01-01", 1_900_000_000], ids=repr)  # noqa: DTZ001
async def test_until_is_a_moment(until: object) -> None:
    """A time without a zone, or no time at all, is refused by name, and nothing was revoked."""
    bench = Bench.new()
    served = await bench.serve()
    with pytest.raises(errors.UsageError, match=r"^revoke\(until=.*\) must be an aware datetime: datetime.now\(UTC\)"):
        await bench.factory.revoke(ALICE, until=cast("Any", until))

    assert served.session.is_open
    assert not await bench.factory.bars(ALICE)


@pytest.mark.parametrize("call", ["revoke", "lift", "bars", "presence"])
async def test_a_user_id_is_nobody(call: str) -> None:
    """A text in place of a context or an identity is refused, and the error names the call that was made."""
    bench = Bench.new()
    await bench.serve()
    with pytest.raises(errors.ContextTypeError, match=rf"{call}\(\)"):
        await getattr(bench.factory, call)("alice")


# Limits.


@pytest.mark.scenario("S20", "S23")
@pytest.mark.requirement("P5")
async def test_the_oldest_goes_however_busy_it_is() -> None:
    """The oldest is the one that came first: not the quietest, not the one that somebody guesses to be dead."""
    bench = Bench.new(Settings(sessions_per_identity=3, session_limit="replace_oldest"))
    served = [await bench.serve() for _ in range(3)]
    await bench.clock.advance(5)
    served[0].transport.client_sends({"type": "hello"})  # the oldest is the only one with a sign of life
    await settle()
    assert bench.factory.make_room(make_context())
    await served[0].over()

    assert served[0].ended_with(4009)
    assert [True, True] == [one.session.is_open for one in served[1:]]


@pytest.mark.scenario("S20", "S23")
@pytest.mark.requirement("P5")
async def test_one_ends_for_one_that_comes() -> None:
    """Ending a session at the limit permits exactly one more, and no refusal takes a place."""
    bench = Bench.new(Settings(sessions_per_identity=2))
    first, _ = await bench.serve(), await bench.serve()
    refused = [await _knock(bench), await _knock(bench)]
    first.session.close()
    await first.over()
    roomy = bench.factory.make_room(make_context())
    await bench.serve()

    assert ([4029, 4029], True) == (refused, roomy)
    assert not bench.factory.make_room(make_context())


# Refresh.


@asynccontextmanager
async def _serving(bench: Bench, authenticate: Any) -> AsyncGenerator[tuple[Bench, Served]]:
    """Serve one session to the end of the block."""
    served = await bench.admit(authenticate)
    yield bench, served
    served.session.close()
    await served.over()


@pytest.mark.scenario("S60")
@pytest.mark.requirement("P1")
async def test_a_manager_keeps_its_context() -> None:
    """A refresh gives the session a new manager; one made before stays bound to its context, and to its expiry."""
    bench = Bench.new()
    until = bench.factory.utc_now() + timedelta(seconds=60)

    async def authenticate(handshake: Handshake) -> UserExecutionContext:
        return make_context(expires_at=until + timedelta(hours=1) if handshake.bearer_token == "new" else until)

    async with _serving(bench, authenticate) as (_, served):
        before = served.session.manager
        served.transport.client_sends({"type": "ws.refresh", "credential": "new"})
        await settle()
        await bench.clock.advance(61)
        with pytest.raises(errors.ContextExpiredError):
            await before.send(note("too late"))
        await served.session.manager.send(note("in time"))
        await settle()

    assert ["in time"] == [event["data"]["value"] for event in served.transport.events]


# Drain.


@pytest.mark.requirement("P2")
def test_a_drain_without_spreading_would_be_seen() -> None:
    """No second of a drain has more than its share, which all sessions at once would have."""

    def most_in_a_second(delays: list[float]) -> int:
        return max(sum(second <= delay < second + 1 for delay in delays) for second in range(60))

    jitter = [(n * 0.618) % 1 for n in range(1_000)]

    assert most_in_a_second(closing_delays(jitter, share=0.02, within=3_600)) <= 21
    assert 1_000 == most_in_a_second([0.0] * 1_000)


@pytest.mark.requirement("P2")
async def test_a_drain_refuses_newcomers() -> None:
    """From its first moment a drain has no room for another handshake, and a second one moves nothing."""
    bench = Bench.new()
    served = [await bench.serve(user=f"user-{n}") for n in range(11)]
    draining = asyncio.create_task(bench.factory.drain())
    await settle()
    opening = MemoryOpening()
    await serve_opening(opening, bench.factory, lambda _handshake: asyncio.sleep(0), None)
    assert [503] == [status for status, _ in opening.refused]
    await bench.clock.advance(10)
    await draining

    assert all(one.ended_with(4200) for one in served)
