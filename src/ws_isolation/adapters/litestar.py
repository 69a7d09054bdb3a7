"""
The adapter for Litestar.

``endpoint`` makes the route handler of a socket, ``listener`` of a function for each message, ``serve`` is what to
call in one of your own. ``lifespan`` gives the factory an orderly end, ``manager`` is the dependency that gives an
HTTP handler the manager of its own user, ``ticket`` a handler that gives connect tickets; ``IsolationPlugin`` enters
lifespan and manager into an application.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeAlias, cast, final

from ..errors import MissingExtraError, TransportClosedError
from ..manager import IsolatedManager
from ..serving import Authenticate, serve_opening
from ..wire import DEFAULT_WIRE, Wire
from ._asgi import AsgiOpening, Receive, Scope, Send, gone, handshake_of, scope_of
from ._requests import Refused, manager_of, running
from ._tickets import issued

try:
    from litestar import Litestar, Request, Response, WebSocket, post
    from litestar.config.app import AppConfig
    from litestar.di import Provide
    from litestar.exceptions import HTTPException, WebSocketDisconnect
    from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
    from litestar.plugins import InitPlugin
except ImportError as _error:
    _MESSAGE = "the Litestar adapter needs litestar. Install it with: pip install 'ws-isolation[litestar]'"
    raise MissingExtraError(_MESSAGE) from _error

if TYPE_CHECKING:
    from ..credentials.tickets import Tickets
    from ..factory import ManagerFactory
    from ..frames import Message
    from ..session import Handler, Session

__all__ = ("IsolationPlugin", "endpoint", "lifespan", "listener", "manager", "scope_of", "serve", "ticket")


Listen: TypeAlias = "Callable[[Session, Message], Awaitable[None]]"
"""What ``listener`` calls."""


async def serve(
    socket: WebSocket[Any, Any, Any],
    factory: ManagerFactory,
    authenticate: Authenticate,
    handler: Handler | None = None,
    /,
    *,
    wire: Wire = DEFAULT_WIRE,
) -> None:
    """
    Serve one WebSocket from its handshake to goodbye; the whole route handler is this call.

    Do not accept the socket before. Returns when it is closed, whatever
    happened; what went wrong is in the log of ``ws_isolation``.

    Args:
        socket: Litestar's, not accepted yet.
        factory: The application's factory.
        authenticate: Returns the context of the handshake, or refuses.
        handler: Run for the session; without one, clients only receive.
        wire: How the client is spoken to.

    Cancelling it closes the socket with 4200 during a drain, else 4300.
    """
    # Litestar's types name each message; those of the handshake and the transport are any framework's.
    receive, send = cast("Receive", socket.receive), cast("Send", socket.send)
    opening = AsgiOpening(cast("Scope", socket.scope), receive, send, gone=_gone)
    await serve_opening(opening, factory, authenticate, handler, wire)


def _gone(error: Exception) -> TransportClosedError | None:
    # Litestar raises it from send once it has seen the disconnect; the code stands in the disconnect itself.
    return TransportClosedError() if isinstance(error, WebSocketDisconnect) else gone(error)


def endpoint(
    path: str,
    factory: ManagerFactory,
    authenticate: Authenticate,
    handler: Handler | None = None,
    /,
    *,
    wire: Wire = DEFAULT_WIRE,
) -> WebsocketRouteHandler:
    """
    Return the route handler of a socket: ``Litestar([endpoint("/ws", factory, authenticate, handler)])``.

    *path* is its route, the others are those of ``serve()``.
    """

    async def session(socket: WebSocket[Any, Any, Any]) -> None:
        await serve(socket, factory, authenticate, handler, wire=wire)

    return WebsocketRouteHandler(path)(session)


def listener(
    path: str, factory: ManagerFactory, authenticate: Authenticate, /, *, wire: Wire = DEFAULT_WIRE
) -> Callable[[Listen], WebsocketRouteHandler]:
    """
    Return a decorator that makes a socket of a function that is called with each message, one after the other.

    ``@listener("/ws", factory, authenticate)`` above ``async def heard(session, message)``. What the function raises
    ends the session. A ``Router`` tells messages by their type, and can handle them concurrently.
    """

    def decorate(listen: Listen) -> WebsocketRouteHandler:
        async def handler(session: Session) -> None:
            async for message in session:
                await listen(session, message)

        return endpoint(path, factory, authenticate, handler, wire=wire)

    return decorate


def lifespan(factory: ManagerFactory, /) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    """
    Return a lifespan that stops *factory* in order: ``Litestar(..., lifespan=[lifespan(factory)])``.

    SIGINT and SIGTERM drain the factory before the server hears of them, see ``signals.drain_first()``.
    """

    def scope(_app: Litestar) -> AbstractAsyncContextManager[None]:
        return running(factory)

    return scope


def ticket(path: str, factory: ManagerFactory, authenticate: Authenticate, tickets: Tickets, /) -> HTTPRouteHandler:
    """
    Return a route handler, for POST, that gives a connect ticket to whoever *authenticate* knows.

    It answers ``{"ticket": …, "seconds": …}`` for the page that asked; 400, 401, 403, 429 or 503 otherwise. What the
    context has is what the socket gets: its thread is named in this request, and not when connecting.
    """

    async def give(request: Request[Any, Any, Any]) -> Response[bytes]:
        given = await issued(handshake_of(cast("Scope", request.scope)), factory, authenticate, tickets)
        return Response(given.body, status_code=given.status, headers=given.headers, media_type="application/json")

    return post(path)(give)


def manager(
    factory: ManagerFactory, authenticate: Authenticate, /
) -> Callable[[Request[Any, Any, Any]], Awaitable[IsolatedManager]]:
    """
    Return a dependency that gives an HTTP handler the manager of its own user.

    ``dependencies={"manager": Provide(manager(factory, authenticate))}``. Refuses
    with 401 or 403, and with 503 where the backplane does not say whether the
    user is revoked; anything else that ``authenticate`` raises goes on to the framework.
    """

    async def dependency(request: Request[Any, Any, Any]) -> IsolatedManager:
        try:
            return await manager_of(handshake_of(cast("Scope", request.scope)), factory, authenticate)
        except Refused as refused:
            raise HTTPException(
                status_code=refused.status, detail=refused.text, headers=refused.headers
            ) from refused.__cause__

    return dependency


@final
class IsolationPlugin(InitPlugin):
    """
    Gives an application the lifespan of *factory* and the dependency ``manager``.

    ``Litestar(..., plugins=[IsolationPlugin(factory, authenticate)])``. The
    factory starts before the application's own lifespans and stops after them.

    Args:
        factory: The application's factory.
        authenticate: Returns the context of a request, or refuses.
    """

    __slots__ = ("_authenticate", "_factory")

    def __init__(self, factory: ManagerFactory, authenticate: Authenticate, /) -> None:
        self._factory = factory
        self._authenticate = authenticate

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Enter both; for Litestar."""
        app_config.lifespan.insert(0, lifespan(self._factory))  # pyright: ignore[reportUnknownMemberType]
        app_config.dependencies = {"manager": Provide(manager(self._factory, self._authenticate))} | dict(
            app_config.dependencies
        )
        return app_config
