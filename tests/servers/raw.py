"""
Handshakes and frames as bytes, for what no well-behaved client sends.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs

KEY = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="


def upgrade(address: str, *lines: str, path: str = "/ws", host: str | None = None) -> bytes:
    """
    Return a handshake with more header lines; ``host=""`` leaves the Host header out.
    """
    hosts = [f"Host: {address if host is None else host}"] if host != "" else []
    head = [
        f"GET {path} HTTP/1.1",
        *hosts,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        KEY,
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode("latin-1")


def text_frame(text: str) -> bytes:
    """
    Return a masked text frame of at most 125 bytes.
    """
    payload = text.encode()
    mask = b"\x01\x02\x03\x04"
    masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return bytes([0x81, 0x80 | len(payload)]) + mask + masked


@attrs.frozen
class Raw:
    """
    A connection as bytes.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> tuple[int, dict[str, str]]:
        """
        Read the answer's head: status and headers.
        """
        async with asyncio.timeout(10):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        return int(first.split(" ")[1]), headers

    async def frame(self) -> dict[str, Any]:
        """
        Read a text frame of the server.
        """
        async with asyncio.timeout(10):
            size = (await self.reader.readexactly(2))[1]
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2))
            frame: dict[str, Any] = json.loads(await self.reader.readexactly(size))
        return frame


@asynccontextmanager
async def connected(address: str) -> AsyncGenerator[Raw]:
    """
    Connect, and drop the connection with the block.
    """
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


async def answer_to(address: str, request: bytes) -> tuple[int, dict[str, str]]:
    """
    Return status and headers of the answer to a handshake.
    """
    async with connected(address) as raw:
        raw.writer.write(request)
        return await raw.head()
