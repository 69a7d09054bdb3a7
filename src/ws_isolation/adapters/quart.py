"""
The adapter for Quart.

``serve`` runs a session in a websocket route, ``lifespan`` gives the factory an orderly end, ``manager`` gives
an HTTP route its user's manager. Rule: Quart cancels the route when its client is gone, so cancelled means left.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, final

from .. import closing
from ..errors import MissingExtraError, TransportClosedError
from ..finishing import finish
from ..frames import Goodbye
from ..serving import Authenticate, serve_opening
from ..wire import DEFAULT_WIRE, Wire
from ._asgi import Scope, gone, handshake_of, scope_of
from ._requests import Refused, manager_of, running

try:
    import quart
    from quart.wrappers import Websocket
    from werkzeug.exceptions import HTTPException, default_exceptions
except ImportError as _error:
    _MESSAGE = "the Quart adapter needs quart. Install it with: pip install 'ws-isolation[quart]'"
    raise MissingExtraError(_MESSAGE) from _error

if TYPE_CHECKING:
    from ..factory import ManagerFactory
    from ..manager import IsolatedManager
    from ..session import Handler
    from ..typing import Transport

__all__ = ("lifespan", "manager", "scope_of", "serve")

_FORBIDDEN: Final = 403
_LEFT: Final[type[Exception]] = getattr(quart.wrappers, "ClientDisconnectedError", TransportClosedError)
"""What Quart raises from 0.23 on, once the client is gone."""
_T = TypeVar("_T")


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
    opening = _Opening(proxy._get_current_object())  # noqa: SLF001  # Werkzeug's documentation names it for this
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


@final
class _Opening:
    """A WebSocket of Quart from its handshake on: ``Opening``, and its own ``Transport`` once it is accepted."""

    __slots__ = ("_left", "_open", "_websocket", "handshake", "refusal")

    def __init__(self, websocket: Websocket) -> None:
        self._websocket = websocket
        self._left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open = False
        self.handshake = handshake_of(cast("Scope", websocket.scope))
        self.refusal: HTTPException | None = None
        """What the route has to raise, so that Quart answers with a status."""

    async def accept(self, subprotocol: str | None, /) -> Transport:
        """Do the same as ``Opening.accept()``."""
        if self._left.done():
            raise TransportClosedError
        self._open = True
        websocket: Any = self._websocket  # its headers are half typed
        await self._translated(websocket.accept(subprotocol=subprotocol))
        return self

    async def refuse(self, status: int, retry_after: int | None, /) -> None:
        """Do the same as ``Opening.refuse()``."""
        if status == _FORBIDDEN:  # what a close before accept is everywhere
            await self._translated(self._websocket.close(closing.NORMAL.code))
            return
        self.refusal = _answer(status, "", None if retry_after is None else {"Retry-After": str(retry_after)})

    async def receive(self) -> str | bytes:
        """Do the same as ``Transport.receive()``."""
        receiving = asyncio.ensure_future(self._translated(self._websocket.receive()))
        try:
            await asyncio.wait((receiving, self._left), return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done():
                raise TransportClosedError
            # Quart makes None of an empty binary message.
            return cast("str | bytes | None", receiving.result()) or b""
        finally:
            receiving.cancel()

    async def send(self, text: str, /) -> None:
        """Do the same as ``Transport.send()``."""
        await self._translated(self._websocket.send(text))

    async def close(self, code: int, reason: str, /) -> None:
        """Do the same as ``Transport.close()``."""
        self._open = False
        await self._translated(self._websocket.close(code, reason))

    def abort(self) -> None:
        """Do nothing: ASGI has no abort, see ``_asgi.AsgiTransport``."""

    def leave(self) -> None:
        """Take it that the client is gone."""
        self._left.set_result(None)

    async def hang_up(self, wire: Wire, code: closing.CloseCode) -> None:
        """Say goodbye and close where nobody has; once a client has left, servers let that go nowhere."""
        if self._open:
            with contextlib.suppress(TransportClosedError):
                text = wire.control(Goodbye(code=code))
                if text is not None:
                    await self.send(text)
                await self.close(code.code, closing.reason(code))

    async def _translated(self, call: Awaitable[_T]) -> _T:
        try:
            return await call
        except Exception as error:
            closed = TransportClosedError() if isinstance(error, _LEFT) else gone(error)
            if closed is None:
                raise
            raise closed from error


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
            raise _answer(refused.status, refused.text, refused.headers) from refused.__cause__

    return managed


def _answer(status: int, text: str, headers: Mapping[str, str] | None) -> HTTPException:
    """Return what Quart answers with *status*, unless the application has an error handler for it."""
    response = quart.Response(text, status, dict(headers or {}), content_type="text/plain; charset=utf-8")
    return default_exceptions[status](text, response)
