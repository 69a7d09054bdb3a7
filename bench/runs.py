"""
The measurements over real sockets: W2 to W5, one peer and one round at a time.

Each starts a fresh server and returns plain numbers. A run that delivers a foreign event, leaves
one out or repeats one fails; only W5 may miss events, since that is what it measures.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

from .load import Load
from .peers import PEERS
from .process import MeasuredServer
from .stats import percentile
from .work import make_token, user_name

Numbers = dict[str, float]

_SETTLE_SECONDS: Final = 0.3
_LATE_SECONDS: Final = 10.0
"""How long a run waits for the last event after the last emit."""
ANSWER_SECONDS: Final = 90.0
"""How long a server may take for what it was asked to emit: several times what the slowest peer needs."""
STALLED_BYTES: Final = 5_000


class FaultyRunError(Exception):
    """A peer delivered a foreign event, a gap or a duplicate: its figures do not count."""


def _connect(load: Load, peer: str, first: int, users: int, *, token: bool = False) -> None:
    entry = PEERS[peer]
    names = [user_name(number) for number in range(first, first + users)]
    load.connect([(name, make_token(name) if token else name) for name in names], entry.path, entry.hello)


def pump_for(load: Load, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
    """Read what comes for *seconds*, or until *until* holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        load.pump(0.01)


def answer_of(server: MeasuredServer, load: Load, /, seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
    """
    Read what comes until *server* says that it is done.

    Raises:
        FaultyRunError: It did not say so within *seconds*.
    """
    pump_for(load, seconds, server.has_answered)
    if not server.has_answered():
        msg = f"the server has emitted for {seconds:.0f} s and is not done"
        raise FaultyRunError(msg)
    return server.answer()


@contextmanager
def uncollected() -> Generator[None]:
    """Keep the generator's own garbage collector out of a block in which latencies are taken."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _emit(server: MeasuredServer, load: Load, do: str, **options: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Let the server emit; return its answers when it began and when everything had arrived."""
    server.tell(do, **options)
    answer = answer_of(server, load)
    counts: dict[str, int] = answer["counts"]
    pump_for(load, _LATE_SECONDS, lambda: load.ledger.delivered >= sum(counts.values()))
    return answer["before"], server.ask("usage")


def check(load: Load, counts: dict[str, int], /) -> None:
    """
    See that each event came to its user, once, in order, and that none is missing.

    Raises:
        FaultyRunError: Says how many were wrong.
    """
    ledger = load.ledger
    missing = ledger.missing(counts)
    if ledger.foreign or ledger.gaps or ledger.duplicates or missing:
        msg = f"foreign {ledger.foreign}, gaps {ledger.gaps}, duplicates {ledger.duplicates}, missing {missing}"
        raise FaultyRunError(msg)


def sockets(peer: str, users: int, *, events: int, seconds: float, paced_seconds: float, rate: float) -> Numbers:
    """W2: server CPU per delivered event as fast as it goes, then latency at *rate* events per second."""
    with MeasuredServer(peer) as server:
        load = Load(server.port)
        try:
            _connect(load, peer, 0, users)
            pump_for(load, _SETTLE_SECONDS)
            _emit(server, load, "burst", users=users, events=2 * users, seconds=0.0)
            delivered = load.ledger.delivered
            before, after = _emit(server, load, "burst", users=users, events=events, seconds=seconds)
            burst = load.ledger.delivered - delivered
            delivered = load.ledger.delivered
            load.latencies_ns.clear()
            with uncollected():
                slow_before, slow_after = _emit(
                    server, load, "paced", users=users, rate=rate, seconds=paced_seconds, stalled_size=0
                )
            paced = load.ledger.delivered - delivered
            check(load, slow_after["counts"])
            return {
                "user_us": (after["user"] - before["user"]) / burst * 1e6,
                "system_us": (after["system"] - before["system"]) / burst * 1e6,
                "cpu_us": (after["user"] + after["system"] - before["user"] - before["system"]) / burst * 1e6,
                "paced_cpu_us": (
                    (slow_after["user"] + slow_after["system"] - slow_before["user"] - slow_before["system"])
                    / paced
                    * 1e6
                ),
                "rate": paced / paced_seconds,
                "p50_us": percentile(load.latencies_ns, 0.5) / 1000,
                "p99_us": percentile(load.latencies_ns, 0.99) / 1000,
                "bytes": load.ledger.size / load.ledger.delivered,
                "events": float(load.ledger.delivered),
            }
        finally:
            load.close()


def idle(peer: str, sessions: int, *, token: bool) -> Numbers:
    """W3 and W4: CPU per handshake and resident bytes per idle session; 50 sessions come before the clock starts."""
    with MeasuredServer(peer, token=token) as server:
        load = Load(server.port)
        try:
            _connect(load, peer, 0, 50, token=token)
            server.settle(_SETTLE_SECONDS)
            server.ask("collect")
            before = server.ask("usage")
            _connect(load, peer, 50, sessions, token=token)
            server.settle(_SETTLE_SECONDS)
            after = server.ask("usage")
            server.ask("collect")
            settled = server.ask("usage")
            spent = after["user"] + after["system"] - before["user"] - before["system"]
            _emit(server, load, "burst", users=50 + sessions, events=50 + sessions, seconds=0.0)
            check(load, server.ask("usage")["counts"])
            found = {
                "handshake_us": spent / sessions * 1e6,
                "idle_bytes": (settled["rss"] - before["rss"]) / sessions,
            }
            if PEERS[peer].keeps:
                found["absent_bytes"] = _absent(server, 50 + sessions, max(sessions, 1_000))
            return found
        finally:
            load.close()


def _absent(server: MeasuredServer, first: int, users: int) -> float:
    """Return resident bytes per user who has no session and was sent one event: the stream, and the run."""
    server.ask("collect")
    before = server.ask("usage")
    server.ask("absent", first=first, users=users)
    server.ask("collect")
    return float(server.ask("usage")["rss"] - before["rss"]) / users


def stalled(peer: str, users: int, *, rate: float, seconds: float, stall: bool) -> Numbers:
    """W5: the latency of *users* readers beside one that has stopped to read, and what the server keeps for it."""
    with MeasuredServer(peer) as server:
        load = Load(server.port)
        try:
            _connect(load, peer, 0, users)
            if stall:
                load.stall(user_name(users), PEERS[peer].path, PEERS[peer].hello)
            pump_for(load, _SETTLE_SECONDS)
            before = server.ask("usage")
            size = STALLED_BYTES if stall else 0
            server.tell("paced", users=users, rate=rate, seconds=seconds, stalled_size=size)
            with uncollected():
                answer = answer_of(server, load)
                pump_for(load, 1.0)
            counts = {name: n for name, n in answer["counts"].items() if name != user_name(users)}
            ledger = load.ledger
            if ledger.foreign or ledger.gaps or ledger.duplicates:
                check(load, counts)
            return {
                "p50_us": percentile(load.latencies_ns, 0.5) / 1000,
                "p99_us": percentile(load.latencies_ns, 0.99) / 1000,
                "due": rate * seconds,
                "share": ledger.delivered / (rate * seconds),
                "missing": float(ledger.missing(counts)),
                "finished": float(answer["finished"]),
                "grown_bytes": answer["rss"] - before["rss"],
            }
        finally:
            load.close()
