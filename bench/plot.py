"""
A bar chart as SVG: one bar per peer, a line from the least to the greatest round. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

from .stats import Summary

_ROW: Final = 26
_LEFT: Final = 290
_WIDTH: Final = 400
_RIGHT: Final = 70
_TOP: Final = 48


class Bar(NamedTuple):
    """A peer and its ratio; *ours* is drawn in another colour."""

    label: str
    value: Summary
    ours: bool = False


def bars(title: str, items: Sequence[Bar], /) -> str:
    """
    Return an SVG picture with a logarithmic scale, since the peers lie up to a hundredfold apart.

    Raises:
        ValueError: There are no bars, or a value is not above 0.
    """
    if not items or any(item.value.low <= 0 for item in items):
        msg = "a logarithmic scale needs values, all above 0"
        raise ValueError(msg)
    low = min(0.25, *(item.value.low for item in items))
    span = math.log(max(2.0, *(item.value.high for item in items)) / low)

    def at(value: float) -> float:
        return _LEFT + _WIDTH * math.log(value / low) / span

    height = _TOP + _ROW * len(items) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {height}" role="img" '
        'font-family="sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="10" y="20" font-weight="bold">{escape(title)}</text>',
        f'<line x1="{at(1):.1f}" x2="{at(1):.1f}" y1="{_TOP - 12}" y2="{height - 8}" stroke="#555555" '
        'stroke-dasharray="4 3"/>',
    ]
    for row, (label, value, ours) in enumerate(items):
        y = _TOP + row * _ROW
        middle = y + 9
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{_LEFT}" y="{y}" width="{at(value.median) - _LEFT:.1f}" height="18" '
            f'fill="{"#1f6feb" if ours else "#b8c0cc"}"/>',
            f'<line x1="{at(value.low):.1f}" x2="{at(value.high):.1f}" y1="{middle}" y2="{middle}" stroke="#000000"/>',
            f'<text x="{at(value.high) + 6:.1f}" y="{y + 14}">{value.median:.2f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
