"""
A moment that comes once: everybody who waits for it goes on, and nobody before.
"""

from __future__ import annotations

import asyncio

import pytest

from ws_isolation.latch import Latch
from ws_isolation.testing.clock import settle


async def test_latch() -> None:
    """
    Those that wait go on when it comes, one that was cancelled meanwhile disturbs nobody, later ones do not wait.
    """
    latch = Latch()
    waiting = [asyncio.create_task(latch.wait()) for _ in range(3)]
    await settle()
    assert not any(task.done() for task in waiting)

    waiting[1].cancel()
    await settle()
    latch.set()
    latch.set()
    await settle()

    assert [False, True, False] == [task.cancelled() for task in waiting]
    assert all(task.done() for task in waiting)
    await latch.wait()


async def test_cancelled_as_it_comes() -> None:
    """
    One that is cancelled in the turn in which it comes is cancelled.
    """
    latch = Latch()
    waiting = asyncio.create_task(latch.wait())
    await settle()
    waiting.cancel()
    latch.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
