"""
The measurements across two nodes of one application and a real engine: W6 and W7.

Node A emits, the sockets are on node B. A run that delivers a foreign event, leaves one out or
repeats one fails.
"""

from __future__ import annotations

import json
import time
from typing import Any, Final

from .engine import MeasuredEngine, Sampler
from .load import Load
from .peers import PEERS
from .process import MeasuredServer
from .runs import Numbers, answer_of, check, pump_for, uncollected
from .stats import percentile
from .work import user_name

_SETTLE_SECONDS: Final = 0.3
_LATE_SECONDS: Final = 10.0
_MISSED: Final = 2
"""Events that each user misses while its node is away."""


def _names(users: int) -> list[str]:
    return [user_name(number) for number in range(users)]


def _connect(load: Load, peer: str, users: int, paths: dict[str, str] | None = None) -> None:
    entry = PEERS[peer]
    load.connect([(name, name) for name in _names(users)], entry.path, entry.hello, paths)


def _emit(node: MeasuredServer, load: Load, do: str, **options: object) -> dict[str, Any]:
    """Let *node* emit until everything has arrived; return its answer."""
    node.tell(do, **options)
    answer = answer_of(node, load)
    due = sum(answer["counts"].values())
    pump_for(load, _LATE_SECONDS, lambda: load.ledger.delivered >= due)
    return answer


def _spent(nodes: tuple[MeasuredServer, ...]) -> tuple[float, float]:
    every = [node.ask("usage") for node in nodes]
    return sum(one["user"] for one in every), sum(one["system"] for one in every)


def across(peer: str, users: int, *, events: int, paced_seconds: float, rate: float) -> Numbers:
    """W6: CPU of both nodes and of the engine per event that crosses, then latency at *rate* events per second."""
    with (
        MeasuredEngine() as engine,
        MeasuredServer(peer, engine=engine.url) as first,
        MeasuredServer(peer, engine=engine.url) as second,
    ):
        load = Load(second.port)
        try:
            _connect(load, peer, users)
            pump_for(load, _SETTLE_SECONDS)
            _emit(first, load, "crowd", users=users, each=2)
            delivered, spent, used = load.ledger.delivered, _spent((first, second)), engine.usage()
            sender = _spent((first,))
            _emit(first, load, "crowd", users=users, each=max(1, events // users))
            burst, after, busy = load.ledger.delivered - delivered, _spent((first, second)), engine.usage()
            sent = _spent((first,))
            delivered = load.ledger.delivered
            load.latencies_ns.clear()
            with uncollected():
                answer = _emit(first, load, "paced", users=users, rate=rate, seconds=paced_seconds, stalled_size=0)
            check(load, answer["counts"])
            user, system = after[0] - spent[0], after[1] - spent[1]
            return {
                "cpu_us": (user + system) / burst * 1e6,
                "user_us": user / burst * 1e6,
                "system_us": system / burst * 1e6,
                "sender_us": (sum(sent) - sum(sender)) / burst * 1e6,
                "engine_us": (busy["user"] + busy["system"] - used["user"] - used["system"]) / burst * 1e6,
                "p50_us": percentile(load.latencies_ns, 0.5) / 1000,
                "p99_us": percentile(load.latencies_ns, 0.99) / 1000,
                "rate": (load.ledger.delivered - delivered) / paced_seconds,
                "events": float(load.ledger.delivered),
            }
        finally:
            load.close()


def cursor_of(welcome: bytes, /) -> str:
    """
    Return the cursor in a welcome as the next handshake carries it.

    Raises:
        ValueError: It is no welcome.
    """
    frame = json.loads(welcome)
    if frame.get("type") != "ws.welcome":
        msg = "the first frame is no ws.welcome"
        raise ValueError(msg)
    cursor = frame["cursor"]
    return f"{cursor['epoch']}.{cursor['seq']}.{cursor['id']}"


def comeback(peer: str, users: int) -> Numbers:
    """W7: the node of *users* dies, events go on, a new node starts and all of them resume as fast as it accepts."""
    with MeasuredEngine() as engine, MeasuredServer(peer, engine=engine.url) as first:
        path = PEERS[peer].path
        with MeasuredServer(peer, engine=engine.url) as second:
            load = Load(second.port)
            try:
                _connect(load, peer, users)
                pump_for(load, _LATE_SECONDS, lambda: len(load.first) >= users)
                paths = {name: f"{path}?cursor={cursor_of(load.first[name])}" for name in _names(users)}
            finally:
                load.close()
        counts = first.ask("crowd", users=users, each=_MISSED)["counts"]
        with MeasuredServer(peer, engine=engine.url) as third:
            load = Load(third.port)
            try:
                third.settle(_SETTLE_SECONDS)
                spent, used, begun = _spent((third,)), engine.usage(), time.monotonic()
                with Sampler(engine) as sampler:
                    _connect(load, peer, users, paths)
                    pump_for(load, 6 * _LATE_SECONDS, lambda: load.ledger.delivered >= _MISSED * users)
                wall = time.monotonic() - begun
                after, busy = _spent((third,)), engine.usage()
                check(load, counts)
                return {
                    "users": float(users),
                    "wall_seconds": wall,
                    "node_us": (sum(after) - sum(spent)) / users * 1e6,
                    "engine_us": (busy["user"] + busy["system"] - used["user"] - used["system"]) / users * 1e6,
                    "engine_seconds": busy["user"] + busy["system"] - used["user"] - used["system"],
                    "commands": (busy["commands"] - used["commands"]) / users,
                    "peak": sampler.peak,
                    "events": float(load.ledger.delivered),
                }
            finally:
                load.close()
