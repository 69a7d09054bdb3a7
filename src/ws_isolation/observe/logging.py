"""
An observer that writes to the log: a summary now and then, and at once what somebody should look at.

Rule 1: the names in a record are a small fixed set; no id, name or payload is
among them, since none reaches a hook. Rule 2: no timer and no task: what is due
is written with the next call of any hook. Rule 3: a storm is one line; each
kind of warning is written once per period, and counted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from ..closing import SLOW_CONSUMER
from ..errors import SettingsError, shown
from ..observing import Observer
from ..oplog import report

if TYPE_CHECKING:
    from ..observing import Outcome, SpanName

__all__ = ("LoggingObserver",)

_MOST_NAMES: Final = 200
"""Names in one summary. The library has fewer; whatever feeds more does not fill the memory."""


@final
class LoggingObserver(Observer):
    """
    Writes what the hooks say to the logger ``ws_isolation``.

    At INFO ``summary``, with the counts and the longest times since the one
    before. At WARNING, with the first of its kind since the last summary: a
    gap, a slow consumer, a foreign event, a slow write, a late event loop.

    Args:
        every_seconds: Seconds between two summaries at least, 0 to 86,400; the
            end of a drain writes one as well. Nothing is written while nothing happens.
        slow_write_seconds: A write that takes longer is worth a warning, 0 to 600.
        lag_seconds: An event loop that is later is worth a warning, 0 to 600.
        monotonic: Where its time comes from; ``time.monotonic`` if absent.

    Raises:
        SettingsError: A number is out of its bounds.

    Source: the numbers are starting points of ours; 0.25 s is what a user notices.
    """

    __slots__ = ("_counts", "_due", "_every_seconds", "_lag_seconds", "_longest", "_monotonic", "_slow_write_seconds")

    def __init__(
        self,
        *,
        every_seconds: float = 60.0,
        slow_write_seconds: float = 1.0,
        lag_seconds: float = 0.25,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        _check("every_seconds", every_seconds, 86_400)
        _check("slow_write_seconds", slow_write_seconds, 600)
        _check("lag_seconds", lag_seconds, 600)
        self._every_seconds = every_seconds
        self._slow_write_seconds = slow_write_seconds
        self._lag_seconds = lag_seconds
        self._monotonic = monotonic
        self._due = monotonic() + every_seconds
        self._counts: dict[str, int] = {}
        self._longest: dict[str, float] = {}

    def flush(self) -> None:
        """Write the summary now, where there is something to write, and begin to count anew."""
        counts, longest = self._counts, self._longest
        self._counts, self._longest = {}, {}
        self._due = self._monotonic() + self._every_seconds
        if counts:
            fields: dict[str, object] = dict(sorted(counts.items()))
            fields |= {f"{name}.max_ms": round(seconds * 1_000, 3) for name, seconds in sorted(longest.items())}
            report(logging.INFO, "summary", error=None, **fields)

    def session_opened(self) -> None:
        """Count it."""
        self._count("sessions.opened")

    def session_closed(self, code: int | None, /) -> None:
        """Count it by its code; warn of a slow consumer."""
        name = f"sessions.closed.{'peer_left' if code is None else code}"
        if self._count(name) and code == SLOW_CONSUMER.code:
            report(logging.WARNING, "a client read more slowly than its events came", code=code)

    def handshake_refused(self, code: int, /) -> None:
        """Count it by its code or status."""
        self._count(f"refused.{code}")

    def event_published(self, event_type: str, /, *, durable: bool) -> None:
        """Count it by its type and class."""
        self._count(f"events.{'durable' if durable else 'delta'}.{event_type}")

    def coalesced(self, event_type: str, /) -> None:
        """Count it by its type."""
        self._count(f"coalesced.{event_type}")

    def gap(self, reason: str, sessions: int, /) -> None:
        """Count it by its reason, and warn."""
        if self._count(f"gaps.{reason}"):
            report(logging.WARNING, f"a gap: {reason}", sessions=sessions)
        self._count("gaps.sessions", sessions)

    def replayed(self, count: int, /) -> None:
        """Count the client and its events."""
        self._count("resumed")
        self._count("replayed.events", count)

    def write_time(self, seconds: float, /) -> None:
        """Count it, keep the longest, warn of a slow one."""
        self._timed("writes", seconds)
        if seconds > self._slow_write_seconds and self._count("writes.slow"):
            report(logging.WARNING, "a write was slow", seconds=round(seconds, 3))

    def foreign(self) -> None:
        """Count it, and warn."""
        if self._count("foreign"):
            report(logging.WARNING, "an event of somebody else was held back at the last hop: report this defect")

    def loop_lag(self, seconds: float, /) -> None:
        """Count it, keep the longest, warn of a late one."""
        self._timed("lag", seconds)
        if seconds > self._lag_seconds and self._count("lag.late"):
            report(logging.WARNING, "the event loop was late: something blocks it", seconds=round(seconds, 3))

    def span_ended(self, name: SpanName, seconds: float, outcome: Outcome, /) -> None:
        """Count it by its name and outcome, keep the longest; a drain writes the summary."""
        self._timed(f"{name}.{outcome}", seconds)
        if name == "drain":
            self.flush()

    def _timed(self, name: str, seconds: float) -> None:
        self._count(name)
        if name in self._counts:
            self._longest[name] = max(seconds, self._longest.get(name, 0.0))

    def _count(self, name: str, number: int = 1) -> bool:
        """Count, after the summary that was due; return whether it is the first of its kind since then."""
        if self._monotonic() >= self._due:
            self.flush()
        before = self._counts.get(name)
        if before is None and len(self._counts) >= _MOST_NAMES:
            name = "other"
            before = self._counts.get(name)
        self._counts[name] = (before or 0) + number
        return before is None


def _check(name: str, value: object, most: float) -> None:
    if type(value) not in (int, float) or not 0 <= value <= most:  # type: ignore[operator]  # the first test says so
        msg = f"{name}={shown(value)} must be a number from 0 to {most:g}"
        raise SettingsError(msg)
