"""
After a thousand connections everything is as it was before the first.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tracemalloc
import weakref
from collections.abc import Awaitable, Callable, Generator
from typing import Final

import attrs
import pytest

from tests.servers.running import client, running, websocket_app
from ws_isolation import ManagerFactory, Session, events
from ws_isolation.testing import FakeClock

CYCLES: Final = 1_000
AT_ONCE: Final = 10
TOLERANCE: Final = 200_000
"""Bytes. A session that is left behind costs several thousand, so a hundredth of them would show."""


@attrs.frozen
class Baseline:
    """
    What there is of whatever must not grow.
    """

    tasks: int
    descriptors: int
    memory: int

    @classmethod
    def now(cls) -> Baseline:
        """
        Count.
        """
        gc.collect()
        return cls(len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd")), tracemalloc.get_traced_memory()[0])


@pytest.fixture(name="traced")
def _traced() -> Generator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


async def cycle(address: str, number: int) -> None:
    """
    Connect, send, receive, and leave: every second time without a word.
    """
    async with client(address, f"user-{number % 50}", compression=None) as tab:
        await tab.send(type="hello")
        await tab.until("custom")
        if number % 2:
            tab.connection.transport.abort()


async def cycles(address: str, count: int) -> None:
    """
    Do *count* cycles, some at once.
    """
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            await cycle(address, number)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


async def until(holds: Callable[[], bool], turn: Callable[[], Awaitable[None]]) -> None:
    """
    Let things happen until *holds*, for 10 seconds at most.
    """
    async with asyncio.timeout(10):
        while not holds():
            await turn()


@pytest.mark.scenario("S21", "S25", "S38")
@pytest.mark.requirement("P5", "I11", "WS-12")
@pytest.mark.usefixtures("traced")
async def test_back_to_the_start() -> None:
    """
    Managers, sessions, streams, tasks, descriptors and memory are back; clean and abrupt ends alike.
    """
    clock = FakeClock()
    factory = ManagerFactory(clock=clock)
    managers: weakref.WeakSet[object] = weakref.WeakSet()

    async def handler(session: Session) -> None:
        managers.add(session.manager)
        async for _message in session:
            await session.manager.send(events.Custom(name="cycle.answer", value="x" * 1_000))

    async def all_over() -> None:
        await until(lambda: factory.stats().sessions == 0, lambda: asyncio.sleep(0.01))
        await clock.advance(1_000)

    async with running(websocket_app(factory, handler)) as address:
        await cycles(address, 100)
        await all_over()
        before = Baseline.now()
        await cycles(address, CYCLES)
        await all_over()
        await until(lambda: Baseline.now().tasks <= before.tasks, lambda: asyncio.sleep(0.01))
        after = Baseline.now()

        stats = factory.stats()
        assert (0, 0, 0, 0) == (stats.sessions, stats.streams, stats.work, stats.pending)
        assert [] == list(managers)
        assert before.tasks == after.tasks
        assert before.descriptors == after.descriptors
        assert after.memory - before.memory < TOLERANCE
