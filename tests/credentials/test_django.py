"""
Django's sessions over a real server: who is logged in by Django's rules gets in, and nobody else.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.credentials import django_site
from tests.layers import PACKAGE
from ws_isolation import errors

ROOT: Final = Path(__file__).parents[2]
REFUSED: Final = (
    "changed", "inactive", "deleted", "no hash", "other backend", "expired", "anonymous", "unknown", "empty",
)  # fmt: skip


def printed(*arguments: str) -> str:
    """
    Run an interpreter beside the checkout, and return what it printed.
    """
    path = os.pathsep.join([str(PACKAGE.parent), str(ROOT)])
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=50,
        env=os.environ | {"PYTHONPATH": path}, cwd=ROOT,
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    return done.stdout.splitlines()[-1] if done.stdout else ""


@pytest.mark.scenario("S53")
@pytest.mark.requirement("WS-04", "WS-28")
@pytest.mark.parametrize("engine", ["db", "signed_cookies"])
def test_sessions(engine: str, tmp_path: Path) -> None:
    """
    Users who are logged in are welcomed; a changed password, a user who is gone, or no session is 4001.

    Sessions are read and not written, whatever is found.
    """
    got: dict[str, Any] = json.loads(printed("-m", django_site.__name__, str(tmp_path), engine))
    seen = got["seen"]

    assert ["1", "t", True] == seen.pop("context")
    assert {"right", "rotated", "plain"} == {name for name, code in seen.items() if code == "welcome"}
    # The engine in a database has forgotten what has expired; the one in the cookie knows that it was valid once.
    codes = dict.fromkeys(REFUSED, 4001) | {"expired": 4001 if engine == "db" else 4101}
    assert codes == {name: code for name, code in seen.items() if code != "welcome"}
    assert got["kept"]
    assert {
        "own": "right",
        "none": None,
        "late": "the context outlives its session: pass expires_at=session.expires_at, or less",
        "absent": "no session cookie",
        "huge": "the session cookie has more than 8,192 characters",
        "shown": "DjangoSession()",
    } == got["said"]


def test_imported_without_settings() -> None:
    """
    The check may be imported and made before Django is set up: it is configuration.
    """
    code = "from ws_isolation.credentials.django import DjangoAuthenticate as D; D(); print('made')"

    assert "made" == printed("-c", code)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without Django the error says what to install.
    """
    monkeypatch.setitem(sys.modules, "django.conf", None)
    monkeypatch.delitem(sys.modules, "ws_isolation.credentials.django", raising=False)
    with pytest.raises(errors.MissingExtraError, match=r"pip install 'ws-isolation\[django\]'"):
        importlib.import_module("ws_isolation.credentials.django")
