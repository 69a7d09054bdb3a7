"""
Text frames written on a server's own connection, for servers that an opt-in vouches for.

Rule 1: a frame is written here only in the state in which the server would write the very
same bytes at once. In any other (writing paused, a close frame sent or received, a message
in fragments, a connection that is lost) the server's own ``send`` is called, and does what
it does. Rule 2: pings, pongs, close frames and everything read are the server's.

Source: RFC 6455 §5.2 (frames of a server are never masked), §5.4 (no frame of another
message inside a fragmented one), §5.5.1 (no frame after a close frame).
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias, final

if TYPE_CHECKING:
    from ..typing import Transport

EXTENSION: Final = "ws_isolation.frames"
"""Where the scope of a connection holds its ``Line``, in ``extensions``."""

Reason: TypeAlias = Literal["version", "server", "compression", "logging"]

_TEXT: Final = 0x81
_SHORT: Final = 126
_MEDIUM: Final = 0x1_0000
_OPEN: Final = 1
"""``websockets.protocol.State.OPEN``."""


class Writable(Protocol):
    """The asyncio transport of a connection."""

    def write(self, data: bytes, /) -> None:
        """Take *data*, and never wait."""
        ...

    def is_closing(self) -> bool:
        """Tell whether nothing more is taken."""
        ...

    def abort(self) -> None:
        """Drop the connection and what it buffers."""
        ...


class Flag(Protocol):
    """An ``asyncio.Event``."""

    def is_set(self) -> bool:
        """Tell whether it is set."""
        ...


class Connection(Protocol):
    """What the server knows of the WebSocket: ``websockets.server.ServerProtocol``."""

    debug: bool
    expect_continuation_frame: bool

    @property
    def extensions(self) -> Sized:
        """What was negotiated."""
        ...

    @property
    def state(self) -> int:
        """Connecting, open, closing or closed."""
        ...


class ServerProtocol(Protocol):
    """What is read of uvicorn's ``WebSocketsSansIOProtocol``."""

    close_sent: bool
    disconnected: bool

    @property
    def transport(self) -> Writable:
        """Its connection."""
        ...

    @property
    def conn(self) -> Connection:
        """Its WebSocket."""
        ...

    @property
    def writable(self) -> Flag:
        """Not set while its transport's buffer is above the high-water mark."""
        ...


def text_frame(text: str, /) -> bytes:
    """
    Return *text* as one unmasked frame.

    Raises:
        UnicodeEncodeError: It holds a lone surrogate.
    """
    payload = text.encode()
    size = len(payload)
    if _SHORT <= size < _MEDIUM:  # nearly every event
        return b"\x81\x7e" + size.to_bytes(2) + payload
    if size < _SHORT:
        return bytes((_TEXT, size)) + payload
    return b"\x81\x7f" + size.to_bytes(8) + payload


@final
class Line:
    """One connection whose server was recognised, from before its handshake is answered."""

    __slots__ = ("_answered", "_protocol")

    def __init__(self, protocol: ServerProtocol, answered: Callable[[Reason | None], None], /) -> None:
        self._protocol = protocol
        self._answered = answered

    def transport(self, plain: Transport, /) -> Transport:
        """Return what writes on the connection, once it is accepted; *plain* is what the server's calls make."""
        connection = self._protocol.conn
        reason: Reason | None = None
        if len(connection.extensions):
            reason = "compression"
        elif connection.debug:
            reason = "logging"
        self._answered(reason)
        return FrameTransport(self._protocol, plain, writes=reason is None)


@final
class FrameTransport:
    """An accepted socket whose frames are written on the server's transport, and that can be dropped."""

    __slots__ = ("_plain", "_protocol", "_writes")

    def __init__(self, protocol: ServerProtocol, plain: Transport, /, *, writes: bool) -> None:
        self._protocol = protocol
        self._plain = plain
        self._writes = writes

    async def receive(self) -> str | bytes:
        """Do the same as ``Transport.receive()``."""
        return await self._plain.receive()

    async def send(self, text: str, /) -> None:
        """Do the same as ``Transport.send()``."""
        if not self.write_at_once(text):
            await self._plain.send(text)

    def write_at_once(self, text: str, /) -> bool:
        """
        Write *text* where the server would write the very same bytes at once; False where ``send()`` has to do it.

        Raises:
            UnicodeEncodeError: It holds a lone surrogate. Nothing was written.
        """
        protocol = self._protocol
        if not self._writes or protocol.close_sent or protocol.disconnected or not protocol.writable.is_set():
            return False
        connection, transport = protocol.conn, protocol.transport
        if connection.state != _OPEN or connection.expect_continuation_frame or transport.is_closing():
            return False
        transport.write(text_frame(text))
        return True

    async def close(self, code: int, reason: str, /) -> None:
        """Do the same as ``Transport.close()``."""
        await self._plain.close(code, reason)

    def abort(self) -> None:
        """Drop the TCP connection, and what is buffered for it."""
        self._protocol.transport.abort()
