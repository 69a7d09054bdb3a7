"""
What one engine and its nodes carry: ``python -m bench.capacity [--users 200] [--events 40000] [--streams 2000]``.

Events go from one node to sockets on another, as in W6; then streams are filled without sockets, and the engine is
asked what they hold. Prints one Markdown table. The figures are of this machine; read how they relate.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
from typing import Final

from ws_isolation import ManagerFactory, Settings
from ws_isolation.backplanes.base import Lease
from ws_isolation.backplanes.redis import RedisBackplane
from ws_isolation.events import Custom
from ws_isolation.keys import Identity
from ws_isolation.testing import make_context

from .across import across
from .engine import MeasuredEngine

_PEER: Final = "ws_isolation_redis"
_PAYLOAD: Final = "x" * 200
_EVENTS: Final = (1, 20, 200)
"""Events in a stream whose memory is asked for."""
_PACED_SECONDS: Final = 2.0
_RATE: Final = 500.0


async def _filled(url: str, streams: int, events: int) -> None:
    """Put so many events into each of so many streams, and one lease for each."""
    plane = RedisBackplane(url)
    async with ManagerFactory(Settings(), backplane=plane) as factory:
        for number in range(streams):
            user = f"user-{number}"
            manager = factory.create_manager(make_context(user))
            await asyncio.gather(*(manager.send(Custom(name="bench.note", value=_PAYLOAD)) for _ in range(events)))
            lease = Lease(Identity(None, user), f"connection-{number}", 1.0)
            await plane.enter(lease, most=20, replace=False, seconds=600.0)


def memory(streams: int, events: int, /) -> float:
    """Return the bytes of the engine for each stream that holds so many events, with its keys and one lease."""
    with MeasuredEngine() as engine:
        before = engine.memory()
        asyncio.run(_filled(engine.url, streams, events))
        return (engine.memory() - before) / streams


def table(numbers: dict[str, float], held: dict[int, float], /) -> str:
    """Return what was measured."""
    receiver = numbers["cpu_us"] - numbers["sender_us"]
    rows = [
        ("CPU of the node that sends, for each event", f"{numbers['sender_us']:.0f} µs"),
        ("CPU of the node that delivers to a socket, for each event", f"{receiver:.0f} µs"),
        ("CPU of the engine, for each event", f"{numbers['engine_us']:.0f} µs"),
        ("events a second that one core sends", f"{1e6 / numbers['sender_us']:,.0f}"),
        ("events a second that one core delivers", f"{1e6 / receiver:,.0f}"),
        ("events a second that one engine carries", f"{1e6 / numbers['engine_us']:,.0f}"),
        ("from `send()` to the socket on the other node, p50", f"{numbers['p50_us'] / 1000:.2f} ms"),
        ("p99", f"{numbers['p99_us'] / 1000:.2f} ms"),
    ]
    for count, size in held.items():
        what = f"memory of the engine for a user with one session and {count} events with 200 bytes of text"
        rows.append((what, f"{size / 1024:.1f} KiB"))
    return "\n".join(("| | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)))


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--streams", type=int, default=2_000)
    chosen = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    numbers = across(_PEER, chosen.users, events=chosen.events, paced_seconds=_PACED_SECONDS, rate=_RATE)
    held = {count: memory(max(50, chosen.streams // count), count) for count in _EVENTS}
    print(table(numbers, held))


if __name__ == "__main__":
    main()
