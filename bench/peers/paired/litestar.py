"""Litestar."""

from __future__ import annotations

import socket
from typing import Any

from litestar import Litestar, WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect

from ws_isolation.adapters.litestar import endpoint, lifespan

from ...work import identify
from ..asgi import serve_asgi
from . import ByHand, Ours


class LitestarByHand(ByHand):
    """``send_json`` of its socket."""

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""

        @websocket("/ws")
        async def chat(socket: WebSocket[Any, Any, Any]) -> None:
            user = identify(socket.headers["authorization"], token=self.token)
            await socket.accept()
            self.sockets[user] = socket.send_json
            try:
                while True:
                    await socket.receive_text()
            except WebSocketDisconnect:
                self.sockets.pop(user, None)

        await serve_asgi(Litestar([chat], logging_config=None, openapi_config=None), listener)


class LitestarOurs(Ours):
    """The adapter."""

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""
        route = endpoint("/ws", self.factory, self.authenticate)
        app = Litestar([route], lifespan=[lifespan(self.factory)], logging_config=None, openapi_config=None)
        await serve_asgi(app, listener)
