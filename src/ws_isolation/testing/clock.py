"""A clock that moves by hand, so that a test of a time-out takes no time."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import final

__all__ = ("FakeClock",)

_TURNS = 20
"""Loop turns after each timer: enough for reader, writer and handler to react one after the other."""


@final
class _FakeTimer:
    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


@final
class FakeClock:
    """
    A ``Clock`` for ``ManagerFactory(clock=...)``. Lives as long as the test.

    Args:
        unix: The wall-clock time that it begins with, seconds since 1970 UTC.
    """

    def __init__(self, *, unix: float = 1_700_000_000.0) -> None:
        self._now = 1_000.0
        self._offset = unix - self._now
        self._heap: list[tuple[float, int, _FakeTimer]] = []
        self._count = 0

    def monotonic(self) -> float:
        """Return the seconds that it shows."""
        return self._now

    def unix(self) -> float:
        """Return the wall-clock time that it shows."""
        return self._now + self._offset

    def call_at(self, when: float, callback: Callable[[], None], /) -> _FakeTimer:
        """Call *callback* from ``advance`` once *when* is reached."""
        timer = _FakeTimer(callback)
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, timer))
        return timer

    async def advance(self, seconds: float, /) -> None:
        """
        Let *seconds* pass: call what becomes due, in order, and let the loop's tasks react to each.

        Args:
            seconds: At least 0; 0 only lets the tasks run.

        Raises:
            ValueError: It is less. What a timer raises comes out as well.
        """
        if seconds < 0:
            msg = f"cannot advance by {seconds} seconds: time does not go back, it must be at least 0"
            raise ValueError(msg)
        until = self._now + seconds
        await settle()
        while self._heap and self._heap[0][0] <= until:
            when, _, timer = heapq.heappop(self._heap)
            self._now = max(self._now, when)
            if timer.callback is not None:
                timer.callback()
                await settle()
        self._now = until
        await settle()


async def settle() -> None:
    """Give every ready task of the loop some turns."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
