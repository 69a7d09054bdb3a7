"""``websockets`` and its ``broadcast``, which never waits for a reader: to one socket, as each has its own event."""

from __future__ import annotations

import json
import socket

from websockets.asyncio.server import ServerConnection, broadcast, serve

from ..work import as_dict, identify


class WebsocketsBroadcast:
    """Connections by user."""

    def __init__(self, *, token: bool) -> None:
        self._token = token
        self.connections: dict[str, ServerConnection] = {}

    async def _handle(self, connection: ServerConnection) -> None:
        request = connection.request
        user = identify(request.headers["Authorization"] if request else "", token=self._token)
        self.connections[user] = connection
        try:
            await connection.wait_closed()
        finally:
            self.connections.pop(user, None)

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""
        async with serve(self._handle, sock=listener, compression=None, backlog=4_096) as server:
            await server.serve_forever()

    async def emit(self, user: str, n: int, size: int, /) -> None:
        """Send one event."""
        connection = self.connections.get(user)
        if connection is not None:
            broadcast([connection], json.dumps(as_dict(user, n, size)))


make = WebsocketsBroadcast
