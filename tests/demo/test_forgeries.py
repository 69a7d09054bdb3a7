"""
Each forged context is what it claims to be, and the gate refuses each.
"""

from __future__ import annotations

from typing import Any, cast

import pytest

from ws_isolation import ManagerFactory, UserExecutionContext, errors
from ws_isolation.demo.forgeries import FORGERIES, Forgery
from ws_isolation.testing import make_context

BY_NAME = {forgery.name: forgery for forgery in FORGERIES}


@pytest.mark.scenario("S14", "S15")
@pytest.mark.requirement("P6")
@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_gate_refuses(forgery: Forgery) -> None:
    """
    The factory makes no manager from a forgery, and its error says what to change.
    """
    forged = cast("Any", forgery.forge(make_context("mallory")))

    with pytest.raises((errors.ContextTypeError, errors.ContextIntegrityError)) as refusal:
        ManagerFactory().create_manager(forged)

    assert ": " in str(refusal.value)


@pytest.mark.parametrize("name", ["subclass", "mock", "edited", "new"])
def test_isinstance_would_be_fooled(name: str) -> None:
    """
    Four of the forgeries pass isinstance() and say alice: a check by isinstance() would let them through.
    """
    forged = BY_NAME[name].forge(make_context("mallory"))

    assert isinstance(forged, UserExecutionContext)
    assert "alice" == forged.user_id


def test_same_name_prints_alike() -> None:
    """
    The same-named class has the name of the genuine one, and is another.
    """
    forged = BY_NAME["same-name"].forge(make_context("mallory"))

    assert UserExecutionContext.__name__ == type(forged).__name__
    assert UserExecutionContext is not type(forged)


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_original_stays_as_it_was(forgery: Forgery) -> None:
    """
    Forging leaves the genuine context alone: it still passes the gate.
    """
    own = make_context("mallory")

    forgery.forge(own)

    assert "mallory" == ManagerFactory().create_manager(own).context.user_id
