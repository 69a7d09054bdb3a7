"""
The conformance suite for managers: what every implementation of the Protocol must do.

Public, so that an implementation of one's own, or a test double, is proved by
the same checks as the shipped one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, cast

from ..context import UserExecutionContext
from ..delivery import Delivery, ManagerStats
from ..errors import EventError, InvalidStateError, IsolationError
from ..events import AgentCompleted, AgentStarted, AgentThinking, Custom, ToolCompleted
from ..manager import IsolatedManager
from ..run import Run
from .contexts import make_context

__all__ = ("check_manager",)

MakeManager: TypeAlias = Callable[[UserExecutionContext], IsolatedManager]
"""Returns the manager under test for a context: ``factory.create_manager``, or a class."""

_Rule: TypeAlias = Callable[[MakeManager], Awaitable[None]]
"""One rule; its docstring says it."""

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
            raise _broken(rule, str(error)) from error
        except Exception as error:
            raise _broken(rule, f"({type(error).__qualname__}: {error})") from error


def _broken(rule: _Rule, what: str) -> AssertionError:
    return AssertionError(f"check_manager: {rule.__doc__} {what}")


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
    run = manager.run("check")
    async with run:
        await run.thinking("x")
        async with run.tool("look", {"q": 1}) as tool:
            tool.result = 2
        await run.complete("done")
    await _must_have_ended(manager, run)
    try:
        await run.thinking("late")
    except InvalidStateError:
        return
    msg = "(it accepted a thought after the end)"
    raise AssertionError(msg)


async def _must_have_ended(manager: IsolatedManager, run: Run) -> None:
    # A run that has begun and ended takes no second start and no second end; any other takes one of them.
    await _must_refuse(manager, AgentStarted(run_id=run.id, thread_id=run.thread_id, agent_name="again"))
    await _must_refuse(manager, AgentCompleted(run_id=run.id, thread_id=run.thread_id))


async def _pairs_tools_by_id(make: MakeManager) -> None:
    """Two calls of one tool that overlap are two calls, whichever ends first."""
    manager = make(make_context())
    for is_first in (True, False):
        run = manager.run("check")
        async with run:
            one, two = run.tool("look"), run.tool("look")
            async with one, two:
                await (one if is_first else two).__aexit__(None, None, None)
        await _must_have_ended(manager, run)


async def _lets_exceptions_through(make: MakeManager) -> None:
    """An exception inside a run ends it and goes on to the caller."""
    manager = make(make_context())
    run = manager.run("check")
    try:
        async with run:
            raise _DeliberateError  # noqa: TRY301  # how it comes out of the scope is the rule
    except _DeliberateError:
        await _must_have_ended(manager, run)
        return
    msg = "(it was swallowed)"
    raise AssertionError(msg)


async def _lets_cancellations_through(make: MakeManager) -> None:
    """A cancellation inside a run ends it and goes on to the task."""
    manager = make(make_context())
    run = manager.run("check")
    begun = asyncio.Event()

    async def agent() -> None:
        async with run:
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(agent())
    begins = asyncio.create_task(begun.wait())
    await asyncio.wait({task, begins}, return_when=asyncio.FIRST_COMPLETED)
    begins.cancel()
    task.cancel()
    await asyncio.wait({task})
    _require(task.cancelled(), "(it was swallowed)")
    await _must_have_ended(manager, run)


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
    for (tenant, user), (other_tenant, other_user) in _ALIKE:
        a = make(make_context(user, tenant_id=tenant))
        b = make(make_context(other_user, tenant_id=other_tenant))
        first = await a.send(Custom(name="check.apart", value=1))
        second = await b.send(Custom(name="check.apart", value=2))
        third = await a.send(Custom(name="check.apart", value=3))
        which = f"of {(tenant, user)} and {(other_tenant, other_user)}"
        _require(third.seq == first.seq + 1, f"(another identity's event took a place: {which})")
        _require(len({first.event_id, second.event_id, third.event_id}) == _SENDS, f"(they share an event: {which})")


async def _shares_the_stream_of_one_identity(make: MakeManager) -> None:
    """Two managers of one identity send into one stream."""
    first = await make(make_context("alice", thread_id="t-1")).send(Custom(name="check.same", value=1))
    second = await make(make_context("alice", thread_id="t-2")).send(Custom(name="check.same", value=2))
    _require(second.seq == first.seq + 1, "(each has a stream of its own)")


async def _counts(make: MakeManager) -> None:
    """stats() counts what this manager has sent, and its identity's open runs."""
    manager, other = make(make_context("alice")), make(make_context("bob"))
    before, untouched = manager.stats(), other.stats()
    _require(type(before) is ManagerStats, "(it is no ManagerStats)")
    await manager.send(Custom(name="check.stats", value=1))
    await _must_refuse(manager, None)
    _require(manager.stats().sent == before.sent + 1, "(sent did not rise by one)")
    async with manager.run("check"):
        _require(manager.stats().open_runs == before.open_runs + 1, "(open_runs did not rise by one)")
    _require(manager.stats().open_runs == before.open_runs, "(open_runs did not fall again)")
    _require(other.stats() == untouched, "(another identity's counts changed)")


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


_ALIKE: Final[tuple[tuple[tuple[str | None, str], tuple[str | None, str]], ...]] = (
    (("a", "b"), (None, "a:b")),
    (("a:b", "c"), ("a", "b:c")),
    (("a", "b"), ("b", "a")),
    (("a", "b"), ("a", "c")),
    ((None, "a"), ("None", "a")),
    ((None, "a"), ("a", "a")),
    ((None, "a"), (None, "A")),
    ((None, "*"), (None, "a")),
)
"""Pairs of identities (tenant, user) that a key joined from ids, or without the tenant, takes for one."""


class _DeliberateError(Exception):
    """Raised inside a run, to see it come out."""


_RULES: Final[tuple[_Rule, ...]] = (
    _offers_the_protocol,
    _keeps_its_context,
    _delivers_in_order,
    _refuses_what_is_no_event,
    _refuses_run_events_without_a_run,
    _keeps_a_run_legal,
    _ends_a_run_once,
    _pairs_tools_by_id,
    _lets_exceptions_through,
    _lets_cancellations_through,
    _keeps_thread_and_mints_runs,
    _keeps_identities_apart,
    _shares_the_stream_of_one_identity,
    _counts,
    _refuses_what_cannot_be_encoded,
)
