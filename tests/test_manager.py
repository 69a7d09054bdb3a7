"""
The manager: what it refuses to send, what it counts, and that nothing is sent for it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import pytest
from typing_extensions import override

from tests.openings import MemoryOpening
from tests.shell import Bench, note
from ws_isolation import Handshake, IsolatedManager, Session, UserExecutionContext, errors
from ws_isolation.events import (
    AgentCancelled,
    AgentCompleted,
    AgentError,
    AgentStarted,
    Event,
    Problem,
    ToolCompleted,
    ToolExecuting,
)
from ws_isolation.manager import StreamManager
from ws_isolation.serving import serve_opening
from ws_isolation.testing import make_context
from ws_isolation.testing.clock import settle


class OwnEvent(Event, frozen=True, kw_only=True):
    """
    An event class of somebody's own, whose checks it leaves out.
    """

    @override
    def __post_init__(self) -> None:
        """
        Check nothing.
        """


# What send refuses.


@pytest.mark.requirement("P6")
@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"type": "custom"}, "got dict: wrap"),
        ("text", "got str: wrap"),
        (None, "got NoneType: wrap"),
        (AgentStarted, "got msgspec._core.StructMeta: wrap"),
        (OwnEvent(), f"got {OwnEvent.__module__}.OwnEvent: wrap"),
    ],
    ids=["dict", "str", "None", "class", "own event"],
)
async def test_no_event(value: object, named: str) -> None:
    """What is no event of the library is refused with its type in the text; nothing is stored or counted."""
    bench = Bench.new()
    manager = bench.manager()
    with pytest.raises(errors.EventTypeError, match=re.escape(named)):
        await manager.send(cast("Any", value))

    assert (0, 0) == (manager.stats().sent, bench.factory.stats().streams)


@pytest.mark.scenario("S15", "S47")
@pytest.mark.requirement("P1")
async def test_edited_context() -> None:
    """After an edit of its context a manager reaches neither the new user nor the old one."""
    bench = Bench.new()
    context = make_context()
    manager = bench.factory.create_manager(context)
    served = [await bench.serve(user="alice"), await bench.serve(user="mallory")]
    object.__setattr__(context, "user_id", "mallory")
    with pytest.raises(errors.ContextIntegrityError, match=r"send\(\)"):
        await manager.send(note())
    await settle()

    assert [[], []] == [one.transport.events for one in served]
    assert 0 == manager.stats().sent


def _expiring(bench: Bench) -> UserExecutionContext:
    return make_context(expires_at=datetime.fromtimestamp(bench.clock.unix(), UTC) + timedelta(seconds=60))


def _tool(**values: Any) -> ToolCompleted:
    return ToolCompleted(run_id="r", thread_id="r", tool_call_id="c", tool_name="t", **values)


FAILED: Final = Problem(title="It failed", code="tool_failed", retryable=False)


@pytest.mark.requirement("P1")
@pytest.mark.parametrize(
    "event",
    [note(), AgentStarted(run_id="s", thread_id="s", agent_name="a"), _tool(status="ok"), AgentCompleted(run_id="r")],
    ids=["custom", "start", "tool's result", "completion"],
)
async def test_expired_context(event: Event) -> None:
    """At the second of its end, and not before it, a context's manager sends nothing new."""
    bench = Bench.new()
    manager = bench.factory.create_manager(_expiring(bench))
    await manager.send(AgentStarted(run_id="r", thread_id="r", agent_name="a"))
    await manager.send(ToolExecuting(run_id="r", thread_id="r", tool_call_id="c", tool_name="t", arguments={}))
    await bench.clock.advance(59)
    await manager.send(note())
    await bench.clock.advance(1)
    with pytest.raises(errors.ContextExpiredError):
        await manager.send(event)

    assert 3 == manager.stats().sent


@pytest.mark.scenario("S31")
@pytest.mark.parametrize(
    "event",
    [
        AgentCancelled(run_id="r", thread_id="r", reason="user"),
        AgentError(run_id="r", thread_id="r", error=FAILED),
        _tool(status="error", error=FAILED),
    ],
    ids=["cancelled", "failed", "tool failed"],
)
async def test_expired_context_closes_what_is_open(event: Event) -> None:
    """What only closes something that is open may still be said after the end."""
    bench = Bench.new()
    manager = bench.factory.create_manager(_expiring(bench))
    await manager.send(AgentStarted(run_id="r", thread_id="r", agent_name="a"))
    await manager.send(ToolExecuting(run_id="r", thread_id="r", tool_call_id="c", tool_name="t", arguments={}))
    await bench.clock.advance(61)
    if not isinstance(event, ToolCompleted):
        await manager.send(_tool(status="error", error=FAILED))
    await manager.send(event)

    assert manager.stats().open_runs == int(isinstance(event, ToolCompleted))


@pytest.mark.scenario("S17")
async def test_another_loop() -> None:
    """From another loop, or another thread's, send is refused with the way that is right; nothing is stored."""
    bench = Bench.new()
    manager = bench.manager()
    await manager.send(note())

    def elsewhere() -> None:
        asyncio.run(_send(manager))

    with pytest.raises(errors.ConcurrencyError, match=r"threads\.Portal"):
        await asyncio.to_thread(elsewhere)

    assert 1 == manager.stats().sent
    assert 2 == (await manager.send(note())).seq


async def _send(manager: IsolatedManager) -> None:
    await manager.send(note())


async def test_others_have_a_turn() -> None:
    """A task that sends without waiting for anything gives the others a turn, at the latest after eight sends."""
    manager = Bench.new().manager()
    turns: list[int] = []

    async def other() -> None:
        turns.append(manager.stats().sent)

    task = asyncio.create_task(other())
    for _ in range(20):
        await manager.send(note())
    await task

    assert turns[0] <= 8


# What it tells.


async def test_stats() -> None:
    """Sent is the manager's own, sessions and open runs are its identity's, and another user's change nothing."""
    bench = Bench.new()
    served = await bench.serve()
    one, two, bob = bench.manager(), bench.manager(), bench.manager("bob")
    async with one.run("assistant"):
        stats = [(m.stats().sent, m.stats().sessions, m.stats().open_runs) for m in (one, two, bob)]
        assert [(1, 1, 1), (0, 1, 1), (0, 0, 0)] == stats
    served.transport.client_leaves()
    await served.over()

    stats = [(m.stats().sent, m.stats().sessions, m.stats().open_runs) for m in (one, two, bob)]
    assert [(2, 0, 0), (0, 0, 0), (0, 0, 0)] == stats


def test_repr_has_no_secrets() -> None:
    """The repr names the user, and no claim."""
    manager = Bench.new().factory.create_manager(make_context(claims={"token": "canary"}))

    assert StreamManager is type(manager)
    assert "alice" in repr(manager)
    assert "canary" not in repr(manager)


# That the library invents nothing.


async def _connect(handshake: Handshake) -> UserExecutionContext:
    return make_context()


async def _fail_to_authenticate(handshake: Handshake) -> UserExecutionContext:
    raise LookupError


async def _refuse(handshake: Handshake) -> UserExecutionContext | None:
    return None


async def _serve(session: Session) -> None:
    async for message in session:
        session.reject(message)


async def _fail(session: Session) -> None:
    await anext(session)
    raise LookupError


async def _fail_in_the_background(session: Session) -> None:
    async def work() -> None:
        raise LookupError

    session.spawn(work())
    await _serve(session)


@pytest.mark.scenario("S49")
@pytest.mark.requirement("P3")
@pytest.mark.parametrize("handler", [_serve, _fail, _fail_in_the_background, None])
@pytest.mark.parametrize("authenticate", [_connect, _fail_to_authenticate, _refuse])
@pytest.mark.parametrize("end", ["leave", "stop"])
async def test_no_agent_no_events(
    authenticate: Callable[[Handshake], Awaitable[UserExecutionContext | None]],
    handler: Callable[[Session], Awaitable[None]] | None,
    end: str,
) -> None:
    """Where no agent runs no event appears: not for connects, messages, stops, failures, or the end."""
    bench, opening = Bench.new(), MemoryOpening()
    task = asyncio.create_task(serve_opening(opening, bench.factory, authenticate, handler))
    await settle()
    for message in ({"type": "user_message", "data": {"text": "hi"}}, {"type": "stop", "run_id": "r"}):
        opening.transport.client_sends(message)
        await settle()
    if end == "leave":
        opening.transport.client_leaves()
    stopping = asyncio.create_task(bench.factory.stop())
    await bench.clock.advance(60)
    await asyncio.gather(task, stopping)

    assert ("ws.welcome" if authenticate is _connect else "ws.goodbye") == opening.transport.types()[0]
    assert [] == opening.transport.events
    assert 0 == bench.factory.stats().sessions
