"""The same manager by hand on aiohttp, with its ``send_json``."""

from __future__ import annotations

import socket

from aiohttp import web

from ..work import as_dict, identify
from .waiting import for_ever


class Aiohttp:
    """Sockets by user."""

    def __init__(self, *, token: bool) -> None:
        self._token = token
        self.sockets: dict[str, web.WebSocketResponse] = {}

    async def _endpoint(self, request: web.Request) -> web.WebSocketResponse:
        user = identify(request.headers["Authorization"], token=self._token)
        websocket = web.WebSocketResponse(compress=False)
        await websocket.prepare(request)
        self.sockets[user] = websocket
        try:
            async for _ in websocket:
                pass
        finally:
            self.sockets.pop(user, None)
        return websocket

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""
        app = web.Application()
        app.router.add_get("/ws", self._endpoint)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listener, backlog=4_096).start()
        await for_ever()

    async def emit(self, user: str, n: int, size: int, /) -> None:
        """Send one event."""
        websocket = self.sockets.get(user)
        if websocket is not None:
            await websocket.send_json(as_dict(user, n, size))


make = Aiohttp
