"""
A run's end is sent whatever stands against it: an expired context, what is left open, a failing manager.
"""

from __future__ import annotations

import asyncio
import gc
import types
from collections.abc import AsyncGenerator, Coroutine, Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.managers import Failing
from tests.runs import Desk, check_nothing_left, check_pairs, desk, ends
from ws_isolation import ManagerFactory, Run, errors
from ws_isolation.events import AgentCompleted, AgentStarted, Event, Problem, ToolCompleted, ToolExecuting
from ws_isolation.stopping import CANCEL_PREFIX
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.testing.clock import settle

pytestmark = pytest.mark.scenario("S46")


@pytest.mark.scenario("S31", "S49")
async def test_context_expires_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    """A run whose context has expired ends as failed, its tools are closed, and the agent learns the reason."""
    clock = FakeClock()
    factory = ManagerFactory(clock=clock)
    transport = RecordingTransport()
    context = make_context(expires_at=datetime.fromtimestamp(clock.unix(), UTC) + timedelta(seconds=5))
    async with factory.attach(context, transport) as session:
        run = session.manager.run("assistant")
        with pytest.raises(errors.ContextExpiredError):
            async with run:
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
        run = here.manager.run("assistant")
        with pytest.raises(errors.LifecycleError, match="L14"):
            async with run:
                await run.send(_executing(run, executor="client"))
        events = await here.events()

        assert ["agent_error"] == ends(events, run.id)
        assert 0 == here.manager.stats().open_runs


def _executing(run: Run, **fields: Any) -> ToolExecuting:
    return ToolExecuting(run_id=run.id, thread_id=run.thread_id, tool_call_id="c", tool_name="t", **fields)


async def test_hand_built_end() -> None:
    """An end that the application builds itself closes what is open before, and is the only one."""
    async with desk() as here:
        run = here.manager.run("assistant")
        async with run:
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
        run = here.manager.run("assistant")
        async with run:
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


async def _waits(here: Desk, runs: list[Run]) -> None:
    async with here.manager.run("assistant") as run:
        runs.append(run)
        await asyncio.Event().wait()


@pytest.mark.parametrize("reason", ["", "No Slug", "x" * 65, "ü"])
async def test_reason_that_no_event_carries(reason: str) -> None:
    """A reason of stop() is refused in its own line; in somebody's cancellation it is replaced."""
    async with desk() as here:
        run = here.manager.run("assistant")
        async with run:
            with pytest.raises(errors.InvalidEventError, match="reason"):
                run.stop(reason)
            assert run.is_open

        runs: list[Run] = []
        task = asyncio.create_task(_waits(here, runs))
        await settle()
        task.cancel(CANCEL_PREFIX + reason)
        await asyncio.gather(task, return_exceptions=True)

        assert "disconnect_policy" == (await here.last())["data"]["reason"]


async def test_run_in_a_generator_that_is_closed() -> None:
    """A run in a generator that nobody reads on ends as cancelled."""
    async with desk() as here:

        async def answer() -> AsyncGenerator[str]:
            run = here.manager.run("assistant")
            async with run, run.tool("look"):
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
            run = here.manager.run("assistant")
            async with run, run.tool("look"):
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
        run = manager.run("assistant")
        with pytest.raises(LookupError):
            async with run, run.tool("look"):
                raise LookupError
        assert not run.is_open
        assert "the end of a run could not be sent" in caplog.text
        assert "the end of a part could not be sent" in caplog.text

        run = manager.run("assistant")
        with pytest.raises(_EngineError):
            async with run:
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


async def test_what_ends_with_the_run_is_counted() -> None:
    """Tools that the run's end cancels count among its tools and its failures."""
    async with desk() as here:
        run = here.manager.run("assistant")
        async with run:
            async with run.tool("look"):
                pass
            await run.tool("look").__aenter__()
            await run.tool("look").__aenter__()
        end = await here.last()

    assert (3, 2) == (end["data"]["tool_calls"], end["data"]["tool_errors"])


async def test_latest_is_closed_first() -> None:
    """What was opened last is closed first, as leaving the blocks one by one would do."""
    async with desk() as here:
        run = here.manager.run("assistant")
        opened: list[str] = []
        async with run:
            for part in (run.tool("a"), run.thought(), run.tool("b")):
                await part.__aenter__()
                opened.append(part.id)
            await run.fail(Problem(title="No.", code="no"))
        events = await here.events()

    closed = [event["data"].get("tool_call_id") or event["data"].get("thought_id") for event in events[-4:-1]]
    assert opened[::-1] == closed
