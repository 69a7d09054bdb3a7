"""
What an installation consists of. Building and installing the wheel is `make test-wheel`.
"""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import ws_isolation
from tests.extras import PROMISED
from tests.layers import PACKAGE

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]


def test_marked_as_typed() -> None:
    """
    Type checkers read the package: ``py.typed`` lies beside the root module, and is empty.
    """
    assert "" == (PACKAGE / "py.typed").read_text("utf-8")


def test_one_version() -> None:
    """
    The installed version, the module's and the one in the source are the same.
    """
    assert metadata.version("ws-isolation") == ws_isolation.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", ws_isolation.__version__)


def test_only_three_dependencies() -> None:
    """
    An installation without extras brings attrs, msgspec and typing-extensions.
    """
    names = [re.split(r"[^A-Za-z0-9-]", requirement)[0] for requirement in PROJECT["dependencies"]]

    assert ["attrs", "msgspec", "typing-extensions"] == names


def test_every_requirement_has_a_lower_bound() -> None:
    """
    Nothing is required in a version that nobody tested: each says from which one on.
    """
    groups = [*PROJECT["optional-dependencies"].values(), *PYPROJECT["dependency-groups"].values()]
    requirements = [*PROJECT["dependencies"], *(r for group in groups for r in group if isinstance(r, str))]

    loose = [r for r in requirements if ">=" not in r and not r.startswith("ws-isolation[")]

    assert [] == loose


def test_nothing_names_its_own_release_line() -> None:
    """
    No upper bounds: they turn somebody else's update into our users' conflict.
    """
    assert [] == [r for r in PROJECT["dependencies"] if "<" in r or "==" in r or "~=" in r]


def test_command_points_to_something() -> None:
    """
    The installed ``ws-isolation`` command is the entry point that the project names.
    """
    (entry,) = metadata.entry_points(group="console_scripts", name="ws-isolation")

    assert PROJECT["scripts"]["ws-isolation"] == entry.value


@pytest.mark.parametrize("name", ["LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md"])
def test_project_files(name: str) -> None:
    """
    What a reader of the repository, or of the source distribution, looks for is there.
    """
    assert (ROOT / name).read_text("utf-8").strip()


def test_each_extra_is_tried_alone() -> None:
    """
    The job that installs each extra alone knows all of them.
    """
    assert set(PYPROJECT["project"]["optional-dependencies"]) == set(PROMISED)
