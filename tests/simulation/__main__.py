"""
More schedules than the suite runs: ``python -m tests.simulation --seeds 10000``.
"""

from __future__ import annotations

import argparse
import asyncio

from tests.simulation.checker import check
from tests.simulation.world import live


async def _run(first: int, seeds: int) -> None:
    for seed in range(first, first + seeds):
        try:
            check(await live(seed))
        except AssertionError:
            print(f"seed {seed}")  # noqa: T201  # what a program is asked for
            raise


def main() -> None:
    """
    Run schedules, and raise with the seed of the first that breaks an invariant.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    asyncio.run(_run(options.first, options.seeds))
    print(f"{options.seeds} schedules: every invariant held")  # noqa: T201  # the same


if __name__ == "__main__":
    main()
