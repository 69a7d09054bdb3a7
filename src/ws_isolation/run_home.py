"""What a run asks of the manager that it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from .context import UserExecutionContext
    from .delivery import Delivery
    from .events import Event
    from .observing import Outcome

__all__ = ("RunWatch", "SendAtOnce", "Sender", "WatchedRun")

SendAtOnce: TypeAlias = "Callable[[Event], Delivery | None]"
"""Does the same as ``Sender.send`` without waiting; returns None, with nothing done, where it would have to."""


class WatchedRun(Protocol):
    """A run, as its manager's side finds it."""

    @property
    def id(self) -> str:
        """The run's id."""
        ...

    def stop(self, reason: str = "user", /) -> None:
        """Cancel what the run is doing; it ends as ``agent_cancelled``."""
        ...


class Sender(Protocol):
    """What a run needs of its manager."""

    @property
    def context(self) -> UserExecutionContext:
        """The context that the run acts for."""
        ...

    async def send(self, event: Event, /) -> Delivery:
        """Append *event* to the stream of the context's identity."""
        ...


class RunWatch(Protocol):
    """Who wants to know when a run opens and ends."""

    def run_opened(self, run: WatchedRun, /) -> None:
        """Note that ``agent_started`` was sent."""
        ...

    def run_ended(self, run: WatchedRun, seconds: float, outcome: Outcome, /) -> None:
        """Note that the run's end was sent or could not be sent, how long it took and what end it was."""
        ...
