"""
Runs of code that is not async: the same events, the same ends, and a client's ``stop`` reaches them.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError

import pytest

from tests.managers import Around, Failing
from tests.runs import Desk, check_nothing_left, check_pairs, desk
from tests.shell import note
from ws_isolation import Delivery, errors
from ws_isolation.blocking import BlockingManager
from ws_isolation.events import Custom, Event, Problem
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
