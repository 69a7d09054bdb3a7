"""Quart."""

from __future__ import annotations

import socket

from quart import Quart, websocket

from ws_isolation.adapters.quart import lifespan, serve

from ...work import identify
from ..asgi import serve_asgi
from . import ByHand, Ours


class QuartByHand(ByHand):
    """``send_json`` of its socket."""

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""
        app = Quart(__name__)

        async def chat() -> None:
            user = identify(websocket.headers["Authorization"], token=self.token)
            await websocket.accept()
            # The socket itself: the name stands for another one in every task.
            self.sockets[user] = websocket._get_current_object().send_json  # noqa: SLF001  # as Quart's own chat does
            try:
                while True:
                    await websocket.receive()
            finally:
                self.sockets.pop(user, None)

        app.add_websocket("/ws", view_func=chat)
        await serve_asgi(app, listener)


class QuartOurs(Ours):
    """The adapter."""

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""
        app = Quart(__name__)
        app.while_serving(lifespan(self.factory))

        async def chat() -> None:
            await serve(self.factory, self.authenticate)

        app.add_websocket("/ws", view_func=chat)
        await serve_asgi(app, listener)
