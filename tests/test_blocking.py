"""
Runs of code that is not async: the same events, the same ends, and a client's ``stop`` reaches them.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError

import attrs
import pytest

from tests.managers import Around, Failing
from tests.runs import Desk, check_nothing_left, check_pairs, desk
from tests.shell import note
from ws_isolation import Delivery, IsolatedManager, Settings, errors
from ws_isolation.blocking import BlockingManager, BlockingRun
from ws_isolation.events import AgentCancelled, Custom, Event, Problem
from ws_isolation.testing.clock import settle
from ws_isolation.threads import Portal


def blocking(here: Desk) -> BlockingManager:
    """Return the user's manager for code that is not async."""
    return BlockingManager(Portal(here.factory), here.manager, timeout=20)


@pytest.mark.scenario("S34")
async def test_whole_run() -> None:
    """A run of a thread sends what the awaited one sends: thoughts, texts, tools, one end."""
    async with desk() as here:
        manager = blocking(here)

        def work() -> None:
            with manager.run("assistant", run_id="r-1", model="m") as run:
                assert ("r-1", True) == (run.id, run.is_open)
                run.thinking("hm")
                run.custom("test.x", 1)
                run.send(Custom(run_id=run.id, thread_id="thread-1", name="test.y", value=1))
                with run.thought() as thought:
                    thought.write("well")
                with run.message() as message:
                    message.write("hello")
                with run.tool("search", {"q": 1}) as tool:
                    tool.result = [1]
                run.complete("done", summary="s")
            assert not run.is_open

        await asyncio.to_thread(work)
        assert [
            "agent_started",
            "agent_thinking",
            "custom",
            "custom",
            "agent_thinking",
            "agent_thinking",
            "agent_message_delta",
            "agent_message_delta",
            "tool_executing",
            "tool_completed",
            "agent_completed",
        ] == await here.types()
        check_pairs(await here.events())
        check_nothing_left(here)


@pytest.mark.parametrize(
    ("error", "end", "tool_status"),
    [
        (ValueError("secret"), "agent_error", "error"),
        (TimeoutError(), "agent_error", "timeout"),
        (KeyboardInterrupt(), "agent_cancelled", "cancelled"),
        (CancelledError(), "agent_cancelled", "cancelled"),
    ],
)
async def test_left_by_an_exception(error: BaseException, end: str, tool_status: str) -> None:
    """Left by an exception, the tool and the run end by its kind, and the exception goes on as the same object."""
    async with desk() as here:
        manager = blocking(here)

        def work() -> BaseException | None:
            try:
                with manager.run("a") as run, run.tool("t"):
                    raise error  # noqa: TRY301
            except BaseException as raised:  # noqa: BLE001
                return raised
            return None

        assert error is await asyncio.to_thread(work)
        events = await here.events()
        assert [end] == [event["type"] for event in events if event.get("final")]
        assert [tool_status] == [e["data"]["status"] for e in events if e["type"] == "tool_completed"]
        assert "secret" not in str(events)
        check_nothing_left(here)


async def test_ends_of_the_application() -> None:
    """``fail`` and ``cancel`` end the run; leaving the block sends nothing more; later calls say so."""
    async with desk() as here:
        manager = blocking(here)

        def work() -> None:
            with manager.run("a") as failed:
                failed.fail(Problem(title="No.", code="no"))
                with pytest.raises(errors.InvalidStateError, match="has ended"):
                    failed.thinking("x")
            with manager.run("b") as cancelled:
                cancelled.cancel("quota")
            with pytest.raises(errors.InvalidStateError, match="entered before"), failed:
                pass

        await asyncio.to_thread(work)
        assert ["agent_started", "agent_error", "agent_started", "agent_cancelled"] == await here.types()
        check_nothing_left(here)


async def test_stopped_by_the_client() -> None:
    """A stop ends the run at once; the thread's next call leaves the block, and the code after it goes on."""
    async with desk() as here:
        manager = blocking(here)
        passed: list[str] = []

        def work() -> None:
            with manager.run("a") as run:
                passed.append("in")
                awaited = run._run  # pyright: ignore[reportPrivateUsage]
                assert awaited is not None
                here_loop.call_soon_threadsafe(awaited.stop)
                run.thinking("not sent any more")
                passed.append("never")
            passed.append("after")

        here_loop = asyncio.get_running_loop()
        await asyncio.to_thread(work)
        assert ["in", "after"] == passed
        events = await here.events()
        assert ["agent_started", "agent_cancelled"] == [event["type"] for event in events]
        assert "user" == events[-1]["data"]["reason"]
        check_nothing_left(here)


async def test_start_that_fails() -> None:
    """A run that cannot begin raises in the thread and leaves nothing; a bad name was never sent."""
    async with desk() as here:
        portal = Portal(here.factory)
        failing = BlockingManager(portal, Failing(here.manager, lambda _: ValueError("broken")))

        def work() -> None:
            with pytest.raises(ValueError, match="broken"), failing.run("a"):
                pass
            with pytest.raises(errors.InvalidEventError), failing.run(""):
                pass

        await asyncio.to_thread(work)
        assert [] == await here.events()
        check_nothing_left(here)


async def test_before_it_begins() -> None:
    """Outside of its block a run has no id and sends nothing."""
    async with desk() as here:
        run = blocking(here).run("a")

        assert not run.is_open
        with pytest.raises(errors.InvalidStateError, match="has not begun"):
            run.thinking("x")


async def test_interrupted_while_it_begins() -> None:
    """Ctrl-C while ``agent_started`` is sent leaves no open run behind, also where it was sent just before."""
    async with desk() as here:
        portal = Portal(here.factory)
        real = Portal.call

        def interrupted(self: Portal, *args: object) -> None:
            real(self, *args)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            raise KeyboardInterrupt

        def work() -> None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Portal, "call", interrupted)
                with pytest.raises(KeyboardInterrupt), BlockingManager(portal, here.manager).run("a"):
                    pass
            portal.send_threadsafe(here.manager, note()).result(20)

        await asyncio.to_thread(work)
        assert ["agent_started", "agent_cancelled", "custom"] == await here.types()
        check_nothing_left(here)


async def test_time_out_while_it_begins() -> None:
    """A run whose start takes too long is given up: it ends as cancelled as soon as its start is through."""
    async with desk() as here:
        gate = asyncio.Event()

        class Late(Around):
            async def send(self, event: Event, /) -> Delivery:
                await gate.wait()
                return await self.inner.send(event)

        portal = Portal(here.factory)
        manager = BlockingManager(portal, Late(here.manager), timeout=0.05)

        def work() -> None:
            with pytest.raises(TimeoutError, match=r"run\(\) took longer"), manager.run("a"):
                pass

        await asyncio.to_thread(work)
        assert [] == await here.events()
        gate.set()
        assert ["agent_started", "agent_cancelled"] == await here.types()
        check_nothing_left(here)


@attrs.define
class Worker:
    """
    A thread in a run and a tool call that waits there, and goes on once it is let go.
    """

    manager: BlockingManager
    then: Callable[[BlockingRun], object]
    inside: asyncio.Event = attrs.field(factory=asyncio.Event)
    let_go: threading.Event = attrs.field(factory=threading.Event)
    raised: BaseException | None = None
    run: BlockingRun | None = None

    def work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Be the thread."""
        try:
            with self.manager.run("a") as self.run, self.run.tool("t"):
                loop.call_soon_threadsafe(self.inside.set)
                assert self.let_go.wait(20)
                self.then(self.run)
        except BaseException as error:  # noqa: BLE001
            self.raised = error


class Heard(Around):
    """Notes what it sends; the end of a run waits for the gate, if there is one."""

    def __init__(self, inner: IsolatedManager, gate: asyncio.Event | None = None) -> None:
        super().__init__(inner)
        self.sent: list[Event] = []
        self.gate = gate

    async def send(self, event: Event, /) -> Delivery:
        """Note and send."""
        if self.gate is not None and isinstance(event, AgentCancelled):
            await self.gate.wait()
        delivery = await self.inner.send(event)
        self.sent.append(event)
        return delivery


async def stopped_under(here: Desk, worker: Worker) -> None:
    """Let the factory stop while *worker* is inside, then let it go."""
    thread = asyncio.create_task(asyncio.to_thread(worker.work, asyncio.get_running_loop()))
    await worker.inside.wait()
    await here.stop_factory()
    assert worker.run is not None
    assert not worker.run.is_open
    worker.let_go.set()
    await thread


def raise_it(error: Exception) -> Callable[[BlockingRun], object]:
    """Return what raises *error* in the block."""

    def then(_run: BlockingRun) -> object:
        raise error

    return then


def thinks(run: BlockingRun) -> object:
    """Go on thinking."""
    return run.thinking("x")


def completes(run: BlockingRun) -> object:
    """End the run."""
    return run.complete("x")


def leaves(_run: BlockingRun) -> object:
    """Do nothing more."""
    return None


FAULT = ValueError("the worker's own")


@pytest.mark.scenario("S34")
@pytest.mark.requirement("P2", "P3")
@pytest.mark.parametrize(
    ("then", "raises"),
    [
        (thinks, r"cannot call thinking\(\): the run has ended .* the factory stops"),
        (completes, r"cannot call complete\(\): the run has ended .* the factory stops"),
        (leaves, r"cannot call the end of tool\(\): the run has ended .* the factory stops"),
        (raise_it(FAULT), "the worker's own"),
    ],
)
async def test_the_factory_stops(then: Callable[[BlockingRun], object], raises: str) -> None:
    """The stop ends a thread's run, once, as cancelled by the shutdown; the thread's next call says so."""
    async with desk() as here:
        heard = Heard(here.manager)
        worker = Worker(BlockingManager(Portal(here.factory), heard, timeout=20), then)
        await stopped_under(here, worker)

        assert worker.raised is not None
        assert re.search(raises, str(worker.raised))
        assert isinstance(worker.raised, errors.InvalidStateError) or worker.raised is FAULT
        assert ["agent_started", "tool_executing", "tool_completed", "agent_cancelled"] == [e.type for e in heard.sent]
        end = heard.sent[-1]
        assert isinstance(end, AgentCancelled)
        assert "shutdown" == end.reason


async def test_the_factory_stops_behind_a_thread_that_is_done() -> None:
    """A thread that leaves its run without another call after the stop gets no error: the run has its end."""
    async with desk() as here:
        left = asyncio.Event()
        let_go = threading.Event()
        loop = asyncio.get_running_loop()
        manager = blocking(here)

        def work() -> str:
            with manager.run("a"):
                loop.call_soon_threadsafe(left.set)
                assert let_go.wait(20)
            return "after"

        thread = asyncio.create_task(asyncio.to_thread(work))
        await left.wait()
        await here.stop_factory()
        let_go.set()
        assert "after" == await thread


async def test_a_stop_that_a_run_holds_up(caplog: pytest.LogCaptureFixture) -> None:
    """The stop ends within its bound also where the run's own end cannot be sent, and the log says so."""
    async with desk() as here:
        gate = asyncio.Event()
        worker = Worker(BlockingManager(Portal(here.factory), Heard(here.manager, gate), timeout=20), thinks)
        thread = asyncio.create_task(asyncio.to_thread(worker.work, asyncio.get_running_loop()))
        await worker.inside.wait()
        await here.stop_factory()
        worker.let_go.set()
        await thread
        gate.set()
        await settle()

        assert isinstance(worker.raised, errors.InvalidStateError)
        assert any("the stop left something open" in record.getMessage() for record in caplog.records)


@pytest.mark.requirement("P3")
async def test_no_other_bound_ends_it() -> None:
    """A thread's run is no spawned work: it goes on when its user is away for longer than ``detached_seconds``."""
    async with desk() as here:
        worker = Worker(blocking(here), completes)
        thread = asyncio.create_task(asyncio.to_thread(worker.work, asyncio.get_running_loop()))
        await worker.inside.wait()
        here.transport.client_leaves()
        await settle()
        assert not here.session.is_open
        await here.clock.advance(Settings().detached_seconds + 1)
        worker.let_go.set()
        await thread

        assert worker.raised is None
        assert 0 == here.manager.stats().open_runs
