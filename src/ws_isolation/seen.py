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

    __slots__ = ("_most", "_seconds", "_taken")

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._taken: dict[str, tuple[float, int]] = {}
        """When each goes, and for which message it was taken. In the order of taking, which is that of going."""

    def __len__(self) -> int:
        """Return how many are kept, those whose time is over included until the next one comes."""
        return len(self._taken)

    def take(self, message_id: str, now: float, message: object, /) -> bool:
        """Note *message_id* for *message*; False where it was noted before, and is still in the window."""
        self._forget_old(now)
        if message_id in self._taken:
            return False
        if len(self._taken) >= self._most:
            del self._taken[next(iter(self._taken))]
        # The address is enough: whoever forgets still holds the message, so no other one can have it.
        self._taken[message_id] = (now + self._seconds, id(message))
        return True

    def forget(self, message_id: str, message: object, /) -> None:
        """
        Let *message_id* be taken again, if it is *message* that it was taken for; else harmless.

        One that took longer than the window, and fails at last, must not take
        back the id of the retry that succeeded meanwhile.
        """
        if self._taken.get(message_id, (0.0, None))[1] == id(message):
            del self._taken[message_id]

    def _forget_old(self, now: float) -> None:
        while self._taken:
            oldest = next(iter(self._taken))
            if now < self._taken[oldest][0]:
                return
            del self._taken[oldest]
