"""
Cancelled or stopped at any moment, a run has one end, its tools are closed, and nothing is left behind.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.managers import Slow
from tests.runs import Desk, check_nothing_left, check_pairs, desk, ends
from ws_isolation import IsolatedManager, Run, errors
from ws_isolation.stopping import CANCEL_PREFIX
from ws_isolation.testing.clock import settle

pytestmark = pytest.mark.scenario("S32", "S46")

TURNS = range(9)
"""Thoughts before the end: the shipped manager gives others a turn at each eighth send, wherever that falls."""


async def _agent(manager: IsolatedManager | Slow, thoughts: int, runs: list[Run], after: list[str]) -> None:
    run = manager.run("assistant")
    async with run:
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
                run = here.manager.run("assistant")
                async with run:
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
            error = (await asyncio.gather(task, return_exceptions=True))[0]

            events = await here.events()
            check_pairs(events)
            check_nothing_left(here)
            if how == "stop" and runs:
                assert error is None
                assert ["went on"] == after
            else:
                assert isinstance(error, asyncio.CancelledError)


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
            in_it, begun, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

            async def helper(
                run: Run, in_it: asyncio.Event = in_it, begun: asyncio.Event = begun, go_on: asyncio.Event = go_on
            ) -> None:
                await in_it.wait()
                async with run.child("helper") as child, child.tool("look"), child.thought() as thought:
                    await thought.write("x")
                    begun.set()
                    await go_on.wait()

            run = Slow(here.manager).run("assistant")
            task = asyncio.create_task(helper(run))
            async with run:
                in_it.set()
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
            in_it, begun, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

            async def look(
                run: Run, in_it: asyncio.Event = in_it, begun: asyncio.Event = begun, go_on: asyncio.Event = go_on
            ) -> None:
                await in_it.wait()
                async with run.tool("look") as tool:
                    begun.set()
                    await go_on.wait()
                    tool.result = 1

            run = Slow(here.manager).run("assistant")
            task = asyncio.create_task(look(run))
            async with run:
                in_it.set()
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
            in_it = asyncio.Event()

            async def helper(run: Run, in_it: asyncio.Event = in_it) -> None:
                await in_it.wait()
                async with run.child("helper"):
                    await asyncio.Event().wait()

            run = Slow(here.manager).run("assistant")
            task = asyncio.create_task(helper(run))
            async with run:
                in_it.set()
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


@pytest.mark.parametrize("child", [False, True])
async def test_cancelled_while_it_starts(*, child: bool) -> None:
    """Cancelled while its start is sent, a run is begun and cancelled; the block is not entered."""
    async with desk() as here:
        entered: list[str] = []

        async def agent(run: Run) -> None:
            async with run:
                entered.append("in")

        parent, run = Slow(here.manager).run("parent"), Slow(here.manager).run("assistant")
        async with parent:
            if child:
                run = parent.child("assistant")
            task = asyncio.create_task(agent(run))
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
