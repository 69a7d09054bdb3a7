"""
What an aiohttp request is to a session: handshake, accept, refusal, transport.

Rule 1: every close is the session's. What aiohttp would say by itself, on a frame that it does not
take, when the client closes and when the handler returns, is not said. Rule 2: what aiohttp
negotiates never sees the names that the client offers, which may hold a token: it logs them.
Rule 3: the connection is closed once both sides have said so, or the client's time is up; a
server that closes on what is still on its way takes the goodbye with it.

Source: RFC 6455 §5.5.1 (a close frame is answered with one), §7.1.1 (who closes the connection, and when).
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, final

from aiohttp import WebSocketError, WSCloseCode, WSMsgType, web
from multidict import CIMultiDict
from typing_extensions import override

from ..errors import BadFrameError, MessageTooBigError, PeerError, TransportClosedError
from ..handshake import Handshake, Headers

if TYPE_CHECKING:
    from ..settings import Settings
    from ..typing import Transport

_OFFER: Final = "Sec-WebSocket-Protocol"
_NO_CODE: Final = 1005
"""What RFC 6455 §7.1.5 calls a close frame without a code; never sent."""
_LOOK_SECONDS: Final = 0.05
"""Between two looks whether a connection is gone from which nothing is read any more."""


def handshake_of(request: web.BaseRequest, /, *, schemes: tuple[str, str] = ("http", "https")) -> Handshake:
    """Return what the client said."""
    offered = ",".join(request.headers.getall(_OFFER, ()))
    return Handshake(
        headers=Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers),
        path=request.path,
        query_string=request.raw_path.partition("?")[2],
        subprotocols=tuple(name for part in offered.split(",") if (name := part.strip())),
        scheme=schemes[request.secure],
        client=request.remote or None,
    )


@contextmanager
def _peer_gone() -> Generator[None]:
    """Say of what aiohttp raises once the connection is gone that the peer is."""
    try:
        yield
    except OSError as error:
        raise TransportClosedError from error


@final
class Socket(web.WebSocketResponse):
    """aiohttp's, which closes nothing by itself."""

    @override
    async def close(self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True) -> bool:
        return False


@final
class AiohttpOpening:
    """A WebSocket handshake that is not answered yet."""

    __slots__ = ("_answer", "_request", "_seconds", "_socket", "_transport", "handshake")

    def __init__(self, request: web.Request, settings: Settings, /, *, compress: bool) -> None:
        self.handshake = handshake_of(request, schemes=("ws", "wss"))
        rest = CIMultiDict(pair for pair in request.headers.items() if pair[0].lower() != _OFFER.lower())
        self._request = request.clone(headers=rest)
        # Twice: the session's own bound comes first and is exact; aiohttp counts what is still compressed.
        self._socket = Socket(compress=compress, max_msg_size=2 * settings.message_bytes, writer_limit=0)
        self._seconds = settings.close_seconds
        self._answer: web.StreamResponse | None = None
        self._transport: AiohttpTransport | None = None

    @property
    def is_websocket(self) -> bool:
        """Whether the request asks for a socket, in the way that the protocol wants."""
        return bool(self._socket.can_prepare(self._request))

    async def accept(self, subprotocol: str | None, /) -> Transport:
        """Do the same as ``Opening.accept()``."""
        if subprotocol is not None:
            self._socket.headers[_OFFER] = subprotocol
        with _peer_gone():
            await self._socket.prepare(self._request)
        self._answer = self._socket
        self._transport = AiohttpTransport(self._socket, self._request)
        return self._transport

    async def refuse(self, status: int, retry_after: int | None, /) -> None:
        """Do the same as ``Opening.refuse()``."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self._answer = web.Response(status=status, headers=headers)
        # At once: a handler that is cancelled returns nothing that aiohttp could send.
        with _peer_gone():
            await self._answer.prepare(self._request)
            await self._answer.write_eof()

    async def leave(self) -> web.StreamResponse:
        """Wait until the client has closed too, for ``Settings.close_seconds`` at most; return the route's answer."""
        if self._transport is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._transport.wait_closed()
        return web.Response(status=500) if self._answer is None else self._answer


@final
class AiohttpTransport:
    """An accepted socket."""

    __slots__ = ("_request", "_said", "_socket")

    def __init__(self, socket: Socket, request: web.Request, /) -> None:
        self._socket = socket
        self._request = request
        self._said = False
        """Whether a close frame was sent."""

    async def receive(self) -> str | bytes:
        """Do the same as ``Transport.receive()``."""
        kind, data, _ = await self._socket.receive()
        if kind is WSMsgType.TEXT or kind is WSMsgType.BINARY:
            received: str | bytes = data
            return received
        if kind is WSMsgType.CLOSE:
            with suppress(TransportClosedError):
                await self._say(data.to_bytes(2) if data else b"")
            raise TransportClosedError(data or _NO_CODE)
        if isinstance(data, WebSocketError):
            problem = f"aiohttp takes no such frame: {data}"
            raise (MessageTooBigError if data.code == WSCloseCode.MESSAGE_TOO_BIG else BadFrameError)(problem)
        raise TransportClosedError

    async def send(self, text: str, /) -> None:
        """Do the same as ``Transport.send()``."""
        with _peer_gone():
            await self._socket.send_str(text)

    async def close(self, code: int, reason: str, /) -> None:
        """Do the same as ``Transport.close()``."""
        with suppress(TransportClosedError):
            await self._say(code.to_bytes(2) + reason.encode("ascii"))

    def abort(self) -> None:
        """Drop the TCP connection, and what is buffered for it."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the peer has closed or is gone; what it sends meanwhile is nobody's."""
        try:
            while True:
                await self.receive()
        except TransportClosedError:
            return
        except PeerError:
            pass
        # aiohttp throws away what comes after such a frame: let it come, and look whether the peer has left.
        while self._request.transport is not None:  # noqa: ASYNC110  # aiohttp tells nobody
            await asyncio.sleep(_LOOK_SECONDS)

    async def _say(self, closing: bytes) -> None:
        if not self._said:
            self._said = True
            with _peer_gone():
                await self._socket.send_frame(closing, WSMsgType.CLOSE)
