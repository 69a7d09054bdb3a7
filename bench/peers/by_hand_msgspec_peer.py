"""The manager written by hand, with msgspec for the JSON and ``send_text``."""

from __future__ import annotations

import socket

import msgspec
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from ..work import as_dict, identify
from .asgi import serve_asgi

_encode = msgspec.json.Encoder().encode


class ConnectionManager:
    """Who is connected."""

    def __init__(self) -> None:
        self.active_connections: dict[str, WebSocket] = {}

    async def connect(self, user: str, websocket: WebSocket) -> None:
        """Accept and enter."""
        await websocket.accept()
        self.active_connections[user] = websocket

    def disconnect(self, user: str) -> None:
        """Remove."""
        self.active_connections.pop(user, None)

    async def send_personal_message(self, message: object, user: str) -> None:
        """Send to one user."""
        websocket = self.active_connections.get(user)
        if websocket is not None:
            await websocket.send_text(_encode(message).decode())


class ByHandMsgspec:
    """FastAPI, msgspec and ``send_text``."""

    def __init__(self, *, token: bool) -> None:
        self.app = FastAPI()
        self.manager = manager = ConnectionManager()

        @self.app.websocket("/ws")
        async def endpoint(websocket: WebSocket) -> None:  # pyright: ignore[reportUnusedFunction]
            user = identify(websocket.headers.get("authorization", ""), token=token)
            await manager.connect(user, websocket)
            try:
                while True:
                    await websocket.receive_text()
            except WebSocketDisconnect:
                manager.disconnect(user)

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""
        await serve_asgi(self.app, listener)

    async def emit(self, user: str, n: int, size: int, /) -> None:
        """Send one event."""
        await self.manager.send_personal_message(as_dict(user, n, size), user)


make = ByHandMsgspec
