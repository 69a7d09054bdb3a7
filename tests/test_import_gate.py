"""
No manager comes into being while a module is being imported, whoever imports it and however.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import runpy
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

import pytest

from tests.layers import PACKAGE
from ws_isolation import ManagerFactory
from ws_isolation.errors import ImportTimeError
from ws_isolation.manager import IsolatedManager
from ws_isolation.testing import RecordingTransport, make_context

MAKES_ONE: Final = """
from ws_isolation import ManagerFactory, UserExecutionContext
factory = ManagerFactory()
context = UserExecutionContext(user_id="system")
manager = factory.create_manager(context)
"""
"""A module that makes a manager for nobody as soon as it is imported."""

MAKES_LATER: Final = """
from ws_isolation import ManagerFactory, UserExecutionContext
factory = ManagerFactory()

def make():
    return factory.create_manager(UserExecutionContext(user_id="alice"))
"""
"""A module that does it right."""


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """
    Give a folder from which modules can be imported, and forget them afterwards.
    """
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("case_"):
            del sys.modules[name]


def write(folder: Path, name: str, source: str, /) -> None:
    """
    Put a module into *folder*.
    """
    (folder / f"{name}.py").write_text(source, "utf-8")
    importlib.invalidate_caches()


def refused(load: Callable[[], object], module: str, /) -> None:
    """
    Fail unless *load* is refused because *module* is being imported.
    """
    with pytest.raises(ImportTimeError) as caught:
        load()
    assert str(caught.value) == (
        f"cannot call create_manager() while '{module}' is being imported: a manager belongs to a user. "
        "Create it per session or request, from the context that authenticate() returned"
    )


@pytest.mark.scenario("S17")
def test_module_level(folder: Path) -> None:
    """
    A manager at module level is refused, naming the module; importing it again is refused again.
    """
    write(folder, "case_app", MAKES_ONE)

    for _ in range(2):
        refused(lambda: importlib.import_module("case_app"), "case_app")
    assert "case_app" not in sys.modules


@pytest.mark.scenario("S17")
async def test_module_level_inside_a_running_loop(folder: Path) -> None:
    """
    A running loop makes no difference: servers import applications inside theirs.
    """
    write(folder, "case_app", MAKES_ONE)

    refused(lambda: importlib.import_module("case_app"), "case_app")


SERVER: Final = """
import asyncio, importlib, sys
sys.path[:0] = sys.argv[1:]

async def serve():
    try:
        importlib.import_module("case_app")
    except RuntimeError as error:
        return f"{type(error).__name__}: {error}"

print(asyncio.run(serve()))
"""


def in_a_process(*arguments: str) -> str:
    """
    Run an interpreter and return what it printed.
    """
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
    )
    assert "" == done.stderr
    return done.stdout.strip()


@pytest.mark.scenario("S17")
def test_server_that_imports_in_its_loop(folder: Path) -> None:
    """
    A whole process does it as a server does: start a loop, then import the application in it.
    """
    write(folder, "case_app", MAKES_ONE)

    printed = in_a_process("-c", SERVER, str(folder))

    assert printed.startswith("ImportTimeError: cannot call create_manager() while 'case_app' is being imported")


@pytest.mark.scenario("S17")
@pytest.mark.parametrize(
    "source",
    [
        "class Holder:\n    manager = make()",
        "managers = [make() for _ in range(2)]",
        "def register(function):\n    return make()\n\n@register\ndef endpoint(): ...",
        "def default(manager=make()): ...",
        "async def main():\n    make()\n\nwork = main()\nwork.send(None)",
        "next(make() for _ in range(1))",
        "exec('make()')",
        "exec(compile('make()', 'snippet', 'exec'), {'make': make, '__name__': 'snippet'})",
        "eval('make()')",
        "__import__('functools').partial(make)()",
        "try:\n    make()\nfinally:\n    pass",
    ],
    ids=lambda source: source.split("\n")[0],
)
def test_every_way_at_module_level(folder: Path, source: str) -> None:
    """
    Class bodies, comprehensions, decorators, defaults, coroutines and ``exec`` at module level count as well.
    """
    write(folder, "case_tools", MAKES_LATER)
    write(folder, "case_app", f"from case_tools import make\n{source}\n")

    refused(lambda: importlib.import_module("case_app"), "case_app")


@pytest.mark.scenario("S17")
def test_nested_import_names_the_inner_module(folder: Path) -> None:
    """
    Of modules that import each other, the one whose code asks is named, package included.
    """
    (folder / "case_package").mkdir()
    write(folder / "case_package", "__init__", "")
    write(folder / "case_package", "inner", MAKES_ONE)
    write(folder, "case_outer", "def load():\n    import case_package.inner\n\nload()\n")

    refused(lambda: importlib.import_module("case_outer"), "case_package.inner")


@pytest.mark.scenario("S17")
def test_import_inside_a_function(folder: Path) -> None:
    """
    An import that a handler makes at run time is an import.
    """
    write(folder, "case_app", MAKES_ONE)

    def handler() -> None:
        __import__("case_app")

    refused(handler, "case_app")


class _Loader(importlib.abc.Loader, importlib.abc.MetaPathFinder):
    """
    Finds one module, and executes it itself, as plug-in systems do.
    """

    def __init__(self, code: CodeType) -> None:
        self.code = code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> importlib.machinery.ModuleSpec | None:
        """
        Say yes to one name.
        """
        return importlib.util.spec_from_loader(fullname, self) if fullname == "case_plugin" else None

    def exec_module(self, module: ModuleType) -> None:
        """
        Execute the code as the module.
        """
        exec(self.code, vars(module))  # noqa: S102  # that is what loaders do


@pytest.mark.scenario("S17")
def test_executed_by_a_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A module that a loader of somebody's own executes is being imported.
    """
    loader = _Loader(compile(MAKES_ONE, "plugin", "exec"))
    monkeypatch.setattr(sys, "meta_path", [loader, *sys.meta_path])

    refused(lambda: importlib.import_module("case_plugin"), "case_plugin")


@pytest.mark.scenario("S17")
def test_loaded_by_hand(folder: Path) -> None:
    """
    So is one that is loaded from a file by hand, at once or lazily.
    """
    write(folder, "case_app", MAKES_ONE)
    spec = importlib.util.spec_from_file_location("case_by_hand", folder / "case_app.py")
    assert spec is not None
    loader = spec.loader
    assert loader is not None
    module = importlib.util.module_from_spec(spec)

    refused(lambda: loader.exec_module(module), "case_by_hand")

    lazy = importlib.util.LazyLoader(loader)
    spec.loader = lazy
    module = importlib.util.module_from_spec(spec)
    lazy.exec_module(module)
    refused(lambda: getattr(module, "manager", None), "case_by_hand")


@pytest.mark.scenario("S17")
def test_from_a_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    So is one that comes out of a zip file.
    """
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("case_zipped.py", MAKES_ONE)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "app.zip"), *sys.path])

    refused(lambda: importlib.import_module("case_zipped"), "case_zipped")


@pytest.mark.scenario("S17")
def test_later_is_fine(folder: Path) -> None:
    """
    Once the module is imported its functions make managers, also called from elsewhere and inside ``exec``.
    """
    write(folder, "case_tools", MAKES_LATER)
    make = importlib.import_module("case_tools").make

    assert isinstance(make(), IsolatedManager)
    namespace = {"make": make, "__name__": "snippet"}
    exec("manager = make()", namespace)  # noqa: S102  # consoles and notebooks do
    assert isinstance(namespace["manager"], IsolatedManager)


@pytest.mark.scenario("S17")
def test_other_threads_are_not_importing(folder: Path) -> None:
    """
    While one thread imports, another one serves its users.
    """
    write(folder, "case_tools", MAKES_LATER)
    write(
        folder,
        "case_app",
        "import threading\nfrom case_tools import make\nmade = []\n"
        "thread = threading.Thread(target=lambda: made.append(make()))\nthread.start()\nthread.join()\n",
    )

    (manager,) = importlib.import_module("case_app").made

    assert isinstance(manager, IsolatedManager)


@pytest.mark.scenario("S17")
def test_programs_are_fine(folder: Path) -> None:
    """
    A script, ``python -m``, ``runpy`` and a loop that a script runs are no imports.
    """
    write(folder, "case_main", MAKES_ONE + "print(type(manager).__name__)\n")
    write(
        folder,
        "case_loop",
        "import asyncio\n"
        + MAKES_LATER
        + "async def main():\n    print(type(make()).__name__)\n\n"
        + "if __name__ == '__main__':\n    asyncio.run(main())\n",
    )
    path = json.dumps([str(folder)])

    assert "StreamManager" == in_a_process(str(folder / "case_main.py"))
    assert "StreamManager" == in_a_process(str(folder / "case_loop.py"))
    assert "StreamManager" == in_a_process(
        "-c", f"import sys; sys.path[:0] = {path}\n{MAKES_ONE}print(type(manager).__name__)"
    )
    as_module = f"import runpy, sys; sys.path[:0] = {path}; runpy.run_module('case_main', run_name='__main__')"
    assert "StreamManager" == in_a_process("-c", as_module)
    assert isinstance(runpy.run_path(str(folder / "case_main.py"))["manager"], IsolatedManager)


@pytest.mark.scenario("S16")
def test_configuration_at_module_level_is_fine(folder: Path) -> None:
    """
    Factory, settings, context and start-up check may stand at module level, and make nothing.
    """
    write(
        folder,
        "case_app",
        "from ws_isolation import ManagerFactory, Settings, UserExecutionContext\n"
        "factory = ManagerFactory(Settings(sessions_per_identity=3))\n"
        "report = factory.self_check()\ncontext = UserExecutionContext(user_id='alice')\nstats = factory.stats()\n",
    )

    app = importlib.import_module("case_app")

    assert app.report.ok
    assert (0, 0, 0, 0, 0, {}) == (
        app.stats.sessions,
        app.stats.streams,
        app.stats.work,
        app.stats.pending,
        app.stats.foreign,
        app.stats.closes,
    )


OPENS_ONE: Final = """
import asyncio
from ws_isolation import ManagerFactory
from ws_isolation.testing import RecordingTransport, make_context

async def main():
    async with ManagerFactory() as factory, factory.attach(make_context(), RecordingTransport()):
        pass

asyncio.run(main())
"""
"""A module that opens a session as soon as it is imported, in a loop of its own."""


@pytest.mark.scenario("S17")
def test_session_in_a_loop_below_which_a_module_is_imported(folder: Path) -> None:
    """
    No session comes into being in a loop that runs while a module is being imported.
    """
    write(folder, "case_opens", OPENS_ONE)
    with pytest.raises(ImportTimeError, match=r"cannot call serve\(\) or attach\(\) while 'case_opens' is being"):
        importlib.import_module("case_opens")


async def test_looked_below_once_for_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The stack below a loop is looked at for its first session, and not for each: that would keep every frame of it.
    """
    looked: list[str] = []
    monkeypatch.setattr("ws_isolation.factory.refuse_import", looked.append)
    factory = ManagerFactory()
    for _ in range(3):
        async with factory.attach(make_context(), RecordingTransport()):
            pass
    factory.create_manager(make_context())

    assert ["serve() or attach()", "create_manager()"] == looked
    await factory.stop()
