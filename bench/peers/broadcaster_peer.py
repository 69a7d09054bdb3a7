"""broadcaster with its memory backend, as its README shows it with Starlette."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from broadcaster import Broadcast
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from ..work import as_dict, identify
from .asgi import serve_asgi


class Broadcaster:
    """A channel per user."""

    def __init__(self, *, token: bool) -> None:
        self.broadcast = broadcast = Broadcast("memory://")

        async def endpoint(websocket: WebSocket) -> None:
            user = identify(websocket.headers["authorization"], token=token)
            await websocket.accept()
            async with broadcast.subscribe(channel=user) as subscriber:
                async for event in subscriber:
                    await websocket.send_text(event.message)

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
            await broadcast.connect()
            yield
            await broadcast.disconnect()

        self.app = Starlette(routes=[WebSocketRoute("/ws", endpoint)], lifespan=lifespan)

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""
        await serve_asgi(self.app, listener)

    async def emit(self, user: str, n: int, size: int, /) -> None:
        """Publish one event."""
        await self.broadcast.publish(channel=user, message=json.dumps(as_dict(user, n, size)))


make = Broadcaster
