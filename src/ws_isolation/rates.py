"""
How many messages are too many: token buckets, time as a value.
"""

from __future__ import annotations

from typing import Final, final

__all__ = ("TokenBucket",)

_MINUTE: Final = 60.0


@final
class TokenBucket:
    """
    A rate with room for bursts. Lives as long as what it bounds: a session, or an identity's stream.

    Args:
        per_minute: Tokens that come back in a minute.
        burst: Tokens that it holds at most, and holds when it is new.
        now: Seconds, monotonic.
    """

    __slots__ = ("_at", "_burst", "_tokens", "per_minute")

    def __init__(self, *, per_minute: float, burst: int, now: float) -> None:
        self.per_minute: float = per_minute
        self._burst = float(burst)
        self._tokens = self._burst
        self._at = now

    def take(self, now: float, /) -> bool:
        """Take a token; False where there is none, and nothing was taken."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self.per_minute / _MINUTE)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
