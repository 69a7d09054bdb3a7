"""
Clients: a device that keeps its cursor over all its connections, and one socket of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

import attrs
import msgspec

from tests.openings import handshake
from tests.simulation.history import History
from ws_isolation import Handshake
from ws_isolation.errors import TransportClosedError
from ws_isolation.typing import Transport
from ws_isolation.wire import SUBPROTOCOL

ROOM: Final = 2
"""Frames that are on the way to a client that has stopped reading; after them a write waits."""
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


@attrs.define(eq=False)
class Device:
    """
    One client of one user, over all its connections.
    """

    number: int
    who: int
    thread: str
    takes_window: bool
    """Whether it asks for all that is kept when it comes for the first time."""
    answers_pings: bool
    epoch: str = ""
    cursor: tuple[str, int, str] | None = None
    socket: Socket | None = None

    def begins_at(self) -> str:
        """
        Return what it says in its next handshake.
        """
        if self.cursor is not None:
            return "cursor={}.{}.{}".format(*self.cursor)
        return "cursor=window" if self.takes_window else ""

    def take(self, frame: dict[str, Any]) -> None:
        """
        Keep the cursor, as the wire reference says.
        """
        kind = frame["type"]
        if kind in {"ws.gap", "ws.resumed"} or (kind == "ws.welcome" and self.cursor is None):
            self.epoch = frame["cursor"]["epoch"]
            if kind != "ws.welcome" or not self.takes_window:
                self.cursor = tuple(frame["cursor"].values())
        elif "seq" in frame and not kind.startswith("ws."):
            self.cursor = (self.epoch, frame["seq"], frame["id"])


@attrs.define(eq=False)
class Socket:
    """
    One connection: the handshake, the transport, and what the network does to it.
    """

    number: int
    device: Device
    history: History
    token: str
    reads: bool = True
    is_mute: bool = False
    is_gone: bool = False
    """Whether the client or the network ended it."""
    is_closed: bool = False
    """Whether the server did."""
    on_the_way: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    incoming: deque[str | TransportClosedError] = attrs.field(factory=deque["str | TransportClosedError"])
    waiting: asyncio.Future[None] | None = None
    blocked: list[asyncio.Future[None]] = attrs.field(factory=list["asyncio.Future[None]"])
    handshake: Handshake = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        offered = (SUBPROTOCOL,) if self.device.answers_pings else ()
        self.handshake = handshake(
            ("authorization", f"Bearer {self.token}"), query=self.device.begins_at(), subprotocols=offered
        )

    @property
    def is_over(self) -> bool:
        """
        Whether nothing goes through it any more.
        """
        return self.is_gone or self.is_closed

    def _note(self, kind: Any, **about: Any) -> None:
        device = self.device
        self.history.note(kind, socket=self.number, who=device.who, device=device.number, **about)

    # The server's side: an opening and a transport.

    async def accept(self, subprotocol: str | None, /) -> Transport:
        """
        Be accepted.
        """
        if self.is_gone:
            raise TransportClosedError
        return self

    async def refuse(self, status: int, retry_after: int | None, /) -> None:
        """
        Be refused.
        """
        self.is_closed = True
        self._note("refused", number=status)

    async def receive(self) -> str | bytes:
        """
        Wait for what the client says.
        """
        while not self.incoming:
            self.waiting = asyncio.get_running_loop().create_future()
            await self.waiting
        item = self.incoming.popleft()
        if isinstance(item, TransportClosedError):
            self.incoming.append(item)
            raise item
        return item

    async def send(self, text: str, /) -> None:
        """
        Write one frame; it waits while the client does not read.
        """
        if self.is_over:
            raise TransportClosedError
        frame = _decode(text)
        self._note("wrote", frame=frame, text=text)
        if not self.reads and len(self.on_the_way) >= ROOM:
            await self._until_read()
        if self.is_over:
            raise TransportClosedError
        self.on_the_way.append(frame)
        if self.reads:
            self._read()

    async def close(self, code: int, reason: str, /) -> None:
        """
        Write the close frame.
        """
        if not self.reads:
            await self._until_read()
        if not self.is_over:
            self._read()
            self.is_closed = True
            self._note("closed", number=code, text=reason)
            self._push(TransportClosedError(code))

    def abort(self) -> None:
        """
        Drop the connection.
        """
        if not self.is_over:
            self._note("aborted")
        self.is_closed = True
        self._end(1006)

    async def _until_read(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self.blocked.append(waiting)
        await waiting

    # The client's side.

    def says(self, text: str) -> None:
        """
        Send a message.
        """
        if not self.is_over and not self.is_mute:
            self._push(text)

    def leaves(self, *, reads_all: bool) -> None:
        """
        End the connection; what is on the way is read before, or lost.
        """
        if not self.is_over:
            if reads_all:
                self._read()
            self.is_gone = True
            self._note("left")
            self._end(1001 if reads_all else 1006)

    def stalls(self) -> None:
        """
        Stop reading.
        """
        if self.reads and not self.is_over:
            self.reads = False
            self._note("stall")

    def falls_mute(self) -> None:
        """
        Lose the network without a word: nothing comes, and nothing goes.
        """
        if not self.is_over:
            self.reads, self.is_mute = False, True
            self._note("mute")

    def reads_again(self) -> None:
        """
        Read all that is on the way, and what comes.
        """
        if not self.reads and not self.is_mute:
            self.reads = True
            self._note("read_again")
            self._read()
            self._release()

    def _read(self) -> None:
        frames, self.on_the_way = self.on_the_way, []
        for frame in frames:
            self.device.take(frame)
            self._note("read", frame=frame, epoch=self.device.epoch)
            if frame["type"] == "ws.ping":
                self.says(f'{{"type":"ws.pong","n":{frame["n"]}}}')

    def _end(self, code: int) -> None:
        self.on_the_way.clear()
        self._push(TransportClosedError(code))
        self._release()

    def _push(self, item: str | TransportClosedError) -> None:
        self.incoming.append(item)
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)

    def _release(self) -> None:
        blocked, self.blocked = self.blocked, []
        for waiting in blocked:
            if not waiting.done():
                waiting.set_result(None)
