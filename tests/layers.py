"""
The layers of the library, and what each may import.

One table. A new module is entered here first; the architecture test fails until it is.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

import ws_isolation

PACKAGE: Final = Path(ws_isolation.__file__).parent
"""The folder of the library under test: the checkout's, or the installed wheel's."""

LAYERS: Final[tuple[tuple[str, ...], ...]] = (
    # 0: words that everything else uses
    ("_version", "errors", "closing", "typing", "ids", "frozen", "observing"),
    # 1: who, and how much
    ("identifiers", "duplicates", "context", "networks", "settings"),
    # 2: what is said
    (
        "keys",
        "events.limits",
        "events.checks",
        "events.compiling",
        "events.declaration",
        "events.problem",
        "events.tool",
        "events.agent",
        "events.conversion",
        "events.envelope",
        "events.joining",
        "events",
        "events.reading",
    ),
    # 3: what is legal, what is kept
    (
        "delivery",
        "cutting",
        "lifecycle",
        "rates",
        "spreading",
        "revocations",
        "stream",
        "chain",
        "doubts",
        "backplanes.base",
        "leases",
        "handshake",
        "forwarded",
        "door",
        "crowd",
        "frames",
        "auth_frame",
        "outbox",
        "deadlines",
        "seen",
        "decoding",
    ),
    # 4: one socket, as a state machine
    (
        "wire",
        "steps",
        "core_state",
        "core_writing",
        "core_manners",
        "core_reading",
        "core_joining",
        "session_core",
        "admission",
    ),
    # 5: where streams live
    ("backplanes", "backplanes.memory", "streams"),
    # 6: the asyncio shell
    (
        "ambient",
        "finishing",
        "latch",
        "oplog",
        "access",
        "places",
        "readiness",
        "hooks",
        "stopping",
        "order",
        "parts",
        "texts",
        "run_home",
        "run_scope",
        "run",
        "manager",
        "stepping",
        "session_home",
        "session_writing",
        "session_ending",
        "session_joining",
        "session_reading",
        "session",
        "router",
        "clockwork",
        "entrance",
        "runtime_state",
        "runtime_ending",
        "runtime_following",
        "runtime_publishing",
        "runtime",
        "gate",
        "reports",
        "factory_door",
        "factory",
        "threads",
        "blocking",
        "publisher",
        "blocking_publisher",
        "after_commit",
        "refusing",
        "serving",
        "signals",
    ),
    # 7: frameworks, engines, other people's libraries, and other people's tests
    (
        "credentials.*",
        *(
            f"backplanes.redis.{module}"
            for module in (
                "backoff",
                "bounds",
                "address",
                "where",
                "health",
                "names",
                "versions",
                "letters",
                "agreement",
                "scripts",
                "pending",
                "topics",
                "moving",
                "line",
                "beats",
                "jobs",
                "slots",
                "opening",
                "finding",
                "draining",
                "restoring",
                "sending",
                "link",
                "links",
                "cluster",
                "record_scripts",
                "lease_scripts",
                "records",
                "tickets",
                "presence",
                "streams",
                "safety",
                "backplane",
            )
        ),
        "backplanes.redis",
        "adapters.*",
        "context_tokens",
        "testing.*",
    ),
    # 8: what is built on the hooks, and programs
    ("observe.*", "demo.*", "cli"),
)
"""
The modules of each layer, from the bottom up, without the leading underscore of private ones.

A module may import what stands before it: a lower layer, or earlier in its own. ``x.*`` is the
package ``x`` with all that is in it; inside it the order is free, but cycles are not.
"""

PURE: Final = 4
"""The last layer without clock, randomness, task, socket, environment or logger."""

CORE: Final = 6
"""The last layer that needs no extra: no framework, no server, no terminal library."""

ROOT: Final = ""
"""The root module. It re-exports the core, so it stands right after it."""

Position = tuple[int, int]


def bare(module: str, /) -> str:
    """
    Return *module* without the leading underscores of its parts.
    """
    return ".".join(part.lstrip("_") for part in module.split("."))


def _positions() -> dict[str, Position]:
    table: dict[str, Position] = {}
    for layer, entries in enumerate(LAYERS):
        for order, entry in enumerate(entries):
            table[bare(entry)] = (layer, order)
    return table


_POSITIONS: Final = _positions()


def position(module: str, /) -> Position | None:
    """
    Return where *module* stands, or None if the table does not know it.
    """
    if module == ROOT:
        return (CORE, len(LAYERS[CORE]))
    name = bare(module)
    if name in _POSITIONS:
        return _POSITIONS[name]
    return _POSITIONS.get(name.split(".", maxsplit=1)[0] + ".*")


def modules() -> dict[str, Path]:
    """
    Return each module of the library, relative to the root, with its file.
    """
    found: dict[str, Path] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def core_modules() -> list[str]:
    """
    Return the full names of the modules that need no extra: the core and the root.
    """
    root = ws_isolation.__name__
    return [
        f"{root}.{module}" if module else root
        for module in modules()
        if (where := position(module)) is not None and where[0] <= CORE
    ]


@attrs.frozen
class Import:
    """
    One import statement's target: a module of the library, or a foreign one with a name from it.
    """

    line: int
    module: str
    name: str
    internal: bool


def imports(module: str, source: str, known: frozenset[str], /, *, is_package: bool = False) -> Iterator[Import]:
    """
    Yield what *source*, the text of *module*, imports; relative imports are resolved.

    *known* are the modules of the library: ``from . import x`` means the module ``x`` where
    there is one, and a name of the package otherwise.
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield _absolute(node.lineno, alias.name, "", known)
            case ast.ImportFrom(module=target, names=names, level=0):
                for alias in names:
                    yield _absolute(node.lineno, target or "", alias.name, known)
            case ast.ImportFrom(module=target, names=names, level=level):
                parts = module.split(".") if module else []
                climb = level - 1 if is_package else level
                base = ".".join([*parts[: len(parts) - climb], *([target] if target else [])])
                for alias in names:
                    yield _internal(node.lineno, base, alias.name, known)
            case _:
                pass


def _absolute(line: int, target: str, name: str, known: frozenset[str]) -> Import:
    top, _, rest = target.partition(".")
    if top == ws_isolation.__name__:
        return _internal(line, rest, name, known)
    return Import(line, target, name, internal=False)


def _internal(line: int, base: str, name: str, known: frozenset[str]) -> Import:
    inner = f"{base}.{name}" if base else name
    return Import(line, inner if inner in known else base, name, internal=True)
