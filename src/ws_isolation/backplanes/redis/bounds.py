"""
How long and how much waits for an engine.
"""

from __future__ import annotations

from typing import final

import attrs

__all__ = ("Bounds",)


@final
@attrs.frozen
class Bounds:
    """
    How long and how much waits for the engine.

    Attributes:
        answer_seconds: An engine that takes longer loses the connection.
        send_seconds: How long one call waits in all.
        jobs: Calls that may wait.
        size: Their bytes.
    """

    answer_seconds: float = 2.0
    send_seconds: float = 5.0
    jobs: int = 10_000
    size: int = 33_554_432

    @property
    def tick_seconds(self) -> float:
        """How often it is looked who waits too long."""
        return min(self.answer_seconds, self.send_seconds) / 4
