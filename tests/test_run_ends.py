"""
A run's end is sent whatever happens while it is: cancellations, stops, slow and failing managers.
"""

from __future__ import annotations

import asyncio
import gc
import types
from collections.abc import AsyncGenerator, Coroutine, Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.managers import Failing, Slow
from tests.runs import Desk, desk, ends
from ws_isolation import IsolatedManager, ManagerFactory, Run, errors
from ws_isolation.events import AgentCompleted, AgentStarted, Event, Problem, ToolCompleted, ToolExecuting
from ws_isolation.run import CANCEL_PREFIX
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.testing.clock import settle

pytestmark = pytest.mark.scenario("S32", "S46")

TURNS = range(9)
"""Thoughts before the end: the shipped manager gives others a turn at each eighth send, wherever that falls."""


def check_pairs(events: list[dict[str, Any]]) -> None:
    """
    See that each run that began has one end as its last event, and each tool call one completion.
    """
    for started in events:
        if started["type"] != "agent_started":
            continue
        own = [event for event in events if event["run_id"] == started["run_id"]]
        assert 1 == len(ends(own, started["run_id"]))
        assert own[-1].get("final")
        executing = [event["data"]["tool_call_id"] for event in own if event["type"] == "tool_executing"]
        completed = [event["data"]["tool_call_id"] for event in own if event["type"] == "tool_completed"]
        assert sorted(executing) == sorted(completed)


def check_nothing_left(here: Desk) -> None:
    """
    See that no run is open and no task goes on but the session's and this test's.
    """
    assert 0 == here.manager.stats().open_runs
    names = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert [] == [name for name in names if not name.startswith("ws-")]


async def _agent(manager: IsolatedManager | Slow, thoughts: int, runs: list[Run], after: list[str]) -> None:
    async with manager.run("assistant") as run:
        runs.append(run)
        for _ in range(thoughts):
            await run.thinking("x")
        async with run.tool("slow"), run.message() as message, run.child("helper"):
            await message.write("half")
            await asyncio.Event().wait()
    after.append("went on")


@pytest.mark.parametrize("cancellations", [1, 2, 5])
@pytest.mark.parametrize("thoughts", TURNS)
async def test_cancelled_again_and_again(thoughts: int, cancellations: int) -> None:
    """However often and quickly the task is cancelled, everything that began ends, and the cancellation goes on."""
    async with desk() as here:
        runs: list[Run] = []
        task = asyncio.create_task(_agent(here.manager, thoughts, runs, []))
        await settle()
        for _ in range(cancellations):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task

        events = await here.events()
        check_pairs(events)
        check_nothing_left(here)
        assert ["agent_cancelled"] == ends(events, runs[0].id)


@pytest.mark.parametrize("thoughts", TURNS)
async def test_stopped_while_it_ends(thoughts: int) -> None:
    """Once its block is left a run cannot be stopped: it completes, and the code after it is not disturbed."""
    for turns in range(8):
        async with desk() as here:
            after: list[str] = []
            runs: list[Run] = []
            last = asyncio.Event()

            async def agent(
                here: Desk = here, runs: list[Run] = runs, after: list[str] = after, last: asyncio.Event = last
            ) -> None:
                async with here.manager.run("assistant") as run:
                    for _ in range(thoughts):
                        await run.thinking("x")
                    runs.append(run)
                    last.set()
                after.append("went on")
                await asyncio.sleep(0)
                after.append("and on")

            task = asyncio.create_task(agent())
            await last.wait()
            for _ in range(turns):
                await asyncio.sleep(0)
            runs[0].stop()
            await task

            assert ["went on", "and on"] == after
            check_pairs(await here.events())
            check_nothing_left(here)


@pytest.mark.parametrize("how", ["cancel", "stop"])
async def test_slow_manager_at_any_step(how: str) -> None:
    """Cancelled or stopped at any step of slow sends, everything that began ends, once, in every run and tool."""
    for steps in range(60):
        async with desk() as here:
            runs: list[Run] = []
            after: list[str] = []
            task = asyncio.create_task(_agent(Slow(here.manager), 1, runs, after))
            for _ in range(steps):
                await asyncio.sleep(0)
            if how == "stop" and runs:
                runs[0].stop()
            else:
                task.cancel()
            outcome = await asyncio.gather(task, return_exceptions=True)

            events = await here.events()
            check_pairs(events)
            check_nothing_left(here)
            if how == "stop" and runs:
                assert [None] == outcome
                assert ["went on"] == after
            else:
                assert [asyncio.CancelledError] == [type(error) for error in outcome]


async def test_explicit_end_is_finished() -> None:
    """A complete() that is cancelled in the middle completes the run; no second end follows."""
    for steps in range(12):
        async with desk() as here:
            waiting: list[Run] = []
            begun = asyncio.Event()

            async def agent(here: Desk = here, waiting: list[Run] = waiting, begun: asyncio.Event = begun) -> None:
                async with Slow(here.manager).run("assistant") as run, run.tool("slow"):
                    waiting.append(run)
                    begun.set()
                    await run.complete("done")
                    await asyncio.Event().wait()

            task = asyncio.create_task(agent())
            await begun.wait()
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

            events = await here.events()
            check_pairs(events)
            assert ["agent_completed"] == ends(events, waiting[0].id)


async def test_parent_and_child_end_at_once() -> None:
    """Whichever of a parent and a child in another task ends first, each ends once and neither fails."""
    for steps in range(14):
        async with desk() as here:
            begun = asyncio.Event()
            go_on = asyncio.Event()

            async def helper(run: Run, begun: asyncio.Event = begun, go_on: asyncio.Event = go_on) -> None:
                async with run.child("helper") as child, child.tool("look"), child.thought() as thought:
                    await thought.write("x")
                    begun.set()
                    await go_on.wait()

            async with Slow(here.manager).run("assistant") as run:
                task = asyncio.create_task(helper(run))
                await begun.wait()
                go_on.set()
                for _ in range(steps):
                    await asyncio.sleep(0)
            await task

            check_pairs(await here.events())
            check_nothing_left(here)


async def test_tool_ends_while_its_run_does() -> None:
    """A tool in another task that completes while the run ends is completed once, and its task does not fail."""
    for steps in range(10):
        async with desk() as here:
            begun = asyncio.Event()
            go_on = asyncio.Event()

            async def look(run: Run, begun: asyncio.Event = begun, go_on: asyncio.Event = go_on) -> None:
                async with run.tool("look") as tool:
                    begun.set()
                    await go_on.wait()
                    tool.result = 1

            async with Slow(here.manager).run("assistant") as run:
                task = asyncio.create_task(look(run))
                await begun.wait()
                go_on.set()
                for _ in range(steps):
                    await asyncio.sleep(0)
            await task

            check_pairs(await here.events())


async def test_child_starts_while_its_parent_ends() -> None:
    """A child that starts while its parent ends either has its whole life before that, or is refused."""
    refused = 0
    for steps in range(8):
        async with desk() as here:

            async def helper(run: Run) -> None:
                async with run.child("helper"):
                    await asyncio.Event().wait()

            async with Slow(here.manager).run("assistant") as run:
                task = asyncio.create_task(helper(run))
                for _ in range(steps):
                    await asyncio.sleep(0)
            await settle()
            if task.done():
                refused += 1
                assert isinstance(task.exception(), errors.InvalidStateError)
            else:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

            check_pairs(await here.events())
            check_nothing_left(here)

    assert 0 < refused < 8


@pytest.mark.scenario("S31", "S49")
async def test_context_expires_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    """A run whose context has expired ends as failed, its tools are closed, and the agent learns the reason."""
    clock = FakeClock()
    factory = ManagerFactory(clock=clock)
    transport = RecordingTransport()
    context = make_context(expires_at=datetime.fromtimestamp(clock.unix(), UTC) + timedelta(seconds=5))
    async with factory.attach(context, transport) as session:
        with pytest.raises(errors.ContextExpiredError):
            async with session.manager.run("assistant") as run:
                await run.tool("look").__aenter__()
                await run.thought().__aenter__()
                await clock.advance(10)
        await settle()

        assert ["tool_executing", "tool_completed", "agent_error"] == [event["type"] for event in transport.events[1:]]
        assert "not_completed" == transport.events[-1]["data"]["error"]["code"]
        assert 0 == session.manager.stats().open_runs
    assert "a part of a run could not be closed" in caplog.text


@pytest.mark.scenario("S42", "S49")
async def test_what_the_scope_cannot_complete() -> None:
    """A hand-built tool call that is still open makes the run's end a failure, never a silent success."""
    async with desk() as here:
        with pytest.raises(errors.LifecycleError, match="L14"):
            async with here.manager.run("assistant") as run:
                await run.send(_executing(run, executor="client"))
        events = await here.events()

        assert ["agent_error"] == ends(events, run.id)
        assert 0 == here.manager.stats().open_runs


def _executing(run: Run, **fields: Any) -> ToolExecuting:
    return ToolExecuting(run_id=run.id, thread_id=run.thread_id, tool_call_id="c", tool_name="t", **fields)


async def test_hand_built_end() -> None:
    """An end that the application builds itself closes what is open before, and is the only one."""
    async with desk() as here:
        async with here.manager.run("assistant") as run:
            await run.send(_executing(run, executor="client"))
            await run.tool("look").__aenter__()
            end = AgentCompleted(run_id=run.id, thread_id=run.thread_id, pending_tool_call_ids=("c",))
            await run.send(end)
            assert not run.is_open
        events = await here.events()

    assert ["tool_completed", "agent_completed"] == [event["type"] for event in events[-2:]]
    assert ["agent_completed"] == ends(events, run.id)


async def test_hand_built_completion() -> None:
    """A tool that the application has completed itself is not completed again at the run's end."""
    async with desk() as here:
        async with here.manager.run("assistant") as run:
            tool = await run.tool("look").__aenter__()
            done = ToolCompleted(
                run_id=run.id, thread_id=run.thread_id, tool_call_id=tool.id, tool_name="look", status="ok"
            )
            await run.send(done)
        events = await here.events()

    check_pairs(events)
    assert ["agent_completed"] == ends(events, run.id)


async def test_end_of_another_run() -> None:
    """Through one run, another one's end is an event like any other: it ends that one."""
    async with desk() as here, here.manager.run("one") as one:
        two = here.manager.run("two")
        await one.send(AgentStarted(run_id=two.id, thread_id=two.thread_id, agent_name="two"))
        await one.send(AgentCompleted(run_id=two.id, thread_id=two.thread_id))

        assert one.is_open
        assert ["agent_completed"] == ends(await here.events(), two.id)


@pytest.mark.parametrize("reason", ["", "No Slug", "x" * 65, "ü"])
async def test_reason_that_no_event_carries(reason: str) -> None:
    """A reason of stop() is refused in its own line; in somebody's cancellation it is replaced."""
    async with desk() as here:
        async with here.manager.run("assistant") as run:
            with pytest.raises(errors.InvalidEventError, match="reason"):
                run.stop(reason)
            assert run.is_open

        runs: list[Run] = []
        task = asyncio.create_task(_agent(here.manager, 0, runs, []))
        await settle()
        task.cancel(CANCEL_PREFIX + reason)
        await asyncio.gather(task, return_exceptions=True)

        assert "disconnect_policy" == (await here.last())["data"]["reason"]


async def test_run_in_a_generator_that_is_closed() -> None:
    """A run in a generator that nobody reads on ends as cancelled."""
    async with desk() as here:

        async def answer() -> AsyncGenerator[str]:
            async with here.manager.run("assistant") as run, run.tool("look"):
                yield run.id

        generator = answer()
        run_id = await anext(generator)
        await generator.aclose()
        events = await here.events()

    check_pairs(events)
    assert ["agent_cancelled"] == ends(events, run_id)


@types.coroutine
def _hand_on(future: Any) -> Generator[Any, Any, None]:
    yield future


async def _until_waiting(work: Coroutine[Any, Any, None], here: Desk, run: list[Run]) -> None:
    while waits_for := work.send(None):
        if run:
            break
        await _hand_on(waits_for)
    assert ["agent_started", "tool_executing"] == await here.types()


async def test_run_in_a_coroutine_that_is_closed() -> None:
    """A run in a coroutine that is thrown away ends as cancelled, although it can wait for nothing."""
    async with desk() as here:
        runs: list[Run] = []

        async def answer() -> None:
            async with here.manager.run("assistant") as run, run.tool("look"):
                runs.append(run)
                await asyncio.Event().wait()

        work = answer()
        await _until_waiting(work, here, runs)
        work.close()
        gc.collect()
        events = await here.events()

        check_pairs(events)
        assert ["agent_cancelled"] == ends(events, runs[0].id)
        check_nothing_left(here)


class _EngineError(Exception):
    pass


def _no_ends(event: Event) -> Exception | None:
    return _EngineError("canary") if event.final or event.type == "tool_completed" else None


async def test_failing_manager(caplog: pytest.LogCaptureFixture) -> None:
    """Where a manager fails with an error of its own, the block's error comes out, and without one the manager's."""
    async with desk() as here:
        manager = Failing(here.manager, _no_ends)
        with pytest.raises(LookupError):
            async with manager.run("assistant") as run, run.tool("look"):
                raise LookupError
        assert not run.is_open
        assert "the end of a run could not be sent" in caplog.text
        assert "the end of a part could not be sent" in caplog.text

        with pytest.raises(_EngineError):
            async with manager.run("assistant") as run:
                pass
        assert not run.is_open


async def test_start_that_fails() -> None:
    """A run whose start cannot be sent is not entered, sends nothing else, and can be tried again."""
    async with desk() as here:
        failures: list[BaseException | None] = [_EngineError(), None, None]
        manager = Failing(here.manager, lambda _event: failures.pop(0))
        run = manager.run("assistant")
        with pytest.raises(_EngineError):
            await run.__aenter__()
        assert [] == await here.events()

        async with run:
            pass
        assert ["agent_started", "agent_completed"] == await here.types()


@pytest.mark.parametrize("child", [False, True])
async def test_cancelled_while_it_starts(*, child: bool) -> None:
    """Cancelled while its start is sent, a run is begun and cancelled; the block is not entered."""
    async with desk() as here:
        async with Slow(here.manager).run("parent") as parent:
            run = parent.child("assistant") if child else Slow(here.manager).run("assistant")
            entered: list[str] = []

            async def agent() -> None:
                async with run:
                    entered.append("in")

            task = asyncio.create_task(agent())
            await asyncio.sleep(0)
            task.cancel(CANCEL_PREFIX + "shutdown")
            with pytest.raises(asyncio.CancelledError):
                await task
        events = await here.events()

        assert [] == entered
        assert ["agent_cancelled"] == ends(events, run.id)
        assert "shutdown" == next(event for event in events if event["type"] == "agent_cancelled")["data"]["reason"]
        check_pairs(events)


async def test_cancelled_while_a_used_id_is_refused() -> None:
    """A start that is refused and cancelled at once harms no other run of the same id."""
    async with desk() as here, here.manager.run("one", run_id="r") as one:
        task = asyncio.create_task(Slow(here.manager).run("two", run_id="r").__aenter__())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        await one.thinking("still here")
        assert [] == ends(await here.events(), "r")


async def test_what_ends_with_the_run_is_counted() -> None:
    """Tools that the run's end cancels count among its tools and its failures."""
    async with desk() as here:
        async with here.manager.run("assistant") as run:
            async with run.tool("look"):
                pass
            await run.tool("look").__aenter__()
            await run.tool("look").__aenter__()
        end = await here.last()

    assert (3, 2) == (end["data"]["tool_calls"], end["data"]["tool_errors"])


async def test_latest_is_closed_first() -> None:
    """What was opened last is closed first, as leaving the blocks one by one would do."""
    async with desk() as here:
        async with here.manager.run("assistant") as run:
            opened = [
                await run.tool("a").__aenter__(),
                await run.thought().__aenter__(),
                await run.tool("b").__aenter__(),
            ]
            await run.fail(Problem(title="No.", code="no"))
        events = await here.events()

    closed = [event["data"].get("tool_call_id") or event["data"].get("thought_id") for event in events[-4:-1]]
    assert [part.id for part in reversed(opened)] == closed
