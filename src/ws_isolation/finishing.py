"""
Finishing what was begun, also when the task that waits for it is cancelled.

A server that shuts down cancels its tasks, some of them more than once. What a
peer has to be told, or a task has to give back, is bounded in time by itself;
so the cancellation waits its turn and then goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ("finish",)

_T = TypeVar("_T")


async def finish(work: Awaitable[_T], /) -> _T:
    """
    Run *work* to its end and return what it returns.

    Args:
        work: Must end by itself within a bounded time.

    Raises:
        CancelledError: The caller was cancelled meanwhile. *work* is done.
        Exception: What *work* raised, where the caller was not cancelled.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it as never retrieved
        raise cancelled
    return task.result()
