"""
A plain client that comes back: it keeps its cursor, and a history of all that it was told.

It knows the wire reference only. One thing is stricter than its words: the epoch of a welcome is
taken where the client gave no cursor; where it gave one, the answer (resumed or gap) sets it. A
client at ``seq`` 0 that took the new epoch and was cut before the gap would resume in a history
it never saw, and nobody would tell it what it missed.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any, Final

import attrs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from tests.servers.running import SUBPROTOCOL

_GONE: Final = (OSError, EOFError, TimeoutError, WebSocketException)
"""How a connection, or the attempt to make one, ends."""


@attrs.frozen
class Cursor:
    """
    What a client copies, and hands back as it is.
    """

    epoch: str
    seq: int
    id: str

    def __str__(self) -> str:
        return f"{self.epoch}.{self.seq}.{self.id}"


@attrs.frozen
class Gap:
    """
    An announced loss: everything after *behind* up to *cursor*.
    """

    reason: str
    behind: Cursor | None
    cursor: Cursor

    def covers(self, seq: int) -> bool:
        """
        Tell whether the event with this place, in the history that goes on, was announced as lost.
        """
        first = self.behind.seq if self.behind is not None and self.behind.epoch == self.cursor.epoch else 0
        return first < seq <= self.cursor.seq


@attrs.define
class History:
    """
    What one client was told, in order; ``wrong`` names whatever no server may do.
    """

    cursor: Cursor | None = None
    start: Cursor | None = None
    """Where it began; None where it asked for all that was still there."""
    got: dict[int, str] = attrs.field(factory=dict[int, str])
    """Durable events by place."""
    values: list[Any] = attrs.field(factory=list[Any])
    """The values of custom events, in the order in which they were processed."""
    gaps: list[Gap] = attrs.field(factory=list[Gap])
    wrong: list[str] = attrs.field(factory=list[str])
    goodbyes: list[int] = attrs.field(factory=list[int])
    welcomes: int = 0
    resumed: int = 0
    replayed: int = 0
    repeated: int = 0
    """Events that came again; removed by their id."""
    _asked: str | None = None
    _frames: int = 0
    _waiting: bool = False
    """Whether resumed or gap is due, and what comes now is replay."""
    _before: int = 0
    """Durable events when this connection began."""
    _place: int = 0

    def connected(self, asked: str | None) -> None:
        """
        Begin a connection whose handshake carried the cursor *asked*.
        """
        self._asked, self._frames, self._waiting = asked, 0, asked is not None
        self._before = len(self.got)
        self._place = 0 if self.cursor is None else self.cursor.seq

    def frame(self, frame: dict[str, Any]) -> None:
        """
        Take one frame of the server.
        """
        kind = frame["type"]
        self._frames += 1
        if (kind == "ws.welcome") != (self._frames == 1) and kind != "ws.goodbye":
            self.wrong.append(f"{kind} as frame {self._frames}")
        match kind:
            case "ws.welcome":
                self._welcome(_cursor(frame))
            case "ws.resumed":
                self._resumed(_cursor(frame), frame["count"])
            case "ws.gap":
                self._gap(frame["reason"], _cursor(frame))
            case "ws.goodbye":
                self.goodbyes.append(frame["code"])
            case "ws.ping":
                if self.cursor is None or frame["seq"] != self.cursor.seq:
                    self.wrong.append(f"a ping at {frame['seq']}, the client stands at {self.cursor}")
            case _ if not kind.startswith("ws."):
                self._event(frame)
            case _:
                pass

    def _welcome(self, top: Cursor) -> None:
        self.welcomes += 1
        if self._asked is None:
            self.cursor = self.start = top
        elif self.cursor is None:  # the window: its history begins with what is still there
            self.cursor = Cursor(top.epoch, 0, "")

    def _resumed(self, stands: Cursor, count: int) -> None:
        replay = len(self.got) - self._before
        if not self._waiting:
            self.wrong.append("resumed without a question")
        if self._asked == "window" and not self.got:
            self.cursor = stands  # nothing is there yet
        if stands != self.cursor:
            self.wrong.append(f"resumed at {stands}, the client stands at {self.cursor}")
        if count != replay or (self._asked != "window" and count != stands.seq - self._place):
            self.wrong.append(f"resumed with {count} after {replay} from {self._place} to {stands.seq}")
        self._waiting = False
        self.resumed += 1
        self.replayed += count

    def _gap(self, reason: str, top: Cursor) -> None:
        if self._waiting and len(self.got) != self._before:
            self.wrong.append("a part of a replay before a gap")
        self.gaps.append(Gap(reason, self.cursor, top))
        if self.cursor is not None and self.cursor.epoch != top.epoch:
            self.got.clear()  # another history: its places are given out anew
        for seq in [seq for seq in self.got if seq > top.seq]:
            del self.got[seq]  # so are those that the engine has lost
        self.cursor = top
        self._waiting = False

    def _event(self, frame: dict[str, Any]) -> None:
        stands = self.cursor
        if stands is None:
            return
        if "seq" not in frame:
            if frame["after_seq"] > stands.seq:
                self.wrong.append(f"a delta after {frame['after_seq']}, the client stands at {stands.seq}")
            return
        seq, event_id = frame["seq"], frame["id"]
        if self.got.get(seq) == event_id:
            self.repeated += 1
            return
        # The window begins wherever it begins; everything else goes on where the client stands.
        if seq != stands.seq + 1 and (stands.seq, stands.id) != (0, ""):
            self.wrong.append(f"event {seq}, the client stands at {stands.seq}")
        self.got[seq] = event_id
        self.cursor = Cursor(stands.epoch, seq, event_id)
        if frame["type"] == "custom":
            self.values.append(frame["data"]["value"])

    def lost(self, published: dict[int, str]) -> list[int]:
        """
        Return the places of *published* events that were neither received nor announced as lost.

        Counts from where the client began, or from the first event of its window, to where it stands.
        """
        first = self.start.seq if self.start is not None else min(self.got, default=1) - 1
        last = 0 if self.cursor is None else self.cursor.seq
        return [
            seq
            for seq, event_id in published.items()
            if first < seq <= last and self.got.get(seq) != event_id and not any(gap.covers(seq) for gap in self.gaps)
        ]


def _cursor(frame: dict[str, Any]) -> Cursor:
    place = frame["cursor"]
    return Cursor(place["epoch"], place["seq"], place["id"])


class ResumingClient:
    """
    Connects, reads, answers pings, and comes back with its cursor until it is cancelled.

    Args:
        address: ``host:port``; may be changed between connections.
        user: Whose events it reads.
        start: The cursor of the first handshake: None for live, ``window``, or one of its own.
        seed: Of the jitter before it comes back.
    """

    def __init__(self, address: str, user: str, *, start: str | None = None, seed: int = 0) -> None:
        self.address = address
        self.user = user
        self.history = History()
        self.connects = 0
        self.connection: ClientConnection | None = None
        self._start = start
        self._rng = random.Random(f"{seed}-{user}")
        self._moved = asyncio.Event()

    async def run(self) -> None:
        """
        Follow the stream for good.
        """
        while True:
            await self.once()
            await asyncio.sleep(self._rng.random() * 0.02)

    async def once(self) -> None:
        """
        Connect, and read until the connection ends.
        """
        asked = self._start if self.history.cursor is None else str(self.history.cursor)
        self.connects += 1
        try:
            connection = await connect(
                f"ws://{self.address}/ws" + ("" if asked is None else f"?cursor={asked}"),
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                additional_headers={"Authorization": f"Bearer {self.user}"},
                proxy=None,
                compression=None,
                open_timeout=3,
                ping_interval=None,
            )
        except _GONE:
            return
        self.connection = connection
        try:
            self.history.connected(asked)
            await self._read(connection)
        except _GONE:
            pass
        finally:
            connection.transport.abort()
            self.connection = None

    async def _read(self, connection: ClientConnection) -> None:
        silence = 10.0
        while True:
            async with asyncio.timeout(silence):
                frame = json.loads(await connection.recv())
            self.history.frame(frame)
            self._moved.set()
            if frame["type"] == "ws.welcome":
                silence = (frame["heartbeat_ms"] + frame["pong_timeout_ms"]) / 1000
            elif frame["type"] == "ws.ping":
                await connection.send(json.dumps({"type": "ws.pong", "n": frame["n"]}))

    async def reach(self, seq: int, *, seconds: float = 20) -> None:
        """
        Wait until the client stands at *seq* or later.
        """
        async with asyncio.timeout(seconds):
            while self.history.cursor is None or self.history.cursor.seq < seq:
                self._moved.clear()
                await self._moved.wait()
