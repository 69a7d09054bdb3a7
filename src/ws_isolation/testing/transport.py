"""A socket that exists in memory only and remembers what was written to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, final

from ..errors import TransportClosedError

__all__ = ("RecordingTransport",)


@final
class RecordingTransport:
    """
    A ``Transport`` for ``ManagerFactory.attach()``. Lives as long as the test's socket.

    Attributes:
        sent: The texts that were written, in order.
        closed: The code and reason of the close frame, None until there is one.
        aborted: Whether the connection was dropped.
    """

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.closed: tuple[int, str] | None = None
        self.aborted: bool = False
        self._incoming: asyncio.Queue[str | bytes | TransportClosedError] = asyncio.Queue()
        self._reads = asyncio.Event()
        self._reads.set()
        self._gone = False

    @property
    def frames(self) -> list[dict[str, Any]]:
        """What was written, decoded."""
        return [json.loads(text) for text in self.sent]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events among what was written: no control frames."""
        return [frame for frame in self.frames if not str(frame.get("type", "")).startswith("ws.")]

    def types(self) -> list[str]:
        """Return the types of what was written."""
        return [str(frame.get("type", "")) for frame in self.frames]

    def client_sends(self, message: Mapping[str, Any] | str | bytes, /) -> None:
        """Let the client send a message: JSON of a mapping, or the text or bytes as they are."""
        self._incoming.put_nowait(message if isinstance(message, str | bytes) else json.dumps(message))

    def client_leaves(self, code: int = 1001, /) -> None:
        """Let the client end the connection."""
        self._gone = True
        self._incoming.put_nowait(TransportClosedError(code))

    def client_stops_reading(self) -> None:
        """Let writes wait, as they do when a peer's buffers are full."""
        self._reads.clear()

    def client_reads_again(self) -> None:
        """Let writes go on."""
        self._reads.set()

    async def receive(self) -> str | bytes:
        """Same as ``Transport.receive()``."""
        item = await self._incoming.get()
        if isinstance(item, TransportClosedError):
            raise item
        return item

    async def send(self, text: str, /) -> None:
        """Same as ``Transport.send()``."""
        await self._reads.wait()
        if self._gone or self.closed is not None or self.aborted:
            raise TransportClosedError
        self.sent.append(text)

    async def close(self, code: int, reason: str, /) -> None:
        """Same as ``Transport.close()``."""
        await self._reads.wait()
        if self.closed is None and not self._gone:
            self.closed = (code, reason)
            self._incoming.put_nowait(TransportClosedError(code))

    def abort(self) -> None:
        """Same as ``Transport.abort()``."""
        self.aborted = True
        self._incoming.put_nowait(TransportClosedError(1006))
