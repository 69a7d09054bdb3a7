"""python-socketio: a room per user."""

from __future__ import annotations

import socket
from typing import Any

import socketio

from ..work import as_dict, identify
from .asgi import serve_asgi


class SocketIo:
    """``emit`` to a room of one."""

    def __init__(self, *, token: bool, manager: Any = None) -> None:
        self.server = server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*", client_manager=manager)

        @server.event
        async def connect(sid: str, environ: dict[str, Any]) -> None:
            user = identify(environ["HTTP_AUTHORIZATION"], token=token)
            await server.enter_room(sid, user)

        self.app = socketio.ASGIApp(server)

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""
        await serve_asgi(self.app, listener)

    async def emit(self, user: str, n: int, size: int, /) -> None:
        """Emit one event."""
        await self.server.emit("agent_thinking", as_dict(user, n, size), room=user)


make = SocketIo
