"""
``stop`` leaves the run's block and nothing else.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.runs import Desk, desk, ends
from ws_isolation import Delivery, IsolatedManager, Run, UserExecutionContext
from ws_isolation.events import Event
from ws_isolation.manager import RunMixin
from ws_isolation.testing.clock import settle

pytestmark = pytest.mark.scenario("S46")


async def _agent(here: Desk, runs: list[Run], after: list[str]) -> None:
    async with here.manager.run("assistant") as run:
        runs.append(run)
        async with run.tool("slow"):
            await asyncio.Event().wait()
    after.append("went on")


async def test_stop_from_another_task() -> None:
    """The run ends as cancelled by the user, its tool is closed before, and the code after the block goes on."""
    async with desk() as here:
        runs: list[Run] = []
        after: list[str] = []
        task = asyncio.create_task(_agent(here, runs, after))
        await settle()
        runs[0].stop()
        runs[0].stop("superseded")  # the first reason counts
        await task
        events = await here.events()

    assert ["went on"] == after
    assert ["agent_cancelled"] == ends(events, runs[0].id)
    assert ("tool_completed", "cancelled") == (events[-2]["type"], events[-2]["data"]["status"])
    assert "user" == events[-1]["data"]["reason"]
    assert not task.cancelled()


async def test_stop_by_the_client() -> None:
    """A client's ``stop`` with the run's id cancels that run; one with another id is a message like any other."""
    async with desk() as here:
        runs: list[Run] = []
        after: list[str] = []
        task = here.session.spawn(_agent(here, runs, after))
        await settle()
        here.transport.client_sends({"type": "stop", "run_id": "another"})
        here.transport.client_sends({"type": "stop", "run_id": runs[0].id})
        await settle()

        assert task.done()
        assert ["went on"] == after
        assert "another" == (await anext(here.session)).run_id


async def test_stop_of_an_ended_run_does_nothing() -> None:
    """Stopping a run that has ended is harmless, for the run and for its task."""
    async with desk() as here:
        async with here.manager.run("assistant") as run:
            pass
        run.stop()
        await settle()

        assert ["agent_completed"] == ends(await here.events(), run.id)


async def test_stop_by_the_run_itself() -> None:
    """Called by the run's own task it does not return; the block is left there and the code after it goes on."""
    async with desk() as here:
        passed: list[str] = []
        async with here.manager.run("assistant") as run:
            run.stop("quota")
            passed.append("unreachable")
        await asyncio.sleep(0)  # no cancellation is left over

        assert [] == passed
        assert "quota" == (await here.last())["data"]["reason"]


async def test_cancellation_from_elsewhere_goes_on() -> None:
    """Where the task is cancelled by somebody else as well, it stays cancelled."""
    async with desk() as here:
        runs: list[Run] = []
        after: list[str] = []
        task = asyncio.create_task(_agent(here, runs, after))
        await settle()
        runs[0].stop()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert [] == after
        assert ["agent_cancelled"] == ends(await here.events(), runs[0].id)


async def test_other_exception_after_stop_goes_on() -> None:
    """An agent that turns the cancellation into an error of its own ends as failed, and the error goes on."""
    async with desk() as here:
        runs: list[Run] = []

        async def stubborn() -> None:
            async with here.manager.run("assistant") as run:
                runs.append(run)
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    raise LookupError from None

        task = asyncio.create_task(stubborn())
        await settle()
        runs[0].stop()
        with pytest.raises(LookupError):
            await task

        assert ["agent_error"] == ends(await here.events(), runs[0].id)
        assert not task.cancelled()


async def test_stop_of_a_child_leaves_the_parent() -> None:
    """Stopping a child run ends the child; the parent goes on and completes."""
    async with desk() as here:
        children: list[Run] = []

        async def agent() -> str:
            async with here.manager.run("assistant") as run:
                async with run.child("helper") as child:
                    children.append(child)
                    await asyncio.Event().wait()
                await run.complete("without help")
            return run.id

        task = asyncio.create_task(agent())
        await settle()
        children[0].stop()
        run_id = await task
        events = await here.events()

    assert ["agent_cancelled"] == ends(events, children[0].id)
    assert ["agent_completed"] == ends(events, run_id)


class _Slow(RunMixin):
    """
    A manager of an application's own that waits around each send, as one with a network behind it does.
    """

    def __init__(self, inner: IsolatedManager) -> None:
        self._inner = inner

    @property
    def context(self) -> UserExecutionContext:
        return self._inner.context

    async def send(self, event: Event, /) -> Delivery:
        await asyncio.sleep(0)
        delivery = await self._inner.send(event)
        await asyncio.sleep(0)
        return delivery


async def _busy(manager: IsolatedManager | _Slow) -> None:
    async with manager.run("assistant") as run:
        for n in range(2):
            await asyncio.sleep(0)
            await run.thinking(f"{n}")
            async with run.tool("t"), run.message() as message:
                await asyncio.sleep(0)
                await message.write("x")
        async with run.child("helper"):
            await asyncio.sleep(0)


@pytest.mark.scenario("S32")
@pytest.mark.parametrize("slow", [False, True])
async def test_cancelled_at_any_step_it_ends_once(*, slow: bool) -> None:
    """Cancelled after any number of steps, what began has exactly one end, and nothing is left behind."""
    for steps in range(80 if slow else 20):
        async with desk() as here:
            task = asyncio.create_task(_busy(_Slow(here.manager) if slow else here.manager))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            events = await here.events()

            for event in events:
                if event["type"] == "agent_started":
                    assert 1 == len(ends(events, event["run_id"]))
            executing = {event["data"]["tool_call_id"] for event in events if event["type"] == "tool_executing"}
            completed = [event["data"]["tool_call_id"] for event in events if event["type"] == "tool_completed"]
            assert executing == set(completed)
            assert len(executing) == len(completed)
            assert 0 == here.manager.stats().open_runs
            assert len(asyncio.all_tasks()) <= 4  # this test, reader, writer, and the loop's own


async def test_cancelled_twice_it_still_ends() -> None:
    """A second cancellation while the end is being sent does not keep it from being sent."""
    async with desk() as here:
        task = asyncio.create_task(_busy(_Slow(here.manager)))
        for _ in range(8):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        events = await here.events()

    assert task.cancelled()
    assert 1 == len(ends(events, events[0]["run_id"]))
