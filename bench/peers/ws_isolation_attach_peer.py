"""The library alone: ``factory.attach`` with a transport that takes everything, no framework in between."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from ws_isolation import UserExecutionContext

from .ws_isolation_peer import WsIsolation


class NullTransport:
    """Takes everything at once and never says anything."""

    def __init__(self, user: str, keep: Callable[[tuple[str, str | bytes]], object]) -> None:
        self._user = user
        self._keep = keep

    async def receive(self) -> str | bytes:
        """Wait for good."""
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, text: str, /) -> None:
        """Keep what was written."""
        self._keep((self._user, text))

    async def close(self, code: int, reason: str, /) -> None:
        """Nothing to close."""

    def abort(self) -> None:
        """Nothing to drop."""


class WsIsolationAttach(WsIsolation):
    """Sessions on null transports."""

    async def serve(self, listener: socket.socket, /) -> None:
        """Refuse: it has no server."""
        msg = "attach() is measured without sockets only"
        raise NotImplementedError(msg)

    async def attach(self, user: str, keep: Callable[[tuple[str, str | bytes]], object], /) -> None:
        """Hold one session until cancelled."""
        async with self.factory.attach(UserExecutionContext(user_id=user), NullTransport(user, keep)):
            await asyncio.Event().wait()


make = WsIsolationAttach
