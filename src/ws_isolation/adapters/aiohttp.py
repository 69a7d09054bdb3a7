"""
The adapter for aiohttp.

``serve`` runs a session in a route's handler, ``lifespan`` gives the factory an
orderly end, ``manager`` hands an HTTP handler the manager of its own user.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ..errors import MissingExtraError
from ..serving import Authenticate, serve_opening
from ..signals import SIGNALS, drain_first
from ..wire import DEFAULT_WIRE, Wire
from ._requests import Refused, manager_of
from ._tickets import issued

try:
    from aiohttp import web

    from ._aiohttp import AiohttpOpening, handshake_of
except ImportError as _error:
    _MESSAGE = "the aiohttp adapter needs aiohttp. Install it with: pip install 'ws-isolation[aiohttp]'"
    raise MissingExtraError(_MESSAGE) from _error

if TYPE_CHECKING:
    from ..credentials.tickets import Tickets
    from ..factory import ManagerFactory
    from ..manager import IsolatedManager
    from ..session import Handler

__all__ = ("lifespan", "manager", "serve", "ticket")

_UNHANDLED: Final = (signal.SIG_DFL, signal.default_int_handler)
_REFUSALS: Final = {401: web.HTTPUnauthorized, 403: web.HTTPForbidden, 503: web.HTTPServiceUnavailable}


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

    On shutdown every session is drained with 4200 before aiohttp waits for its handlers, whatever the runner.
    But from the first moment of its shutdown aiohttp reads nothing any more. With
    ``web.run_app(app, handle_signals=False)`` SIGINT and SIGTERM drain first, and then begin it; any
    Python function that handles them already is called after the drain, see ``signals.drain_first()``.
    """

    async def running(_app: web.Application) -> AsyncGenerator[None]:
        with _ended_by_signals(asyncio.get_running_loop()):
            async with factory, drain_first(factory):
                yield

    async def drain(_app: web.Application) -> None:
        await factory.drain()

    app.cleanup_ctx.append(running)
    app.on_shutdown.append(drain)


@contextmanager
def _ended_by_signals(loop: asyncio.AbstractEventLoop) -> Generator[None]:
    """End the application as aiohttp does, on signals that nobody else handles."""

    def end(_number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(_raise_exit)

    is_main = threading.current_thread() is threading.main_thread()
    taken = [one for one in SIGNALS if is_main and signal.getsignal(one) in _UNHANDLED]
    before = [signal.signal(one, end) for one in taken]
    try:
        yield
    finally:
        for number, handler in zip(taken, before, strict=True):
            if signal.getsignal(number) is end:  # unless somebody else has taken its place
                signal.signal(number, handler)


def _raise_exit() -> None:
    raise web.GracefulExit


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


def ticket(
    factory: ManagerFactory, authenticate: Authenticate, tickets: Tickets, /
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """
    Return a handler that gives a connect ticket to whoever *authenticate* knows: ``router.add_post("/ticket", ...)``.

    It answers ``{"ticket": …, "seconds": …}`` for the page that asked; 400, 401, 403, 429 or 503 otherwise. What the
    context has is what the socket gets: its thread is named in this request, and not when connecting.
    """

    async def give(request: web.Request) -> web.Response:
        given = await issued(handshake_of(request), factory, authenticate, tickets)
        return web.Response(body=given.body, status=given.status, headers=given.headers)

    return give
