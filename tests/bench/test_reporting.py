"""
How figures become medians, ratios, tables and a picture.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from bench.plot import Bar, bars
from bench.stats import Summary, percentile, ratios, summary
from bench.table import cell, markdown, ratio_cell, report


def test_summary_is_median_and_spread() -> None:
    """
    One bad round moves the spread, not the median.
    """
    assert Summary(2.0, 1.0, 90.0, 3) == summary([90.0, 1.0, 2.0])


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.0, 1.0)])
def test_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    """
    Of 1 to 100, the percentile is its own number.
    """
    assert expected == percentile([float(n) for n in range(100, 0, -1)], share)


def test_nothing_measured_has_no_figure() -> None:
    """
    No values are an error, never a 0 that looks fast.
    """
    with pytest.raises(ValueError, match="no round"):
        summary([])
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_ratios_stay_inside_their_round() -> None:
    """
    A machine that became twice as slow in the second round changes no ratio; a round without the base has none.
    """
    rounds = [{"a": 1.0, "b": 2.0}, {"a": 2.0, "b": 4.0}, {"a": 9.0}, {"a": 9.0, "b": 0.0}]

    assert [0.5, 0.5] == ratios(rounds, "a", "b")


def result() -> dict[str, Any]:
    """
    Return a result with every kind of measurement.
    """
    fast = {"cpu_us": 5.0, "p99_us": 10.0}
    slow = {"cpu_us": 10.0, "p99_us": 40.0}
    stalled = {"finished": 0.0, "share": 0.25, "p99_ratio": 3.0}
    return {
        "rounds": {
            "W1": [{"by_hand": {"1": 8.0, "1000": 9.0}, "floor": {"1": 2.0, "1000": None}}],
            "W2-200": [{"by_hand": slow, "floor": fast}, {"by_hand": slow, "floor": {"cpu_us": 6.0}}],
            "W3": [{"by_hand": {"idle_bytes": 2048.0}}],
            "W5": [{"by_hand": stalled}],
        },
        "absent": {"socketio": ["python-socketio"]},
        "failed": {"W2-200, round 1, channels": "FaultyRunError: gaps 1"},
    }


def test_report_holds_every_measurement() -> None:
    """
    Medians, spreads and ratios stand in the tables.
    """
    text = report(result())

    assert "| 8.0 | 9.0 | 1.00 | 1.0 |" in text
    assert "| 2.0 | - | 0.25 | - |" in text
    assert "| 0.55 (0.50 to 0.60) | 5.5 (5.0 to 6.0) |" in text
    assert "0.25 |" in text
    assert "| 2.0 |" in text
    assert "| 3.00 | 25 | - | **no** |" in text


def test_adapters_are_held_against_their_own_framework() -> None:
    """
    In W8 a ratio is that of one framework; one that was measured alone has none.
    """
    figures = {"cpu_us": 10.0, "p99_us": 100.0}
    rounds = [
        {
            "by_hand": figures,
            "ws_isolation": {"cpu_us": 15.0, "p99_us": 120.0},
            "quart_by_hand": {"cpu_us": 40.0, "p99_us": 400.0},
            "quart_adapter": {"cpu_us": 20.0, "p99_us": 200.0},
            "litestar_by_hand": figures,
        }
    ]
    text = report({"rounds": {"W8": rounds}, "absent": {}, "failed": {}})

    assert "| FastAPI | 1.50 | 10.0 | 15.0 | 1.20 |" in text
    assert "| Quart | 0.50 | 40.0 | 20.0 | 0.50 |" in text
    assert "Litestar" not in text


def test_report_leaves_nobody_out_silently() -> None:
    """
    A peer that is not installed and a run that failed its checks are named, with the reason.
    """
    text = report(result())

    assert "python-socketio, not installed: python-socketio" in text
    assert "Failed: W2-200, round 1, channels: FaultyRunError: gaps 1." in text


def test_cells_without_figures_are_dashes() -> None:
    """
    What was not measured is a dash.
    """
    assert "-" == cell([{"floor": {}}], "floor", "cpu_us")
    assert "-" == ratio_cell([{"floor": {"cpu_us": 1.0}}], "floor", "cpu_us")
    assert "| a | b |\n| --- | ---: |\n| x | 1 |\n" == markdown(["a", "b"], [["x", "1"]])


def test_picture_is_well_formed() -> None:
    """
    The SVG parses, has a bar for each peer, longer for more, and labels are escaped.
    """
    ours = Bar("ours", Summary(4.0, 3.0, 5.0, 3), ours=True)
    picture = bars("a < b", [Bar("x & y", Summary(1.0, 0.9, 1.1, 3)), ours])

    root = ET.fromstring(picture)  # noqa: S314  # it was made two lines above
    drawn = [float(bar.attrib["width"]) for bar in root.iter("{http://www.w3.org/2000/svg}rect") if "x" in bar.attrib]
    assert 2 == len(drawn)
    assert 0 < drawn[0] < drawn[1]
    assert "x &amp; y" in picture


@pytest.mark.parametrize("items", [[], [Bar("none", Summary(1.0, 0.0, 2.0, 2))]])
def test_picture_needs_values(items: list[Bar]) -> None:
    """
    A bar that a logarithmic scale cannot show is refused.
    """
    with pytest.raises(ValueError, match="above 0"):
        bars("title", items)
