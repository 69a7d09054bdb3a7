"""
Which test modules run without any extra: ``python -m tests.selection``.

`make test-no-extras` runs exactly these. A module is left out if it, or a helper of the suite
that it imports, needs a framework, a server, a terminal library or the documentation's tools.
Selecting by what is imported, instead of skipping what fails, cannot hide a missing module.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

from tests.layers import CORE, bare, position

HERE: Final = Path(__file__).parent

EXTRA: Final = frozenset(
    {
        "aiohttp",
        "anyio",
        "channels",
        "click",
        "cryptography",
        "django",
        "fastapi",
        "hiredis",
        "httpx",
        "itsdangerous",
        "hypercorn",
        "jwt",
        "litestar",
        "playwright",
        "pydantic",
        "quart",
        "rich",
        "starlette",
        "uvicorn",
        "websockets",
        "werkzeug",
    }
)
"""What an installation without extras lacks."""

WHOLE: Final = frozenset({"test_exports.py", "test_public_calls.py", "test_suite.py"})
"""Modules that walk the whole library or the whole suite, and so need all of it."""

FOLDERS: Final = frozenset({"engines"})
"""Folders whose tests need a server beside them."""


def _targets(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def needs_extra(path: Path, seen: frozenset[Path] = frozenset(), /) -> bool:
    """
    Tell whether the module at *path* imports, directly or through helpers, more than the core.
    """
    for name in _targets(path):
        top, _, rest = name.partition(".")
        if top in EXTRA:
            return True
        if top == "ws_isolation" and _is_extra(rest):
            return True
        if top in {"tests", "bench"}:
            for helper in _files(top, rest):
                if helper not in seen and needs_extra(helper, seen | {path}):
                    return True
    return False


def _is_extra(module: str) -> bool:
    if bare(module).split(".", maxsplit=1)[0] == "testing":
        return False
    # What is imported from a module stands behind its name: the longest name that the table knows counts.
    parts = module.split(".")
    known = (position(".".join(parts[:end])) for end in range(len(parts), 0, -1))
    where = next((found for found in known if found is not None), None)
    return where is not None and where[0] > CORE


def _files(package: str, module: str) -> list[Path]:
    inner = (HERE.parent / package).joinpath(*module.split("."))
    places = (inner, inner.parent)
    return [f for place in places for f in (place.with_suffix(".py"), place / "__init__.py") if f.is_file()]


def without_extras() -> list[str]:
    """
    Return the paths of the test modules that need the core only, relative to the repository.
    """
    return [
        path.relative_to(HERE.parent).as_posix()
        for path in sorted(HERE.rglob("test_*.py"))
        if path.name not in WHOLE and path.parent.name not in FOLDERS and not needs_extra(path)
    ]


if __name__ == "__main__":
    print("\n".join(without_extras()))
