"""
The suite watches itself: it does not shrink, and nothing in it is switched off.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent

FLOOR = 3_000
"""
The least number of collected tests. Raise it when tests are added; never lower it silently.

A glob, a broken conftest or a renamed folder can make tests vanish without a failure.
"""

SWITCHES = frozenset({"skip", "skipif", "xfail", "importorskip", "SkipTest", "skipTest", "skipUnless"})
"""Ways to not run a test. What cannot run somewhere is selected by marker or file instead."""


def switched_off(source: str, /) -> list[str]:
    """
    Return the places in *source* that skip tests or expect them to fail.
    """
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr=name) | ast.alias(name=name) if name in SWITCHES:
                found.append(f"line {node.lineno}: {name}")
            case _:
                pass
    return found


@pytest.mark.timeout(300)  # another pytest, which imports the whole suite
@pytest.mark.scenario("S65")
def test_floor() -> None:
    """
    At least ``FLOOR`` tests are collected from the whole suite.
    """
    options = ["--collect-only", "--quiet", "-p", "no:cacheprovider", "-p", "no:randomly", "-o", "required_plugins="]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(TESTS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    match = re.search(r"^(\d+) tests collected", done.stdout, re.MULTILINE)
    assert match, done.stdout[-2000:] + done.stderr[-2000:]
    assert int(match[1]) >= FLOOR


@pytest.mark.scenario("S65")
def test_nothing_is_switched_off() -> None:
    """
    No test is skipped or expected to fail.
    """
    found = {
        path.relative_to(TESTS).as_posix(): places
        for path in sorted(TESTS.rglob("*.py"))
        if (places := switched_off(path.read_text("utf-8")))
    }

    assert {} == found


@pytest.mark.scenario("S65")
def test_every_test_has_a_limit(pytestconfig: pytest.Config) -> None:
    """
    Each test ends after 60 seconds unless it names a limit of its own; warnings are errors.
    """
    assert "60" == str(pytestconfig.getini("timeout"))
    assert ["error"] == pytestconfig.getini("filterwarnings")


@pytest.mark.parametrize(
    "source",
    [
        "@pytest.mark.skip\ndef test(): ...",
        "@pytest.mark.skipif(True, reason='')\ndef test(): ...",
        "pytestmark = pytest.mark.xfail",
        "def test(): pytest.skip('not today')",
        "redis = pytest.importorskip('redis')",
        "from pytest import skip",
        "from unittest import SkipTest as Later",
    ],
)
def test_switches_are_caught(source: str) -> None:
    """
    The check sees each way to leave a test out.
    """
    assert 1 == len(switched_off(source))
