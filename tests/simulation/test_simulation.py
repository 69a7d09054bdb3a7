"""
Thousands of schedules on the real factories keep every invariant.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

import pytest

from tests.simulation.baseline import Baseline
from tests.simulation.checker import check
from tests.simulation.life import live
from tests.simulation.replay import explain
from tests.simulation.schedule import PROFILES
from tests.simulation.world import World

CHUNKS: Final = 8
SEEDS: Final = 252
"""Of one chunk: as many of each profile."""
MET: Final = {
    *(503, 1000, 4000, 4001, 4003, 4009, 4010, 4022, 4029, 4101, 4103, 4200),
    *(4201, 4208, 4213, 4300, 4302, 4304, 4310, 4329),
}
"""Every way out that a schedule can lead to: a chunk that takes one of them nowhere proves less than it says."""


@pytest.fixture(autouse=True)
def _nobody_reads_logs() -> Iterator[None]:
    """
    Keep the library's log records of thousands of failures out of pytest's hands.
    """
    logger = logging.getLogger("ws_isolation")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(before)


@pytest.mark.scenario("S20", "S21", "S22", "S24")
@pytest.mark.requirement("P1", "P2", "P3", "P5")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_histories(chunk: int) -> None:
    """Nothing foreign, twice, out of order, lost in silence or after its authority; closes explained; nothing left."""
    baseline = Baseline()
    worlds: list[World] = []
    met: set[int] = set()
    for seed in range(chunk * SEEDS, (chunk + 1) * SEEDS):
        try:
            worlds.append(live(seed))
            check(worlds[-1])
        except AssertionError as error:
            pytest.fail(explain(seed, error), pytrace=False)
        met |= worlds[-1].closes
        if len(worlds) == 4 * len(PROFILES):
            baseline.hold(worlds)

    assert not MET - met
