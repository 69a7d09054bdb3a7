"""
W1: what one emit costs without any server: ASGI applications behind a null transport, in one process.

Run by the orchestrator, ``python -m bench.inprocess PEER``; writes one line of JSON. What goes out is
kept as it is and checked after the clock has stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import time
from typing import Any, Final

from .framing import Ledger
from .peers import PEERS, make_peer
from .server import pin, run
from .work import TEXT_BYTES, user_name

BATCH: Final = 50
"""Emits before the loop gets a turn and everything must have arrived: half of what Channels keeps for one socket."""
WINDOWS: Final = 5
"""Short windows whose median counts: what the machine does beside them moves one or two, and not the figure."""
_DRAIN_SECONDS: Final = 10.0
_SETUP_SECONDS: Final = 30.0


class Sink:
    """What was written, by user."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str | bytes]] = []


class NullAsgi:
    """One WebSocket of an ASGI server that takes everything at once."""

    def __init__(self, user: str, path: str, hello: str, sink: Sink) -> None:
        self._user = user
        self._hello = hello
        self._first = True
        self._keep = sink.written.append
        where, _, query = path.partition("?")
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": where,
            "raw_path": where.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [
                (b"host", b"bench"),
                (b"upgrade", b"websocket"),
                (b"connection", b"Upgrade"),
                (b"authorization", f"Bearer {user}".encode()),
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "subprotocols": [],
            "state": {},
            "extensions": {},
        }

    async def receive(self) -> dict[str, Any]:
        """Connect, say what the protocol wants, and then nothing more."""
        if self._first:
            self._first = False
            return {"type": "websocket.connect"}
        if self._hello:
            hello, self._hello = self._hello, ""
            return {"type": "websocket.receive", "text": hello}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: dict[str, Any]) -> None:
        """Keep what was written."""
        if message["type"] == "websocket.send":
            self._keep((self._user, message.get("text") or message["bytes"]))


async def start_lifespan(app: Any) -> asyncio.Task[None]:
    """Start *app* as a server would; the task ends with the process."""
    started = asyncio.Event()
    events = iter(({"type": "lifespan.startup"},))

    async def receive() -> dict[str, Any]:
        for event in events:
            return event
        await asyncio.Event().wait()
        raise AssertionError

    async def send(_message: dict[str, Any]) -> None:
        started.set()

    scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    task: asyncio.Task[None] = asyncio.ensure_future(app(scope, receive, send))
    await started.wait()
    return task


class _Measurement:
    """One peer with one number of users."""

    def __init__(self, name: str, peer: Any, users: int) -> None:
        self._peer = peer
        self._names = [user_name(number) for number in range(users)]
        self._counts = dict.fromkeys(self._names, 0)
        self._sink = Sink()
        self._name = name
        self._tasks: list[asyncio.Task[None]] = []
        self._turn = 0

    async def open(self) -> None:
        entry = PEERS[self._name]
        if entry.lifespan:
            self._tasks.append(await start_lifespan(self._peer.app))
        begun = time.monotonic()
        for number, user in enumerate(self._names):
            if entry.app:
                null = NullAsgi(user, entry.path, entry.hello, self._sink)
                if hasattr(self._peer, "attach"):
                    self._tasks.append(asyncio.create_task(self._peer.attach(user, self._sink.written.append)))
                else:
                    self._tasks.append(asyncio.create_task(self._peer.app(null.scope, null.receive, null.send)))
            else:
                self._peer.transports[user] = _NullTransport(user, self._sink)
            if number % 100 == 0:
                await asyncio.sleep(0)
                if time.monotonic() - begun > _SETUP_SECONDS:
                    raise TimeoutError
        await asyncio.sleep(0.2)
        for user in self._names:
            await self._emit(user)
        await self._drain()

    async def _emit(self, user: str) -> None:
        n = self._counts[user]
        self._counts[user] = n + 1
        await self._peer.emit(user, n, TEXT_BYTES)

    async def _drain(self) -> None:
        """Wait until everything is out; frames without a stamp are few, and counted when the clock stands."""
        due = sum(self._counts.values())
        end = time.monotonic() + _DRAIN_SECONDS
        while self._stamped() < due and time.monotonic() < end:
            await asyncio.sleep(0)

    def _stamped(self) -> int:
        return sum("@@" in text if isinstance(text, str) else b"@@" in text for _, text in self._sink.written)

    async def measure(self, seconds: float) -> float:
        """Return the CPU microseconds of one emit, delivery included."""
        written, before, emits = self._sink.written, len(self._sink.written), 0
        begun = time.process_time()
        while time.process_time() - begun < seconds:
            for _ in range(BATCH):
                await self._emit(self._names[self._turn])
                self._turn = (self._turn + 1) % len(self._names)
            emits += BATCH
            end = time.monotonic() + _DRAIN_SECONDS
            await asyncio.sleep(0)
            while len(written) < before + emits and time.monotonic() < end:
                await asyncio.sleep(0)
        return (time.process_time() - begun) / emits * 1e6

    def check(self) -> Ledger:
        ledger = Ledger()
        for user, text in self._sink.written:
            ledger.note(user, text if isinstance(text, bytes) else text.encode())
        ledger.gaps += ledger.missing(self._counts)
        return ledger

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _NullTransport:
    """An asyncio transport that takes everything."""

    def __init__(self, user: str, sink: Sink) -> None:
        self._user = user
        self._keep = sink.written.append

    def write(self, data: bytes) -> None:
        """Keep what was written."""
        self._keep((self._user, data))


async def measure(name: str, sizes: list[int], seconds: float) -> dict[str, float | None]:
    """
    Return CPU microseconds per emit for each number of users; None where the connections took too long.

    Raises:
        RuntimeError: Something foreign, missing or repeated.
    """
    found: dict[str, float | None] = {}
    for users in sizes:
        measurement = _Measurement(name, make_peer(name, token=False), users)
        try:
            await measurement.open()
            await measurement.measure(seconds / 2)  # what is slow only once is not what is measured
            windows = [await measurement.measure(seconds / WINDOWS) for _ in range(WINDOWS)]
            found[str(users)] = statistics.median(windows)
        except TimeoutError:
            found[str(users)] = None
            continue
        ledger = measurement.check()
        if ledger.foreign or ledger.gaps or ledger.duplicates:
            msg = f"{name}: foreign {ledger.foreign}, gaps {ledger.gaps}, duplicates {ledger.duplicates}"
            raise RuntimeError(msg)
        await measurement.close()
        gc.collect()
    return found


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("--users", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    wanted = parser.parse_args()
    pin(0)

    async def work() -> None:
        sizes = [int(size) for size in wanted.users.split(",")]
        print(json.dumps(await measure(wanted.peer, sizes, wanted.seconds)))

    run(work())


if __name__ == "__main__":
    main()
