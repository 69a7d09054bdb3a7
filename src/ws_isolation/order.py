"""
Whose turn it is: a lock that says whether anybody holds it or waits for it.

Rule: turns come in the order of the calls. Whoever finds nobody waiting may act
without the lock, in one step; a lock that was just given back, but not taken
yet, is not free.
"""

from __future__ import annotations

import asyncio
from typing import final

__all__ = ("Order",)


@final
class Order:
    """
    Used with ``async with``. Lives as long as what it orders.

    Attributes:
        waiting: Who holds it and who waits for it, counted.
    """

    __slots__ = ("_lock", "waiting")

    def __init__(self) -> None:
        self.waiting: int = 0
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> None:
        """Wait for the turn."""
        self.waiting += 1
        try:
            await self._lock.acquire()
        except BaseException:
            self.waiting -= 1
            raise

    async def __aexit__(self, *_error: object) -> None:
        """Give it to the next."""
        self.waiting -= 1
        self._lock.release()
