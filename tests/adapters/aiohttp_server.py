"""
An aiohttp server of its own for each test, in the test's loop, on a free port of loopback.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web

from tests.servers.running import Authenticate, Handler, by_token, until_gone
from ws_isolation import ManagerFactory
from ws_isolation.adapters.aiohttp import lifespan, serve
from ws_isolation.wire import DEFAULT_WIRE, Wire


def application(
    factory: ManagerFactory,
    handler: Handler | None = until_gone,
    authenticate: Authenticate = by_token,
    *,
    wire: Wire = DEFAULT_WIRE,
    compress: bool = False,
) -> web.Application:
    """
    Return an application with one WebSocket route, ``/ws``.
    """

    async def route(request: web.Request) -> web.StreamResponse:
        return await serve(request, factory, authenticate, handler, wire=wire, compress=compress)

    app = web.Application()
    app.router.add_get("/ws", route)
    lifespan(app, factory)
    return app


@asynccontextmanager
async def running(app: web.Application, *, send_buffer: int | None = None) -> AsyncGenerator[str]:
    """
    Serve *app* until the block is left; give ``host:port``.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=1_024)
    if send_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)  # inherited by what it accepts
    runner = web.AppRunner(app, shutdown_timeout=10)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await runner.cleanup()
        listener.close()
