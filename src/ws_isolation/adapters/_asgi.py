"""
What the adapters of ASGI frameworks share: handshake, accept, refusal, transport.

Source: the ASGI specification's WebSocket protocol 2.5 and its extension
"WebSocket Denial Response".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast, final

from ..errors import TransportClosedError
from ..handshake import Handshake, Headers
from ._frames import EXTENSION, Line

if TYPE_CHECKING:
    from ..typing import Transport

Scope: TypeAlias = Mapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Gone: TypeAlias = Callable[[Exception], TransportClosedError | None]
"""Says of what ``send`` raised whether, and with which close code, the peer is gone; None where it is not."""

_FORBIDDEN: Final = 403
_GONE: Final = (RuntimeError, OSError)
"""
What servers raise from ``send`` once the peer is gone or the close was sent: RuntimeError
for a message out of turn, uvicorn's ClientDisconnected is an OSError. What a framework
adds to them is its adapter's business.
"""


def gone(error: Exception, /) -> TransportClosedError | None:
    """Say whether *error* means that the peer is gone, as servers raise it: they know no code."""
    return TransportClosedError() if isinstance(error, _GONE) else None


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
        framework=scope,
    )


def scope_of(handshake: Handshake, /) -> Scope:
    """
    Return the ASGI scope behind *handshake*, with what middleware has put there: ``session``, ``user``, ``state``.

    Empty after a ``ws.refresh``, whose credential has to do alone. Never take the identity from what a client
    chooses, such as a path parameter.
    """
    scope = handshake.framework
    return cast("Scope", scope) if isinstance(scope, Mapping) else {}


@final
class AsgiOpening:
    """A WebSocket handshake that is not answered yet."""

    __slots__ = ("_gone", "_receive", "_scope", "_send", "handshake")

    def __init__(self, scope: Scope, receive: Receive, send: Send, /, *, gone: Gone = gone) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._gone = gone
        self.handshake = handshake_of(scope)

    async def accept(self, subprotocol: str | None, /) -> Transport:
        """Do the same as ``Opening.accept()``."""
        await self._connected()
        transport = AsgiTransport(self._receive, self._send, self._gone)
        await transport.pass_on({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})
        extensions: Mapping[str, object] = self._scope.get("extensions") or {}
        line = extensions.get(EXTENSION)
        return line.transport(transport) if type(line) is Line else transport

    async def refuse(self, status: int, retry_after: int | None, /) -> None:
        """Do the same as ``Opening.refuse()``; a server without the denial extension answers 403."""
        await self._connected()
        answer = AsgiTransport(self._receive, self._send, self._gone)
        # A plain close is a 403 everywhere; uvicorn logs each response of ours as an error of the application.
        if status == _FORBIDDEN or "websocket.http.response" not in (self._scope.get("extensions") or {}):
            await answer.pass_on({"type": "websocket.close", "code": 1000, "reason": ""})
            return
        headers = [(b"content-length", b"0")]
        if retry_after is not None:
            headers.append((b"retry-after", str(retry_after).encode("ascii")))
        await answer.pass_on({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await answer.pass_on({"type": "websocket.http.response.body", "body": b"", "more_body": False})

    async def _connected(self) -> None:
        message = await self._receive()
        if message["type"] != "websocket.connect":
            raise TransportClosedError


@final
class AsgiTransport:
    """An accepted socket. ASGI has no abort: a stalled peer's connection ends by the kernel's time-out."""

    __slots__ = ("_gone", "_receive", "_send")

    def __init__(self, receive: Receive, send: Send, gone: Gone, /) -> None:
        self._receive = receive
        self._send = send
        self._gone = gone

    async def receive(self) -> str | bytes:
        """Do the same as ``Transport.receive()``."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            raise TransportClosedError(int(message.get("code") or 1005))
        text: str | None = message.get("text")
        return bytes(message.get("bytes") or b"") if text is None else text

    async def send(self, text: str, /) -> None:
        """Do the same as ``Transport.send()``."""
        # Written out, and not by pass_on(): with each event, so without one more coroutine.
        try:
            await self._send({"type": "websocket.send", "text": text})
        except Exception as error:
            self._refuse(error)
            raise

    async def close(self, code: int, reason: str, /) -> None:
        """Do the same as ``Transport.close()``."""
        await self.pass_on({"type": "websocket.close", "code": code, "reason": reason})

    async def pass_on(self, message: Message, /) -> None:
        """
        Send any message.

        Raises:
            TransportClosedError: The client is gone.
            Exception: Whatever else the server below raised.
        """
        try:
            await self._send(message)
        except Exception as error:
            self._refuse(error)
            raise

    def abort(self) -> None:
        """Do nothing: the session's tasks are cancelled, the rest is the kernel's (``TCP_USER_TIMEOUT``)."""

    def _refuse(self, error: Exception) -> None:
        closed = self._gone(error)
        if closed is not None:
            raise closed from error
