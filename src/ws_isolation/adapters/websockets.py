"""
The adapter for the asyncio server of the websockets library.

``endpoint`` returns what the library's ``serve()`` needs to know: from the handshake to goodbye
all is then as with every adapter. The library has no HTTP endpoints, so there is no ``manager``
here, and no lifespan: ``async with factory, serve(...): await signals.drained(factory)`` is all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypedDict, final

from ..errors import MissingExtraError, UsageError
from ..serving import Authenticate, serve_opening
from ..wire import DEFAULT_WIRE, Wire

try:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response
    from websockets.typing import Subprotocol

    from ._websockets import WebsocketsOpening, is_websocket
except ImportError as _error:
    _MESSAGE = "the websockets adapter needs websockets. Install it with: pip install 'ws-isolation[websockets]'"
    raise MissingExtraError(_MESSAGE) from _error

if TYPE_CHECKING:
    from ..factory import ManagerFactory
    from ..session import Handler

__all__ = ("Endpoint", "endpoint")

_BUFFERED: Final = 1_048_576
"""
Bytes of a message that the library takes at least, its own default: what is larger it closes with a bare 1009,
what is smaller gets goodbye and 4013 from the session where it is more than ``Settings.message_bytes``.
"""


class Endpoint(TypedDict):
    """
    Arguments of ``websockets.asyncio.server.serve()``.

    Attributes:
        handler: Serves a connection that was accepted.
        process_request: Decides about a handshake, before it is accepted. One of your own, for
            a health check say, calls this one for all that it does not answer itself.
        select_subprotocol: Answers the client's names, at most one.
        compression: ``deflate`` or None.
        max_size: Bytes of a message, beyond which the library closes with 1009.
        open_timeout: Seconds for the whole handshake, ``authenticate`` included.
        ping_interval: None: the session has pings of its own.
        close_timeout: Seconds that a client has to answer the close frame.
    """

    handler: Callable[[ServerConnection], Awaitable[None]]
    process_request: Callable[[ServerConnection, Request], Awaitable[Response | None]]
    select_subprotocol: Callable[[ServerConnection, Sequence[Subprotocol]], Subprotocol | None]
    compression: Literal["deflate"] | None
    max_size: int
    open_timeout: float
    ping_interval: None
    close_timeout: float


def endpoint(
    factory: ManagerFactory,
    authenticate: Authenticate,
    handler: Handler | None = None,
    /,
    *,
    wire: Wire = DEFAULT_WIRE,
    compress: bool = False,
) -> Endpoint:
    """
    Return what makes a server serve sessions: ``serve(**endpoint(factory, authenticate, handler), port=8765)``.

    Args:
        factory: The application's factory.
        authenticate: Returns the context of the handshake, or refuses.
        handler: Run for the session; without one, clients only receive.
        wire: How the client is spoken to.
        compress: Whether to agree to permessage-deflate. It costs memory for
            each socket, and the size of what is compressed can tell on secrets in it.

    A connection's handler returns when it is closed, whatever happened; what
    went wrong is in the log of ``ws_isolation``. Cancelling it closes the socket
    with 4200 during a drain, else 4300.
    """
    served = _Served(factory, authenticate, handler, wire)
    settings = factory.settings
    return {
        "handler": served.handler,
        "process_request": served.process_request,
        "select_subprotocol": served.select_subprotocol,
        "compression": "deflate" if compress else None,
        "max_size": max(_BUFFERED, 2 * settings.message_bytes),
        # The session's own deadlines come first: a handshake that they end is told why.
        "open_timeout": settings.auth_seconds + 2 * settings.close_seconds,
        "ping_interval": None,
        "close_timeout": settings.close_seconds,
    }


@final
class _Served:
    """The three calls of the library, and the handshakes between the first and the last of them."""

    __slots__ = ("_authenticate", "_factory", "_handler", "_openings", "_wire")

    def __init__(
        self, factory: ManagerFactory, authenticate: Authenticate, handler: Handler | None, wire: Wire
    ) -> None:
        self._factory = factory
        self._authenticate = authenticate
        self._handler = handler
        self._wire = wire
        self._openings: dict[ServerConnection, WebsocketsOpening] = {}

    async def process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        if not is_websocket(request):
            return None  # the library answers it, with 426
        opening = self._openings[connection] = WebsocketsOpening(connection, request)
        return await opening.decide(self._serve(connection, opening))

    def select_subprotocol(self, connection: ServerConnection, _offered: Sequence[Subprotocol]) -> Subprotocol | None:
        opening = self._openings.get(connection)
        if opening is None:
            msg = (
                "cannot accept a connection: endpoint()'s process_request was not asked; "
                "call it in your own and return its answer"
            )
            raise UsageError(msg)
        return None if opening.subprotocol is None else Subprotocol(opening.subprotocol)

    async def handler(self, connection: ServerConnection) -> None:
        opening = self._openings.get(connection)
        if opening is None:  # it took too long to open: that is reported, and nobody serves it
            connection.transport.abort()
        else:
            await opening.serve()

    async def _serve(self, connection: ServerConnection, opening: WebsocketsOpening) -> None:
        try:
            await serve_opening(opening, self._factory, self._authenticate, self._handler, self._wire)
        finally:
            del self._openings[connection]
