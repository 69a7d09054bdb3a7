"""
A WebSocket client of bytes on one connection: it sends what it is told to, and hides nothing that it gets.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, final

import attrs

from .frames import CLOSE, PING, PONG, TEXT, Frame, Inflater, deflated, encoded, parsed, said_by_close

HOST: Final = "check.example.com"
"""The one name that the application under test answers to."""
PATH: Final = "/ws"
"""Where it serves."""
SECONDS: Final = 5.0
"""How long a server may take to answer anything, in seconds."""

_CHUNK: Final = 65_536
_SWITCHING: Final = 101
_ANSWERED: Final = (0, _SWITCHING)
"""Statuses of connections that speak frames: 0 where there was no handshake."""
_ABNORMAL: Final = 1006
"""RFC 6455 §7.1.5: the connection ended without a close frame."""


@final
@attrs.frozen
class Ending:
    """How a connection ended: the messages before it, the code and the reason of the close frame."""

    frames: tuple[dict[str, Any], ...]
    code: int
    reason: str

    def __str__(self) -> str:
        """Say the code and the slug of the goodbye where both agree, else what each of them was."""
        goodbyes = [frame for frame in self.frames if frame.get("type") == "ws.goodbye"]
        if not goodbyes:
            return f"{self.code} without goodbye"
        last = goodbyes[-1]
        told = f"{last.get('code')} {last.get('slug')}"
        if len(goodbyes) > 1:
            return f"{len(goodbyes)} goodbyes, {told}, then {self.code}"
        if self.frames[-1] is not last:
            return f"goodbye {told} is not the last message"
        return told if last.get("code") == self.code else f"goodbye {told}, then {self.code}"


def request(*lines: str, host: str = HOST) -> bytes:
    """Return a handshake with more header lines."""
    head = (
        f"GET {PATH} HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    return "\r\n".join([*head, *lines, "", ""]).encode("latin-1")


@final
class Client:
    """One connection, once its handshake was answered."""

    __slots__ = ("_buffer", "_inflater", "_reader", "closed", "headers", "status", "writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._buffer = b""
        self._inflater: Inflater | None = None
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.closed: tuple[int, str] | None = None
        """Code and reason, once the server's close frame or the end of the connection was read."""

    @property
    def accepted(self) -> bool:
        """Whether the socket is open."""
        return self.status == _SWITCHING

    @property
    def compresses(self) -> bool:
        """Whether the server agreed to permessage-deflate."""
        return self._inflater is not None

    def values(self, name: str, /) -> list[str]:
        """Return the values of each header line of that name."""
        return [value for key, value in self.headers if key == name]

    async def shake(self, handshake: bytes, /) -> None:
        """Send the handshake and read the head of its answer."""
        self.writer.write(handshake)
        async with asyncio.timeout(SECONDS):
            head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        pairs = (line.partition(":") for line in lines if line)
        self.headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
        if any("permessage-deflate" in value for value in self.values("sec-websocket-extensions")):
            self._inflater = Inflater()

    def send(self, kind: str, /, **data: object) -> None:
        """Send a message of the wire."""
        self.send_text(json.dumps({"type": kind, "data": data}).encode())

    def send_text(self, payload: bytes, /) -> None:
        """Send a text message, compressed where the server agreed to it."""
        if self.compresses:
            self.writer.write(encoded(TEXT, deflated(payload), compressed=True))
        else:
            self.writer.write(encoded(TEXT, payload))

    async def until(self, name: str, /) -> object:
        """
        Pass over messages up to the application's event of that name; return its value.

        Raises:
            TimeoutError: It does not come.
            ConnectionError: The server has closed, or refused the handshake; what it said is in the error.
        """
        frames: list[dict[str, Any]] = []
        async with asyncio.timeout(SECONDS):
            while (frame := await self._message()) is not None:
                data: dict[str, Any] = frame.get("data") or {}
                if data.get("name") == name:
                    value: object = data["value"]
                    return value
                frames.append(frame)
        raise ConnectionError(str(self._ending(frames)))

    async def ending(self) -> Ending:
        """
        Read to the end.

        Raises:
            TimeoutError: It does not end.
        """
        frames: list[dict[str, Any]] = []
        async with asyncio.timeout(SECONDS):
            while (frame := await self._message()) is not None:
                frames.append(frame)
        return self._ending(frames)

    def _ending(self, frames: Iterable[dict[str, Any]]) -> Ending:
        code, reason = self.closed or (_ABNORMAL, "")
        return Ending(tuple(frames), code, reason)

    async def _message(self) -> dict[str, Any] | None:
        """Return the next text message; answer pings, and a close frame, on the way to it."""
        if self.status not in _ANSWERED:
            msg = f"HTTP {self.status}"
            raise ConnectionError(msg)
        parts: list[bytes] = []
        compressed = False
        while self.closed is None:
            frame = await self._frame()
            if frame is None:
                self.closed = (_ABNORMAL, "")
            elif frame.opcode == PING:
                self.writer.write(encoded(PONG, frame.payload))
            elif frame.opcode == CLOSE:
                self.writer.write(encoded(CLOSE, frame.payload[:2]))
                self.closed = said_by_close(frame.payload)
            elif frame.opcode < CLOSE:
                parts.append(frame.payload)
                compressed = compressed or frame.compressed
                if frame.fin:
                    return self._decoded(b"".join(parts), compressed=compressed)
        return None

    def _decoded(self, payload: bytes, *, compressed: bool) -> dict[str, Any]:
        if compressed and self._inflater is not None:
            payload = self._inflater.inflated(payload)
        message: dict[str, Any] = json.loads(payload)
        return message

    async def _frame(self) -> Frame | None:
        """Return the next frame, None at the end of the connection."""
        while (found := parsed(self._buffer)) is None:
            try:
                chunk = await self._reader.read(_CHUNK)
            except ConnectionError:
                chunk = b""
            if not chunk:
                return None
            self._buffer += chunk
        frame, taken = found
        self._buffer = self._buffer[taken:]
        return frame


@asynccontextmanager
async def connected(host: str, port: int, /, *, buffer: int = 2**16) -> AsyncGenerator[Client]:
    """Connect, and drop the connection with the block."""
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(host, port, limit=buffer)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
