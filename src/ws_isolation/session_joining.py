"""
The way onto the stream: a session waits for the engine, as long as it is open and as its patience lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from .session_core import SessionCore
from .session_ending import EndingSession
from .steps import Joined, PeerGone

if TYPE_CHECKING:
    from .session_home import Home
    from .stream import Cursor, Gap, Resumed
    from .typing import Transport

__all__ = ("JoiningSession",)


class JoiningSession(EndingSession):
    """The part of a session that the factory opens it by. Its arguments are those of ``WritingSession``."""

    __slots__ = ("_interrupt",)

    def __init__(self, core: SessionCore, transport: Transport, home: Home[Any]) -> None:
        super().__init__(core, transport, home)
        self._interrupt: Callable[[], None] | None = None
        """Stops waiting for the engine, while that goes on."""

    async def join(self, answer: Awaitable[tuple[Cursor, Resumed | Gap | None]], seconds: float, /) -> None:
        """
        Wait until *answer* says where the stream stands. For the factory, not for handlers.

        Returns early when the session ends meanwhile; what is published meanwhile is kept for it.

        Raises:
            TimeoutError: There was no answer for so many seconds. The session is as it was.
        """
        loop, clock = asyncio.get_running_loop(), self._home.clock
        try:
            async with asyncio.timeout(None) as patience:

                def interrupt() -> None:
                    if not patience.expired():  # a second reason may come before the first is heard in here
                        patience.reschedule(loop.time())

                self._interrupt = interrupt
                timer = clock.call_at(clock.monotonic() + seconds, interrupt)
                try:
                    top, came_to = await answer
                finally:
                    timer.cancel()
                    self._interrupt = None
        except TimeoutError:
            if self._core.is_open:
                raise
        else:
            self._feed(Joined(top, came_to, clock.monotonic()))

    def abandon(self) -> None:
        """Take the session off its stream, and leave its socket alone. For the factory, not for handlers."""
        self._feed(PeerGone(1006))
        self._closed()

    def _stop_joining(self) -> None:
        if self._interrupt is not None:
            self._interrupt()
