"""
The way in of a session: the reader, the handler's inbox, a new credential.

Rule: the reader always reads; nothing the handler does blocks ``stop``, pings or
the notice of a disconnect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

from . import closing
from .errors import ConcurrencyError, PeerError, TransportClosedError
from .frames import Message
from .handshake import Credential
from .latch import resolve
from .seen import SeenIds
from .session_core import SessionCore
from .session_joining import JoiningSession
from .steps import Consumed, Received

if TYPE_CHECKING:
    from .session_home import Home
    from .streams import LiveStream
    from .typing import Transport

__all__ = ("ReadingSession",)

Reauthenticate: TypeAlias = "Callable[[Any, Credential], Coroutine[Any, Any, None]]"
"""Asks the application about a session's new credential; renews or closes the session, and raises nothing."""


class ReadingSession(JoiningSession):
    """The part of a session that hears its client. *live* is its stream, the rest as ``WritingSession``."""

    __slots__ = ("_inbox", "_inbox_ready", "_live", "_reading", "_reauthenticate")

    def __init__(self, core: SessionCore, transport: Transport, live: LiveStream, home: Home[Any]) -> None:
        super().__init__(core, transport, home)
        self._live = live
        self._inbox: list[Message] = []
        """What waits for the handler, 32 messages unless set otherwise: few enough for a list, which is smaller."""
        self._inbox_ready: asyncio.Future[None] | None = None
        self._reading = False
        self._reauthenticate: Reauthenticate | None = None

    async def _read_all(self) -> None:
        try:
            while self._core.is_open:
                text = await self._transport.receive()
                self._feed(Received(text, self._home.clock.monotonic()))
            # Closing: go on reading until cancelled, so that a peer that leaves first is noticed; serve nothing.
            while True:
                await self._transport.receive()
        except TransportClosedError as error:
            self._peer_gone(error)
        except PeerError as error:
            self._log(logging.WARNING, "the server below takes no such message", error=error)
            self._end(closing.code_of(error.close_code))
        except Exception as error:  # noqa: BLE001  # an adapter may raise anything
            # What cannot be read from may still be written to: the writer says goodbye.
            self._log(logging.ERROR, "the transport's receive() failed", error=error)
            self._end(closing.INTERNAL_ERROR)

    async def _take(self) -> Message:
        if self._reading:
            msg = f"cannot read session {self._core.connection_id}: another task is already reading it"
            raise ConcurrencyError(msg)
        self._reading = True
        try:
            while not self._inbox:
                if not self._core.is_open:
                    raise StopAsyncIteration
                self._inbox_ready = asyncio.get_running_loop().create_future()
                await self._inbox_ready
        finally:
            self._reading = False
        message = self._inbox.pop(0)
        self._feed(Consumed())
        return message

    def _deliver(self, message: Message) -> None:
        if message.type == "stop" and message.run_id is not None:
            run = self._live.runs.get(message.run_id)
            if run is not None:
                self._feed(Consumed())
                run.stop("user")
                return
        self._inbox.append(message)
        resolve(self._inbox_ready)

    def _seen(self) -> SeenIds:
        if self._live.seen is None:
            settings = self._home.settings
            self._live.seen = SeenIds(settings.message_ids, settings.message_id_seconds)
        return self._live.seen

    def _authenticate(self, credential: Credential) -> None:
        if self._reauthenticate is None:
            self._log(logging.WARNING, "a ws.refresh, and nobody here could check it")
            self._end(closing.BAD_FRAME)
            return
        work = self._reauthenticate(self, credential)
        self._refresh = asyncio.create_task(work, name=f"ws-refresh-{self._core.connection_id}")
