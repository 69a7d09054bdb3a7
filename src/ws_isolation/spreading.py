"""
When each session of a drain closes: spread, so that the clients do not come back in one moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ("closing_delays",)

_AT_ONCE: Final = 10
"""Sessions that may close together, and a second's least number: so few clients are no storm anywhere."""


def closing_delays(jitter: Sequence[float], /, *, share: float, within: float) -> list[float]:
    """
    Return after how many seconds each session closes.

    Args:
        jitter: A number from 0 up to 1 for each session, random.
        share: The share of all sessions that may close in a second; at least 10 of them do.
        within: Seconds that the last may wait: the rate grows where it would take longer.
    """
    count = len(jitter)
    if count <= _AT_ONCE:
        return [0.0] * count
    span = min(within, count / max(_AT_ONCE, share * count))
    return [(place + part) * span / count for place, part in enumerate(jitter)]
