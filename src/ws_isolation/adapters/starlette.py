"""
The adapter for Starlette and FastAPI.

``serve`` runs a session in a WebSocket endpoint, ``SessionEndpoint`` is the same as
a class, ``lifespan`` gives the factory an orderly end, ``manager`` hands an HTTP
endpoint the manager of its own user, and ``ticket`` is an endpoint that gives connect tickets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError, TransportClosedError
from ..serving import Authenticate, serve_opening
from ..wire import DEFAULT_WIRE, Wire
from ._asgi import AsgiOpening, gone, handshake_of, scope_of
from ._requests import Refused, manager_of, running
from ._tickets import issued

try:
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send
    from starlette.websockets import WebSocket, WebSocketDisconnect
except ImportError as _error:
    _MESSAGE = "the Starlette adapter needs starlette. Install it with: pip install 'ws-isolation[starlette]'"
    raise MissingExtraError(_MESSAGE) from _error

if TYPE_CHECKING:
    from ..context import UserExecutionContext
    from ..credentials.tickets import Tickets
    from ..factory import ManagerFactory
    from ..handshake import Handshake
    from ..manager import IsolatedManager
    from ..session import Handler, Session

__all__ = ("SessionEndpoint", "lifespan", "manager", "scope_of", "serve", "ticket")


async def serve(
    websocket: WebSocket,
    factory: ManagerFactory,
    authenticate: Authenticate,
    handler: Handler | None = None,
    /,
    *,
    wire: Wire = DEFAULT_WIRE,
) -> None:
    """
    Serve one WebSocket from its handshake to goodbye; the whole endpoint is this call.

    Do not accept the socket before. Returns when it is closed, whatever
    happened; what went wrong is in the log of ``ws_isolation``.

    Args:
        websocket: Starlette's or FastAPI's, not accepted yet.
        factory: The application's factory.
        authenticate: Returns the context of the handshake, or refuses.
        handler: Run for the session; without one, clients only receive.
        wire: How the client is spoken to.

    Cancelling it closes the socket with 4200 during a drain, else 4300.
    """
    opening = AsgiOpening(websocket.scope, websocket.receive, websocket.send, gone=_gone)
    await serve_opening(opening, factory, authenticate, handler, wire)


class SessionEndpoint(ABC):
    """
    One WebSocket as a class, as Starlette's own endpoints are: ``WebSocketRoute("/ws", Chat)``.

    An instance is made for each socket, so what the handler keeps on ``self`` is that socket's own.

    Attributes:
        factory: The application's factory; set it in the subclass.
        wire: How the client is spoken to.
        websocket: Starlette's; do not accept it.
    """

    factory: ManagerFactory
    wire: Wire = DEFAULT_WIRE

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.websocket: WebSocket = WebSocket(scope, receive, send)

    def __await__(self) -> Generator[Any, None, None]:
        serving = serve(self.websocket, self.factory, self.authenticate, self.handle, wire=self.wire)
        return serving.__await__()

    @abstractmethod
    async def authenticate(self, handshake: Handshake, /) -> UserExecutionContext | None:
        """Return the context of the handshake, or refuse. Called again for each ``ws.refresh``."""

    @abstractmethod
    async def handle(self, session: Session, /) -> None:
        """Run for the session; the socket closes when it returns."""


def _gone(error: Exception) -> TransportClosedError | None:
    return TransportClosedError(error.code) if isinstance(error, WebSocketDisconnect) else gone(error)


def lifespan(factory: ManagerFactory, /) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """
    Return a lifespan that stops *factory* in order: ``FastAPI(lifespan=lifespan(factory))``.

    SIGINT and SIGTERM drain the factory before the server hears of them, see ``signals.drain_first()``.
    An application with a lifespan of its own writes ``async with factory, drain_first(factory):`` there instead.
    """

    def scope(_app: object) -> AbstractAsyncContextManager[None]:
        return running(factory)

    return scope


def manager(factory: ManagerFactory, authenticate: Authenticate, /) -> Callable[[Request], Awaitable[IsolatedManager]]:
    """
    Return a dependency that gives an HTTP endpoint the manager of its own user.

    ``Depends(manager(factory, authenticate))`` in FastAPI; call it with the
    request in Starlette. Refuses with 401 or 403, and with 503 where the
    backplane does not say whether the user is revoked; anything else that
    ``authenticate`` raises goes on to the framework.
    """

    async def dependency(request: Request) -> IsolatedManager:
        try:
            return await manager_of(handshake_of(request.scope), factory, authenticate)
        except Refused as refused:
            raise HTTPException(refused.status, refused.text, refused.headers) from refused.__cause__

    return dependency


def ticket(
    factory: ManagerFactory, authenticate: Authenticate, tickets: Tickets, /
) -> Callable[[Request], Awaitable[Response]]:
    """
    Return an endpoint that gives a connect ticket to whoever *authenticate* knows.

    Mount it for POST alone: ``Route("/ticket", ticket(factory, authenticate, tickets), methods=["POST"])``, in FastAPI
    ``app.post("/ticket")(ticket(factory, authenticate, tickets))``. It answers ``{"ticket": …, "seconds": …}`` for the
    page that asked; 400, 401, 403, 429 or 503 otherwise. What the context has is what the socket gets: its thread is
    named in this request, and not when connecting.
    """

    async def endpoint(request: Request) -> Response:
        if request.method != "POST":
            return Response(status_code=405, headers={"Allow": "POST"})
        answer = await issued(handshake_of(request.scope), factory, authenticate, tickets)
        return Response(answer.body, answer.status, answer.headers)

    return endpoint
