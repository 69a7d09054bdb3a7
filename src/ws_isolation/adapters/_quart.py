"""
A WebSocket of Quart, from its handshake on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, final

import quart
from werkzeug.exceptions import HTTPException, default_exceptions

from .. import closing
from ..errors import TransportClosedError
from ..frames import Goodbye
from ._asgi import Scope, gone, handshake_of

if TYPE_CHECKING:
    from quart.wrappers import Websocket

    from ..typing import Transport
    from ..wire import Wire

_FORBIDDEN: Final = 403
_LEFT: Final[type[Exception]] = getattr(quart.wrappers, "ClientDisconnectedError", TransportClosedError)
"""What Quart raises from 0.23 on, once the client is gone."""
_T = TypeVar("_T")


@final
class QuartOpening:
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
        self.refusal = answer(status, "", None if retry_after is None else {"Retry-After": str(retry_after)})

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


def answer(status: int, text: str, headers: Mapping[str, str] | None) -> HTTPException:
    """Return what Quart answers with *status*, unless the application has an error handler for it."""
    response = quart.Response(text, status, dict(headers or {}), content_type="text/plain; charset=utf-8")
    return default_exceptions[status](text, response)
