"""
What the adapters of ASGI frameworks share: handshake, accept, refusal, transport.

Source: the ASGI specification's WebSocket protocol 2.5 and its extension
"WebSocket Denial Response".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

from ..errors import TransportClosedError
from ..handshake import Handshake, Headers
from ._frames import EXTENSION, Line

if TYPE_CHECKING:
    from ..typing import Transport

Scope: TypeAlias = Mapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_FORBIDDEN: Final = 403
_GONE: Final = (RuntimeError, OSError)
"""
What servers raise from ``send`` once the peer is gone or the close was sent: RuntimeError
for a message out of turn, uvicorn's ClientDisconnected is an OSError. What a framework
adds to them is its adapter's business.
"""


def handshake_of(scope: Scope, /) -> Handshake:
    """Return what the client said, from the scope of a WebSocket or HTTP request."""
    raw: Iterable[tuple[bytes, bytes]] = scope.get("headers", ())
    client = scope.get("client")
    return Handshake(
        headers=Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in raw),
        path=str(scope.get("path", "/")),
        query_string=bytes(scope.get("query_string", b"")).decode("latin-1"),
        subprotocols=tuple(str(name) for name in scope.get("subprotocols", ())),
        scheme=str(scope.get("scheme", "ws")),
        client=str(client[0]) if client else None,
    )


@final
class AsgiOpening:
    """A WebSocket handshake that is not answered yet."""

    __slots__ = ("_receive", "_scope", "_send", "handshake")

    def __init__(self, scope: Scope, receive: Receive, send: Send, /) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self.handshake = handshake_of(scope)

    async def accept(self, subprotocol: str | None, /) -> Transport:
        """Do the same as ``Opening.accept()``."""
        await self._connected()
        await _sent(self._send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []}))
        transport = AsgiTransport(self._receive, self._send)
        line = (self._scope.get("extensions") or {}).get(EXTENSION)
        return line.transport(transport) if type(line) is Line else transport

    async def refuse(self, status: int, retry_after: int | None, /) -> None:
        """Do the same as ``Opening.refuse()``; a server without the denial extension answers 403."""
        await self._connected()
        # A plain close is a 403 everywhere; uvicorn logs each response of ours as an error of the application.
        if status == _FORBIDDEN or "websocket.http.response" not in (self._scope.get("extensions") or {}):
            await _sent(self._send({"type": "websocket.close", "code": 1000, "reason": ""}))
            return
        headers = [(b"content-length", b"0")]
        if retry_after is not None:
            headers.append((b"retry-after", str(retry_after).encode("ascii")))
        await _sent(self._send({"type": "websocket.http.response.start", "status": status, "headers": headers}))
        await _sent(self._send({"type": "websocket.http.response.body", "body": b"", "more_body": False}))

    async def _connected(self) -> None:
        message = await self._receive()
        if message["type"] != "websocket.connect":
            raise TransportClosedError


@final
class AsgiTransport:
    """An accepted socket. ASGI has no abort: a stalled peer's connection ends by the kernel's time-out."""

    __slots__ = ("_aborted", "_receive", "_send")

    def __init__(self, receive: Receive, send: Send, /) -> None:
        self._receive = receive
        self._send = send
        self._aborted = False

    async def receive(self) -> str | bytes:
        """Do the same as ``Transport.receive()``."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            raise TransportClosedError(int(message.get("code") or 1005))
        text: str | None = message.get("text")
        return bytes(message.get("bytes") or b"") if text is None else text

    async def send(self, text: str, /) -> None:
        """Do the same as ``Transport.send()``."""
        await _sent(self._send({"type": "websocket.send", "text": text}))

    async def close(self, code: int, reason: str, /) -> None:
        """Do the same as ``Transport.close()``."""
        await _sent(self._send({"type": "websocket.close", "code": code, "reason": reason}))

    def abort(self) -> None:
        """Do nothing: the session's tasks are cancelled, the rest is the kernel's (``TCP_USER_TIMEOUT``)."""


async def _sent(sending: Awaitable[None]) -> None:
    try:
        await sending
    except asyncio.CancelledError:
        raise
    except _GONE as error:
        raise TransportClosedError from error
