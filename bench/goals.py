"""
What the library wants to reach, held against a result. Pure: a result in, a table out.

The figures are the project's own goals, each a ratio within a round or a difference to the manager by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from .peers import ACROSS_BASE, BASE
from .stats import ratios, summary
from .table import Rounds, added_by_users, column, markdown

OURS: Final = "ws_isolation"
ACROSS: Final = "ws_isolation_redis"


class Goal(NamedTuple):
    """One goal: ``work`` is the measurement, ``least`` the figure that is still good."""

    work: str
    what: str
    most: float
    unit: str
    found: Callable[[Rounds], list[float]]


def _ratio(key: str, peer: str = OURS, base: str = BASE) -> Callable[[Rounds], list[float]]:
    return lambda rounds: ratios(column(rounds, key), peer, base)


def _figure(key: str) -> Callable[[Rounds], list[float]]:
    return lambda rounds: [one[OURS] for one in column(rounds, key) if OURS in one]


def _more_added(rounds: Rounds) -> list[float]:
    ours, by_hand = added_by_users(rounds, OURS), added_by_users(rounds, BASE)
    return [one - other for one, other in zip(ours, by_hand, strict=False)]


def _more_memory(rounds: Rounds) -> list[float]:
    idle = column(rounds, "idle_bytes")
    return [(one[OURS] - one[BASE]) / 1024 for one in idle if OURS in one and BASE in one]


GOALS: Final = (
    Goal("W1", "one emit, beside by hand", 0.69, "times", _ratio("1")),
    Goal("W1", "what more users add to one emit, beyond what they add by hand", 0.0, "µs", _more_added),
    Goal("W2-200", "server CPU per event, beside by hand", 0.80, "times", _ratio("cpu_us")),
    Goal("W2-200", "the same with `UvicornFrames`", 0.60, "times", _ratio("cpu_us", "ws_isolation_frames")),
    Goal("W2-200", "p99 at 2,000 events per second, beside by hand", 1.20, "times", _ratio("p99_us")),
    Goal("W3", "an idle session holds more than one by hand", 4.0, "KiB", _more_memory),
    Goal("W5", "p99 of the others with one stalled reader, beside without", 1.50, "times", _figure("p99_ratio")),
    Goal("W6", "CPU of two nodes, beside python-socketio", 0.25, "times", _ratio("cpu_us", ACROSS, "socketio_redis")),
    Goal(
        "W6", "the engine's CPU per publish, beside `PUBLISH`", 3.00, "times", _ratio("engine_us", ACROSS, ACROSS_BASE)
    ),
    Goal("W6", "p50 across nodes, beside redis-py", 1.50, "times", _ratio("p50_us", ACROSS, ACROSS_BASE)),
)


def goals(result: Mapping[str, Any], /) -> str:
    """Return the table of goals; one that was not measured in this result is left out."""
    measured: Mapping[str, Rounds] = result["rounds"]
    rows: list[list[str]] = []
    for goal in GOALS:
        values = goal.found(measured[goal.work]) if goal.work in measured else []
        if not values:
            continue
        found = summary(values).median
        reached = "yes" if found <= goal.most else "**no**"
        wanted = f"{goal.most:.2f} {goal.unit}"
        rows.append([f"{goal.work.partition('-')[0]}: {goal.what}", wanted, f"{found:.2f}", reached])
    return markdown(["goal", "at most", "found", "reached"], rows)
