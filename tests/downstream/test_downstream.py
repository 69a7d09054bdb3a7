"""
The downstream service's CI: the built wheel, installed; mypy and pyright strict over the service.

Takes a minute, and packages from an index: `make test-downstream` selects it by its marker.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import attrs
import pytest

pytestmark = [pytest.mark.downstream, pytest.mark.timeout(900)]

ROOT: Final = Path(__file__).parents[2]
SHOP: Final = Path(__file__).parent / "shop"

EXTRAS: Final = ",".join(
    tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
)
"""All of them: an adapter is typed as far as its framework's types are there."""

WRONG: Final = {
    "another context": (
        "    return UserExecutionContext(\n        user_id=user_id, thread_id=",
        "    return LegacyContext(\n        user_id=user_id, thread_id=",
        "LegacyContext",
    ),
    "a dict at the gate": (
        "    return FakeManager(UserExecutionContext(user_id=user_id))",
        '    return factory.create_manager({"user_id": user_id})',
        "dict[str, str]",
    ),
    "None at the gate": (
        "    return FakeManager(UserExecutionContext(user_id=user_id))",
        "    return factory.create_manager(TOKENS.get(user_id))",
        "str | None",
    ),
    "a str to send": (
        'await own.send(events.Custom(name="shop.ordered", value={"items": 1}))',
        'await own.send("ordered")',
        "Event",
    ),
    "somebody else's user id": (
        'await own.send(events.Custom(name="shop.ordered", value={"items": 1}))',
        'await own.send(events.Custom(name="shop.ordered", value={"items": 1}), user_id="bob")',
        "user_id",
    ),
    "an unknown keyword": ("user_id=user_id, thread_id=", "user_id=user_id, thread=", "Never"),
}
"""Mistakes that a service makes: what stands in its source, what stands there instead, what both checkers name."""

LEGACY: Final = """
class LegacyContext:
    def __init__(self, *, user_id: str, thread_id: str | None, claims: object) -> None: ...

"""


@attrs.frozen
class Service:
    """
    The service's folder, and the interpreter of the environment that it is installed in.
    """

    folder: Path
    python: Path

    def check(self, source: str, /) -> dict[str, subprocess.CompletedProcess[str]]:
        """
        Let both type checkers look at *source* as the service's module.
        """
        (self.folder / "shop.py").write_text(source, "utf-8")
        commands = {
            "mypy": ["mypy", "--python-executable", str(self.python), "--config-file", "pyproject.toml", "shop.py"],
            "pyright": ["pyright", "--pythonpath", str(self.python), "shop.py"],
        }
        return {name: self.run(sys.executable, "-m", *command) for name, command in commands.items()}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """
        Run *command* in the service's folder, where nothing of the checkout can be found.
        """
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
        # Where pyright --verifytypes looks for a package: it heeds neither --pythonpath nor the configuration.
        environment["PATH"] = f"{self.python.parent}{os.pathsep}{environment.get('PATH', '')}"
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)


def _done(result: subprocess.CompletedProcess[str], /) -> None:
    assert 0 == result.returncode, result.stdout + result.stderr


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """
    Build the wheel, and install it, with its extras, and the service into a new environment.
    """
    root = tmp_path_factory.mktemp("downstream")
    made = Service(root / "shop", root / "env" / "bin" / "python")
    shutil.copytree(SHOP, made.folder)
    wheels = str(root / "wheels")
    _done(made.run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, str(ROOT)))
    _done(made.run(sys.executable, "-m", "venv", str(root / "env")))
    (wheel,) = (root / "wheels").glob("ws_isolation-*.whl")
    _done(made.run(str(made.python), "-m", "pip", "install", "--quiet", f"{wheel}[{EXTRAS}]", str(made.folder)))
    return made


def test_installed_wheel_is_what_is_checked(service: Service) -> None:
    """
    The service imports without a warning, from the environment and not from this checkout.
    """
    code = "import shop, ws_isolation; print(shop.__file__); print(ws_isolation.__file__)"

    done = service.run(str(service.python), "-P", "-W", "error", "-c", code)

    _done(done)
    packages = str(service.python.parents[1])
    assert all(line.startswith(packages) for line in done.stdout.split())


def test_right_service_passes(service: Service) -> None:
    """
    Both mypy and pyright, strict, find nothing in a service that uses the library as documented.
    """
    for done in service.check((SHOP / "shop.py").read_text("utf-8")).values():
        _done(done)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_service_fails(service: Service, name: str) -> None:
    """
    Each mistake is found by both, and named.
    """
    right, wrong, named = WRONG[name]
    source = (SHOP / "shop.py").read_text("utf-8")
    assert 1 == source.count(right)
    head, marker, tail = source.replace(right, wrong).partition("TOKENS =")

    for checker, done in service.check(f"{head}{LEGACY}{marker}{tail}").items():
        assert 1 == done.returncode, checker + done.stdout + done.stderr
        assert f'"{named}' in done.stdout, checker + done.stdout


def test_wheel_is_completely_typed(service: Service) -> None:
    """
    ``pyright --verifytypes`` finds every public name of the installed wheel typed.
    """
    done = service.run(sys.executable, "-m", "pyright", "--ignoreexternal", "--verifytypes", "ws_isolation")

    assert "Type completeness score: 100%" in done.stdout, done.stdout
