"""
The adapter for Quart.

``serve`` runs a session in a websocket route, ``lifespan`` gives the factory an orderly end, ``manager`` gives
an HTTP route its user's manager, ``ticket`` is a route that gives connect tickets.
Rule: Quart cancels the route when its client is gone, so cancelled means left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from .. import closing
from ..errors import MissingExtraError
from ..finishing import finish
from ..serving import Authenticate, serve_opening
from ..wire import DEFAULT_WIRE, Wire
from ._asgi import Scope, handshake_of, scope_of
from ._requests import Refused, manager_of, running
from ._tickets import issued

try:
    import quart

    from ._quart import QuartOpening, answer
except ImportError as _error:
    _MESSAGE = "the Quart adapter needs quart. Install it with: pip install 'ws-isolation[quart]'"
    raise MissingExtraError(_MESSAGE) from _error

if TYPE_CHECKING:
    from ..credentials.tickets import Tickets
    from ..factory import ManagerFactory
    from ..manager import IsolatedManager
    from ..session import Handler

__all__ = ("lifespan", "manager", "scope_of", "serve", "ticket")


async def serve(
    factory: ManagerFactory,
    authenticate: Authenticate,
    handler: Handler | None = None,
    /,
    *,
    wire: Wire = DEFAULT_WIRE,
) -> None:
    """
    Serve the WebSocket of the current route from its handshake to goodbye; the whole route is this call.

    Do not accept the socket before. Returns when it is closed; what went wrong is in the log of ``ws_isolation``.

    Args:
        factory: The application's factory.
        authenticate: Returns the context of the handshake, or refuses. Quart's
            proxies (``session``, ``current_app``) say nothing there; take ``scope_of(handshake)``.
        handler: Run for the session; without one, clients only receive.
        wire: How the client is spoken to.

    Raises:
        HTTPException: The status that a refused handshake is answered with.

    Cancelling it means that the client left: put no time-out around it. A
    client that is there all the same is told 4200 during a drain, else 4300.
    """
    # The proxy's own object: the session runs with context variables of its own.
    proxy: Any = quart.websocket
    opening = QuartOpening(proxy._get_current_object())  # noqa: SLF001  # Werkzeug's documentation names it for this
    serving = asyncio.ensure_future(serve_opening(opening, factory, authenticate, handler, wire))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        opening.leave()
        await finish(serving)
        async with asyncio.timeout(factory.settings.close_seconds):
            await opening.hang_up(wire, closing.DRAIN if factory.is_draining else closing.INTERNAL_ERROR)
        raise
    if opening.refusal is not None:
        raise opening.refusal


def lifespan(factory: ManagerFactory, /) -> Callable[[], AsyncGenerator[None, None]]:
    """
    Return a lifespan that stops *factory* in order: ``app.while_serving(lifespan(factory))``.

    SIGINT and SIGTERM drain the factory before the server hears of them where it
    listens as uvicorn does; give hypercorn ``drained()``, see ``signals``.
    """

    async def scope() -> AsyncGenerator[None, None]:
        async with running(factory):
            yield

    return scope


def manager(factory: ManagerFactory, authenticate: Authenticate, /) -> Callable[[], Awaitable[IsolatedManager]]:
    """
    Return what gives an HTTP route the manager of its own user: ``await managed()`` in the route.

    Refuses with 401 or 403, and with 503 where the backplane does not say
    whether the user is revoked; anything else that ``authenticate`` raises goes on to Quart.
    """

    async def managed() -> IsolatedManager:
        try:
            return await manager_of(handshake_of(cast("Scope", quart.request.scope)), factory, authenticate)
        except Refused as refused:
            raise answer(refused.status, refused.text, refused.headers) from refused.__cause__

    return managed


def ticket(
    factory: ManagerFactory, authenticate: Authenticate, tickets: Tickets, /
) -> Callable[[], Awaitable[quart.Response]]:
    """
    Return a route that gives a connect ticket to whoever *authenticate* knows: ``app.post("/ticket")(ticket(...))``.

    It answers ``{"ticket": …, "seconds": …}`` for the page that asked; 400, 401, 403, 429 or 503 otherwise. What the
    context has is what the socket gets: its thread is named in this request, and not when connecting.
    """

    async def route() -> quart.Response:
        given = await issued(handshake_of(cast("Scope", quart.request.scope)), factory, authenticate, tickets)
        return quart.Response(given.body, given.status, given.headers)

    return route
