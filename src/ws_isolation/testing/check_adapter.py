"""
The conformance suite for adapters: what every binding of a web framework, on every server, must do.

Public, so that an adapter of one's own is proved by the same checks as the
shipped ones. It talks to a real server on loopback, over plain sockets; what a
server cannot do is named as a ``Difference``, and is a row of the report.

Source: the close behaviour of servers on unhandled paths, measured, and the
table of close codes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from ._adapter.description import Adapter, Difference, Served, StartServer, command
from ._adapter.endings import ENDINGS
from ._adapter.life import LAST, LIFE
from ._adapter.openings import OPENINGS
from ._adapter.report import AdapterCheckError, AdapterReport, Check, Outcome, Verdict, judged
from ._adapter.sizes import SIZES
from ._adapter.stage import Stage
from ._adapter.subject import AdapterSubject

__all__ = (
    "CHECKS",
    "Adapter",
    "AdapterCheckError",
    "AdapterReport",
    "AdapterSubject",
    "Difference",
    "Outcome",
    "Served",
    "StartServer",
    "Verdict",
    "check_adapter",
    "command",
)

_ALL: Final = (*ENDINGS, *OPENINGS, *SIZES, *LIFE, LAST)

CHECKS: Final[tuple[str, ...]] = tuple(check.name for check in _ALL)
"""The names of all checks, in their order."""

_CHECK_SECONDS: Final = 30.0
"""The longest that a check may take beside its cycles."""


async def check_adapter(adapter: Adapter, /, *, cycles: int = 1_000, only: Collection[str] = CHECKS) -> AdapterReport:
    """
    Prove that an adapter on its server keeps the promises about handshakes, messages and closes.

    Args:
        adapter: What to start, and in what it differs. It serves an ``AdapterSubject`` at ``/ws``.
        cycles: Sessions that come and go where leaks are looked for; 1,000 take some seconds.
        only: Names out of ``CHECKS``, to look at one.

    Returns:
        One outcome for each check: passed, or a difference as the adapter names it.

    Raises:
        AdapterCheckError: A check failed, or a named difference was not seen; it lists them, and has the report.
        ValueError: A name in *only* or in the differences is that of no check. Nothing was started.

    Cancelled, it ends what it started. Linux and macOS only: it counts descriptors in ``/dev/fd``.
    """
    unknown = sorted({*only, *adapter.differences} - set(CHECKS))
    if unknown:
        msg = f"no such check: {', '.join(unknown)}. The names are in CHECKS"
        raise ValueError(msg)
    async with adapter.start() as served:
        stage = Stage(served, cycles)
        outcomes = [
            judged(check, await _observed(check, stage), adapter.differences) for check in _ALL if check.name in only
        ]
    report = AdapterReport(adapter.name, tuple(outcomes))
    if report.failed:
        raise AdapterCheckError(report)
    return report


async def _observed(check: Check, stage: Stage) -> str:
    try:
        async with asyncio.timeout(_CHECK_SECONDS + stage.cycles / 10):
            return await check.observe(stage)
    except TimeoutError:
        return "hang"
    except (ConnectionError, asyncio.IncompleteReadError) as error:
        return str(error) if type(error) is ConnectionError else "connection lost"
