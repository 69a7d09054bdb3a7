"""
Loading the library twice: a warning at import, a refusal at the gate that says so, never an ImportError.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from tests.layers import PACKAGE
from ws_isolation import ManagerFactory, UserExecutionContext, __version__, duplicates
from ws_isolation.errors import SettingsError

SLOT: Final = "_ws_isolation_copies"

# Runs in a fresh interpreter: executes the statements that it is given and prints what they put
# into `out`, with the warnings that came.
PROBE: Final = """
import json, sys, warnings
sys.path[:0] = json.loads(sys.argv[1])
out = {}

def text_of(call):
    try:
        call()
    except TypeError as error:
        return str(error)

def origin(kind):
    return hex(id(kind))

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    exec(sys.argv[2])
out["warnings"] = [[w.category.__name__, str(w.message)] for w in caught]
print(json.dumps(out))
"""


def run(paths: list[Path], statements: str, /) -> dict[str, Any]:
    """
    Execute *statements* in a fresh interpreter that looks into *paths* first; return what it found.
    """
    # The copies are no sources of this checkout: coverage must not look for them afterwards.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps([str(path) for path in paths]), statements],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )

    assert "" == done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@attrs.frozen
class Copies:
    """
    Copies of the library: a checkout with ``src``, a vendored one of another version, and a zip.
    """

    checkout: Path
    vendor: Path
    zipped: Path

    @property
    def source(self) -> Path:
        """
        The folder of the checkout that an editable installation puts on the path.
        """
        return self.checkout / "src"


@pytest.fixture(name="copies", scope="module")
def _copies(tmp_path_factory: pytest.TempPathFactory) -> Copies:
    root = tmp_path_factory.mktemp("copies")
    ignore = shutil.ignore_patterns("__pycache__")
    made = Copies(root / "checkout", root / "vendor", root / "library.zip")
    shutil.copytree(PACKAGE, made.source / "ws_isolation", ignore=ignore)
    vendored = made.vendor / "legacy_app" / "_vendor" / "ws_isolation"
    shutil.copytree(PACKAGE, vendored, ignore=ignore)
    (vendored / "_version.py").write_text('__version__ = "0.0.9"\n', "utf-8")
    with zipfile.ZipFile(made.zipped, "w") as archive:
        for file in sorted((made.source / "ws_isolation").rglob("*.py")):
            archive.write(file, file.relative_to(made.source))
    return made


TWO_NAMES: Final = """
import {first} as one, {second} as two
a, b = one.UserExecutionContext(user_id="a"), two.UserExecutionContext(user_id="b")
out["one"] = text_of(lambda: one.ManagerFactory().create_manager(b))
out["two"] = text_of(lambda: two.ManagerFactory().create_manager(a))
out["own"] = [
    text_of(lambda: one.ManagerFactory().create_manager(a)),
    text_of(lambda: two.ManagerFactory().create_manager(b)),
]
out["ids"] = [origin(type(a)), origin(type(b))]
report = one.ManagerFactory().self_check()
out["ok"], out["problems"] = report.ok, report.problems
"""


@pytest.mark.scenario("S14")
@pytest.mark.requirement("P6")
@pytest.mark.parametrize(
    ("first", "second"), [("ws_isolation", "src.ws_isolation"), ("src.ws_isolation", "ws_isolation")]
)
def test_under_two_names(copies: Copies, first: str, second: str) -> None:
    """
    One file under two names warns once, naming both; each gate refuses the other's contexts and says why.
    """
    found = run([copies.checkout, copies.source], TWO_NAMES.format(first=first, second=second))

    file = copies.source / "ws_isolation" / "context.py"
    kinds = [
        f"{name}.context.UserExecutionContext ({file}, id {number}, version {__version__})"
        for name, number in zip((first, second), found["ids"], strict=True)
    ]
    hint = "ws_isolation is loaded twice; import it under one name from one place"
    assert f"create_manager() needs {kinds[0]}, got {kinds[1]}: {hint}" == found["one"]
    assert f"create_manager() needs {kinds[1]}, got {kinds[0]}: {hint}" == found["two"]
    assert [None, None] == found["own"]
    entries = [f"{name}.context {__version__} ({file})" for name in (second, first)]
    text = (
        f"ws_isolation is loaded twice: {entries[0]} beside {entries[1]}. Contexts of one copy are refused by "
        "the other; import the library under one name from one place"
    )
    assert [["RuntimeWarning", text]] == found["warnings"]


@pytest.mark.scenario("S14", "S16")
def test_self_check_reports_it(copies: Copies) -> None:
    """
    A start-up check finds the second copy before a user does.
    """
    found = run([copies.checkout, copies.source], TWO_NAMES.format(first="ws_isolation", second="src.ws_isolation"))

    assert found["ok"] is False
    other = f"src.ws_isolation.context {__version__} ({copies.source / 'ws_isolation' / 'context.py'})"
    assert [f"ws_isolation is loaded twice: {other}; import it under one name from one place"] == found["problems"]


@pytest.mark.scenario("S14")
def test_vendored_copy(copies: Copies) -> None:
    """
    A vendored copy of another version is named with its own place and version.
    """
    found = run(
        [copies.source, copies.vendor],
        TWO_NAMES.format(first="ws_isolation", second="legacy_app._vendor.ws_isolation"),
    )

    file = copies.vendor / "legacy_app" / "_vendor" / "ws_isolation" / "context.py"
    ((category, text),) = found["warnings"]
    assert "RuntimeWarning" == category
    assert f"legacy_app._vendor.ws_isolation.context 0.0.9 ({file}) beside ws_isolation.context" in text
    assert f"({file}, id {found['ids'][1]}, version 0.0.9): ws_isolation is loaded twice" in found["one"]
    assert f"version {__version__}): ws_isolation is loaded twice" in found["two"]


@pytest.mark.scenario("S14")
def test_reload(copies: Copies) -> None:
    """
    A reload warns; contexts of the class from before, made before or after it, are refused, and it says why.
    """
    found = run(
        [copies.source],
        """
import importlib, ws_isolation
old = ws_isolation.UserExecutionContext(user_id="a")
module = importlib.reload(ws_isolation.context)
new = module.UserExecutionContext(user_id="a")
late = ws_isolation.UserExecutionContext(user_id="a").child()
factory = ws_isolation.ManagerFactory()
out["old"] = text_of(lambda: factory.create_manager(old))
out["late"] = text_of(lambda: factory.create_manager(late))
out["new"] = text_of(lambda: factory.create_manager(new))
out["ids"] = [origin(type(old)), origin(type(new))]
""",
    )

    ((category, text),) = found["warnings"]
    assert "RuntimeWarning" == category
    assert 2 == text.count(f"ws_isolation.context {__version__} (")
    assert found["new"] is None
    assert found["old"] == found["late"]
    assert f"id {found['ids'][1]}" in found["old"].split(", got ")[0]
    assert f"id {found['ids'][0]}" in found["old"].split(", got ")[1]
    assert "ws_isolation is loaded twice" in found["old"]


PURGE: Final = """
import sys, ws_isolation
old = ws_isolation.UserExecutionContext(user_id="a")
kept = ws_isolation.ManagerFactory()
for name in [name for name in sys.modules if name.partition(".")[0] == "ws_isolation"]:
    del sys.modules[name]
sys.path.insert(0, {place!r})
import ws_isolation
new = ws_isolation.UserExecutionContext(user_id="a")
out["new"] = text_of(lambda: kept.create_manager(new))
out["old"] = text_of(lambda: ws_isolation.ManagerFactory().create_manager(old))
out["fine"] = text_of(lambda: ws_isolation.ManagerFactory().create_manager(new))
"""


@pytest.mark.scenario("S14")
def test_purged_modules(copies: Copies) -> None:
    """
    After ``sys.modules`` was purged and the path changed, each class is named with the file that it came from.
    """
    vendored = copies.vendor / "legacy_app" / "_vendor"
    found = run([copies.source], PURGE.format(place=str(vendored)))

    assert ["RuntimeWarning"] == [category for category, _ in found["warnings"]]
    assert found["fine"] is None
    expected, actual = found["new"].split(", got ")
    assert str(copies.source / "ws_isolation" / "context.py") in expected
    assert f"version {__version__}" in expected
    assert str(vendored / "ws_isolation" / "context.py") in actual
    assert "version 0.0.9" in actual
    assert "ws_isolation is loaded twice" in found["new"]
    assert "ws_isolation is loaded twice" in found["old"]


@pytest.mark.scenario("S14")
def test_from_a_zip(copies: Copies) -> None:
    """
    The library works out of a zip file, without a warning; beside another copy it is named with the zip's path.
    """
    alone = run(
        [copies.zipped],
        """
import ws_isolation
out["file"] = ws_isolation.__file__
out["text"] = text_of(lambda: ws_isolation.ManagerFactory().create_manager(None))
""",
    )
    beside = run([copies.zipped, copies.checkout], TWO_NAMES.format(first="ws_isolation", second="src.ws_isolation"))

    file = copies.zipped / "ws_isolation" / "context.py"
    assert [] == alone["warnings"]
    assert str(copies.zipped) in alone["file"]
    assert f"({file}, id " in alone["text"]
    assert f"ws_isolation.context {__version__} ({file})" in beside["warnings"][0][1]
    assert "ws_isolation is loaded twice" in beside["one"]


@pytest.mark.scenario("S14")
@pytest.mark.parametrize("missing", ["msgspec", "ws_isolation.identifiers", "ws_isolation.wire"])
def test_failed_import_then_a_good_one(copies: Copies, missing: str) -> None:
    """
    An import that failed half-way leaves no second copy behind.
    """
    found = run(
        [copies.source],
        f"""
sys.modules[{missing!r}] = None
try:
    import ws_isolation
except ImportError:
    out["failed"] = True
del sys.modules[{missing!r}]
import ws_isolation
context = ws_isolation.UserExecutionContext(user_id="a")
out["text"] = text_of(lambda: ws_isolation.ManagerFactory().create_manager(context))
out["ok"] = ws_isolation.ManagerFactory().self_check().ok
""",
    )

    assert {"failed": True, "text": None, "ok": True, "warnings": []} == found


@pytest.mark.scenario("S14")
def test_run_as_a_program(copies: Copies) -> None:
    """
    Running the module as ``__main__`` beside the imported one is a second copy as well.
    """
    found = run(
        [copies.source],
        """
import runpy, ws_isolation
names = runpy.run_module("ws_isolation.context", run_name="__main__")
out["text"] = text_of(lambda: ws_isolation.ManagerFactory().create_manager(names["UserExecutionContext"](user_id="a")))
""",
    )

    texts = [text for _, text in found["warnings"] if "loaded twice" in text]
    assert 1 == len(texts)
    assert f"__main__ {__version__} (" in texts[0]
    assert "got __main__.UserExecutionContext (" in found["text"]
    assert "ws_isolation is loaded twice" in found["text"]


TEST_MODULE: Final = """
from ws_isolation import ManagerFactory, UserExecutionContext


def test_gate():
    factory = ManagerFactory()
    assert factory.create_manager(UserExecutionContext(user_id="a")).context.user_id == "a"
    assert factory.self_check().ok
"""


@pytest.mark.scenario("S14")
@pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
def test_no_false_alarm_under_pytest(tmp_path: Path, mode: str) -> None:
    """
    Each way in which pytest imports tests loads the library once.
    """
    (tmp_path / "test_gate.py").write_text(TEST_MODULE, "utf-8")
    options = ["-q", "-p", "no:cacheprovider", "-W", "error::RuntimeWarning", f"--import-mode={mode}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "1 passed" in done.stdout, done.stdout + done.stderr


# --- the register itself ----------------------------------------------------------------------


@pytest.fixture(name="register")
def _register(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Give the test a process in which nothing is registered.
    """
    monkeypatch.delattr(sys, SLOT)


def _kind(module: str = "other.context") -> type:
    return type("UserExecutionContext", (), {"__module__": module})


@pytest.mark.usefixtures("register")
def test_first_copy_is_silent() -> None:
    """
    The first copy makes the register, and no warning.
    """
    kind = _kind()

    assert duplicates.copy_of(kind) is None
    duplicates.register(kind, file="/x/context.py", version="1.2")

    copy = duplicates.copy_of(kind)
    assert copy is not None
    assert "other.context 1.2 (/x/context.py)" == str(copy)
    assert () == duplicates.other_copies(kind)
    assert duplicates.copy_of(_kind()) is None


@pytest.mark.usefixtures("register")
def test_third_copy_names_both_others() -> None:
    """
    Each further copy warns and names all that are alive.
    """
    kinds = [_kind(f"copy{number}") for number in range(3)]
    duplicates.register(kinds[0], file="a.py", version="1")
    with pytest.warns(RuntimeWarning, match=r"copy1 2 \(b.py\) beside copy0 1 \(a.py\)\. Contexts"):
        duplicates.register(kinds[1], file="b.py", version="2")
    with pytest.warns(RuntimeWarning, match=r"copy2 3 \(c.py\) beside copy0 1 \(a.py\), copy1 2 \(b.py\)\. "):
        duplicates.register(kinds[2], file="c.py", version="3")

    assert ("copy1 2 (b.py)", "copy2 3 (c.py)") == duplicates.other_copies(kinds[0])


@pytest.mark.usefixtures("register")
def test_a_dead_copy_does_not_count() -> None:
    """
    A copy whose class is gone is forgotten.
    """
    duplicates.register(_kind("gone"), file="a.py", version="1")
    gc.collect()
    kept = _kind("kept")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        duplicates.register(kept, file="b.py", version="2")

    assert () == duplicates.other_copies(kept)
    assert 1 == len(getattr(sys, SLOT))


@pytest.mark.scenario("S16")
@pytest.mark.usefixtures("register")
def test_self_check_of_this_process() -> None:
    """
    The report of a factory names the other copy, is not ok, and raises when asked to.
    """
    duplicates.register(UserExecutionContext, file="here.py", version=__version__)
    assert ManagerFactory().self_check().ok
    ManagerFactory().self_check().raise_for_problems()
    other = _kind()
    with pytest.warns(RuntimeWarning, match="loaded twice"):
        duplicates.register(other, file="there.py", version="9.9")

    report = ManagerFactory().self_check()

    assert not report.ok
    assert __version__ == report.version
    assert duplicates.copy_of(other) is not None
    with pytest.raises(SettingsError, match=r"loaded twice: other\.context 9\.9 \(there\.py\)"):
        report.raise_for_problems()


@pytest.mark.scenario("S16")
def test_self_check_sees_validators_switched_off() -> None:
    """
    So does a process in which attrs' validators are off, though the library does not rest on them.
    """
    with attrs.validators.disabled():
        report = ManagerFactory().self_check()

    assert ("attrs validators are switched off for the whole process: switch them on again",) == report.problems
