"""
Soak as a command: ``python -m tests.soak``. 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from tests.soak.driver import ALL, Plan, soak


def main() -> int:
    """
    Run one soak and print what came of it.
    """
    parser = argparse.ArgumentParser(description="Several workers on one engine, through kills of both.")
    parser.add_argument("--sessions", type=int, default=Plan().sessions)
    parser.add_argument("--seconds", type=float, default=Plan().seconds)
    parser.add_argument("--rate", type=float, default=Plan().rate, help="sends per second, over all users")
    parser.add_argument("--pause", type=float, default=Plan().pause, help="seconds between two faults")
    parser.add_argument("--faults", nargs="+", choices=sorted(set(ALL)), default=list(ALL))
    parser.add_argument("--broken", choices=("", "silent", "counting"), default="")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that every process ends with this one
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(
            sessions=given.sessions,
            seconds=given.seconds,
            rate=given.rate,
            pause=given.pause,
            faults=tuple(given.faults),
            broken=given.broken,
        )
        outcome = asyncio.run(soak(plan, Path(folder)))
    sys.stdout.write("\n".join([*outcome.lines(), ""]))
    return int(bool(outcome.bad))


if __name__ == "__main__":
    sys.exit(main())
