"""
No call leads from one user to another: none names a recipient, none reaches everybody.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, TypeAlias, cast

import msgspec
import pytest

import ws_isolation
from tests.layers import modules
from tests.shell import Bench, note
from ws_isolation import Message, Session, closing
from ws_isolation.manager import StreamManager
from ws_isolation.testing.clock import settle

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
    if isinstance(called, type) and issubclass(called, msgspec.Struct):
        # Their signature looks up the types, and some are imported for type checkers only.
        written = {
            name: text for kind in called.__mro__ for name, text in vars(kind).get("__annotations__", {}).items()
        }
        return {name: set(re.findall(r"\w+", str(written[name]))) for name in called.__struct_fields__}
    try:
        parameters = inspect.signature(cast("Called", called)).parameters
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
    "run_ended": lambda session: session.manager.run_ended(session.manager.run("x"), 0.0, "ok"),  # type: ignore[attr-defined]
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
    "acknowledged": lambda session: session.acknowledged,
    "report_failure": lambda session: session.report_failure(Message(type="canary"), LookupError("canary")),
    "forget": lambda session: session.forget(Message(type="canary", id="00000000-0000-0000-0000-000000000001")),
    "manager_for": lambda session: session.manager_for(Message(type="canary")).send(note("canary")),
}
GUARD: Final = frozenset(
    {"abandon", "begin", "drain", "due", "end_by", "join", "leave", "missed", "offer", "refresh_by", "renew", "serve"}
    | {"cancel_reason", "carry_threads", "narrow", "widen"}
)
"""The guard's and the router's own, not for handlers; ``offer`` has the last hop's tests, ``renew`` the core's."""


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
