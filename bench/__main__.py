"""
The command: ``python -m bench [--quick] [--only W1,W2] [--peers by_hand,ws_isolation] [--out DIR]``.

Rounds go over all peers in turn, so that a machine that changes its speed changes it for all.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from . import across, runs
from .engine import binary
from .goals import goals
from .peers import PEERS, missing
from .pictures import pictures
from .server import pin, raise_descriptor_limit
from .table import report

_CELL_SECONDS: Final = 300.0
_KINDS: Final = ("W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8")


class Plan(NamedTuple):
    """How much is done: peers, rounds, users, seconds."""

    peers: tuple[str, ...]
    rounds: int
    sizes: tuple[int, ...]
    seconds: float
    paced_seconds: float
    users: tuple[int, ...]
    events: int
    sessions: int
    stalled_rounds: int
    stalled_seconds: float
    stalled: tuple[str, ...]
    idle_rounds: int
    across_rounds: int
    across_events: int
    resuming: int


_SOME: Final = (
    *("floor", "by_hand", "by_hand_msgspec", "ws_isolation", "ws_isolation_frames", "ws_isolation_attach", "socketio"),
    *("redis_by_hand", "ws_isolation_redis", "socketio_redis"),
)
"""Those that the goals are about, and the bounds below and above: what a few minutes are enough for."""
_TWO: Final = ("by_hand", "ws_isolation")

QUICK: Final = Plan(_SOME, 3, (1, 1_000), 0.4, 1.0, (200,), 4_000, 100, 1, 2.0, _TWO, 1, 1, 4_000, 500)
FULL: Final = Plan(
    peers=tuple(PEERS),
    rounds=3,
    sizes=(1, 1_000, 10_000),
    seconds=1.0,
    paced_seconds=3.0,
    users=(200, 2_000),
    events=40_000,
    sessions=2_000,
    stalled_rounds=3,
    stalled_seconds=4.0,
    stalled=tuple(PEERS),
    idle_rounds=1,
    across_rounds=3,
    across_events=40_000,
    resuming=10_000,
)


def in_process(peer: str, plan: Plan) -> dict[str, float | None]:
    """W1, in a process of its own."""
    sizes = ",".join(str(size) for size in plan.sizes)
    command = [sys.executable, "-m", "bench.inprocess", peer, "--users", sizes, "--seconds", str(plan.seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_CELL_SECONDS, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(lines[-1])
    return dict(json.loads(done.stdout))


def idle_and_handshake(peer: str, plan: Plan) -> dict[str, float | None]:
    """W3 and W4."""
    found: dict[str, float | None] = {**runs.idle(peer, plan.sessions, token=False)}
    found["token_us"] = runs.idle(peer, plan.sessions, token=True)["handshake_us"]
    return found


def stalled_ratio(found: Mapping[str, float | None]) -> float | None:
    """Return p99 beside p99 without; None of an emitter that stopped: what came before it would flatter it."""
    with_it, without = found["p99_us"], found["without_p99_us"]
    return with_it / without if found["finished"] and with_it and without else None


def stalled_reader(peer: str, plan: Plan) -> dict[str, float | None]:
    """W5: without, then with, the ratio within the round."""
    without = runs.stalled(peer, 100, rate=1_000, seconds=plan.stalled_seconds, stall=False)
    found: dict[str, float | None] = {
        **runs.stalled(peer, 100, rate=1_000, seconds=plan.stalled_seconds, stall=True),
        "without_p99_us": without["p99_us"],
    }
    found["p99_ratio"] = stalled_ratio(found)
    return found


def paired(peer: str, plan: Plan) -> dict[str, float | None]:
    """W8: as W2, with its fewest users."""
    users = min(plan.users)
    events = plan.events
    return {
        **runs.sockets(
            peer, users, events=events, seconds=max(0.5, plan.seconds), paced_seconds=plan.paced_seconds, rate=2_000
        )
    }


class Measurement(NamedTuple):
    """One block of the result."""

    name: str
    rounds: int
    peers: list[str]
    measure: Callable[[str], dict[str, float | None]]


def plan_measurements(plan: Plan, peers: list[str], only: set[str]) -> list[Measurement]:
    """Return what is to be measured, in order."""
    served = [peer for peer in peers if PEERS[peer].sockets]
    found: list[Measurement] = []
    if "W1" in only:
        null = [peer for peer in peers if PEERS[peer].null]
        found.append(Measurement("W1", plan.rounds, null, partial(in_process, plan=plan)))
    if "W2" in only:
        for users in plan.users:

            def over_sockets(peer: str, users: int = users) -> dict[str, float | None]:
                seconds = max(0.5, plan.seconds)
                found = runs.sockets(
                    peer, users, events=plan.events, seconds=seconds, paced_seconds=plan.paced_seconds, rate=2_000
                )
                return {**found}

            found.append(Measurement(f"W2-{users}", plan.rounds, served, over_sockets))
    if only & {"W3", "W4"}:
        found.append(Measurement("W3", plan.idle_rounds, served, partial(idle_and_handshake, plan=plan)))
    if "W5" in only:
        some = [peer for peer in served if peer in plan.stalled]
        found.append(Measurement("W5", plan.stalled_rounds, some, partial(stalled_reader, plan=plan)))
    found += _across(plan, peers, only)
    if "W8" in only:
        found.append(
            Measurement("W8", plan.rounds, [peer for peer in peers if PEERS[peer].pair], partial(paired, plan=plan))
        )
    return found


def _across(plan: Plan, peers: list[str], only: set[str]) -> list[Measurement]:
    """Return W6 and W7; nobody is in them where there is no engine."""
    found: list[Measurement] = []
    with_engine = [peer for peer in peers if PEERS[peer].engine] if binary() else []
    if "W6" in only:

        def two_nodes(peer: str) -> dict[str, float | None]:
            seconds = plan.paced_seconds
            return {**across.across(peer, plan.users[0], events=plan.across_events, paced_seconds=seconds, rate=500)}

        found.append(Measurement("W6", plan.across_rounds, with_engine, two_nodes))
    if "W7" in only:

        def resumed(peer: str) -> dict[str, float | None]:
            return {**across.comeback(peer, plan.resuming)}

        ours = [peer for peer in with_engine if PEERS[peer].resumes]
        found.append(Measurement("W7", plan.idle_rounds, ours, resumed))
    return found


def measure(measurements: list[Measurement], failed: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Measure; what fails is entered in *failed*, and its figures do not count."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, rounds, peers, work in measurements:
        found[name] = []
        started = time.monotonic()
        for number in range(rounds):
            one: dict[str, Any] = {}
            for peer in peers:
                begun = time.monotonic()
                try:
                    one[peer] = work(peer)
                except (RuntimeError, OSError, ValueError, subprocess.TimeoutExpired, runs.FaultyRunError) as error:
                    failed[f"{name}, round {number + 1}, {peer}"] = f"{type(error).__name__}: {error}"
                print(f"{name} {number + 1}/{rounds} {peer}: {time.monotonic() - begun:.1f} s", file=sys.stderr)
            found[name].append(one)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return found


def _versions(peers: list[str]) -> dict[str, str]:
    names = sorted({package for peer in peers for package in PEERS[peer].needs} | {"uvloop", "httptools"})
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def main() -> int:
    """Measure, write and print; return 1 if a run failed its checks."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure what delivery costs.")
    parser.add_argument("--quick", action="store_true", help="a few minutes, fewer users and rounds")
    parser.add_argument("--only", default=",".join(_KINDS), help=f"{','.join(_KINDS)} (W3 and W4 are one run)")
    parser.add_argument("--peers", help=f"instead of the plan's: {', '.join(PEERS)}")
    parser.add_argument("--rounds", type=int, help="rounds of W1, W2, W5 and W6")
    parser.add_argument("--out", type=Path, default=Path(".work/bench"), help="folder for JSON, Markdown and SVG")
    wanted = parser.parse_args()
    plan = QUICK if wanted.quick else FULL
    only, asked = set(wanted.only.split(",")), wanted.peers.split(",") if wanted.peers else plan.peers
    if unknown := [name for name in [*only, *asked] if name not in {*_KINDS, *PEERS}]:
        parser.error(f"unknown: {', '.join(unknown)}")
    if wanted.peers:
        plan = plan._replace(stalled=tuple(asked))
    if wanted.rounds:
        plan = plan._replace(rounds=wanted.rounds, across_rounds=wanted.rounds, stalled_rounds=wanted.rounds)
    absent = {peer: packages for peer in asked if (packages := missing(peer))}
    if binary() is None:
        absent |= {peer: ["redis-server"] for peer in asked if PEERS[peer].engine and peer not in absent}
    peers = [peer for peer in PEERS if peer in asked and peer not in absent]
    raise_descriptor_limit()
    pin(min(1, (os.cpu_count() or 1) - 1))

    failed: dict[str, str] = {}
    result: dict[str, Any] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "packages": _versions(peers),
        "plan": plan._asdict(),
        "absent": absent,
        "failed": failed,
        "rounds": measure(plan_measurements(plan, peers, only), failed),
    }
    wanted.out.mkdir(parents=True, exist_ok=True)
    (wanted.out / "result.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    (wanted.out / "table.md").write_text(report(result), "utf-8")
    for name, picture in pictures(result["rounds"]).items():
        (wanted.out / name).write_text(picture, "utf-8")
    print(report(result), goals(result), sep="\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
