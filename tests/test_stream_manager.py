"""The shipped manager: a handle that names its user and cannot be used with an edited context."""

from __future__ import annotations

import pytest

from ws_isolation import ManagerFactory, errors
from ws_isolation.events import Custom
from ws_isolation.testing import make_context


@pytest.mark.scenario("S15", "S47")
@pytest.mark.requirement("P1", "P6")
async def test_edited_context_sends_nothing() -> None:
    """A context that was edited after its manager was made is refused at every send; no stream gets anything."""
    factory = ManagerFactory()
    context = make_context("alice")
    manager = factory.create_manager(context)
    object.__setattr__(context, "user_id", "bob")

    with pytest.raises(errors.ContextIntegrityError, match=r"send\(\)"):
        await manager.send(Custom(name="test.note", value=1))

    assert 0 == factory.stats().streams


@pytest.mark.requirement("WS-28")
def test_repr_names_the_user_and_nothing_secret() -> None:
    """The repr says whose manager it is; claims do not show."""
    manager = ManagerFactory().create_manager(make_context("alice", claims={"token": "canary-7f"}))

    assert "user_id='alice'" in repr(manager)
    assert "canary-7f" not in repr(manager)
