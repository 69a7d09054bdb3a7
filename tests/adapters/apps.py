"""
The adapters under test, each on an application of its framework: one line for each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import attrs

from tests.adapters.servers import ASGI, Serve
from ws_isolation import Handshake, ManagerFactory, Session, UserExecutionContext

Authenticate: TypeAlias = Callable[[Handshake], Awaitable[UserExecutionContext | None]]
Handler: TypeAlias = Callable[[Session], Awaitable[None]]
Build: TypeAlias = Callable[[ManagerFactory, Authenticate, Handler], Any]
"""Returns an application with a WebSocket at ``/ws``, as a framework's users write it."""


@attrs.frozen
class App:
    """
    An adapter: how an application of its framework is built, and what can serve that.
    """

    build: Build
    servers: dict[str, Serve]


def starlette(factory: ManagerFactory, authenticate: Authenticate, handler: Handler) -> Any:
    """
    Return a Starlette application.
    """
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket

    from ws_isolation.adapters.starlette import lifespan, serve

    async def endpoint(websocket: WebSocket) -> None:
        await serve(websocket, factory, authenticate, handler)

    return Starlette(routes=[WebSocketRoute("/ws", endpoint)], lifespan=lifespan(factory))


APPS: Final[dict[str, App]] = {
    "starlette": App(starlette, ASGI),
}
"""A new adapter is a builder above and a line here."""
