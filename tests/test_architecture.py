"""
Arrows point down only, and layers 0 to 4 are pure.

That is what makes the promises testable without waiting and the session core replayable. Each
rule is first shown to catch an offender, so a rule that fell asleep would be seen.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.layers import CORE, LAYERS, PURE, ROOT, bare, imports, modules, position

ALLOWED = frozenset(
    {
        "__future__",
        "abc",
        "attrs",
        "collections",
        "collections.abc",
        "dataclasses",
        "datetime",
        "decimal",
        "difflib",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "hmac",
        "http.cookies",
        "ipaddress",
        "itertools",
        "math",
        "msgspec",
        "msgspec.json",
        "msgspec.structs",
        "operator",
        "re",
        "string",
        "types",
        "typing",
        "typing_extensions",
        "unicodedata",
        "urllib.parse",
        "uuid",
        "weakref",
    }
)
"""What any module of layers 0 to 4 may import: values, types, pure functions."""

EXCEPTIONS = {
    # The one place that makes ids and reads the wall clock.
    "ids": frozenset({"os", "secrets", "time"}),
    # Copies of the library meet in an attribute of sys, and warn.
    "duplicates": frozenset({"sys", "warnings", "weakref"}),
    "context": frozenset({"sys"}),
}
"""What single modules of these layers may import beyond that, each with its reason."""

CLOCKS = frozenset({"now", "utcnow", "today"})
"""Class methods of ``datetime`` and ``date`` that read the clock."""

RANDOM_UUIDS = frozenset({"uuid1", "uuid4", "uuid6", "uuid7", "getnode"})
"""Functions of ``uuid`` that make ids: that is the business of ``ids``."""

ENVIRONMENT = frozenset({"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"})
"""Ways to the environment. The library reads none of it (S65)."""

PROGRAMS = frozenset({"cli", "demo", "testing"})
"""What nothing else imports: programs, and other people's test tools."""

GROUPS = frozenset(entry for layer in LAYERS for entry in layer if entry.endswith(".*"))
"""Packages inside which the order is free."""

KNOWN = frozenset(modules())
"""The modules that there are."""


def arrows(module: str, source: str, /, *, is_package: bool = False) -> Iterator[str]:
    """
    Yield what is wrong with the internal imports of *module*.
    """
    here = position(module)
    if here is None:
        yield f"{module}: unknown module: enter it in tests/layers.py"
        return
    family = bare(module).split(".", maxsplit=1)[0]
    internal = {(i.line, i.module) for i in imports(module, source, KNOWN, is_package=is_package) if i.internal}
    for line, target in sorted(internal):
        there = position(target)
        other = bare(target).split(".", maxsplit=1)[0]
        if there is None:
            yield f"{module}:{line}: imports {target}, which the table does not know"
        elif other in PROGRAMS and other != family and (family, other) != ("cli", "demo"):
            yield f"{module}:{line}: imports {target}, which nothing may import"
        elif module == ROOT:
            if there >= here:
                yield f"the root:{line}: imports {target}, which is no part of the core"
        elif there > here or (there == here and (target == module or f"{other}.*" not in GROUPS)):
            yield f"{module}:{line}: imports {target or 'the root'}, which is not below it"


def impurities(module: str, source: str, /) -> Iterator[str]:
    """
    Yield what *module* uses that its layer may not.
    """
    where = position(module)
    if where is None:  # arrows() asks for its layer
        return
    layer = where[0]
    name = bare(module)
    foreign = [found for found in imports(module, source, KNOWN) if not found.internal]
    for found in foreign:
        line = f"{module}:{found.line}: "
        if found.module == "os" and found.name in ENVIRONMENT:
            yield f"{line}reads the environment"
        # A task may be given a context to run in; a variable in one would be a second way for an identity to travel.
        # One module copies what the application names, to keep out all else.
        is_ours = found.name in {"Context", "copy_context"} or name == "ambient"
        if found.module == "contextvars" and not is_ours and layer <= CORE:
            yield f"{line}uses a ContextVar: identity travels as a value"
        if layer > PURE or name == "ids":
            continue
        full = f"{found.module}.{found.name}"
        if not {found.module, full} & (ALLOWED | EXCEPTIONS.get(name, frozenset())):
            yield f"{line}imports {found.module}, which layers 0 to {PURE} may not"
        if found.module == "uuid" and found.name in RANDOM_UUIDS:
            yield f"{line}makes an id with uuid.{found.name}"
    yield from _calls(module, source, is_pure=layer <= PURE and name != "ids")


def _calls(module: str, source: str, *, is_pure: bool) -> Iterator[str]:
    """
    Yield the attributes that *source* uses and should not, under whatever name it imported them.
    """
    tree = ast.parse(source)
    origin = _origins(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        owner = _dotted(node.value)
        if owner is None:
            continue
        head, _, rest = owner.partition(".")
        owner = ".".join(filter(None, (origin.get(head, head), rest)))
        if owner == "os" and node.attr in ENVIRONMENT:
            yield f"{module}:{node.lineno}: reads the environment"
        if is_pure and owner in {"datetime.datetime", "datetime.date"} and node.attr in CLOCKS:
            yield f"{module}:{node.lineno}: reads the clock: time comes in as a value"
        if is_pure and owner == "uuid" and node.attr in RANDOM_UUIDS:
            yield f"{module}:{node.lineno}: makes an id with uuid.{node.attr}"


def _origins(tree: ast.Module) -> dict[str, str]:
    """
    Return what each imported name of *tree* stands for.
    """
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    names[alias.asname] = alias.name
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _dotted(node: ast.expr) -> str | None:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{owner}.{attr}" if (owner := _dotted(value)) else None
        case _:
            return None


def test_arrows_point_down() -> None:
    """
    Every import inside the library goes to a lower layer, or to an earlier module of its own.
    """
    wrong = [
        problem
        for module, path in modules().items()
        for problem in arrows(module, path.read_text("utf-8"), is_package=path.name == "__init__.py")
    ]

    assert [] == wrong


def test_no_cycles() -> None:
    """
    Also where the table leaves the order free, no module imports itself in a circle.
    """
    graph: dict[str, set[str]] = {}
    for module, path in modules().items():
        found = imports(module, path.read_text("utf-8"), KNOWN, is_package=path.name == "__init__.py")
        graph[module] = {i.module for i in found if i.internal} - {module}

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


@pytest.mark.scenario("S65")
def test_pure_layers_are_pure() -> None:
    """
    Layers 0 to 4 touch no clock, randomness, task, socket or logger; nothing reads the environment.
    """
    wrong = [problem for module, path in modules().items() for problem in impurities(module, path.read_text("utf-8"))]

    assert [] == wrong


@pytest.mark.parametrize(
    ("module", "source", "problem"),
    [
        ("errors", "from .context import UserExecutionContext", "not below"),
        ("errors", "from .closing import registry", "not below"),
        ("errors", "from ws_isolation.context import UserExecutionContext", "not below"),
        ("errors", "def f():\n    from .context import UserExecutionContext", "not below"),
        ("errors", "if TYPE_CHECKING:\n    from .context import UserExecutionContext", "not below"),
        ("context", "from . import __version__", "not below"),
        ("context", "from . import context", "not below"),
        ("context", "from .testing import make_context", "nothing may import"),
        ("_context", "from .demo import app", "nothing may import"),
        ("adapters.starlette", "from ..testing import make_context", "nothing may import"),
        ("adapters.starlette", "from ..cli import main", "nothing may import"),
        ("demo.app", "from ..testing.clock import FakeClock", "nothing may import"),
        ("demo.app", "from ..cli import main", "nothing may import"),
        ("", "from .adapters.starlette import serve", "no part of the core"),
        ("helpers", "", "unknown module"),
    ],
)
def test_wrong_arrow_is_caught(module: str, source: str, problem: str) -> None:
    """
    The rule sees an import that points up, sideways or to a program, wherever it stands.
    """
    found = list(arrows(module, source, is_package=not module))

    assert 1 == len(found)
    assert problem in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("context", "from .errors import ContextError"),
        ("context", "from . import errors"),
        ("_context", "from ._identifiers import check_id"),
        ("adapters.starlette", "from ..context import UserExecutionContext"),
        ("adapters.starlette", "from .asgi import serve"),
        ("cli", "from .demo.app import create_app"),
        ("testing.clock", "from .transport import RecordingTransport"),
        ("", "from .context import UserExecutionContext"),
    ],
)
def test_right_arrow_is_let_through(module: str, source: str) -> None:
    """
    Downward imports, and those inside an adapter's, testing's or the demo's own folder, are fine.
    """
    assert [] == list(arrows(module, source, is_package=not module))


@pytest.mark.parametrize(
    ("module", "source", "problem"),
    [
        ("errors", "import time", "imports time"),
        ("errors", "from time import monotonic", "imports time"),
        ("context", "import os", "imports os"),
        ("context", "import asyncio", "imports asyncio"),
        ("keys", "import logging", "imports logging"),
        ("keys", "import secrets", "imports secrets"),
        ("stream", "import random", "imports random"),
        ("outbox", "import threading", "imports threading"),
        ("core_writing", "import socket", "imports socket"),
        ("session_core", "import starlette.websockets", "imports starlette.websockets"),
        ("errors", "import sys", "imports sys"),
        ("context", "from datetime import datetime\ndatetime.now()", "reads the clock"),
        ("context", "from datetime import datetime as dt\nf = dt.utcnow", "reads the clock"),
        ("context", "import datetime\ndatetime.date.today()", "reads the clock"),
        ("context", "import datetime as d\nd.datetime.now(d.UTC)", "reads the clock"),
        ("context", "from uuid import uuid4", "makes an id"),
        ("context", "import uuid\nuuid.uuid4()", "makes an id"),
        ("ids", "import os\nos.environ['SEED']", "environment"),
        ("factory", "import os\nos.getenv('ENV')", "environment"),
        ("adapters.starlette", "from os import environ", "environment"),
        ("factory", "import contextvars", "ContextVar"),
        ("manager", "from contextvars import ContextVar", "ContextVar"),
    ],
)
def test_impurity_is_caught(module: str, source: str, problem: str) -> None:
    """
    The rule sees clocks, ids, I/O, the environment and ContextVars, also under another name.
    """
    found = list(impurities(module, source))

    assert 1 == len(found)
    assert problem in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ids", "import os, time\nfrom datetime import datetime\ndatetime.now()\nos.urandom(8)"),
        ("duplicates", "import sys, weakref, warnings"),
        ("settings", "from datetime import timedelta\nfrom uuid import UUID"),
        ("stream", "from collections import deque\nnow = tick.now"),
        ("factory", "import asyncio, logging, time"),
        ("adapters.starlette", "import contextvars"),
    ],
)
def test_purity_lets_the_rest_through(module: str, source: str) -> None:
    """
    Values and types are free everywhere; shells may do what shells are for.
    """
    assert [] == list(impurities(module, source))
