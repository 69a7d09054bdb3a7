"""
Which acceptance scenarios have a test: ``python -m tests.scenarios``.

Reads the marks from the sources, not from a run, so that a test which is not selected, or a
framework which is not installed, changes nothing in the answer.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
_TABLE: Final = tomllib.loads((HERE / "scenarios.toml").read_text("utf-8"))

SCENARIOS: Final[dict[str, str]] = _TABLE["titles"]
"""Each scenario id with its title."""

DUE: Final[tuple[str, ...]] = tuple(_TABLE["due"])
"""The ids without which this release is not finished."""


def named_by(source: str, /) -> set[str]:
    """
    Return the ids in the ``mark.scenario(...)`` calls of one module's source.

    On a function, a class, a parameter or in ``pytestmark``: the place does not matter.

    Raises:
        TypeError: If an id is not a literal, because nobody could look it up.
    """
    ids: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="mark"), attr="scenario")):
                for argument in node.args:
                    if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                        message = f"line {node.lineno}: write scenario ids as literals"
                        raise TypeError(message)
                    ids.add(argument.value)
            case _:
                pass
    return ids


def covered(directory: Path = HERE, /) -> dict[str, list[str]]:
    """
    Return, for each id, the test modules under *directory* that name it.
    """
    found: dict[str, list[str]] = {name: [] for name in SCENARIOS}
    for path in sorted(directory.rglob("test_*.py")):
        for name in named_by(path.read_text("utf-8")):
            found.setdefault(name, []).append(path.relative_to(directory).as_posix())
    return found


def main() -> int:
    """
    Print the scenarios that have no test; return 1 if one of them is due.
    """
    found = covered()
    missing = [name for name in SCENARIOS if not found[name]]
    due = [name for name in missing if name in DUE]
    print(f"{len(SCENARIOS) - len(missing)} of {len(SCENARIOS)} scenarios have a test.")
    for name in missing:
        print(f"  {name}  {'DUE  ' if name in due else 'later'}  {SCENARIOS[name]}")
    return int(bool(due))


if __name__ == "__main__":
    sys.exit(main())
