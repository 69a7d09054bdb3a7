"""What a session asks of the factory that it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from .hooks import Guard, Span
    from .observing import SpanName
    from .settings import Settings
    from .streams import LiveStream
    from .typing import Clock

__all__ = ("Home",)

_T = TypeVar("_T")
_Session_contra = TypeVar("_Session_contra", contravariant=True)


class Home(Protocol[_Session_contra]):
    """The factory, as its sessions see it."""

    @property
    def clock(self) -> Clock:
        """Where time comes from."""
        ...

    @property
    def is_draining(self) -> bool:
        """Whether the factory is stopping."""
        ...

    @property
    def settings(self) -> Settings:
        """The bounds."""
        ...

    @property
    def grace_seconds(self) -> float:
        """Seconds that a handler may take to return once its client is gone."""
        ...

    def schedule(self, when: float, session: _Session_contra, /) -> None:
        """Call ``session.due()`` at *when* at the latest."""
        ...

    def start_work(
        self, live: LiveStream, work: Coroutine[Any, Any, _T], name: str | None, failed: Callable[[str], None], /
    ) -> asyncio.Task[_T]:
        """Start work that belongs to the identity."""
        ...

    def session_ended(self, live: LiveStream, session: _Session_contra, /) -> None:
        """Take the session off its stream."""
        ...

    def session_closed(self, session: _Session_contra, /) -> None:
        """Note that the transport of a session that has ended is closed."""
        ...

    def count_foreign(self) -> None:
        """Count an envelope that the last hop held back."""
        ...

    @property
    def observer(self) -> Guard | None:
        """Who is told of what happens; None where nobody is. Calling it is safe."""
        ...

    def span(self, name: SpanName, /) -> Span:
        """Return a stopwatch for a block."""
        ...
