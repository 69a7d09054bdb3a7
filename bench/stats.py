"""
Numbers of a run: medians, spread, and ratios that are taken inside a round.

Pure. A machine's speed drifts within minutes; two figures of one round drift together.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Summary(NamedTuple):
    """The median of some rounds, the least and the greatest of them, and how many there were."""

    median: float
    low: float
    high: float
    rounds: int


def summary(values: Sequence[float], /) -> Summary:
    """
    Return median and spread.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        msg = "no round has a value: nothing can be said of it"
        raise ValueError(msg)
    return Summary(statistics.median(values), min(values), max(values), len(values))


def percentile(values: Sequence[float], share: float, /) -> float:
    """
    Return the least value that at least *share* (0 to 1) of the values do not exceed; nearest rank.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        msg = "no values: there is no percentile"
        raise ValueError(msg)
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def ratios(rounds: Sequence[Mapping[str, float]], name: str, base: str, /) -> list[float]:
    """Return *name* divided by *base* for each round that has both; a base of 0 has no ratio."""
    return [one[name] / one[base] for one in rounds if name in one and one.get(base)]
