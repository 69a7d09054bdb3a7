"""
The way out: how a session ends, whatever ended it.

Rule 1: one place maps what happened to a code. Rule 2: every task has an owner
that awaits it, within a bounded time; a cancellation meanwhile waits its turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from . import closing
from .errors import AccessError, ContextExpiredError, EngineUnavailableError, PeerError
from .finishing import finish
from .latch import Latch, resolve
from .session_core import SessionCore
from .session_writing import WritingSession
from .stopping import CANCEL_PREFIX

if TYPE_CHECKING:
    from .session_home import Home
    from .typing import Transport

__all__ = ("EndingSession",)

_SPOKEN: Final = (AccessError, ContextExpiredError, EngineUnavailableError, PeerError)
"""Errors that say themselves with which code a session ends."""


class EndingSession(WritingSession):
    """The part of a session that leads to its end. Its arguments are those of ``WritingSession``."""

    __slots__ = ("_callbacks", "_done", "_ended", "_handler", "_refresh", "_waited")

    def __init__(self, core: SessionCore, transport: Transport, home: Home[Any]) -> None:
        super().__init__(core, transport, home)
        self._callbacks: list[Callable[[], Awaitable[None] | None]] = []
        self._ended = Latch()
        """Set when the session begins to end, whatever the way out."""
        self._done = Latch()
        """Set when the transport is closed."""
        self._handler: asyncio.Task[None] | None = None
        self._refresh: asyncio.Task[None] | None = None
        self._waited = False
        """Whether somebody waited for a message when the session ended."""

    @property
    def cancel_reason(self) -> str:
        """With what a handler is cancelled whose session has ended. For routers, not for handlers."""
        return CANCEL_PREFIX + ("shutdown" if self._home.is_draining else "disconnect_policy")

    def end_by(self, error: BaseException | None, /) -> None:
        """End the session as *error* says: the one place that maps what happened to a code. Not for handlers."""
        if not self._core.is_open:
            return  # the first recorded end decides
        if error is None:
            self._end(closing.NORMAL)
        elif isinstance(error, asyncio.CancelledError):
            draining = self._home.is_draining
            self._log(logging.INFO if draining else logging.WARNING, "session cancelled")
            self._end(closing.DRAIN if draining else closing.INTERNAL_ERROR)
        else:
            self._log(logging.ERROR, "the handler failed", error=error)
            spoken = error.close_code if isinstance(error, _SPOKEN) else None
            self._end(closing.INTERNAL_ERROR if spoken is None else closing.code_of(spoken))

    async def leave(self) -> None:
        """
        Wait until everything of the session is closed. Not for handlers.

        Bounded: the core cuts a goodbye that cannot be written, and the
        handler's grace is finite. A cancellation meanwhile waits its turn.
        """
        await finish(self._close_everything())

    def _cancel_io(self) -> None:
        for task in self._io:
            task.cancel()

    async def _close_everything(self) -> None:
        try:
            await self._end_handler()
            await self._end_io()
            while self._callbacks:
                await self._call_back(self._callbacks.pop())
        finally:
            self._closed()
        code = None if self._core.code is None else self._core.code.slug
        self._log(logging.INFO, f"session closed: {code or 'the peer left'}")

    def _closed(self) -> None:
        self._home.session_closed(self)
        self._done.set()

    async def _end_handler(self) -> None:
        task = self._handler
        if task is None or task.done():
            return
        # One that waited for a message was woken instead, and may return by itself.
        if not self._waited or not await self._wait_for(task):
            await self._cancel(task, "the handler")

    async def _end_io(self) -> None:
        for writer in self._io[:1]:
            await self._wait_for(writer)
        for task in self._io:
            await self._cancel(task, "the transport")
        if self._refresh is not None:
            await self._cancel(self._refresh, "authenticate()")

    async def _call_back(self, callback: Callable[[], Awaitable[None] | None]) -> None:
        task = asyncio.create_task(self._called_back(callback), name=f"ws-on-end-{self._core.connection_id}")
        if not await self._wait_for(task):
            await self._cancel(task, "a callback of on_end()")

    async def _called_back(self, callback: Callable[[], Awaitable[None] | None]) -> None:
        try:
            result = callback()
            if result is not None:
                await result
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # it must not stop the other callbacks
            self._log(logging.ERROR, "a callback of on_end() failed", error=error)

    async def _cancel(self, task: asyncio.Task[None], what: str) -> None:
        """Cancel *task* twice at most, since the first time may be caught, and wait each time."""
        for _ in range(2):
            if task.done():
                return
            task.cancel(self.cancel_reason)
            if await self._wait_for(task):
                return
        self._log(logging.ERROR, f"{what} ignores its cancellation")

    async def _wait_for(self, task: asyncio.Task[None]) -> bool:
        """Wait for *task* as long as the handler's grace; tell whether it is done."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        clock = self._home.clock
        # Twice the time for goodbye: the core cuts a stalled one first.
        timer = clock.call_at(clock.monotonic() + 2 * self._home.grace_seconds, lambda: resolve(over))
        try:
            await asyncio.wait({task, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        return task.done()
