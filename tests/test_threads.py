"""
Worker threads send into the factory's loop: in order, with an end to each wait, and never into a deadlock.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from tests.managers import Around, Failing, Slow
from tests.runs import desk
from tests.shell import note
from ws_isolation import Delivery, IsolatedManager, ManagerFactory, errors
from ws_isolation.blocking import BlockingManager
from ws_isolation.events import Event
from ws_isolation.testing import make_context
from ws_isolation.threads import WAITING, Portal

LIMIT = 20.0
"""Seconds that a test waits for another thread at most."""


class Gated(Around):
    """Waits for ``gate`` before it sends."""

    def __init__(self, inner: IsolatedManager) -> None:
        super().__init__(inner)
        self.reached = asyncio.Event()
        self.gate = asyncio.Event()

    async def send(self, event: Event, /) -> Delivery:
        """Wait, then pass *event* on."""
        self.reached.set()
        await self.gate.wait()
        return await self.inner.send(event)


class Fickle(Around):
    """Waits the longer, the earlier it is called."""

    def __init__(self, inner: IsolatedManager) -> None:
        super().__init__(inner)
        self.turns = 40

    async def send(self, event: Event, /) -> Delivery:
        """Wait some turns, then pass *event* on."""
        self.turns -= 1
        for _ in range(self.turns):
            await asyncio.sleep(0)
        return await self.inner.send(event)


@pytest.mark.scenario("S17", "S34")
@pytest.mark.requirement("P1", "P3")
async def test_order_of_a_thread() -> None:
    """What one thread sends without waiting goes out in its order, also where the first sends take the longest."""
    async with desk() as here:
        portal = Portal(here.factory)
        manager = Fickle(here.manager)

        def work() -> list[int]:
            futures = [portal.send_threadsafe(manager, note(n)) for n in range(30)]
            return [future.result(LIMIT).seq for future in futures]

        assert list(range(1, 31)) == await asyncio.to_thread(work)
        assert list(range(30)) == [event["data"]["value"] for event in await here.events()]


async def test_order_needs_the_portal() -> None:
    """Negative control: handed over one by one without a portal, the same events overtake each other."""
    async with desk() as here:
        manager = Fickle(here.manager)
        loop = asyncio.get_running_loop()

        def work() -> None:
            for future in [asyncio.run_coroutine_threadsafe(manager.send(note(n)), loop) for n in range(30)]:
                future.result(LIMIT)

        await asyncio.to_thread(work)
        assert list(range(30)) != [event["data"]["value"] for event in await here.events()]


async def test_own_loop_is_refused() -> None:
    """In the factory's own loop, where a wait would never end, both entries raise and say what to use."""
    async with desk() as here:
        portal = Portal(here.factory)

        with pytest.raises(errors.ConcurrencyError, match=r"await manager\.send\(event\)"):
            portal.send_threadsafe(here.manager, note())
        with pytest.raises(errors.ConcurrencyError, match=r"asyncio\.to_thread\(\)"):
            BlockingManager(portal, here.manager).send(note())
        assert [] == await here.events()


async def test_another_loop() -> None:
    """A coroutine of another loop awaits the wrapped future; a blocking call would stop its loop and is refused."""
    async with desk() as here:
        portal = Portal(here.factory)

        async def elsewhere() -> int:
            with pytest.raises(errors.ConcurrencyError, match="stop everything"):
                BlockingManager(portal, here.manager).send(note())
            return (await asyncio.wrap_future(portal.send_threadsafe(here.manager, note()))).seq

        assert 1 == await asyncio.to_thread(lambda: asyncio.run(elsewhere()))


async def test_what_send_raises() -> None:
    """A failure of ``send`` arrives in the thread, by the future and by the blocking call."""
    async with desk() as here:
        portal = Portal(here.factory)
        manager = Failing(here.manager, lambda _: ValueError("broken"))

        def work() -> None:
            with pytest.raises(ValueError, match="broken"):
                portal.send_threadsafe(manager, note()).result(LIMIT)
            with pytest.raises(ValueError, match="broken"):
                BlockingManager(portal, manager).send(note())

        await asyncio.to_thread(work)


async def test_time_out_sends_nothing() -> None:
    """When time is up the call is cancelled: what had not happened never will, and the thread goes on."""
    async with desk() as here:
        portal = Portal(here.factory)
        manager = Gated(here.manager)

        def work() -> int:
            with pytest.raises(TimeoutError, match=r"send\(\) took longer than 0\.05 s"):
                BlockingManager(portal, manager, timeout=0.05).send(note("late"))
            manager.gate.set()  # nobody waits for it
            return BlockingManager(portal, here.manager).send(note("next")).seq

        assert 1 == await asyncio.to_thread(work)
        assert ["next"] == [event["data"]["value"] for event in await here.events()]


async def test_cancelled_future() -> None:
    """Cancelling a future cancels the send in the loop, one that has not begun never begins, and the next goes on."""
    async with desk() as here:
        portal = Portal(here.factory)
        manager = Gated(here.manager)
        handed: list[concurrent.futures.Future[Delivery]] = []

        def work() -> None:
            handed.extend(portal.send_threadsafe(manager, note(n)) for n in range(2))
            # The loop waits for this thread's first send: the second one stands behind it.
            handed.append(portal.send_threadsafe(here.manager, note("next")))

        await asyncio.to_thread(work)
        await asyncio.wait_for(manager.reached.wait(), LIMIT)
        assert handed[0].cancel()
        assert handed[1].cancel()

        assert 1 == (await asyncio.wait_for(asyncio.wrap_future(handed[2]), LIMIT)).seq


def in_thread(work: Callable[[], object]) -> None:
    """Run *work* in a thread while nothing runs here, and wait for it."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(work).result(LIMIT)


def test_cancelled_before_the_loop_knows() -> None:
    """A future that is cancelled before the loop comes to it sends nothing."""
    factory = ManagerFactory()
    with asyncio.Runner() as runner:
        runner.run(factory.__aenter__())
        manager = factory.create_manager(make_context())
        in_thread(lambda: Portal(factory).send_threadsafe(manager, note()).cancel())
        runner.run(asyncio.sleep(0))
        assert 0 == manager.stats().sent
        runner.run(factory.stop())


def test_cancelled_at_the_last_moment() -> None:
    """A future that is cancelled when its work is done already stays cancelled, and its loop goes on."""
    factory = ManagerFactory()
    with asyncio.Runner() as runner:
        runner.run(factory.__aenter__())
        held: list[concurrent.futures.Future[Delivery]] = []

        class Late(Around):
            async def send(self, event: Event, /) -> Delivery:
                delivery = await self.inner.send(event)
                held[0].cancel()
                return delivery

        manager = Late(factory.create_manager(make_context()))
        in_thread(lambda: held.append(Portal(factory).send_threadsafe(manager, note())))
        runner.run(asyncio.sleep(0.0))
        runner.run(factory.stop())
        assert held[0].cancelled()
        assert 1 == manager.stats().sent


def test_without_a_loop() -> None:
    """Before its start, after its stop and when its loop is closed, the factory's portal says so at once."""
    factory = ManagerFactory()
    portal = Portal(factory)
    manager = factory.create_manager(make_context())
    with pytest.raises(errors.InvalidStateError, match="runs in no event loop now"):
        portal.send_threadsafe(manager, note())
    with asyncio.Runner() as runner:
        runner.run(factory.__aenter__())
    with pytest.raises(errors.InvalidStateError, match="runs in no event loop now"):
        BlockingManager(portal, manager).send(note())

    async def start_and_stop() -> None:
        async with factory:
            pass
        with pytest.raises(errors.InvalidStateError, match="start it"):
            portal.send_threadsafe(manager, note())

    asyncio.run(start_and_stop())


def test_loop_closed_under_a_wait() -> None:
    """A thread that waits for a loop which is closed meanwhile hears of it long before its time-out."""
    factory = ManagerFactory()
    runner = asyncio.Runner()
    runner.run(factory.__aenter__())
    blocking = BlockingManager(Portal(factory), factory.create_manager(make_context()), timeout=3600)
    raised: list[BaseException] = []

    def work() -> None:
        try:
            blocking.send(note())
        except errors.InvalidStateError as error:
            raised.append(error)

    handed = threading.Event()
    loop = runner.get_loop()
    begin = loop.call_soon_threadsafe

    def tell(*args: Any) -> asyncio.Handle:
        handle = begin(*args)
        handed.set()
        return handle

    loop.call_soon_threadsafe = tell  # type: ignore[assignment,method-assign]
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert handed.wait(LIMIT)
    del loop.call_soon_threadsafe
    loop.close()
    thread.join(LIMIT)

    assert ["send() was never done: the loop of the factory has been closed"] == [str(error) for error in raised]


async def test_loop_that_ends_cancels() -> None:
    """A call that is cancelled in the loop, as at its end, raises in the thread and says why."""
    async with desk() as here:
        manager = Gated(here.manager)
        blocking = BlockingManager(Portal(here.factory), manager)

        def work() -> None:
            with pytest.raises(errors.InvalidStateError, match="loop of the factory is ending"):
                blocking.send(note())

        before = asyncio.all_tasks()
        waiting = asyncio.create_task(asyncio.to_thread(work))
        await asyncio.wait_for(manager.reached.wait(), LIMIT)
        for task in asyncio.all_tasks() - before - {waiting}:
            task.cancel()
        await waiting


def test_closed_in_the_last_moment() -> None:
    """A loop that closes between the look and the hand-over is refused like a closed one."""
    factory = ManagerFactory()
    with asyncio.Runner() as runner:
        runner.run(factory.__aenter__())
        loop = runner.get_loop()

        def closed(*_: object) -> None:
            raise RuntimeError

        loop.call_soon_threadsafe = cast("Callable[..., asyncio.Handle]", closed)  # type: ignore[assignment,method-assign]
        with pytest.raises(errors.InvalidStateError, match="has been closed"):
            Portal(factory).send_threadsafe(factory.create_manager(make_context()), note())
        del loop.call_soon_threadsafe


async def test_bound_of_waiting_calls() -> None:
    """A thread that never waits is refused at its bound, and may go on when some are done; others are not touched."""
    async with desk() as here:
        portal = Portal(here.factory)
        manager = Gated(here.manager)

        def fill() -> concurrent.futures.Future[Delivery]:
            for n in range(WAITING - 1):
                portal.send_threadsafe(manager, note(n))
            last = portal.send_threadsafe(manager, note())
            with pytest.raises(errors.ConcurrencyError, match="1,024 calls of this thread wait"):
                portal.send_threadsafe(manager, note())
            other = threading.Thread(target=lambda: others.append(portal.send_threadsafe(here.manager, note())))
            other.start()
            other.join(LIMIT)
            others[0].result(LIMIT)
            here_loop.call_soon_threadsafe(manager.gate.set)
            last.result(LIMIT)
            return portal.send_threadsafe(manager, note())

        here_loop = asyncio.get_running_loop()
        others: list[concurrent.futures.Future[Delivery]] = []
        after = await asyncio.to_thread(fill)
        assert WAITING + 2 == (await asyncio.wrap_future(after)).seq


async def test_a_slow_manager() -> None:
    """A manager of an application's own may wait in its ``send``; the thread waits with it."""
    async with desk() as here:
        blocking = BlockingManager(Portal(here.factory), Slow(here.manager, before=5, after=5))

        assert 1 == (await asyncio.to_thread(blocking.send, note())).seq
        assert blocking.context is here.manager.context


async def test_interrupted() -> None:
    """Ctrl-C in a thread that waits cancels what it waits for, and goes on."""
    async with desk() as here:
        portal = Portal(here.factory)
        manager = Gated(here.manager)
        real = portal.call

        def work() -> None:
            def interrupted(make: Callable[[], Awaitable[Delivery]]) -> None:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(concurrent.futures, "wait", _ctrl_c)
                    real("send()", make, LIMIT)

            with pytest.raises(KeyboardInterrupt):
                interrupted(lambda: manager.send(note("never")))
            BlockingManager(portal, here.manager).send(note("next"))

        await asyncio.to_thread(work)
        assert ["next"] == [event["data"]["value"] for event in await here.events()]


def _ctrl_c(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("wrong", [0, -1, float("inf"), float("nan")])
def test_wrong_time_out(wrong: float) -> None:
    """A wait without an end, or without a beginning, is refused when the manager is made."""
    factory = ManagerFactory()

    with pytest.raises(errors.SettingsError, match="finite number of seconds"):
        BlockingManager(Portal(factory), factory.create_manager(make_context()), timeout=wrong)


def test_wrong_factory() -> None:
    """A portal leads to a factory and to nothing else."""
    with pytest.raises(errors.SettingsError, match=r"Portal\(factory\)"):
        Portal(cast("ManagerFactory", object()))
