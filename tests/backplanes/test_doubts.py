"""
An engine whose answers get lost: the numbers of a run rise by one, it ends once, and nothing is left open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import attrs
import pytest

from tests.backplanes.shared import Node, SharedEngine, Visit, nodes
from tests.observers import Watcher
from ws_isolation import IsolatedManager, ManagerFactory, errors
from ws_isolation.doubts import was_stored, what_closes
from ws_isolation.events import AgentError, AgentStarted, AgentThinking, Custom, Event, Problem, ToolCompleted
from ws_isolation.keys import identity_of
from ws_isolation.stream import Draft, Limits, Page, Stream
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.testing.clock import settle

IN_RUN: Final[dict[str, Any]] = {"run_id": "r"}
RUN: Final[dict[str, Any]] = {"run_id": "r", "thread_id": "t"}
STARTED: Final = AgentStarted(**RUN, agent_name="a")
LOST: Final = Problem(title="The worker is gone.", code="run_lost")


@attrs.define
class Place:
    """
    Two nodes on one engine: a manager on one, and a reader on the other.
    """

    engine: SharedEngine
    manager: IsolatedManager
    node: Node
    reader: Visit

    async def numbers(self, run_id: str = "r") -> list[tuple[str, int | None]]:
        """
        Return the types of what the reader got of a run, with the numbers in it.
        """
        await settle()
        frames = [frame for frame in self.reader.socket.events if frame.get("run_id") == run_id]
        return [(str(frame["type"]), frame.get("run_seq")) for frame in frames]


@asynccontextmanager
async def place() -> AsyncGenerator[Place]:
    """
    Yield such a place, and stop it.
    """
    engine, (one, other) = nodes()
    reader = await other.visit()
    yield Place(engine, one.factory.create_manager(make_context()), one, reader)
    for node in (one, other):
        await node.stop()


@pytest.mark.requirement("P3")
async def test_a_number_is_given_once() -> None:
    """An event whose answer was lost keeps its number where the engine has it: the next one gets the next."""
    async with place() as here, here.manager.run("a", run_id="r") as run:
        here.engine.forgetting.add("publish")
        with pytest.raises(ConnectionError):
            await run.thinking("one")
        here.engine.forgetting.clear()
        await run.thinking("two")

        assert [("agent_started", 1), ("agent_thinking", 2), ("agent_thinking", 3)] == await here.numbers()


@pytest.mark.requirement("P3")
async def test_no_number_is_left_out() -> None:
    """The control: an event that never reached the engine takes no number with it."""
    async with place() as here, here.manager.run("a", run_id="r") as run:
        here.engine.failing.add("publish")
        with pytest.raises(ConnectionError):
            await run.thinking("one")
        here.engine.failing.clear()
        await run.thinking("two")

        assert [("agent_started", 1), ("agent_thinking", 2)] == await here.numbers()


@pytest.mark.requirement("P3")
@pytest.mark.parametrize("held", ["held", "slow"])
async def test_cancelled_while_the_engine_works(held: str) -> None:
    """A send that is cancelled on its way there or back leaves no number given twice, and none left out."""
    async with place() as here, here.manager.run("a", run_id="r") as run:
        getattr(here.engine, held)["publish"] = asyncio.Event()
        thinking = asyncio.create_task(run.thinking("one"))
        await settle()
        thinking.cancel()
        await settle()
        assert thinking.cancelled()
        getattr(here.engine, held).clear()
        await run.thinking("two")

        numbers = await here.numbers()
        assert list(range(1, len(numbers) + 1)) == [number for _, number in numbers]
        assert {"held": 2, "slow": 3}[held] == len(numbers)


@pytest.mark.requirement("P3")
async def test_a_doubt_that_stays() -> None:
    """While the engine cannot say what it has, nothing of a run is sent; other events are."""
    async with place() as here, here.manager.run("a", run_id="r") as run:
        here.engine.forgetting.add("publish")
        with pytest.raises(ConnectionError):
            await run.thinking("one")
        here.engine.forgetting.clear()
        here.engine.failing.add("read")
        with pytest.raises(ConnectionError):
            await run.thinking("two")
        assert 2 == len(await here.numbers())

        here.engine.failing.clear()
        await run.thinking("three")
        assert [1, 2, 3] == [number for _, number in await here.numbers()]


@pytest.mark.requirement("P3")
async def test_no_doubt() -> None:
    """What is too large is not stored, and a piece has no number: nobody asks the engine about them."""
    async with place() as here, here.manager.run("a", run_id="r") as run:
        with pytest.raises(errors.InvalidEventError):
            await run.send(Custom(**IN_RUN, name="test.large", value="x" * 70_000))
        here.engine.failing.add("publish")
        with pytest.raises(ConnectionError):
            await run.message().write("piece")
        here.engine.failing.clear()
        here.engine.failing.add("read")
        await run.thinking("one")

        assert [("agent_started", 1), ("agent_thinking", 2)] == await here.numbers()
        here.engine.failing.clear()


@pytest.mark.requirement("P3")
async def test_a_start_whose_answer_was_lost() -> None:
    """A run that was not entered and has begun all the same is ended before the next event of any run."""
    async with place() as here:
        here.engine.forgetting.add("publish")
        with pytest.raises(ConnectionError):
            await here.manager.run("a", run_id="r").__aenter__()
        here.engine.forgetting.clear()
        with pytest.raises(errors.LifecycleError, match="L03"):
            await here.manager.run("a", run_id="r").__aenter__()

        assert [("agent_started", 1), ("agent_error", 2)] == await here.numbers()
        assert here.reader.socket.events[-1]["synthetic"]
        assert 0 == here.manager.stats().open_runs


@pytest.mark.requirement("P3")
@pytest.mark.parametrize("fails", ["read", "publish"])
async def test_nobody_says_anything_more(fails: str) -> None:
    """The end of such a run needs no next event: it is sent with a look at the tip, once the engine answers."""
    async with place() as here:
        here.engine.forgetting.add("publish")
        with pytest.raises(ConnectionError):
            await here.manager.run("a", run_id="r").__aenter__()
        here.engine.forgetting.clear()
        here.engine.failing.add(fails)
        await here.engine.clock.advance(60)
        assert [("agent_started", 1)] == await here.numbers()

        here.engine.failing.clear()
        await here.engine.clock.advance(60)
        assert [("agent_started", 1), ("agent_error", 2)] == await here.numbers()
        await here.engine.clock.advance(120)  # and that is all
        assert 2 == len(await here.numbers())


@pytest.mark.requirement("P3")
async def test_a_start_that_never_got_there() -> None:
    """The control: where nothing was stored, the same run id can be used."""
    async with place() as here:
        here.engine.failing.add("publish")
        with pytest.raises(ConnectionError):
            await here.manager.run("a", run_id="r").__aenter__()
        here.engine.failing.clear()
        async with here.manager.run("a", run_id="r"):
            pass

        assert [("agent_started", 1), ("agent_completed", 2)] == await here.numbers()


@pytest.mark.requirement("P3")
@pytest.mark.parametrize("error", [ConnectionError, errors.EngineTimeoutError])
async def test_a_tool_whose_answer_was_lost(error: type[Exception]) -> None:
    """A tool call that was not entered and is in the stream all the same is closed by its run."""
    async with place() as here:
        here.engine.loses_with = error("publish()", "it may be stored")
        async with here.manager.run("a", run_id="r") as run:
            here.engine.forgetting.add("publish")
            with pytest.raises(error):
                await run.tool("search", tool_call_id="c").__aenter__()
            here.engine.forgetting.clear()

        assert [
            ("agent_started", 1),
            ("tool_executing", 2),
            ("tool_completed", 3),
            ("agent_completed", 4),
        ] == await here.numbers()


@pytest.mark.requirement("P3")
async def test_an_end_whose_answer_was_lost() -> None:
    """A run whose end is stored ends once, whatever its sender was told."""
    async with place() as here:
        with pytest.raises(ConnectionError):
            async with here.manager.run("a", run_id="r"):
                here.engine.forgetting.add("publish")
        here.engine.forgetting.clear()
        with suppress(errors.LifecycleError):
            await here.manager.send(AgentError(**RUN, error=LOST))

        assert [("agent_started", 1), ("agent_completed", 2)] == await here.numbers()


@pytest.mark.requirement("P3")
@pytest.mark.parametrize("goes_on", [False, True])
async def test_an_end_that_could_not_be_sent(goes_on: bool) -> None:  # noqa: FBT001
    """A run that was over while the engine was away is closed, with its tools, once the engine is back."""
    async with place() as here:
        run = here.manager.run("a", run_id="r")
        with pytest.raises(ConnectionError):
            async with run:
                await run.tool("search", tool_call_id="c").__aenter__()
                await run.tool("search", tool_call_id="d").__aenter__()
                here.engine.failing |= {"publish", "read"}
        await here.engine.clock.advance(60)
        assert 3 == len(await here.numbers())

        here.engine.failing.clear()
        if goes_on:
            async with here.manager.run("a", run_id="s"):
                pass
        await here.engine.clock.advance(60)
        assert [("tool_completed", 4), ("tool_completed", 5), ("agent_error", 6)] == (await here.numbers())[3:]
        last = here.reader.socket.events[-1]
        assert ("run_lost", True) == (last["data"]["error"]["code"], last["synthetic"])
        await here.engine.clock.advance(120)  # and that is all
        assert 6 == len(await here.numbers())
        assert 0 == here.manager.stats().open_runs


@pytest.mark.requirement("P3")
async def test_an_end_that_got_there() -> None:
    """The control: where only the answer to the end was lost, nothing is added."""
    async with place() as here:
        with pytest.raises(ConnectionError):
            async with here.manager.run("a", run_id="r"):
                here.engine.forgetting.add("publish")
        here.engine.forgetting.clear()
        await here.engine.clock.advance(120)

        assert [("agent_started", 1), ("agent_completed", 2)] == await here.numbers()
        assert 0 == here.manager.stats().open_runs


@pytest.mark.requirement("P3")
async def test_a_run_that_outlives_its_factory() -> None:
    """The error of a run that this process did not begin has no number: those that were given are not given again."""
    async with place() as here:
        run = here.manager.run("a", run_id="r")
        await run.__aenter__()
        await run.thinking("one")
        await here.node.stop()
        await here.node.factory.__aenter__()
        with pytest.raises(errors.LifecycleError, match="L01"):
            await run.thinking("two")
        await run.__aexit__(ValueError, ValueError(), None)

        assert [("agent_started", 1), ("agent_thinking", 2), ("agent_error", None)] == await here.numbers()


async def test_what_closes_is_told_to_all() -> None:
    """The end that is made up reaches the sessions here before its announcement, and the observer counts it."""
    engine, watcher, transport = SharedEngine(FakeClock()), Watcher(), RecordingTransport()
    factory = ManagerFactory(clock=engine.clock, backplane=engine, observer=watcher)
    manager = factory.create_manager(make_context())
    async with factory.attach(make_context(), transport):
        engine.forgetting.add("publish")
        with pytest.raises(ConnectionError):
            await manager.send(STARTED)
        engine.forgetting.clear()
        engine.silent = True
        await engine.clock.advance(60)

        assert ["agent_started", "agent_error"] == [event["type"] for event in transport.events]
        assert [("agent_error", True)] == watcher.named("event_published")
        stopping = asyncio.create_task(factory.stop())
        await engine.clock.advance(30)
        await stopping


# What is decided, without an engine.


def _draft(event: Event, minute: float) -> Draft:
    digits = f"{1_700_000_000_000 + int(minute * 60_000):012x}"
    event_id = f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"
    return Draft(event=event, owner=identity_of(make_context()), id=event_id, time="2026-11-22T21:09:00Z")


def _page(*minutes: float) -> Page:
    """
    Return a window that holds the events of *minutes* in their order, but for the first, which it holds no more.
    """
    stream = Stream(identity_of(make_context()), "epoch-1", Limits())
    for minute in minutes:
        stream.append(_draft(STARTED, minute), 0.0)
    page = stream.read("window", 0.0)
    return Page(page.top, page.entries[1:])


@pytest.mark.parametrize(
    ("page", "is_stored"),
    [
        (_page(3, 5), True),
        (_page(5), True),  # the last of all, in no window any more
        (_page(5, 6), True),
        (_page(3.9, 6), False),
        (_page(3.9), False),
        (_page(3, 3.9, 6), False),
        (_page(), False),
        (_page(6, 8), True),  # too old: nobody can know
        (_page(4.1, 8), True),  # it may have been made before and stored after
        (_page(6), True),
    ],
)
def test_what_the_window_tells(page: Page, is_stored: bool) -> None:  # noqa: FBT001
    """An event counts as stored unless the window shows that it is not."""
    assert is_stored == was_stored(_draft(STARTED, 5), page)


def test_what_closes() -> None:
    """A run that began unknown to its sender is ended, a lost repair is sent again, and nothing else is made up."""
    thinking = AgentThinking(**RUN, thought_id="t", mode="summary", text="hm")
    repair = ToolCompleted(**RUN, tool_call_id="c", tool_name="n", status="cancelled", error=LOST, synthetic=True)

    end = what_closes(STARTED, is_stored=True)
    assert isinstance(end, AgentError)
    assert end.synthetic
    assert what_closes(repair, is_stored=False) is repair
    for event, is_stored in ((STARTED, False), (thinking, True), (thinking, False), (repair, True)):
        assert what_closes(event, is_stored=is_stored) is None
