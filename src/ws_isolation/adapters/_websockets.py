"""
What a connection of the websockets library is to a session: handshake, accept, refusal, transport.

Rule 1: the library answers a handshake between two calls of ours, ``process_request`` and the
connection's handler. One task spans both: it decides in the first, and finds the open socket in
the second. Rule 2: the connection is closed once both sides have said so, or the client's time is
up; until then what the client still sends is read, since a reader that pauses misses its close.

Source: the library's asyncio server; RFC 6455 §7.1.1 (who closes the connection, and when).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast, final
from urllib.parse import unquote

from websockets.exceptions import ConnectionClosed

from ..errors import TransportClosedError
from ..handshake import Handshake, Headers

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

    from ..typing import Transport

_OFFER: Final = "Sec-WebSocket-Protocol"


def handshake_of(connection: ServerConnection, request: Request, /) -> Handshake:
    """Return what the client said."""
    path, _, query = request.path.partition("?")
    offered = ",".join(request.headers.get_all(_OFFER))
    peer = cast("tuple[object, ...] | str | None", connection.remote_address)
    return Handshake(
        headers=Headers(request.headers.raw_items()),
        path=unquote(path),
        query_string=query,
        subprotocols=tuple(name for part in offered.split(",") if (name := part.strip())),
        scheme="ws" if connection.transport.get_extra_info("ssl_object") is None else "wss",
        client=str(peer[0]) if isinstance(peer, tuple) else None,
    )


def is_websocket(request: Request, /) -> bool:
    """Tell whether the request asks for a socket at all; the library checks the rest, and answers."""
    return any("websocket" in value.lower() for value in request.headers.get_all("Upgrade"))


def _gone(closed: ConnectionClosed) -> TransportClosedError:
    frame = closed.rcvd or closed.sent
    return TransportClosedError() if frame is None else TransportClosedError(frame.code)


@final
class WebsocketsOpening:
    """A WebSocket handshake that is not answered yet."""

    __slots__ = ("_answer", "_connection", "_open", "_serving", "_transport", "handshake", "subprotocol")

    def __init__(self, connection: ServerConnection, request: Request, /) -> None:
        self.handshake = handshake_of(connection, request)
        self.subprotocol: str | None = None
        """What is answered, once that is decided."""
        self._connection = connection
        self._transport = WebsocketsTransport(connection)
        self._answer: asyncio.Future[Response | None] = connection.loop.create_future()
        self._open: asyncio.Future[None] = connection.loop.create_future()
        self._serving: asyncio.Task[None] | None = None

    async def accept(self, subprotocol: str | None, /) -> Transport:
        """Do the same as ``Opening.accept()``."""
        self.subprotocol = subprotocol
        self._say(None)
        # The library may have refused it, and the client may have left: then nobody opens it.
        lost = asyncio.create_task(self._connection.wait_closed(), name="ws-lost")
        try:
            await asyncio.wait({self._open, lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
        if not self._open.done():
            raise TransportClosedError
        return self._transport

    async def refuse(self, status: int, retry_after: int | None, /) -> None:
        """Do the same as ``Opening.refuse()``."""
        response = self._connection.respond(HTTPStatus(status), "")
        if retry_after is not None:
            response.headers["Retry-After"] = str(retry_after)
        self._say(response)

    async def decide(self, serving: Coroutine[object, object, None], /) -> Response | None:
        """Begin *serving*, and wait for what it answers: a refusal, or None to go on. Cancelling it cancels that."""
        self._serving = asyncio.create_task(serving, name="ws-handshake")
        try:
            waited: set[asyncio.Future[Any]] = {self._answer, self._serving}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._serving.cancel()
            await asyncio.wait({self._serving})
            raise
        if not self._answer.done():
            await self._serving  # a defect: the library reports what it raises
            self._say(self._connection.respond(HTTPStatus.INTERNAL_SERVER_ERROR, ""))
        return self._answer.result()

    async def serve(self) -> None:
        """Go on as the open connection's handler, until both sides have closed. Cancelling it cancels what serves."""
        self._open.set_result(None)
        await asyncio.gather(*filter(None, [self._serving]))
        await self._transport.wait_closed()

    def _say(self, answer: Response | None) -> None:
        self._answer.set_result(answer)


@final
class WebsocketsTransport:
    """An accepted socket."""

    __slots__ = ("_closing", "_connection")

    def __init__(self, connection: ServerConnection, /) -> None:
        self._connection = connection
        self._closing: asyncio.Task[None] | None = None

    async def receive(self) -> str | bytes:
        """Do the same as ``Transport.receive()``."""
        try:
            return await self._connection.recv()
        except ConnectionClosed as closed:
            raise _gone(closed) from closed

    async def send(self, text: str, /) -> None:
        """Do the same as ``Transport.send()``."""
        # Encoded here: what the library cannot encode costs the connection there.
        data = text.encode()
        try:
            await self._connection.send(data, text=True)
        except ConnectionClosed as closed:
            raise _gone(closed) from closed

    async def close(self, code: int, reason: str, /) -> None:
        """Do the same as ``Transport.close()``."""
        # Its first step writes the frame; then it waits for the client's.
        self._closing = asyncio.create_task(self._connection.close(code, reason), name="ws-close")
        await asyncio.sleep(0)

    def abort(self) -> None:
        """Drop the TCP connection, and what is buffered for it."""
        self._connection.transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the peer has closed or is gone; what it sends meanwhile is nobody's."""
        with suppress(TransportClosedError):
            while True:
                await self.receive()
        if self._closing is not None:
            await self._closing
