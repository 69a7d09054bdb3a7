"""redis-py and FastAPI by hand: a channel per user, one task per node that hears all of them."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from redis.asyncio import Redis

from ..work import as_dict, identify
from .asgi import serve_asgi


class RedisByHand:
    """``await redis.publish()``, and a ``send_text`` for whatever is heard."""

    def __init__(self, *, token: bool, engine: str) -> None:
        self.redis: Any = Redis.from_url(engine)
        self.app = FastAPI()
        self.sockets: dict[bytes, WebSocket] = {}
        self.heard = self.redis.pubsub(ignore_subscribe_messages=True)
        self.one_at_a_time = asyncio.Lock()
        self.hearing: asyncio.Task[None] | None = None

        @self.app.websocket("/ws")
        async def endpoint(websocket: WebSocket) -> None:
            user = identify(websocket.headers.get("authorization", ""), token=token)
            await websocket.accept()
            self.sockets[user.encode()] = websocket
            async with self.one_at_a_time:  # the first of them connects, and others may not do it beside
                await self.heard.subscribe(user)
            if self.hearing is None:
                self.hearing = asyncio.create_task(self.hear())
            try:
                while True:
                    await websocket.receive_text()
            except WebSocketDisconnect:
                self.sockets.pop(user.encode(), None)
                await self.heard.unsubscribe(user)

    async def hear(self) -> None:
        """Write what is heard to the socket of its user."""
        async for message in self.heard.listen():
            websocket = self.sockets.get(message["channel"])
            if websocket is not None:
                await websocket.send_text(message["data"].decode())

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""
        await serve_asgi(self.app, listener)

    async def emit(self, user: str, n: int, size: int, /) -> None:
        """Publish one event."""
        await self.redis.publish(user, json.dumps(as_dict(user, n, size)))


make = RedisByHand
