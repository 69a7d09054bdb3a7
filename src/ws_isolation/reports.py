"""
What a factory says of itself: whether it can serve, and what it counts.
"""

from __future__ import annotations

from typing import final

import attrs

from .errors import SettingsError

__all__ = ("FactoryStats", "Report")


@final
@attrs.frozen
class Report:
    """
    What ``self_check()`` found. It made nothing.

    Attributes:
        problems: What must be mended before users come; empty when all is well.
        version: The library's version.
        notes: What holds for this process alone, because the backplane cannot do it for all, and what the backplane
            says ought to be mended; no problem by itself.
    """

    problems: tuple[str, ...]
    version: str
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def raise_for_problems(self) -> None:
        """
        Raise when there is a problem; for a start-up that should fail early.

        Raises:
            SettingsError: Lists every problem.
        """
        if self.problems:
            raise SettingsError("; ".join(self.problems))


@final
@attrs.frozen
class FactoryStats:
    """
    Counts of a whole factory, for metrics: no id in it.

    Attributes:
        sessions: Open sessions.
        streams: Streams in memory.
        work: Spawned tasks that go on.
        pending: Handshakes that are not authenticated yet.
        foreign: Envelopes that the last hop held back; anything but 0 is a defect.
        closes: Ended handshakes and sessions by close code or HTTP status.
        hook_failures: Calls in which the observer raised.
    """

    sessions: int
    streams: int
    work: int
    pending: int
    foreign: int
    closes: dict[int, int]
    hook_failures: int = 0
