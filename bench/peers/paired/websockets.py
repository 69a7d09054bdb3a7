"""The websockets library."""

from __future__ import annotations

import json
import socket

from websockets.asyncio.server import ServerConnection, serve

from ws_isolation.adapters.websockets import endpoint

from ...work import identify
from ..waiting import for_ever
from . import ByHand, Ours


class WebsocketsByHand(ByHand):
    """``json.dumps`` and ``send``."""

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""

        async def chat(connection: ServerConnection) -> None:
            headers = {} if connection.request is None else connection.request.headers
            user = identify(headers["Authorization"], token=self.token)

            async def send_json(event: object) -> None:
                await connection.send(json.dumps(event))

            self.sockets[user] = send_json
            try:
                async for _ in connection:
                    pass
            finally:
                self.sockets.pop(user, None)

        async with serve(chat, sock=listener, compression=None):
            await for_ever()


class WebsocketsOurs(Ours):
    """The adapter."""

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""
        async with self.factory, serve(**endpoint(self.factory, self.authenticate), sock=listener):
            await for_ever()
