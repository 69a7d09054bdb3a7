"""
The manager: what it refuses to send, what it counts, and that no way leads from it to another user.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, cast

import pytest

import ws_isolation
from tests.layers import modules
from tests.openings import MemoryOpening
from tests.shell import Bench, note
from ws_isolation import Handshake, IsolatedManager, Message, Session, UserExecutionContext, closing, errors
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


class OwnEvent(Event):
    """
    An event class of somebody's own.
    """


# What send refuses.


@pytest.mark.requirement("P6")
@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"type": "custom"}, "got dict: wrap"),
        ("text", "got str: wrap"),
        (None, "got NoneType: wrap"),
        (AgentStarted, "got type: wrap"),
        (object.__new__(OwnEvent), f"got {OwnEvent.__module__}.OwnEvent: wrap"),
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

    with pytest.raises(errors.ConcurrencyError, match="run_coroutine_threadsafe"):
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


# That no way leads to another user.

Called: TypeAlias = Callable[..., Any]

WHO: Final = frozenset({"user_id", "tenant_id", "recipient", "to"})
WHO_TYPES: Final = frozenset({"Identity", "UserExecutionContext"})
PAYLOAD_TYPES: Final = frozenset({"Event", "Envelope"})
PAYLOAD: Final = frozenset({"event", "envelope", "payload", "message", "data", "value", "text", "body"})
NAMING: Final = frozenset({"UserExecutionContext", "make_context", "Identity"})
"""Those that make a context or an identity."""


def _members(holder: object) -> Iterator[tuple[str, Called]]:
    for name in dir(holder):
        if not name.startswith("_") and callable(value := inspect.getattr_static(holder, name, None)):
            yield name, cast("Called", value)


def _parameters(called: Called) -> dict[str, set[str]]:
    """Return the words of each parameter's annotation; nothing where Python knows no signature."""
    try:
        parameters = inspect.signature(called).parameters
    except (TypeError, ValueError):
        return {}
    return {name: set(re.findall(r"\w+", str(one.annotation))) for name, one in parameters.items()}


def _names_somebody(called: Called) -> bool:
    return any(name in WHO or words & WHO_TYPES for name, words in _parameters(called).items())


def _carries_something(called: Called) -> bool:
    return any(name in PAYLOAD or words & PAYLOAD_TYPES for name, words in _parameters(called).items())


def _library() -> Iterator[tuple[str, Called]]:
    # Programs on top of the library, the demo's accounts among them, know their users like any application.
    names = [
        f"ws_isolation.{module}".rstrip(".") for module in modules() if module.split(".")[0] not in {"demo", "cli"}
    ]
    for module in (importlib.import_module(name) for name in names):
        for name in getattr(module, "__all__", ()):
            value: object = getattr(module, name)
            if callable(value):
                yield name, value
            if inspect.isclass(value):
                yield from ((f"{name}.{member}", called) for member, called in _members(value))


@pytest.mark.scenario("S27")
@pytest.mark.requirement("P1")
def test_no_call_names_a_user() -> None:
    """In the whole library only those that make a context or an identity have a parameter for a user's id."""
    found = dict(_library())

    assert {"IsolatedManager.send", "ManagerFactory.create_manager", "Session.spawn", "serve"} <= set(found)
    assert NAMING == {name for name, called in found.items() if WHO & set(_parameters(called))}


@pytest.mark.scenario("S27", "S33")
@pytest.mark.requirement("P1")
def test_no_broadcast() -> None:
    """No public name promises to reach everybody."""
    assert [] == [
        name
        for name, _ in _library()
        if re.search("broadcast|emit_?all|publish_?to_?all|send_?all", name, re.IGNORECASE)
    ]


def _in_reach(*roots: object) -> list[object]:
    """Return what an application holds, and whatever of the library is a public attribute of it, and so on."""
    reached: dict[int, object] = {}
    todo = list(roots)
    while todo:
        one = todo.pop()
        if id(one) in reached or not type(one).__module__.startswith("ws_isolation"):
            continue
        reached[id(one)] = one
        todo += [getattr(one, name) for name in dir(one) if not name.startswith("_")]
    return list(reached.values())


@pytest.mark.scenario("S27")
@pytest.mark.requirement("P1")
async def test_no_call_takes_a_user_and_a_payload() -> None:
    """Nothing that an application imports from the root, or gets hold of later, takes somebody and an event."""
    bench = Bench.new()
    served = await bench.serve()
    held: list[object] = []
    async with served.session.manager.run("assistant") as run, run.tool("t") as tool:
        held = _in_reach(bench.factory, served.session, run, tool, served.session.manager.stats())
    face: dict[str, Called] = {}
    for value in (*(getattr(ws_isolation, name) for name in ws_isolation.__all__), *map(type, held)):
        if inspect.isclass(value):
            face[value.__name__] = value
            face |= {f"{value.__name__}.{name}": called for name, called in _members(value)}

    assert {"ManagerFactory.attach", "StreamManager.send", "Session.offer", "Run.send"} <= set(face)
    assert [] == sorted(name for name, called in face.items() if _names_somebody(called) and _carries_something(called))


Use: TypeAlias = Callable[[Session], Awaitable[object] | object]


async def _run(session: Session) -> None:
    async with session.manager.run("assistant") as run, run.tool("look") as tool:
        tool.result = 1


async def _spawn(session: Session) -> None:
    await session.spawn(_run(session))


MANAGER: Final[dict[str, Use]] = {
    "context": lambda session: session.manager.context,
    "send": lambda session: session.manager.send(note("canary")),
    "run": _run,
    "run_opened": lambda session: session.manager.run_opened(session.manager.run("x")),  # type: ignore[attr-defined]
    "run_ended": lambda session: session.manager.run_ended(session.manager.run("x")),  # type: ignore[attr-defined]
    "stats": lambda session: session.manager.stats(),
    "watch_runs": lambda session: hasattr(session.manager, "watch_runs"),  # for managers around this one
}
SESSION: Final[dict[str, Use]] = {
    "context": lambda session: session.context,
    "manager": lambda session: session.manager,
    "handshake": lambda session: session.handshake,
    "connection_id": lambda session: session.connection_id,
    "is_open": lambda session: session.is_open,
    "code": lambda session: session.code,
    "waiting": lambda session: session.waiting,
    "spawn": _spawn,
    "reject": lambda session: session.reject(Message(type="canary", data={})),
    "on_end": lambda session: session.on_end(lambda: None),
    "close": lambda session: session.close(closing.NORMAL),
    "wait_closed": lambda session: session.wait_closed(),
}
GUARD: Final = frozenset({"begin", "due", "end_by", "leave", "offer", "serve"})
"""The guard's own, not for handlers; ``offer`` has the last hop's tests."""


@pytest.mark.scenario("S27", "S33")
@pytest.mark.requirement("P1")
async def test_no_call_reaches_another_stream() -> None:
    """Whatever Alice's session and manager offer, once all of it was used, Bob's socket and counts are as before."""
    bench = Bench.new()
    alice, bob = await bench.serve(user="alice"), await bench.serve(user="bob")
    before, manager = list(bob.transport.sent), bench.manager("bob")
    untouched = manager.stats()
    public = [{name for name in dir(kind) if not name.startswith("_")} for kind in (StreamManager, Session)]
    assert [set(MANAGER), set(SESSION) | GUARD] == public
    for use in (*MANAGER.values(), *SESSION.values()):
        answer = use(alice.session)
        if inspect.isawaitable(answer):
            await answer
    await settle()

    assert {"custom", "agent_completed", "ws.error", "ws.goodbye"} <= set(alice.transport.types())
    assert before == bob.transport.sent
    assert untouched == manager.stats()


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
