"""
Which acceptance scenarios and requirements have a test: ``python -m tests.scenarios``.

Reads the marks from the sources, not from a run, so that a test which is not selected, or a
framework which is not installed, changes nothing in the answer.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path
from typing import Final, Literal, TypeAlias

HERE: Final = Path(__file__).parent
Kind: TypeAlias = Literal["scenario", "requirement"]
_TABLE: Final = tomllib.loads((HERE / "scenarios.toml").read_text("utf-8"))

SCENARIOS: Final[dict[str, str]] = _TABLE["titles"]
"""Each scenario id with its title."""

DUE: Final[tuple[str, ...]] = tuple(_TABLE["due"])
"""The ids without which this release is not finished."""


_REQUIREMENTS: Final = tomllib.loads((HERE / "requirements.toml").read_text("utf-8"))

REQUIREMENTS: Final[dict[str, str]] = _REQUIREMENTS["titles"]
"""Each promise and each security requirement with its title."""

LATER: Final[tuple[str, ...]] = tuple(_REQUIREMENTS["later"])
"""Requirements that wait for something that is not built."""


def named_by(source: str, kind: Kind = "scenario", /) -> set[str]:
    """
    Return the ids in the ``mark.scenario(...)`` or ``mark.requirement(...)`` calls of one module's source.

    On a function, a class, a parameter or in ``pytestmark``: the place does not matter.

    Raises:
        TypeError: If an id is not a literal, because nobody could look it up.
    """
    ids: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="mark"), attr=marked)) if marked == kind:
                for argument in node.args:
                    if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                        message = f"line {node.lineno}: write {kind} ids as literals"
                        raise TypeError(message)
                    ids.add(argument.value)
            case _:
                pass
    return ids


def covered(kind: Kind = "scenario", directory: Path = HERE, /) -> dict[str, list[str]]:
    """
    Return, for each id, the test modules under *directory* that name it.
    """
    found: dict[str, list[str]] = {name: [] for name in (SCENARIOS if kind == "scenario" else REQUIREMENTS)}
    for path in sorted(directory.rglob("test_*.py")):
        for name in named_by(path.read_text("utf-8"), kind):
            found.setdefault(name, []).append(path.relative_to(directory).as_posix())
    return found


def main() -> int:
    """
    Print the scenarios and requirements that have no test; return 1 if one of them is due.
    """
    found = covered()
    missing = [name for name in SCENARIOS if not found[name]]
    due = [name for name in missing if name in DUE]
    print(f"{len(SCENARIOS) - len(missing)} of {len(SCENARIOS)} scenarios have a test.")
    for name in missing:
        print(f"  {name}  {'DUE  ' if name in due else 'later'}  {SCENARIOS[name]}")
    named = covered("requirement")
    open_ones = [name for name in REQUIREMENTS if not named[name]]
    print(f"{len(REQUIREMENTS) - len(open_ones)} of {len(REQUIREMENTS)} promises and requirements have a test.")
    for name in open_ones:
        print(f"  {name}  {'later' if name in LATER else 'DUE  '}  {REQUIREMENTS[name]}")
    return int(bool(due) or not set(open_ones) <= set(LATER))


if __name__ == "__main__":
    sys.exit(main())
