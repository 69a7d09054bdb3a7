"""
The adapters under test, each on an application of its framework: one line for each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import attrs

from tests.adapters.servers import ASGI, Serve, serve_aiohttp, serve_websockets
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


def litestar(factory: ManagerFactory, authenticate: Authenticate, handler: Handler) -> Any:
    """
    Return a Litestar application.
    """
    from tests.servers.frameworks import litestar_app

    return litestar_app(factory, handler, authenticate)


def quart(factory: ManagerFactory, authenticate: Authenticate, handler: Handler) -> Any:
    """
    Return a Quart application.
    """
    from tests.servers.frameworks import quart_app

    return quart_app(factory, handler, authenticate)


def channels(factory: ManagerFactory, authenticate: Authenticate, handler: Handler) -> Any:
    """
    Return a Django application with Channels.
    """
    from tests.servers.frameworks import channels_app

    return channels_app(factory, handler, authenticate)


def aiohttp(factory: ManagerFactory, authenticate: Authenticate, handler: Handler) -> Any:
    """
    Return an aiohttp application.
    """
    from tests.adapters.own_servers import Served, application

    return application(Served(factory, handler, authenticate, compress=True))


def websockets(factory: ManagerFactory, authenticate: Authenticate, handler: Handler) -> Any:
    """
    Return the options of a server of the websockets library, with the factory that runs beside it.
    """
    from ws_isolation.adapters.websockets import endpoint

    return factory, endpoint(factory, authenticate, handler, compress=True)


APPS: Final[dict[str, App]] = {
    "starlette": App(starlette, ASGI),
    "litestar": App(litestar, ASGI),
    "quart": App(quart, ASGI),
    "channels": App(channels, ASGI),
    "aiohttp": App(aiohttp, {"aiohttp": serve_aiohttp}),
    "websockets": App(websockets, {"websockets": serve_websockets}),
}
"""A new adapter is a builder above and a line here."""
