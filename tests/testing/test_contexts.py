"""
A context for tests is a genuine one, in one short call.
"""

from __future__ import annotations

import inspect
from datetime import UTC, datetime

import pytest

from ws_isolation import IdPolicy, ManagerFactory, UserExecutionContext, errors
from ws_isolation.testing import make_context


@pytest.mark.scenario("S01")
def test_accepted_by_the_gate() -> None:
    """Without arguments it is a context of Alice that the factory takes; each call makes one of its own."""
    one, two = make_context(), make_context()

    assert UserExecutionContext is type(one)
    assert ManagerFactory().create_manager(one).context is one
    assert ("alice", None, "thread-1", None) == (one.user_id, one.tenant_id, one.thread_id, one.run_id)
    assert one.request_id != two.request_id


def test_everything_is_handed_on() -> None:
    """Each argument arrives in its field."""
    expires_at = datetime(2030, 1, 1, tzinfo=UTC)
    context = make_context(
        "bob",
        tenant_id="acme",
        thread_id=None,
        run_id="r",
        request_id="q",
        expires_at=expires_at,
        claims={"roles": ["admin"]},
    )

    assert ("bob", "acme", None) == (context.user_id, context.tenant_id, context.thread_id)
    assert ("r", "q", expires_at) == (context.run_id, context.request_id, context.expires_at)
    assert {"roles": ("admin",)} == dict(context.claims)
    with pytest.raises(errors.InvalidContextError, match="user_id"):
        make_context("alice", policy=IdPolicy(placeholders=frozenset({"alice"})))


def test_same_arguments() -> None:
    """It takes what the constructor takes, so that no field is out of a test's reach."""
    taken = inspect.signature(make_context).parameters
    fields = inspect.signature(UserExecutionContext).parameters

    assert [name for name, field in fields.items() if field.kind is not field.VAR_KEYWORD] == list(taken)


@pytest.mark.scenario("S02")
def test_same_errors() -> None:
    """What the constructor refuses is refused."""
    with pytest.raises(errors.InvalidContextError, match="user_id"):
        make_context("null")
