"""
The adapter for aiohttp.

``serve`` runs a session in a route's handler, ``lifespan`` gives the factory an
orderly end, ``manager`` hands an HTTP handler the manager of its own user.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING

from ..errors import MissingExtraError
from ..serving import Authenticate, serve_opening
from ..wire import DEFAULT_WIRE, Wire
from ._requests import Refused, manager_of

try:
    from aiohttp import web

    from ._aiohttp import AiohttpOpening, handshake_of
except ImportError as _error:
    _MESSAGE = "the aiohttp adapter needs aiohttp. Install it with: pip install 'ws-isolation[aiohttp]'"
    raise MissingExtraError(_MESSAGE) from _error

if TYPE_CHECKING:
    from ..factory import ManagerFactory
    from ..manager import IsolatedManager
    from ..session import Handler

__all__ = ("lifespan", "manager", "serve")

_REFUSALS = {401: web.HTTPUnauthorized, 403: web.HTTPForbidden, 503: web.HTTPServiceUnavailable}


async def serve(
    request: web.Request,
    factory: ManagerFactory,
    authenticate: Authenticate,
    handler: Handler | None = None,
    /,
    *,
    wire: Wire = DEFAULT_WIRE,
    compress: bool = False,
) -> web.StreamResponse:
    """
    Serve one WebSocket from its handshake to goodbye; its answer is what the route returns.

    Returns when it is closed, whatever happened; what went wrong is in the log
    of ``ws_isolation``. A request that asks for no WebSocket gets 426.

    Args:
        request: aiohttp's, not answered yet.
        factory: The application's factory.
        authenticate: Returns the context of the handshake, or refuses.
        handler: Run for the session; without one, clients only receive.
        wire: How the client is spoken to.
        compress: Whether to agree to permessage-deflate. It costs memory for
            each socket, and the size of what is compressed can tell on secrets in it.

    Returns:
        What the route's handler has to return.

    Cancelling it closes the socket with 4200 during a drain, else 4300.
    """
    opening = AiohttpOpening(request, factory.settings, compress=compress)
    if not opening.is_websocket:
        return web.Response(status=426, headers={"Upgrade": "websocket", "Sec-WebSocket-Version": "13"})
    await serve_opening(opening, factory, authenticate, handler, wire)
    return await opening.leave()


def lifespan(app: web.Application, factory: ManagerFactory, /) -> None:
    """
    Let *factory* begin and end with *app*: ``lifespan(app, factory)`` before the application runs.

    On shutdown aiohttp stops to listen, then every session is drained with 4200, and only then does
    aiohttp wait for its handlers; so sockets are told whatever the signal or the runner.
    An application that has a ``cleanup_ctx`` of its own writes ``async with factory:`` there, and adds
    ``factory.drain()`` to its ``on_shutdown``.
    """

    async def running(_app: web.Application) -> AsyncGenerator[None]:
        async with factory:
            yield

    async def drain(_app: web.Application) -> None:
        await factory.drain()

    app.cleanup_ctx.append(running)
    app.on_shutdown.append(drain)


def manager(
    factory: ManagerFactory, authenticate: Authenticate, /
) -> Callable[[web.BaseRequest], Awaitable[IsolatedManager]]:
    """
    Return what gives an HTTP handler the manager of its own user: ``mine = await own_manager(request)``.

    Refuses with 401 or 403, and with 503 where the backplane does not say
    whether the user is revoked; anything else that ``authenticate`` raises goes
    on to aiohttp.
    """

    async def own(request: web.BaseRequest) -> IsolatedManager:
        try:
            return await manager_of(handshake_of(request), factory, authenticate)
        except Refused as refused:
            raise _REFUSALS[refused.status](text=refused.text, headers=refused.headers) from refused.__cause__

    return own
