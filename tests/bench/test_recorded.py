"""
The recorded run in the documentation, and the goals it is held against.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.goals import GOALS, goals
from bench.pictures import pictures
from bench.record import RECORDED, files


def recorded() -> dict[str, Any]:
    """
    Return the result that the documentation shows.
    """
    result: dict[str, Any] = json.loads((RECORDED / "result.json").read_text("utf-8"))
    return result


def test_nothing_was_changed_by_hand() -> None:
    """
    Tables and pictures in the documentation are those of the recorded result, and nothing else lies there.
    """
    expected = files(recorded())

    assert expected == {path.name: path.read_text("utf-8") for path in RECORDED.iterdir()}


def test_every_goal_was_measured() -> None:
    """
    The recorded run answers each goal, and no run in it failed its checks.
    """
    result = recorded()

    assert len(GOALS) + 2 == len(goals(result).splitlines())
    assert {} == result["failed"]


@pytest.mark.parametrize(("cpu", "reached"), [(7.9, "yes"), (8.0, "yes"), (8.1, "**no**")])
def test_a_goal_is_reached_or_not(cpu: float, reached: str) -> None:
    """
    The median of the ratios decides, and what was not measured is left out.
    """
    rounds = [{"by_hand": {"cpu_us": 10.0}, "ws_isolation": {"cpu_us": cpu}}]

    line = f"| W2: server CPU per event, beside by hand | 0.80 times | {cpu / 10:.2f} | {reached} |"
    assert line == goals({"rounds": {"W2-200": rounds}}).splitlines()[2]


def test_goals_of_differences() -> None:
    """
    What users add, and memory, are held against the manager by hand of the same round.
    """
    emits = {"by_hand": {"1": 20.0, "1000": 24.0}, "ws_isolation": {"1": 10.0, "1000": 13.0}}
    idle = {"by_hand": {"idle_bytes": 1024.0}, "ws_isolation": {"idle_bytes": 6144.0}}
    lines = goals({"rounds": {"W1": [emits], "W3": [idle]}}).splitlines()[2:]

    assert ["0.50", "-1.00", "5.00"] == [line.split(" | ")[2] for line in lines]


def test_pictures_need_their_base() -> None:
    """
    A round without the manager by hand has ratios of nothing, and no picture.
    """
    assert {} == pictures({"W2-200": [{"floor": {"cpu_us": 1.0}}], "W3": [{}]})
