"""The library behind Starlette: a run per user, and ``run.thinking``."""

from __future__ import annotations

import socket

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from ws_isolation import Handshake, ManagerFactory, Settings, UserExecutionContext
from ws_isolation.adapters.starlette import lifespan, serve
from ws_isolation.backplanes.base import Backplane
from ws_isolation.run import Run

from ..work import identify, thought
from .asgi import serve_asgi


class WsIsolation:
    """Every promise on, default settings but for the time that a stalled reader gets."""

    def __init__(self, *, token: bool, backplane: Backplane | None = None) -> None:
        self.factory = factory = ManagerFactory(Settings(write_seconds=2.0), backplane=backplane)
        self.runs: dict[str, Run] = {}

        async def authenticate(handshake: Handshake) -> UserExecutionContext:
            return UserExecutionContext(user_id=identify(handshake.headers["authorization"], token=token))

        async def endpoint(websocket: WebSocket) -> None:
            await serve(websocket, factory, authenticate)

        self.app = Starlette(routes=[WebSocketRoute("/ws", endpoint)], lifespan=lifespan(factory))

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""
        await serve_asgi(self.app, listener)

    async def emit(self, user: str, n: int, size: int, /) -> None:
        """Send one event, in a run that begins with the first."""
        run = self.runs.get(user)
        if run is None:
            run = self.runs[user] = self.factory.create_manager(UserExecutionContext(user_id=user)).run("bench")
            await run.__aenter__()
        await run.thinking(thought(user, n, size))


make = WsIsolation
