"""
Results as Markdown. Pure: a result in, text out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .peers import ACROSS_BASE, BASE, PEERS
from .stats import Summary, ratios, summary

Rounds = Sequence[Mapping[str, Mapping[str, float | None]]]
"""Of one measurement: for each round, for each peer, its figures."""

_TITLES = {
    "W1": "W1: one emit, null transport, CPU µs",
    "W2": "W2: real sockets, {} users, server CPU per delivered event",
    "W3": "W3 and W4: an idle session, and a handshake",
    "W5": "W5: one of the readers has stopped to read",
    "W6": "W6: two nodes and an engine, CPU of both nodes per event that crosses",
    "W7": "W7: a node was restarted and all of its users resume",
    "W8": "W8: each adapter beside its own framework by hand, server CPU per delivered event",
}


def markdown(headers: Sequence[str], rows: Sequence[Sequence[str]], /) -> str:
    """Return a table; the first column is text, the others are numbers."""
    lines = [headers, ["---", *["---:"] * (len(headers) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def column(rounds: Rounds, key: str, /) -> list[dict[str, float]]:
    """Return one figure of every peer, round by round; a peer without it is left out of that round."""
    found: list[dict[str, float]] = []
    for one in rounds:
        values = {peer: figures.get(key) for peer, figures in one.items()}
        found.append({peer: value for peer, value in values.items() if value is not None})
    return found


def cell(rounds: Rounds, peer: str, key: str, /, scale: float = 1.0, digits: int = 1) -> str:
    """Return the median of a figure and its spread, or a dash."""
    values = [one[peer] * scale for one in column(rounds, key) if peer in one]
    return _shown(summary(values), digits) if values else "-"


def ratio_cell(rounds: Rounds, peer: str, key: str, /, base: str = BASE) -> str:
    """Return the median of the ratios within a round and their spread, or a dash."""
    values = ratios(column(rounds, key), peer, base)
    return _shown(summary(values), 2) if values else "-"


def _shown(one: Summary, digits: int) -> str:
    if one.rounds == 1 or f"{one.low:.{digits}f}" == f"{one.high:.{digits}f}":
        return f"{one.median:,.{digits}f}"
    return f"{one.median:,.{digits}f} ({one.low:,.{digits}f} to {one.high:,.{digits}f})"


def report(result: Mapping[str, Any], /) -> str:
    """Return all tables of a result, and what is not in them and why."""
    measured: Mapping[str, Rounds] = result["rounds"]
    parts: list[str] = []
    for name, rounds in measured.items():
        kind, _, users = name.partition("-")
        parts += [f"### {_TITLES[kind].format(users)}\n", _TABLES[kind](rounds)]
    absent: Mapping[str, Sequence[str]] = result["absent"]
    parts += [f"Not measured: {PEERS[peer].title}, not installed: {', '.join(of)}.\n" for peer, of in absent.items()]
    failed: Mapping[str, str] = result["failed"]
    parts += [f"Failed: {what}: {why}.\n" for what, why in failed.items()]
    return "\n".join(parts)


def _sizes(rounds: Rounds) -> list[str]:
    return list(dict.fromkeys(size for one in rounds for figures in one.values() for size in figures))


def added_by_users(rounds: Rounds, peer: str, /) -> list[float]:
    """Return, of each round of W1, how many microseconds an emit costs more with the most users than with one."""
    sizes = _sizes(rounds)
    return [
        last - first
        for one in rounds
        if peer in one
        and (last := one[peer].get(sizes[-1])) is not None
        and (first := one[peer].get(sizes[0])) is not None
    ]


def _peers(rounds: Rounds) -> list[str]:
    return [peer for peer in PEERS if any(peer in one for one in rounds)]


def _w1(rounds: Rounds) -> str:
    sizes = _sizes(rounds)
    headers = [
        "peer",
        *(f"{int(size):,} {'user' if size == '1' else 'users'}" for size in sizes),
        "ratio at 1",
        "added",
    ]
    rows: list[list[str]] = []
    for peer in _peers(rounds):
        added = added_by_users(rounds, peer)
        shown = _shown(summary(added), 1) if added else "-"
        rows.append(
            [PEERS[peer].title, *(cell(rounds, peer, s) for s in sizes), ratio_cell(rounds, peer, sizes[0]), shown]
        )
    return markdown(headers, rows)


def _w2(rounds: Rounds) -> str:
    headers = ["peer", "ratio", "CPU µs", "user µs", "system µs", "p50 µs", "p99 µs", "p99 ratio", "events/s", "bytes"]
    rows = [
        [
            PEERS[peer].title,
            ratio_cell(rounds, peer, "cpu_us"),
            *(cell(rounds, peer, key) for key in ("cpu_us", "user_us", "system_us")),
            *(cell(rounds, peer, key, 1.0, 0) for key in ("p50_us", "p99_us")),
            ratio_cell(rounds, peer, "p99_us"),
            *(cell(rounds, peer, key, 1.0, 0) for key in ("rate", "bytes")),
        ]
        for peer in _peers(rounds)
    ]
    return markdown(headers, rows)


def _w3(rounds: Rounds) -> str:
    headers = [
        "peer",
        "KiB per idle session",
        "KiB per user who is away",
        "handshake CPU µs",
        "ratio",
        "with an HS256 token",
        "ratio",
    ]
    rows = [
        [
            PEERS[peer].title,
            cell(rounds, peer, "idle_bytes", 1 / 1024),
            cell(rounds, peer, "absent_bytes", 1 / 1024),
            cell(rounds, peer, "handshake_us", 1.0, 0),
            ratio_cell(rounds, peer, "handshake_us"),
            cell(rounds, peer, "token_us", 1.0, 0),
            ratio_cell(rounds, peer, "token_us"),
        ]
        for peer in _peers(rounds)
    ]
    return markdown(headers, rows)


def _w5(rounds: Rounds) -> str:
    headers = ["peer", "p99 µs without", "p99 µs with", "ratio", "delivered %", "memory grown, MiB", "emitter went on"]
    rows = [
        [
            PEERS[peer].title,
            cell(rounds, peer, "without_p99_us", 1.0, 0),
            cell(rounds, peer, "p99_us", 1.0, 0),
            cell(rounds, peer, "p99_ratio", 1.0, 2),
            cell(rounds, peer, "share", 100.0, 0),
            cell(rounds, peer, "grown_bytes", 1 / 1_048_576),
            "yes" if all(one[peer].get("finished") for one in rounds if peer in one) else "**no**",
        ]
        for peer in _peers(rounds)
    ]
    return markdown(headers, rows)


def _w6(rounds: Rounds) -> str:
    headers = [
        "peer",
        "ratio",
        "to python-socketio",
        "CPU µs",
        "user µs",
        "system µs",
        "sender's part",
        "engine CPU µs",
        "ratio",
        "p50 µs",
        "ratio",
        "p99 µs",
    ]
    rows = [
        [
            PEERS[peer].title,
            ratio_cell(rounds, peer, "cpu_us", base=ACROSS_BASE),
            ratio_cell(rounds, peer, "cpu_us", base="socketio_redis"),
            *(cell(rounds, peer, key, 1.0, 0) for key in ("cpu_us", "user_us", "system_us", "sender_us")),
            cell(rounds, peer, "engine_us"),
            ratio_cell(rounds, peer, "engine_us", base=ACROSS_BASE),
            cell(rounds, peer, "p50_us", 1.0, 0),
            ratio_cell(rounds, peer, "p50_us", base=ACROSS_BASE),
            cell(rounds, peer, "p99_us", 1.0, 0),
        ]
        for peer in _peers(rounds)
    ]
    return markdown(headers, rows)


def _w7(rounds: Rounds) -> str:
    headers = [
        "peer",
        "users",
        "seconds",
        "node CPU µs per user",
        "engine CPU µs per user",
        "engine CPU seconds",
        "commands per user",
        "most commands in 100 ms",
    ]
    rows = [
        [
            PEERS[peer].title,
            cell(rounds, peer, "users", 1.0, 0),
            cell(rounds, peer, "wall_seconds"),
            *(cell(rounds, peer, key, 1.0, 0) for key in ("node_us", "engine_us")),
            cell(rounds, peer, "engine_seconds", 1.0, 2),
            cell(rounds, peer, "commands"),
            cell(rounds, peer, "peak", 1.0, 0),
        ]
        for peer in _peers(rounds)
    ]
    return markdown(headers, rows)


def _w8(rounds: Rounds) -> str:
    headers = ["framework", "ratio", "by hand, CPU µs", "adapter, CPU µs", "p99 ratio"]
    rows: list[list[str]] = []
    for framework in dict.fromkeys(PEERS[peer].pair for peer in _peers(rounds)):
        by_hand, *ours = [peer for peer in _peers(rounds) if PEERS[peer].pair == framework]
        rows += [
            [
                framework,
                ratio_cell(rounds, adapter, "cpu_us", base=by_hand),
                cell(rounds, by_hand, "cpu_us"),
                cell(rounds, adapter, "cpu_us"),
                ratio_cell(rounds, adapter, "p99_us", base=by_hand),
            ]
            for adapter in ours
        ]
    return markdown(headers, rows)


_TABLES = {"W1": _w1, "W2": _w2, "W3": _w3, "W5": _w5, "W6": _w6, "W7": _w7, "W8": _w8}
