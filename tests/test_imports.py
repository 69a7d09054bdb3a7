"""
Importing the library brings in little and starts nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.layers import core_modules

FOREIGN = frozenset({"attr", "attrs", "msgspec", "typing_extensions"})
"""The third-party modules that the core may bring in, all of them its dependencies."""

# Runs in a fresh interpreter. Live objects are searched by their builtin classes, so what a
# module made under another name, or forgot, is found as well.
PROBE = """
import gc, json, sys
before = set(sys.modules)
exec(sys.argv[1])

import threading
made = []
asyncio, socket = sys.modules.get("asyncio"), sys.modules.get("socket")
for thing in gc.get_objects():
    kind = type(thing)
    if asyncio and issubclass(kind, (asyncio.Future, asyncio.AbstractEventLoop)):
        made.append("task, future or event loop")
    elif socket and issubclass(kind, socket.socket):
        made.append("socket")
    elif kind.__module__.startswith("ws_isolation") and kind.__name__.endswith(("Manager", "Factory", "Session")):
        made.append(kind.__name__)
made += ["thread"] * (threading.active_count() - 1)
tops = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps([made, sorted(tops - sys.stdlib_module_names - {"ws_isolation"})]))
"""


def probe(statement: str, /) -> tuple[list[str], list[str]]:
    """
    Execute *statement* in a fresh interpreter; return what it made, and what it brought in.
    """
    done = subprocess.run([sys.executable, "-c", PROBE, statement], capture_output=True, text=True, check=False)

    assert "" == done.stderr
    made, foreign = json.loads(done.stdout)
    return made, foreign


@pytest.mark.scenario("S16")
def test_import_starts_nothing() -> None:
    """
    ``import ws_isolation`` makes no manager, factory, session, task, loop, thread or socket.
    """
    made, foreign = probe("import ws_isolation")

    assert [] == made
    assert [] == sorted(set(foreign) - FOREIGN)


@pytest.mark.scenario("S16")
@pytest.mark.parametrize("module", core_modules())
def test_each_core_module_starts_nothing(module: str) -> None:
    """
    So does each module of the core, imported on its own.
    """
    made, foreign = probe(f"import {module}")

    assert [] == made
    assert [] == sorted(set(foreign) - FOREIGN)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("import asyncio; loop = asyncio.new_event_loop()", "task, future or event loop"),
        ("import socket; s = socket.socket()", "socket"),
        ("import threading as t; e = t.Event(); t.Thread(target=e.wait, daemon=True).start()", "thread"),
        ("Manager = type('UserManager', (), {'__module__': 'ws_isolation.x'}); m = Manager()", "UserManager"),
    ],
)
def test_probe_catches_what_was_started(statement: str, expected: str) -> None:
    """
    The probe sees a loop, a socket, a thread and a manager that an import left behind.
    """
    made, _ = probe(statement)

    assert expected in made


def test_probe_catches_foreign_modules() -> None:
    """
    The probe sees a third-party module.
    """
    _, foreign = probe("import pytest")

    assert "pytest" in foreign
