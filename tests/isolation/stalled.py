"""
A client that stops reading while its kernel goes on acknowledging.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.servers.raw import upgrade


@asynccontextmanager
async def stalled_reader(address: str, user: str) -> AsyncGenerator[None]:
    """
    Connect by hand, with small buffers, and read nothing after the welcome.
    """
    host, port = address.split(":")
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        raw.settimeout(0)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, (host, int(port)))
        await loop.sock_sendall(raw, upgrade(address, f"Authorization: Bearer {user}"))
        got = b""
        while b"ws.welcome" not in got:
            got += await loop.sock_recv(raw, 4_096)
        yield
