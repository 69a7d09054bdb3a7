"""
After a thousand connections everything is as it was before the first.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from pathlib import Path
from typing import Final

import attrs
import pytest

from tests.servers.running import client, running, until, websocket_app
from ws_isolation import ManagerFactory, Session, events
from ws_isolation.testing import FakeClock

CYCLES: Final = 1_000
AT_ONCE: Final = 10
TOLERANCE: Final = 2_000
"""Blocks. A session that is left behind costs a hundred, so one of fifty would show."""


@attrs.frozen
class Baseline:
    """
    What there is of whatever must not grow.
    """

    tasks: int
    descriptors: int
    blocks: int
    """Blocks of memory that Python's allocator has given out."""

    @classmethod
    def now(cls) -> Baseline:
        """
        Count.
        """
        gc.collect()
        return cls(len(asyncio.all_tasks()), len(list(Path("/proc/self/fd").iterdir())), sys.getallocatedblocks())


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


@pytest.mark.load
@pytest.mark.scenario("S21", "S25", "S38")
@pytest.mark.requirement("P5", "I11", "WS-12")
@pytest.mark.timeout(180)  # a thousand handshakes take 10 seconds on an idle machine
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
        await until(lambda: factory.stats().sessions == 0)
        await clock.advance(1_000)

    async with running(websocket_app(factory, handler)) as address:
        await cycles(address, 100)
        await all_over()
        before = Baseline.now()
        await cycles(address, CYCLES)
        await all_over()
        await until(lambda: len(asyncio.all_tasks()) <= before.tasks)
        after = Baseline.now()

        stats = factory.stats()
        assert (0, 0, 0, 0) == (stats.sessions, stats.streams, stats.work, stats.pending)
        assert [] == list(managers)
        assert before.tasks == after.tasks
        assert before.descriptors == after.descriptors
        assert after.blocks - before.blocks < TOLERANCE
