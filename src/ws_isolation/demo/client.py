"""
A real client: one WebSocket over loopback, and every byte that came over it.

The check and the attacks use it, so what they report is what a peer saw, not
what the server believes that it sent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

__all__ = ("Client", "connected")

_SUBPROTOCOL: Final = Subprotocol("ws-isolation.v1")
_PATIENCE: Final = 10.0
"""Seconds that a condition may take to become true; on loopback it takes milliseconds."""


@final
class Client:
    """
    One socket of one user. Lives as long as the block of ``connected()``.

    Attributes:
        raw: The messages as they came, in order.
    """

    def __init__(self, socket: ClientConnection, /) -> None:
        self.raw: list[str] = []
        self._socket = socket
        self._news = asyncio.Event()

    @property
    def frames(self) -> list[dict[str, Any]]:
        """The messages, decoded."""
        return [json.loads(text) for text in self.raw]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events among them: no control frames."""
        return [frame for frame in self.frames if not frame["type"].startswith("ws.")]

    def control(self, kind: str, /) -> dict[str, Any] | None:
        """Return the first control frame of type *kind*, None where none came."""
        return next((frame for frame in self.frames if frame["type"] == kind), None)

    @property
    def close_code(self) -> int | None:
        """The code that the socket was closed with, None while it is open."""
        return self._socket.close_code

    @property
    def close_reason(self) -> str:
        """The reason that came with the code."""
        return self._socket.close_reason or ""

    def count(self, canaries: Iterable[str], /) -> int:
        """Return how many messages hold one of *canaries*, anywhere in their text."""
        wanted = tuple(canaries)
        return sum(any(canary in text for canary in wanted) for text in self.raw)

    async def send(self, **members: object) -> None:
        """Send a message; one that the server no longer wants is lost, as with any peer that has gone."""
        try:
            await self._socket.send(json.dumps(members))
        except ConnectionClosed:
            return

    async def listen(self) -> None:
        """Read until the socket is closed."""
        try:
            while True:
                self.raw.append(await self._socket.recv(decode=True))
                self._news.set()
        except ConnectionClosed:
            self._news.set()

    async def until(self, holds: Callable[[Client], object], /, seconds: float = _PATIENCE) -> bool:
        """Wait until *holds* is true of this client; False where it was not within *seconds*."""
        try:
            async with asyncio.timeout(seconds):
                while not holds(self):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def closed(self) -> bool:
        """Wait until the server has closed the socket; False where it did not."""
        return await self.until(lambda client: client.close_code is not None, 5.0)


@asynccontextmanager
async def connected(
    address: str, token: str, /, *, path: str = "/ws", cursor: str = "", reads: bool = True
) -> AsyncGenerator[Client]:
    """
    Connect as the user of *token*, and listen.

    Args:
        address: ``127.0.0.1:8765``.
        token: The credential; browsers can only send it as a subprotocol, so this client does too.
        path: The endpoint.
        cursor: Where to resume, ``<epoch>.<seq>.<id>``.
        reads: False for a client that reads only when ``listen()`` is called.
    """
    query = f"?cursor={cursor}" if cursor else ""
    async with connect(
        f"ws://{address}{path}{query}",
        subprotocols=[_SUBPROTOCOL, Subprotocol(f"bearer.{token}")],
        compression=None,
        proxy=None,  # loopback: nobody stands between
        close_timeout=2,
        max_queue=4,
    ) as socket:
        client = Client(socket)
        if not reads:
            yield client
            return
        listening = asyncio.create_task(client.listen(), name="demo-client")
        try:
            yield client
        finally:
            await socket.close()
            await listening
