"""
How long to wait before the next attempt at an engine that is away.
"""

from __future__ import annotations

from typing import Final

__all__ = ("delay",)

_FIRST_SECONDS: Final = 0.05
_MOST_SECONDS: Final = 1.0
_MOST_DOUBLINGS: Final = 10


def delay(attempt: int, fraction: float, /) -> float:
    """
    Return the seconds to wait: anything up to 50 ms at first, up to a second in the end.

    Spread over the whole, so that the nodes do not come back all at once.

    Args:
        attempt: How many have failed, from 0.
        fraction: A random number from 0 to 1.
    """
    most: float = _FIRST_SECONDS * 2 ** min(attempt, _MOST_DOUBLINGS)
    return fraction * min(_MOST_SECONDS, most)
