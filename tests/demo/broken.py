"""
A server whose isolation is broken on purpose, for the tests of what must notice it.
"""

from __future__ import annotations

import pytest

from ws_isolation import UserExecutionContext
from ws_isolation.keys import Identity, identity_of
from ws_isolation.testing import make_context


def share_one_stream(monkeypatch: pytest.MonkeyPatch, /) -> None:
    """
    Let all users have one identity, as keys that collide do: one stream, and a last hop that cannot tell.
    """
    everybody = identity_of(make_context("everybody"))

    def colliding(_context: UserExecutionContext) -> Identity:
        return everybody

    for module in ("factory", "manager", "core_state", "core_reading"):
        monkeypatch.setattr(f"ws_isolation.{module}.identity_of", colliding)
