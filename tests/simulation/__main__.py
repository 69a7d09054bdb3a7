"""
More schedules than the suite runs, or one of them alone: ``python -m tests.simulation --seeds 10000``.
"""

# A command talks to its terminal.
# ruff: noqa: T201

from __future__ import annotations

import argparse
import logging
import sys

from tests.simulation.checker import check
from tests.simulation.life import live
from tests.simulation.replay import explain


def main() -> int:
    """
    Run schedules; 1, and the seeds that break an invariant, where one does.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="print the whole history")
    given = parser.parse_args()
    logging.getLogger("ws_isolation").setLevel(logging.CRITICAL + 1)
    failed = 0
    for seed in range(given.first, given.first + given.seeds):
        try:
            world = live(seed)
            if given.show:
                print(*world.history.entries, sep="\n")
            check(world)
        except AssertionError as error:
            failed += 1
            print(explain(seed, error))
    print(f"{given.seeds} schedules: {failed or 'none'} broke an invariant")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
