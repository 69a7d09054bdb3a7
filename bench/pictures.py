"""
Which pictures a result has: the ratios of server CPU, one bar for each peer. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from .peers import ACROSS_BASE, BASE, PEERS
from .plot import Bar, bars
from .stats import ratios, summary
from .table import Rounds, column


def pictures(measured: Mapping[str, Rounds], /) -> dict[str, str]:
    """Return the pictures as SVG, by the name of their file."""
    found: dict[str, str] = {}
    for name, rounds in measured.items():
        if name.startswith(("W2-", "W6")) and (items := _items(rounds, ACROSS_BASE if name == "W6" else BASE)):
            where = "CPU of both nodes" if name == "W6" else "Server CPU"
            users = "" if name == "W6" else f", {name[3:]} users"
            title = f"{where} per delivered event{users}, by hand = 1 (less is better)"
            found[f"{name.lower()}.svg"] = bars(title, items)
    return found


def _items(rounds: Rounds, base: str) -> list[Bar]:
    items: list[Bar] = []
    for peer, entry in PEERS.items():
        if values := ratios(column(rounds, "cpu_us"), peer, base):
            title = entry.title.replace("`", "").replace("*", "")
            items.append(Bar(title, summary(values), peer.startswith("ws_isolation")))
    return items
