"""
The conformance suite for managers: what every implementation of the Protocol must do.

Public, so that an implementation of one's own, or a test double, is proved by
the same checks as the shipped one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, cast

from ..context import UserExecutionContext
from ..delivery import Delivery, ManagerStats
from ..errors import EventError, InvalidStateError, IsolationError
from ..events import AgentStarted, AgentThinking, Custom, ToolCompleted
from ..manager import IsolatedManager
from .contexts import make_context

__all__ = ("check_manager",)

MakeManager: TypeAlias = Callable[[UserExecutionContext], IsolatedManager]
"""Returns the manager under test for a context: ``factory.create_manager``, or a class."""


_SENDS: Final = 3
"""Events that are sent in a row where their order is looked at."""


async def check_manager(make: MakeManager, /) -> None:
    """
    Prove that the managers that *make* returns keep the Protocol's contract.

    Args:
        make: Called several times, with contexts of different users.

    Raises:
        AssertionError: Names the first rule that does not hold.

    Run it in an event loop: ``await check_manager(factory.create_manager)``.
    """
    for rule in _RULES:
        try:
            await rule(make)
        except AssertionError as error:
            text = (rule.__doc__ or rule.__name__).strip()
            msg = f"check_manager: {text} {error}".strip()
            raise AssertionError(msg) from error


def _require(holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(what)


async def _offers_the_protocol(make: MakeManager) -> None:
    """A manager has context, send, run and stats."""
    manager = make(make_context())
    _require(_is_manager(manager), f"(got {type(manager).__qualname__})")


def _is_manager(value: object) -> bool:
    return isinstance(value, IsolatedManager)


async def _keeps_its_context(make: MakeManager) -> None:
    """A manager's context is the very one that it was made from, for life."""
    first, second = make_context("alice"), make_context("bob")
    a, b = make(first), make(second)
    await b.send(Custom(name="check.context", value=1))
    _require(a.context is first, "(it changed)")
    _require(b.context is second, "(it changed)")
    _require(a is not b, "(two contexts share a manager)")


async def _delivers_in_order(make: MakeManager) -> None:
    """send() returns a Delivery, with a unique event id and a rising seq."""
    manager = make(make_context())
    places: list[Delivery] = [await manager.send(Custom(name="check.order", value=n)) for n in range(_SENDS)]
    _require(all(type(place) is Delivery for place in places), "(something else came back)")
    _require(len({place.event_id for place in places}) == _SENDS, "(ids repeat)")
    _require([place.seq for place in places] == list(range(places[0].seq, places[0].seq + _SENDS)), "(seq has holes)")


async def _refuses_what_is_no_event(make: MakeManager) -> None:
    """send() refuses a dict, a str, None and an unknown class with an error of the library."""
    manager = make(make_context())
    for value in ({"type": "agent_started"}, "text", None, object()):
        await _must_refuse(manager, value)


async def _must_refuse(manager: IsolatedManager, value: object) -> None:
    try:
        await manager.send(cast("Any", value))
    except IsolationError:
        return
    msg = f"({type(value).__name__} was accepted)"
    raise AssertionError(msg)


async def _refuses_run_events_without_a_run(make: MakeManager) -> None:
    """A run's event without a run, or before its start, is refused."""
    manager = make(make_context())
    await _must_refuse(manager, AgentThinking(thought_id="t", mode="summary", text="x"))
    await _must_refuse(manager, AgentThinking(run_id="r", thread_id="r", thought_id="t", mode="summary", text="x"))


async def _keeps_a_run_legal(make: MakeManager) -> None:
    """A second start, a tool that never began and an event after the end are refused."""
    manager = make(make_context())
    run = manager.run("check")
    run_id, thread_id = run.id, run.thread_id
    async with run:
        await _must_refuse(manager, AgentStarted(run_id=run_id, thread_id=thread_id, agent_name="again"))
        never_began = ToolCompleted(run_id=run_id, thread_id=thread_id, tool_call_id="c", tool_name="t", status="ok")
        await _must_refuse(manager, never_began)
    late = AgentThinking(run_id=run_id, thread_id=thread_id, thought_id="t", mode="summary", text="x")
    await _must_refuse(manager, late)


async def _ends_a_run_once(make: MakeManager) -> None:
    """run() starts and ends exactly once, and says so afterwards."""
    manager = make(make_context())
    async with manager.run("check") as run:
        await run.thinking("x")
        async with run.tool("look", {"q": 1}) as tool:
            tool.result = 2
        await run.complete("done")
    try:
        await run.thinking("late")
    except InvalidStateError:
        return
    msg = "(it accepted a thought after the end)"
    raise AssertionError(msg)


async def _lets_exceptions_through(make: MakeManager) -> None:
    """An exception inside a run goes on to the caller."""
    manager = make(make_context())
    try:
        async with manager.run("check"):
            raise _DeliberateError  # noqa: TRY301  # how it comes out of the scope is the rule
    except _DeliberateError:
        return
    msg = "(it was swallowed)"
    raise AssertionError(msg)


async def _keeps_thread_and_mints_runs(make: MakeManager) -> None:
    """A run has its own id and the context's thread; without a thread it uses its id."""
    manager = make(make_context(thread_id="t-9"))
    async with manager.run("one") as one, manager.run("two") as two:
        _require(one.id != two.id, "(two runs share an id)")
        _require(one.thread_id == "t-9" == two.thread_id, "(the thread is another)")
    async with make(make_context(thread_id=None)).run("three") as three:
        _require(three.thread_id == three.id, "(no thread, and not the run's id)")


async def _keeps_identities_apart(make: MakeManager) -> None:
    """Two identities do not share a stream, whatever their ids look like."""
    a = make(make_context("b", tenant_id="a"))
    b = make(make_context("a:b"))
    first = await a.send(Custom(name="check.apart", value=1))
    second = await b.send(Custom(name="check.apart", value=2))
    third = await a.send(Custom(name="check.apart", value=3))
    _require(third.seq == first.seq + 1, "(another identity's event took a place)")
    _require(first.event_id != second.event_id, "(they share an event)")


async def _counts(make: MakeManager) -> None:
    """stats() counts what this manager has sent."""
    manager = make(make_context())
    before = manager.stats()
    await manager.send(Custom(name="check.stats", value=1))
    after = manager.stats()
    _require(type(after) is ManagerStats, "(it is no ManagerStats)")
    _require(after.sent == before.sent + 1, "(sent did not rise by one)")


async def _refuses_what_cannot_be_encoded(make: MakeManager) -> None:
    """A result that is no JSON raises in the producer, and the tool is closed all the same."""
    manager = make(make_context())
    try:
        async with manager.run("check") as run, run.tool("look") as tool:
            tool.result = object()
    except EventError:
        return
    msg = "(it was accepted)"
    raise AssertionError(msg)


class _DeliberateError(Exception):
    """Raised inside a run, to see it come out."""


_RULES: Final[tuple[Callable[[MakeManager], Awaitable[None]], ...]] = (
    _offers_the_protocol,
    _keeps_its_context,
    _delivers_in_order,
    _refuses_what_is_no_event,
    _refuses_run_events_without_a_run,
    _keeps_a_run_legal,
    _ends_a_run_once,
    _lets_exceptions_through,
    _keeps_thread_and_mints_runs,
    _keeps_identities_apart,
    _counts,
    _refuses_what_cannot_be_encoded,
)
