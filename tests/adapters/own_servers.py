"""
Servers that speak WebSocket themselves, one for each test, in its loop, on a free port of loopback.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeAlias

import attrs
from aiohttp import web
from websockets.asyncio import server

from tests.servers.running import Authenticate, Handler, by_token, until_gone
from ws_isolation import ManagerFactory
from ws_isolation.adapters.aiohttp import lifespan, serve
from ws_isolation.adapters.websockets import endpoint
from ws_isolation.wire import DEFAULT_WIRE, Wire


@attrs.frozen
class Served:
    """
    What is served.
    """

    factory: ManagerFactory
    handler: Handler | None = until_gone
    authenticate: Authenticate = by_token
    wire: Wire = DEFAULT_WIRE
    compress: bool = False
    send_buffer: int | None = None


Running: TypeAlias = Callable[[Served], AbstractAsyncContextManager[str]]
"""Serves until the block is left, and gives ``host:port``."""


def listening(send_buffer: int | None = None) -> socket.socket:
    """
    Return a socket that listens; *send_buffer* is inherited by what it accepts.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=1_024)
    if send_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    return listener


def address_of(listener: socket.socket) -> str:
    """
    Return ``host:port``.
    """
    return f"127.0.0.1:{listener.getsockname()[1]}"


def application(served: Served) -> web.Application:
    """
    Return an aiohttp application with one WebSocket route, ``/ws``.
    """

    async def route(request: web.Request) -> web.StreamResponse:
        return await serve(
            request, served.factory, served.authenticate, served.handler, wire=served.wire, compress=served.compress
        )

    app = web.Application()
    app.router.add_get("/ws", route)
    lifespan(app, served.factory)
    return app


@asynccontextmanager
async def by_aiohttp(served: Served) -> AsyncGenerator[str]:
    """
    Serve with aiohttp.
    """
    listener = listening(served.send_buffer)
    runner = web.AppRunner(application(served), shutdown_timeout=1)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield address_of(listener)
    finally:
        await runner.cleanup()
        listener.close()


@asynccontextmanager
async def by_websockets(served: Served) -> AsyncGenerator[str]:
    """
    Serve with the websockets library.
    """
    listener = listening(served.send_buffer)
    options = endpoint(served.factory, served.authenticate, served.handler, wire=served.wire, compress=served.compress)
    async with server.serve(**options, sock=listener), served.factory:
        yield address_of(listener)


SERVERS: Final[Mapping[str, Running]] = {"aiohttp": by_aiohttp, "websockets": by_websockets}
