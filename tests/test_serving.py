"""
From handshake to session, over a handshake in memory: who is refused where, and that nothing exists before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import cast

import pytest

from tests.openings import MemoryOpening, handshake, hangs
from tests.shell import Bench, FaultyTransport, note, until_over
from ws_isolation import Handshake, IsolatedManager, ManagerFactory, PlainWire, Session, Settings, errors
from ws_isolation.context import UserExecutionContext
from ws_isolation.errors import TransportClosedError
from ws_isolation.serving import Authenticate, identify, serve_opening
from ws_isolation.stream import NIL_ID
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.testing.clock import settle
from ws_isolation.wire import DEFAULT_WIRE, SUBPROTOCOL, Wire

pytestmark = pytest.mark.requirement("P2")


async def admit(_handshake: Handshake) -> UserExecutionContext:
    """
    Admit everybody as Alice.
    """
    return make_context()


def returning(value: object) -> Authenticate:
    """
    Return an ``authenticate`` that returns *value*, whatever it is.
    """

    async def authenticate(_handshake: Handshake) -> UserExecutionContext | None:
        return cast("UserExecutionContext | None", value)

    return authenticate


def raising(error: BaseException) -> Authenticate:
    """
    Return an ``authenticate`` that raises *error*.
    """

    async def authenticate(_handshake: Handshake) -> UserExecutionContext | None:
        raise error

    return authenticate


async def never(_handshake: Handshake) -> UserExecutionContext | None:
    """
    Wait for what never comes.
    """
    await hangs()
    return None


async def served(
    opening: MemoryOpening,
    factory: ManagerFactory,
    authenticate: Authenticate = admit,
    handler: Callable[[Session], Awaitable[None]] | None = until_over,
    wire: Wire = DEFAULT_WIRE,
) -> asyncio.Task[None]:
    """
    Serve *opening* until it is over or waits for something.
    """
    task = asyncio.create_task(serve_opening(opening, factory, authenticate, handler, wire))
    await settle()
    return task


def code_of(transport: RecordingTransport) -> int:
    """
    Return the code with which the socket was closed; goodbye, the last frame, carries the same.
    """
    assert transport.closed is not None
    assert transport.closed[0] == transport.frames[-1]["code"]
    assert "ws.goodbye" == transport.frames[-1]["type"]
    return transport.closed[0]


@pytest.mark.scenario("S61")
async def test_admitted() -> None:
    """
    Who is admitted gets a session with their handshake and context; pongs are enforced where they were offered.
    """
    sessions: list[Session] = []

    async def handler(session: Session) -> None:
        sessions.append(session)
        await until_over(session)

    bench = Bench.new()
    openings = [MemoryOpening(), MemoryOpening(handshake(subprotocols=(SUBPROTOCOL,)))]
    tasks = [await served(opening, bench.factory, handler=handler) for opening in openings]
    await bench.clock.advance(25 + 8.1)

    assert [[None], [SUBPROTOCOL]] == [opening.accepted for opening in openings]
    assert [opening.handshake for opening in openings] == [session.handshake for session in sessions]
    assert [True, False] == [session.is_open for session in sessions]
    assert 4208 == code_of(openings[1].transport)
    assert [False, True] == [task.done() for task in tasks]
    openings[0].transport.client_leaves()
    await settle()
    assert tasks[0].done()


@pytest.mark.scenario("S14", "S15", "S55", "S56", "S63")
@pytest.mark.requirement("WS-04", "WS-29", "P4")
@pytest.mark.parametrize(
    ("authenticate", "code"),
    [
        (returning(None), 4001),
        (raising(errors.UnauthenticatedError("canary")), 4001),
        (raising(errors.ForbiddenError("canary")), 4003),
        (raising(errors.ExpiredError("canary")), 4101),
        (returning(make_context(expires_at=datetime.fromtimestamp(1, UTC))), 4101),
        (returning({"user_id": "canary"}), 4310),
        (returning(object.__new__(UserExecutionContext)), 4310),
        (raising(errors.InvalidContextError("user_id", "canary")), 4310),
        (raising(errors.ContextTypeError("canary", "canary", "canary", "canary")), 4310),
        (raising(LookupError("canary")), 4300),
        (raising(TimeoutError("canary")), 4300),
        (raising(asyncio.CancelledError("canary")), 4300),
        (raising(errors.ClosedError("canary")), 4300),
        (raising(errors.RateLimitedError("canary")), 4329),
        (raising(ExceptionGroup("canary", [errors.UnauthenticatedError("canary")])), 4300),
    ],
)
async def test_refused(authenticate: Authenticate, code: int, caplog: pytest.LogCaptureFixture) -> None:
    """
    Each way to refuse has its code after accept; neither stream nor session is allocated; the log says why.
    """
    bench = Bench.new()
    opening = MemoryOpening(handshake(("authorization", "Bearer canary-token")))
    task = await served(opening, bench.factory, authenticate)
    stats = bench.factory.stats()

    assert task.done()
    assert code == code_of(opening.transport)
    assert ["ws.goodbye"] == opening.transport.types()
    assert (0, 0, 0, {code: 1}) == (stats.sessions, stats.streams, stats.pending, stats.closes)
    assert "canary" not in repr((opening.transport.sent, opening.transport.closed))
    record = next(record for record in caplog.records if record.name == "ws_isolation")
    assert "sources=authorization" in record.getMessage()
    assert "canary-token" not in caplog.text
    incident = opening.transport.frames[-1].get("incident_id")
    assert (incident is not None) == (code >= 4300)
    assert (record.levelno == logging.ERROR) == (code >= 4300)
    assert incident is None or incident in record.getMessage()


@pytest.mark.requirement("WS-07", "WS-28")
async def test_token_in_the_query(caplog: pytest.LogCaptureFixture) -> None:
    """
    A token in the query is refused before the application is asked, over HTTP as well, unless that is opted in.
    """
    asked: list[str | None] = []

    async def authenticate(shaken: Handshake) -> UserExecutionContext:
        asked.append(shaken.bearer_token)
        return make_context()

    for settings in (Settings(), Settings(query_tokens=True)):
        factory = ManagerFactory(settings)
        for query in ("token=canary", "thread=t"):
            opening = MemoryOpening(handshake(query=query))
            await served(opening, factory, authenticate)
            refused = query == "token=canary" and not settings.query_tokens
            assert ["ws.goodbye" if refused else "ws.welcome"] == opening.transport.types()[:1]
            refusing = pytest.raises(errors.UnauthenticatedError, match=r"Settings\.query_tokens")
            with refusing if refused else nullcontext():
                await identify(opening.handshake, factory, authenticate, "test")
        await factory.stop()

    assert [None, None, "canary", "canary", None, None] == asked
    assert "sources=query" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.requirement("WS-07")
async def test_missing_look_at_the_query_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without the look at the query an application that reads it lets the client in, which the test above denies.
    """

    async def authenticate(shaken: Handshake) -> UserExecutionContext:
        return make_context(shaken.query["token"])

    def unseen(shaken: Handshake, _: ManagerFactory) -> Handshake:
        return shaken

    monkeypatch.setattr("ws_isolation.serving._with_query_judged", unseen)
    opening = MemoryOpening(handshake(query="token=alice"))
    await served(opening, ManagerFactory(), authenticate)

    assert ["ws.welcome"] == opening.transport.types()


async def test_authentication_takes_too_long() -> None:
    """
    After ``auth_seconds`` the client is told 4300: its credential is not at fault.
    """
    factory = ManagerFactory(Settings(auth_seconds=0.1))
    opening = MemoryOpening()
    async with asyncio.timeout(10):
        await serve_opening(opening, factory, never, None)

    assert 4300 == code_of(opening.transport)
    assert 0 == factory.stats().pending


@pytest.mark.parametrize("query", ["cursor=", "cursor=1", "cursor=a.b.c", "cursor=e.1.2", "cursor=x.01." + NIL_ID])
async def test_malformed_cursor(query: str) -> None:
    """
    A cursor that nobody could have been given is refused with 4022, before anybody is authenticated.
    """
    opening = MemoryOpening(handshake(query=query))
    await served(opening, Bench.new().factory, raising(AssertionError()))

    assert 4022 == code_of(opening.transport)


@pytest.mark.scenario("S61")
@pytest.mark.requirement("P3")
async def test_cursor_is_answered_after_welcome() -> None:
    """
    At the top ``ws.resumed`` with count 0; a cursor that this stream never gave is a gap with its reason.
    """
    bench = Bench.new()
    manager = bench.factory.create_manager(make_context())
    for n in range(3):
        await manager.send(note(n))
    first = MemoryOpening()
    await served(first, bench.factory)
    top = first.transport.frames[0]["cursor"]

    async def answer(cursor: str) -> dict[str, object]:
        opening = MemoryOpening(handshake(query=f"cursor={cursor}"))
        await served(opening, bench.factory)
        assert ["ws.welcome", "ws.resumed"] == opening.transport.types() or [
            "ws.welcome",
            "ws.gap",
        ] == opening.transport.types()
        frame = opening.transport.frames[1]
        assert top == frame.pop("cursor")
        return frame

    epoch, seq, event_id = top["epoch"], top["seq"], top["id"]
    assert {"type": "ws.resumed", "count": 0} == await answer(f"{epoch}.{seq}.{event_id}")
    assert {"type": "ws.gap", "reason": "epoch_changed"} == await answer(f"other.{seq}.{event_id}")
    assert {"type": "ws.gap", "reason": "divergence"} == await answer(f"{epoch}.1.{event_id}")
    assert {"type": "ws.gap", "reason": "divergence"} == await answer(f"{epoch}.{seq}.{NIL_ID}")
    assert {"type": "ws.gap", "reason": "divergence"} == await answer(f"{epoch}.{seq + 1}.{event_id}")


@pytest.mark.scenario("S55")
@pytest.mark.parametrize(
    ("offered", "wire", "answered", "code"),
    [
        (("mqtt",), DEFAULT_WIRE, "mqtt", 4006),
        (("bearer.x", "mqtt"), DEFAULT_WIRE, "mqtt", 4006),
        (("bearer.x",), DEFAULT_WIRE, None, 4006),
        (("mqtt",), PlainWire(lambda _envelope: None), "mqtt", 4006),
        (("mine", "mqtt"), PlainWire(lambda _envelope: None, subprotocol="mqtt"), "mqtt", None),
        ((), PlainWire(lambda _envelope: None, subprotocol="mqtt"), None, None),
    ],
)
async def test_subprotocol(offered: tuple[str, ...], wire: Wire, answered: str | None, code: int | None) -> None:
    """
    The wire's own name is answered where it was offered; else another token-free one, and 4006 follows.
    """
    opening = MemoryOpening(handshake(subprotocols=offered))
    task = await served(opening, Bench.new().factory, wire=wire)

    assert [answered] == opening.accepted
    assert (code is not None) == task.done()
    assert code == (None if opening.transport.closed is None else opening.transport.closed[0])


@pytest.mark.scenario("S59")
@pytest.mark.requirement("WS-13", "P5")
async def test_no_room_for_another_handshake() -> None:
    """
    Above ``pending_handshakes`` strangers get 503 with Retry-After, and nobody is authenticated for them.
    """
    factory = ManagerFactory(Settings(pending_handshakes=1))
    waiting = await served(MemoryOpening(), factory, never)
    opening = MemoryOpening()
    await served(opening, factory, raising(AssertionError()))
    pending = factory.stats().pending
    waiting.cancel()
    await settle()
    after = MemoryOpening()
    await served(after, factory)

    assert ([(503, 1)], []) == (opening.refused, opening.accepted)
    assert (1, 0) == (pending, factory.stats().pending)
    assert [None] == after.accepted


@pytest.mark.requirement("WS-01")
async def test_refused_at_the_door() -> None:
    """
    Who may not knock gets a status without Retry-After; nobody is authenticated, nothing is counted as pending.
    """
    bench = Bench.new()
    opening = MemoryOpening(handshake(("origin", "https://evil.example")))
    await served(opening, bench.factory, raising(AssertionError()))

    assert ([(403, None)], []) == (opening.refused, opening.accepted)
    assert ({403: 1}, 0) == (bench.factory.stats().closes, bench.factory.stats().pending)


@pytest.mark.scenario("S26", "S59")
async def test_factory_that_stops_or_has_stopped() -> None:
    """
    While the factory stops and afterwards: 503 before accept.
    """
    bench = Bench.new()
    stalled = await bench.serve()
    stalled.transport.client_stops_reading()
    stopping = asyncio.create_task(bench.factory.stop())
    await settle()
    during, after = MemoryOpening(), MemoryOpening()
    await served(during, bench.factory, raising(AssertionError()))
    await bench.clock.advance(20)
    await stopping
    await served(after, bench.factory, raising(AssertionError()))

    assert [(503, 1)] == during.refused == after.refused


@pytest.mark.scenario("S26")
@pytest.mark.parametrize("completely", [False, True])
async def test_factory_that_stops_during_authentication(*, completely: bool) -> None:
    """
    A handshake that was let in before the stop is told 4200, or 4300 where everything is over; no count is left.
    """
    bench = Bench.new()
    go_on = asyncio.Event()

    async def slow(_handshake: Handshake) -> UserExecutionContext:
        await go_on.wait()
        return make_context("bob")

    stalled = None if completely else await bench.serve()
    if stalled is not None:
        stalled.transport.client_stops_reading()
    opening = MemoryOpening()
    await served(opening, bench.factory, slow)
    stopping = asyncio.create_task(bench.factory.stop())
    await settle()
    assert completely == stopping.done()
    go_on.set()
    await settle()
    await bench.clock.advance(20)
    await stopping

    assert (4300 if completely else 4200) == code_of(opening.transport)
    assert (0, 0) == (bench.factory.stats().pending, bench.factory.stats().sessions)


@pytest.mark.scenario("S23")
@pytest.mark.requirement("WS-12", "WS-33")
async def test_limit_is_checked_and_taken_in_one_step() -> None:
    """
    Of ten at once, as many are admitted as there is room for; the others get 4029, and those inside stay.
    """
    factory = ManagerFactory(Settings(sessions_per_identity=3), clock=FakeClock())
    openings = [MemoryOpening() for _ in range(10)]
    for opening in openings:
        await served(opening, factory)
    closed = [opening.transport.closed for opening in openings]

    assert [None] * 3 + [(4029, "connection_limit")] * 7 == closed
    assert 3 == factory.stats().sessions


@pytest.mark.scenario("S15", "S56")
@pytest.mark.requirement("P6")
async def test_manager_that_cannot_be_made(caplog: pytest.LogCaptureFixture) -> None:
    """
    An application's own manager that raises, or changes the context, is a 4300 with an incident id, and no session.
    """

    def fails(_manager: IsolatedManager) -> IsolatedManager:
        raise LookupError("canary")

    def swaps(_manager: IsolatedManager) -> IsolatedManager:
        return ManagerFactory().create_manager(make_context("mallory"))

    for wrapper in (fails, swaps):
        factory = ManagerFactory(manager=wrapper)
        opening = MemoryOpening()
        task = await served(opening, factory)

        assert task.done()
        assert task.exception() is None
        assert 4300 == code_of(opening.transport)
        assert (0, 0) == (factory.stats().sessions, factory.stats().pending)
    assert "canary" in caplog.text


@pytest.mark.scenario("S32", "S56")
async def test_cancelled_during_authentication() -> None:
    """
    Nothing is accepted yet, so the answer is 503; the cancellation goes on.
    """
    bench = Bench.new()
    opening = MemoryOpening()
    task = await served(opening, bench.factory, never)
    task.cancel()
    await settle()

    assert task.cancelled()
    assert ([(503, 1)], []) == (opening.refused, opening.accepted)
    assert 0 == bench.factory.stats().pending


@pytest.mark.scenario("S32", "S56")
@pytest.mark.parametrize("fails", [False, True])
async def test_cancelled_during_accept(*, fails: bool) -> None:
    """
    What was accepted meanwhile is told 4300 and closed; where accept fails there is nobody to tell.
    """
    bench = Bench.new()
    go_on = asyncio.Event()

    async def slowly() -> None:
        await go_on.wait()
        if fails:
            raise TransportClosedError

    opening = MemoryOpening(before_accept=slowly)
    task = await served(opening, bench.factory)
    task.cancel()
    await settle()
    go_on.set()
    await settle()

    assert task.cancelled()
    assert fails or code_of(opening.transport) == 4300
    assert 0 == bench.factory.stats().pending


@pytest.mark.scenario("S26", "S32")
async def test_cancelled_during_accept_in_a_drain() -> None:
    """
    While the factory stops the code is 4200.
    """
    bench = Bench.new()
    go_on = asyncio.Event()
    stalled = await bench.serve()
    stalled.transport.client_stops_reading()

    opening = MemoryOpening(before_accept=go_on.wait)  # type: ignore[arg-type]  # what it returns does not matter
    task = await served(opening, bench.factory)
    stopping = asyncio.create_task(bench.factory.stop())
    await settle()
    task.cancel()
    await settle()
    go_on.set()
    await bench.clock.advance(20)
    await stopping

    assert 4200 == code_of(opening.transport)


@pytest.mark.parametrize(
    ("error", "level"), [(TransportClosedError(), logging.INFO), (LookupError("canary"), logging.ERROR)]
)
async def test_accept_fails(error: Exception, level: int, caplog: pytest.LogCaptureFixture) -> None:
    """
    A client that left is no error; an adapter that fails is one. Either way nothing is left and nothing is raised.
    """

    async def fails() -> None:
        raise error

    bench = Bench.new()
    with caplog.at_level(logging.INFO):
        task = await served(MemoryOpening(before_accept=fails), bench.factory)

    assert task.done()
    assert task.exception() is None
    assert [level] == [record.levelno for record in caplog.records]
    assert (0, 0) == (bench.factory.stats().sessions, bench.factory.stats().pending)


async def test_answers_that_hang() -> None:
    """
    Accept, refusal and goodbye each end after ``close_seconds``, whatever the peer does.
    """
    factory = ManagerFactory(Settings(close_seconds=0.1, drain_seconds=1.0))
    stalled = MemoryOpening()
    stalled.transport.client_stops_reading()
    refused = MemoryOpening(handshake(host=None), before_refuse=hangs)
    async with asyncio.timeout(10):
        await serve_opening(MemoryOpening(before_accept=hangs), factory, admit, None)
        await serve_opening(refused, factory, admit, None)
        await serve_opening(stalled, factory, returning(None), None)

    assert stalled.transport.aborted
    assert [] == refused.refused
    assert 0 == factory.stats().pending


@pytest.mark.parametrize("where", ["send", "close"])
async def test_refusal_that_cannot_be_told(where: str) -> None:
    """
    A transport that fails while a refusal is told is dropped; nothing is raised.
    """
    error = LookupError("canary")
    faulty = FaultyTransport(on_send=[error] if where == "send" else [], on_close=error if where == "close" else None)
    task = await served(MemoryOpening(inner=faulty), Bench.new().factory, returning(None))

    assert task.done()
    assert task.exception() is None
    assert faulty.inner.aborted


async def test_refusal_over_a_plain_wire() -> None:
    """
    A wire without control frames says no goodbye, and closes with the code.
    """
    opening = MemoryOpening()
    await served(opening, Bench.new().factory, returning(None), wire=PlainWire(lambda _envelope: None))

    assert ([], (4001, "unauthenticated")) == (opening.transport.sent, opening.transport.closed)


@pytest.mark.requirement("WS-24")
async def test_plain_ws_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    """
    Unencrypted sockets from other machines are served, with one warning for all of them.
    """
    bench = Bench.new()
    for _ in range(2):
        await served(MemoryOpening(handshake(scheme="ws")), bench.factory)
    await served(MemoryOpening(handshake(scheme="ws", client="127.0.0.1")), bench.factory)

    assert 3 == bench.factory.stats().sessions
    assert 1 == caplog.text.count("plain ws from another machine")
