"""
Clients in a process of their own: ``python -m tests.soak.crowd ADDRESS FILE FIRST COUNT PER_USER``.

Each keeps its cursor, comes back with it, and writes down what it was told and when. A line on
stdin ends it once each client has seen the last event of its user, or a minute has passed.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from tests.chaos.client import History
from tests.servers.running import SUBPROTOCOL

LAST: Final = "last"
_PATIENCE: Final = 90.0
_AT_ONCE: Final = 100
"""Handshakes of one crowd at a time at the start."""


class Member:
    """
    One client. ``log`` holds ``[kind, when, ...]``, in the order in which things came.

    ``event, when, value, seq, id``; ``gap, when, reason, from epoch, from seq, to epoch, to seq``;
    ``close, when, code, whether it was open``.
    """

    def __init__(self, address: str, user: str, seed: int) -> None:
        self.user = user
        self.history = History()
        self.log: list[list[Any]] = []
        self.connects = 0
        self.ready = asyncio.Event()
        self.done = asyncio.Event()
        self._address = address
        self._rng = random.Random(seed)
        self._wait = 0.0

    async def run(self, room: asyncio.Semaphore) -> None:
        """
        Follow the stream for good: a second at most before it comes back, and what the goodbye says.
        """
        async with room:
            following = asyncio.create_task(self._follow())
            await self.ready.wait()
        await following

    async def _follow(self) -> None:
        while True:
            self._wait = 0.0
            await self._once()
            await asyncio.sleep(self._wait + self._rng.random())

    async def _once(self) -> None:
        cursor = self.history.cursor
        asked = None if cursor is None else str(cursor)
        welcomes = self.history.welcomes
        code = 0
        try:
            async with connect(
                f"ws://{self._address}/ws" + ("" if asked is None else f"?cursor={asked}"),
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                additional_headers={"Authorization": f"Bearer {self.user}"},
                proxy=None,
                compression=None,
                open_timeout=15,
                ping_interval=None,
                close_timeout=1,
            ) as connection:
                self.connects += 1
                self.history.connected(asked)
                while True:
                    frame = json.loads(await connection.recv())
                    self._frame(frame)
                    if frame["type"] == "ws.ping":
                        await connection.send(json.dumps({"type": "ws.pong", "n": frame["n"]}))
        except ConnectionClosed as error:
            code = 1006 if error.rcvd is None else error.rcvd.code
        except InvalidStatus as error:
            code = error.response.status_code
        except (OSError, EOFError, TimeoutError, WebSocketException):
            pass  # not even refused: nobody was there
        self.log.append(["close", time.monotonic(), code, self.history.welcomes > welcomes])

    def _frame(self, frame: dict[str, Any]) -> None:
        kind, now = frame["type"], time.monotonic()
        before, gaps = self.history.cursor, len(self.history.gaps)
        if kind == "custom":
            self.log.append(["event", now, frame["data"]["value"], frame["seq"], frame["id"]])
        self.history.frame(frame)
        if kind == "ws.welcome":
            self.ready.set()
        elif kind == "ws.goodbye":
            self._wait = (frame.get("retry_after_ms") or 0) / 1000
        elif len(self.history.gaps) > gaps:
            gap = self.history.gaps[-1]
            behind = ("", 0) if before is None else (before.epoch, before.seq)
            self.log.append(["gap", now, gap.reason, *behind, gap.cursor.epoch, gap.cursor.seq])
        if kind == "custom" and frame["data"]["value"][1] == LAST:
            self.done.set()


async def main(address: str, file: str, first: int, count: int, per_user: int) -> None:
    """
    Run *count* clients, *per_user* of each user, and write down what they were told.
    """
    members = [Member(address, f"user-{(first + number) // per_user}", first + number) for number in range(count)]
    room = asyncio.Semaphore(_AT_ONCE)
    tasks = [asyncio.create_task(member.run(room)) for member in members]
    await asyncio.gather(*(member.ready.wait() for member in members))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    over = [asyncio.create_task(member.done.wait()) for member in members]
    await asyncio.wait(over, timeout=_PATIENCE)
    for task in (*tasks, *over):
        task.cancel()
    await asyncio.gather(*tasks, *over, return_exceptions=True)
    said = [
        {
            "user": member.user,
            "connects": member.connects,
            "resumed": member.history.resumed,
            "repeated": member.history.repeated,
            "wrong": member.history.wrong,
            "done": member.done.is_set(),
            "log": member.log,
        }
        for member in members
    ]
    await asyncio.to_thread(Path(file).write_text, json.dumps(said), "utf-8")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])))
