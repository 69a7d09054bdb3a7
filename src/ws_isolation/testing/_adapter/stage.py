"""
What a check acts on: a server, and clients of it.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, cast, final

from .client import HOST, Client, connected, request
from .description import Served

SUBPROTOCOL: Final = "ws-isolation.v1"

_DEFLATE: Final = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover"


@final
class Stage:
    """
    A server and its clients.

    Args:
        served: The server.
        cycles: How many sessions come and go where leaks are looked for.
    """

    __slots__ = ("_numbers", "cycles", "served")

    def __init__(self, served: Served, cycles: int) -> None:
        self.served = served
        self.cycles = cycles
        self._numbers = itertools.count(1)

    def token(self, how: str = "user") -> str:
        """Return a credential of a user whom no other client is."""
        return f"{how}.u{next(self._numbers)}"

    @asynccontextmanager
    async def client(
        self, token: str | None = None, /, *lines: str, host: str = HOST, deflate: bool = False
    ) -> AsyncGenerator[Client]:
        """Connect as whom *token* says, and read the answer to the handshake; a user of its own without one."""
        bearer = f"Authorization: Bearer {self.token() if token is None else token}"
        more = (_DEFLATE,) if deflate else ()
        async with connected(self.served.host, self.served.port) as client:
            await client.shake(request(bearer, *more, *lines, host=host))
            yield client

    @asynccontextmanager
    async def welcomed(self, token: str | None = None, /, *lines: str, deflate: bool = False) -> AsyncGenerator[Client]:
        """Connect, and read up to the first event of the session."""
        async with self.client(token, *lines, deflate=deflate) as client:
            await client.until("check.user")
            yield client

    async def census(self, client: Client) -> dict[str, int]:
        """Ask a session for what the server holds."""
        client.send("census")
        return cast("dict[str, int]", await client.until("check.census"))
