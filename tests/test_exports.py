"""
What is public is public on purpose: named in ``__all__``, documented, and nothing extra.
"""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType

import pytest

import ws_isolation
from tests.layers import modules

ROOT_LIMIT = 15
"""Names at the root at most (DESIGN §4)."""

NAMES = sorted(f"ws_isolation.{module}" if module else "ws_isolation" for module in modules())
PUBLIC = [name for name in NAMES if not any(part.startswith("_") for part in name.split("."))]
PRIVATE = [name for name in NAMES if name not in PUBLIC]


def problems(module: ModuleType, /) -> list[str]:
    """
    Return what is wrong with the public names of *module*.
    """
    found: list[str] = []
    names: tuple[str, ...] = module.__all__
    for name in names:
        if name.startswith("_") and not name.endswith("__"):
            found.append(f"{name} has an underscore")
        if not hasattr(module, name):
            found.append(f"{name} does not exist")
            continue
        value: object = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            if not (value.__doc__ or "").strip():
                found.append(f"{name} has no docstring")
            if not value.__module__.startswith("ws_isolation"):
                found.append(f"{name} says that it comes from {value.__module__}")
    found += [f"{name} stands twice" for name in sorted({n for n in names if names.count(n) > 1})]
    return found


def test_root_is_small_and_sorted() -> None:
    """
    The root has at most 15 names, as a sorted tuple without duplicates.
    """
    names = ws_isolation.__all__

    assert isinstance(names, tuple)
    assert sorted(set(names)) == list(names)
    assert len(names) <= ROOT_LIMIT


def test_root_has_nothing_extra() -> None:
    """
    Besides ``__all__``, the root holds only its modules and private or special names.
    """
    tops = {module.partition(".")[0] for module in modules()}
    extra = {name for name in vars(ws_isolation) if not name.startswith("_")} - tops - set(ws_isolation.__all__)

    assert set[str]() == extra - {"annotations"}  # the __future__ import leaves its name


@pytest.mark.parametrize("name", PUBLIC)
def test_public_module(name: str) -> None:
    """
    A public module says what it is, and each name in its ``__all__`` exists and is documented.
    """
    module = importlib.import_module(name)

    assert (module.__doc__ or "").strip()
    assert isinstance(module.__all__, tuple)
    assert [] == problems(module)


@pytest.mark.parametrize("name", PRIVATE)
def test_private_module(name: str) -> None:
    """
    A private module exports nothing, so that no name is public in two ways.
    """
    assert not hasattr(importlib.import_module(name), "__all__")


def test_problems_are_caught() -> None:
    """
    The checks above see a name that is missing, doubled, private, undocumented or foreign.
    """

    def undocumented() -> None: ...

    undocumented.__module__ = "ws_isolation.x"
    module = ModuleType("ws_isolation.x")
    vars(module).update(
        __all__=("_private", "foreign", "missing", "missing", "undocumented"),
        _private=1,
        foreign=ModuleType,
        undocumented=undocumented,
    )

    assert [
        "_private has an underscore",
        "foreign says that it comes from builtins",
        "missing does not exist",
        "missing does not exist",
        "undocumented has no docstring",
        "missing stands twice",
    ] == problems(module)
