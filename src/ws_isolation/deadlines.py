"""
When something has to be looked at again, for many at once.

One heap for a whole factory instead of a timer per write: an entry is pushed
only when something is due earlier than what is already scheduled for it.

Rule: the heap keeps nothing alive. A session that has ended is garbage at once,
not when the last of its deadlines would have come.
"""

from __future__ import annotations

import heapq
import weakref
from typing import Generic, TypeVar, final

__all__ = ("Deadlines",)

_T = TypeVar("_T")


@final
class Deadlines(Generic[_T]):
    """
    A heap of (when, item). Lives as long as its factory runs.

    An item may stand in it more than once; whoever takes it out decides whether
    something is really due. Items are held weakly.
    """

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, weakref.ref[_T]]] = []
        self._count = 0

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._heap)

    def add(self, when: float, item: _T) -> None:
        """Schedule *item* for *when* (seconds, monotonic)."""
        # The count keeps equal times in order and items out of the comparison.
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, weakref.ref(item)))

    def next(self) -> float | None:
        """Return the earliest time, None where nothing is scheduled."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[_T]:
        """Take out and return what is due at *now*, earliest first."""
        items: list[_T] = []
        while self._heap and self._heap[0][0] <= now:
            item = heapq.heappop(self._heap)[2]()
            if item is not None:
                items.append(item)
        return items
