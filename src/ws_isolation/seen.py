"""
Which messages of an identity were taken before: the window of its idempotency keys.

Values only: the time comes in, nothing is removed by a timer. Rule: bounded in
count and age, and empty costs nothing, since most clients send no ids.
"""

from __future__ import annotations

from typing import final

__all__ = ("SeenIds",)


@final
class SeenIds:
    """
    The ids of messages that were taken lately. Lives as long as its identity's stream.

    Args:
        most: Ids that are kept; the oldest goes first.
        seconds: How long each is kept after it was taken.
    """

    __slots__ = ("_forgotten_at", "_most", "_seconds")

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._forgotten_at: dict[str, float] = {}
        """In the order in which they were taken, which is the order in which they go."""

    def __len__(self) -> int:
        """Return how many are kept, those whose time is over included until the next one comes."""
        return len(self._forgotten_at)

    def take(self, message_id: str, now: float, /) -> bool:
        """Note *message_id*; False where it was noted before, and is still in the window."""
        self._forget_old(now)
        if message_id in self._forgotten_at:
            return False
        if len(self._forgotten_at) >= self._most:
            del self._forgotten_at[next(iter(self._forgotten_at))]
        self._forgotten_at[message_id] = now + self._seconds
        return True

    def forget(self, message_id: str, /) -> None:
        """Let *message_id* be taken again; harmless when it is not known."""
        self._forgotten_at.pop(message_id, None)

    def _forget_old(self, now: float) -> None:
        while self._forgotten_at:
            oldest = next(iter(self._forgotten_at))
            if now < self._forgotten_at[oldest]:
                return
            del self._forgotten_at[oldest]
