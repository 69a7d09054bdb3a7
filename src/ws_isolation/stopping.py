"""
Leaving a block from outside, as ``asyncio.timeout()`` does it by time.

Rule: a cancellation that was asked for here ends here; anybody else's goes on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast, final

if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = ("CANCEL_PREFIX", "Stopping")

CANCEL_PREFIX: Final = "ws_isolation:"
"""How a cancellation says its reason: ``task.cancel("ws_isolation:shutdown")``."""

_Task: TypeAlias = "asyncio.Task[Any]"


@final
class Stopping:
    """
    How one block can be stopped. Lives as long as the block.

    Attributes:
        reason: The first one that ``stop`` was called with; None until then.
    """

    __slots__ = ("_early", "_inside", "_task", "_to_uncancel", "_uncancelled", "reason")

    def __init__(self) -> None:
        self.reason: str | None = None
        self._early: str | None = None
        self._task: _Task | None = None
        self._inside = False
        self._uncancelled = 0
        self._to_uncancel = False

    def enter(self) -> None:
        """Note that the running task is in the block now; one that was stopped before is left at its first await."""
        self._task = cast("_Task", asyncio.current_task())  # whoever awaits in asyncio is a task
        # Who cleans up after a cancellation may enter a block of its own.
        self._uncancelled = self._task.cancelling()
        self._inside = True
        if self._early is not None:
            self._cancel(self._task, self._early)

    def stop(self, reason: str, /) -> None:
        """
        Let the block be left by a cancellation; harmless when nobody is in it any more, and when called twice.

        Called before anybody is in it, it counts from then on.

        Raises:
            CancelledError: Called by the task in the block itself: the block is left here.
        """
        if self._task is None:
            self._early = self._early or reason
            return
        if not self._inside or self.reason is not None or self._task.done():
            return
        if self._task is asyncio.current_task():
            self.reason = reason
            # cancel() on oneself strikes at the next suspension, which may lie after the block.
            raise asyncio.CancelledError(CANCEL_PREFIX + reason)
        self._cancel(self._task, reason)

    def _cancel(self, task: _Task, reason: str) -> None:
        self.reason = reason
        self._to_uncancel = True
        task.cancel(CANCEL_PREFIX + reason)

    def leave(self) -> None:
        """Note that the block is being left: from now on ``stop`` does nothing."""
        self._inside = False

    def swallows(self, error: BaseException | None, /) -> bool:
        """Take the own cancellation back; tell whether *error*, by which the block was left, is that one alone."""
        if self._task is None or self.reason is None:
            return False
        remaining = self._task.uncancel() if self._to_uncancel else self._task.cancelling()
        return remaining <= self._uncancelled and isinstance(error, asyncio.CancelledError)
