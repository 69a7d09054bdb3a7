"""
The command ``python -m bench.record FOLDER``: a result becomes the recorded run in the documentation.

What it writes is made from ``result.json`` alone, so that a test can see that nothing was changed by hand.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .goals import goals
from .pictures import pictures
from .table import report

RECORDED: Final = Path(__file__).parents[1] / "docs" / "reference" / "benchmarks"


def page(result: Mapping[str, Any], /) -> str:
    """Return what the documentation shows of a result: the machine, the goals, every table."""
    rounds = result["plan"]["rounds"]
    packages = ", ".join(f"{name} {version}" for name, version in result["packages"].items())
    parts = [
        f"On {result['system']}, with CPython {result['python']}; {rounds} rounds of W1 and W2.\n",
        "### Goals\n",
        goals(result),
        report(result),
        f"With {packages}.\n",
    ]
    return "\n".join(parts)


def files(result: Mapping[str, Any], /) -> dict[str, str]:
    """Return every file that is recorded, by name."""
    return {
        "result.json": json.dumps(result, indent=1) + "\n",
        "tables.md": page(result),
        **pictures(result["rounds"]),
    }


def main() -> None:
    """Write the recorded run anew."""
    parser = argparse.ArgumentParser(prog="python -m bench.record", description="Put a result into the documentation.")
    parser.add_argument("folder", type=Path, help="where `python -m bench` wrote its result.json")
    result = json.loads((parser.parse_args().folder / "result.json").read_text("utf-8"))
    for name, text in files(result).items():
        (RECORDED / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
