"""
A handshake in memory, for what every adapter shares.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import attrs

from ws_isolation import Handshake
from ws_isolation.handshake import Headers
from ws_isolation.testing import RecordingTransport
from ws_isolation.typing import Transport


def handshake(
    *headers: tuple[str, str],
    host: str | None = "chat.example.com",
    query: str = "",
    subprotocols: tuple[str, ...] = (),
    scheme: str = "wss",
    client: str | None = "192.0.2.7",
) -> Handshake:
    """
    Return a handshake as a server would hand it over.
    """
    pairs = headers if host is None else (("host", host), *headers)
    return Handshake(
        headers=Headers(pairs), path="/ws", query_string=query, subprotocols=subprotocols, scheme=scheme, client=client
    )


async def _at_once() -> None:
    pass


@attrs.define
class MemoryOpening:
    """
    An ``Opening`` that records what was answered.
    """

    handshake: Handshake = attrs.field(factory=handshake)
    transport: RecordingTransport = attrs.field(factory=RecordingTransport)
    before_accept: Callable[[], Awaitable[None]] = _at_once
    """Awaited before the socket is accepted; may raise or hang."""
    before_refuse: Callable[[], Awaitable[None]] = _at_once
    """Awaited before the status is answered; may raise or hang."""
    inner: Transport | None = None
    """What ``accept`` returns instead of the recording transport."""
    accepted: list[str | None] = attrs.field(factory=list["str | None"])
    refused: list[tuple[int, int | None]] = attrs.field(factory=list[tuple[int, "int | None"]])

    async def accept(self, subprotocol: str | None, /) -> Transport:
        """
        Record the subprotocol and return the transport.
        """
        await self.before_accept()
        self.accepted.append(subprotocol)
        return self.transport if self.inner is None else self.inner

    async def refuse(self, status: int, retry_after: int | None, /) -> None:
        """
        Record the status.
        """
        await self.before_refuse()
        self.refused.append((status, retry_after))


async def hangs() -> None:
    """
    Wait for what never comes.
    """
    await asyncio.Event().wait()
