"""
The feature matrix as a page, from its results alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

HEAD = """\
# Adapters and servers

What was observed with each adapter on each server: `make matrix` runs `check_adapter()` on all of them and writes this
page. A ✓ means that what is wanted was observed. A number stands for a difference, explained below the table; each of
them was observed as it is named here, with {cycles} sessions coming and going where leaks are looked for.
[Testing](../howto/testing.md) says how to check an adapter of your own.
"""


def page(results: dict[str, Any]) -> str:
    """
    Return the page.
    """
    return "\n".join(_lines(results)) + "\n"


def _lines(results: dict[str, Any]) -> Iterator[str]:
    yield HEAD.format(cycles=f"{results['cycles']:,}")
    for name in dict.fromkeys(pairing["adapter"] for pairing in results["pairings"]):
        pairings = [pairing for pairing in results["pairings"] if pairing["adapter"] == name]
        yield f"## {name}\n"
        yield from _table(results["checks"], pairings)
        for pairing in results["impossible"]:
            if pairing["adapter"] == name:
                yield f"Not on {pairing['server']}: {pairing['reason']}.\n"


def _table(checks: dict[str, str], pairings: list[dict[str, Any]]) -> Iterator[str]:
    notes: dict[tuple[str, str], int] = {}
    yield "| check | wanted | " + " | ".join(pairing["server"] for pairing in pairings) + " |"
    yield "|---|---|" + "---|" * len(pairings)
    for check, wanted in checks.items():
        cells: list[str] = []
        for pairing in pairings:
            found = pairing["differences"].get(check)
            if found is None:
                cells.append("✓")
            else:
                cells.append(str(notes.setdefault((found["observed"], found["reason"]), len(notes) + 1)))
        yield f"| {check} | `{wanted}` | " + " | ".join(cells) + " |"
    yield ""
    for (observed, reason), number in notes.items():
        yield f"{number}. `{observed}`: {reason}"
    yield ""
