"""
What cannot be beaten: the frame is there already, but for its stamp, and goes to the asyncio transport.

It checks nothing and knows nothing: no JSON, no order, no back-pressure, no close.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
from typing import cast

from ..work import MARK, as_dict, identify, thought

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class _Socket(asyncio.Protocol):
    """One accepted connection."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._request = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer the handshake; what a client says later is not read."""
        if self._transport is None or self._request.endswith(b"\r\n\r\n"):
            return
        self._request += data
        if not self._request.endswith(b"\r\n\r\n"):
            return
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in self._request.split(b"\r\n")[1:])
        }
        accept = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + _GUID, usedforsecurity=False).digest())
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        user = identify(headers[b"authorization"].decode(), token=self._floor.token)
        self._floor.transports[user] = self._transport


class Floor:
    """Transports by user."""

    def __init__(self, *, token: bool) -> None:
        self.token = token
        self.transports: dict[str, asyncio.WriteTransport] = {}
        whole, text = json.dumps(as_dict("user000000", 0)), thought("user000000", 0)
        begin = whole.index(MARK)
        self._before, self._after = whole[:begin].encode(), whole[begin + len(text) :].encode()

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""
        server = await asyncio.get_running_loop().create_server(lambda: _Socket(self), sock=listener, backlog=4_096)
        await server.serve_forever()

    async def emit(self, user: str, n: int, size: int, /) -> None:
        """Put the stamp into the frame and write it."""
        payload = self._before + thought(user, n, size).encode() + self._after
        length = len(payload)
        head = b"\x81\x7e" + length.to_bytes(2, "big") if length >= 126 else bytes((0x81, length))  # noqa: PLR2004
        transport = self.transports.get(user)
        if transport is not None:
            transport.write(head + payload)


make = Floor
