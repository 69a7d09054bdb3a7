"""
Every adapter on every server that can serve it: ``python -m tests.adapters.matrix`` writes what each can do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

from tests.adapters.apps import APPS
from tests.adapters.differences import IMPOSSIBLE, differences
from tests.adapters.page import page
from ws_isolation.testing.check_adapter import Adapter, AdapterReport, check_adapter, command

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = ROOT / "docs" / "reference" / "adapters.json"
PAGE: Final = RESULTS.with_suffix(".md")

PAIRINGS: Final = tuple(
    (name, server) for name, app in APPS.items() for server in app.servers if (name, server) not in IMPOSSIBLE
)
"""Adapter and server, all of them that can be."""

_AT_ONCE: Final = 2
"""Servers at the same time; each mostly waits for deadlines."""


def pairing(name: str, server: str) -> Adapter:
    """
    Return an adapter on a server, in a process of its own.
    """
    start = command(sys.executable, "-m", "tests.adapters.program", name, server, "{port}", directory=str(ROOT))
    return Adapter(name=f"{name} on {server}", start=start, differences=differences(name, server))


def results(reports: dict[tuple[str, str], AdapterReport], cycles: int) -> dict[str, Any]:
    """
    Return what was found as JSON: the checks once, and of each pairing what is otherwise.
    """
    first = next(iter(reports.values()))
    return {
        "cycles": cycles,
        "checks": {outcome.check: outcome.wanted for outcome in first.outcomes},
        "pairings": [
            {
                "adapter": name,
                "server": server,
                "differences": {
                    outcome.check: {
                        "observed": differences(name, server)[outcome.check].observed,
                        "reason": outcome.reason,
                    }
                    for outcome in report.outcomes
                    if outcome.verdict == "difference"
                },
            }
            for (name, server), report in reports.items()
        ],
        "impossible": [
            {"adapter": name, "server": server, "reason": reason} for (name, server), reason in IMPOSSIBLE.items()
        ],
    }


async def run(cycles: int) -> dict[str, Any]:
    """
    Check every pairing; raise where one fails, once all have run.
    """
    room = asyncio.Semaphore(_AT_ONCE)

    async def check(name: str, server: str) -> AdapterReport:
        async with room:
            report = await check_adapter(pairing(name, server), cycles=cycles)
        sys.stderr.write(f"{report.adapter}: {len(report.outcomes)} checks\n")
        return report

    found = await asyncio.gather(*(check(*which) for which in PAIRINGS), return_exceptions=True)
    errors = [error for error in found if isinstance(error, Exception)]
    if errors:
        msg = "the matrix has failures"
        raise ExceptionGroup(msg, errors)
    reports = {
        which: report for which, report in zip(PAIRINGS, found, strict=True) if isinstance(report, AdapterReport)
    }
    return results(reports, cycles)


def main() -> None:
    """
    Run all, then write the results and their page.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--cycles", type=int, default=1_000, help="sessions that come and go where leaks are looked for"
    )
    found = asyncio.run(run(parser.parse_args().cycles))
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(page(found))


if __name__ == "__main__":
    main()
