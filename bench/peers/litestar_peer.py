"""Litestar's channels plugin with its memory backend: a channel per user, a backlog as the documentation advises."""

from __future__ import annotations

import socket
from typing import Any

from litestar import Litestar, WebSocket, websocket
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.exceptions import WebSocketDisconnect

from ..work import as_dict, identify
from .asgi import serve_asgi


class LitestarChannels:
    """``publish`` to a channel, ``run_in_background`` to the socket."""

    def __init__(self, *, token: bool) -> None:
        self.channels = ChannelsPlugin(
            backend=MemoryChannelsBackend(), arbitrary_channels_allowed=True, subscriber_max_backlog=1_000
        )

        @websocket("/ws")
        async def endpoint(socket: WebSocket[Any, Any, Any], channels: ChannelsPlugin) -> None:
            user = identify(socket.headers["authorization"], token=token)
            await socket.accept()
            async with (
                channels.start_subscription([user]) as subscriber,
                subscriber.run_in_background(socket.send_text),
            ):
                try:
                    while True:
                        await socket.receive_text()
                except WebSocketDisconnect:
                    return

        self.app = Litestar([endpoint], plugins=[self.channels])

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""
        await serve_asgi(self.app, listener)

    async def emit(self, user: str, n: int, size: int, /) -> None:
        """Publish one event."""
        self.channels.publish(as_dict(user, n, size), [user])


make = LitestarChannels
