"""
What is derived from a context: children, copies, and the forms in which it leaves the process.
"""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime
from typing import Any, Final, cast

import pytest
from hypothesis import given

from tests.strategies import ids
from ws_isolation import IdPolicy, UserExecutionContext
from ws_isolation.context import MAX_DEPTH
from ws_isolation.errors import ContextIntegrityError, InvalidContextError
from ws_isolation.keys import identity_of
from ws_isolation.testing import make_context

EXPIRY: Final = datetime(2100, 1, 1, tzinfo=UTC)


def parent() -> UserExecutionContext:
    """
    Return a context with all its fields set.
    """
    return UserExecutionContext(
        user_id="alice",
        tenant_id="acme",
        thread_id="t1",
        run_id="r1",
        request_id="q1",
        expires_at=EXPIRY,
        claims={"roles": ["admin"]},
    )


@pytest.mark.scenario("S08")
def test_child_keeps_the_identity() -> None:
    """
    A child has identity, expiry, claims, thread and run of its parent, its own request id, and names its parent.
    """
    above = parent()

    child = above.child()

    assert identity_of(above) == identity_of(child)
    assert ("acme", "alice", "t1", "r1") == (child.tenant_id, child.user_id, child.thread_id, child.run_id)
    assert EXPIRY == child.expires_at
    assert above.claims is child.claims
    assert ("q1", 1) == (child.parent_request_id, child.depth)
    assert child.request_id != "q1"
    assert type(child) is UserExecutionContext


@pytest.mark.scenario("S08")
@given(ids(), ids(), ids())
def test_child_changes_thread_run_and_request(thread_id: str, run_id: str, request_id: str) -> None:
    """
    What a child is given, it takes verbatim; its parent stays as it was.
    """
    above = parent()
    before = above.log_form()

    child = above.child(thread_id=thread_id, run_id=run_id, request_id=request_id)

    assert (thread_id, run_id, request_id) == (child.thread_id, child.run_id, child.request_id)
    assert before == above.log_form()


@pytest.mark.scenario("S08")
def test_siblings_are_independent() -> None:
    """
    Two children of one parent are two requests.
    """
    above = parent()

    one, two = above.child(run_id="r2"), above.child()

    assert one.request_id != two.request_id
    assert one != two
    assert ("r2", "r1") == (one.run_id, two.run_id)


@pytest.mark.scenario("S08")
def test_depth_is_bounded() -> None:
    """
    16 children below each other are made, the seventeenth is refused by name.
    """
    context = parent()
    for _ in range(MAX_DEPTH):
        context = context.child()

    assert MAX_DEPTH == context.depth == 16
    with pytest.raises(InvalidContextError, match="invalid depth: must be at most 16"):
        context.child()


@pytest.mark.scenario("S08")
@pytest.mark.parametrize("field", ["user_id", "tenant_id", "claims", "expires_at", "policy", "depth"])
def test_child_takes_no_identity(field: str) -> None:
    """
    ``child()`` has no argument with which identity, authority or depth could change.
    """
    with pytest.raises(TypeError, match=field):
        cast("Any", parent()).child(**{field: "mallory"})


@pytest.mark.scenario("S02", "S08")
@pytest.mark.parametrize("field", ["thread_id", "run_id", "request_id"])
@pytest.mark.parametrize("value", ["", " ", "a b", "é", "x" * 256, 7, b"x"])
def test_child_checks_its_ids(field: str, value: object) -> None:
    """
    A child's ids are checked like its parent's, also under a policy for user ids.
    """
    above = UserExecutionContext(user_id="zoë", policy=IdPolicy(unicode_letters=True))

    with pytest.raises(InvalidContextError, match=f"invalid {field}"):
        cast("Any", above).child(**{field: value})


def test_child_of_an_edited_context_is_refused() -> None:
    """
    What was edited has no children: an edit cannot be washed clean.
    """
    above = parent()
    object.__setattr__(above, "user_id", "mallory")

    with pytest.raises(ContextIntegrityError, match=r"^child\(\) got a UserExecutionContext that its constructor"):
        above.child()


@pytest.mark.scenario("S10")
def test_copies_are_the_same_object() -> None:
    """
    ``copy`` and ``deepcopy`` return the context itself, also inside a container.
    """
    context = parent()

    assert copy.copy(context) is context
    assert copy.deepcopy(context) is context
    assert copy.deepcopy([context])[0] is context


@pytest.mark.scenario("S10")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_cannot_be_pickled(protocol: int) -> None:
    """
    Pickling is refused with each protocol, and says what to do instead.
    """
    with pytest.raises(TypeError, match="never pickled: give the other process a token, with export_context"):
        pickle.dumps(parent(), protocol)


@pytest.mark.scenario("S10")
@pytest.mark.parametrize("method", ["__reduce__", "__getstate__"])
def test_has_no_state_to_take(method: str) -> None:
    """
    Nor can its state be taken by hand.
    """
    with pytest.raises(TypeError, match="never pickled"):
        getattr(parent(), method)()


@pytest.mark.scenario("S10")
def test_log_form_is_json_and_reads_back() -> None:
    """
    The log form is JSON; a context built from its ids has the same ones.
    """
    child = parent().child()

    form = json.loads(json.dumps(child.log_form()))
    again = UserExecutionContext(
        **{name: form[name] for name in ("tenant_id", "user_id", "thread_id", "run_id", "request_id")},
        expires_at=datetime.fromisoformat(form["expires_at"]),
    )

    assert {**again.log_form(), "parent_request_id": "q1", "depth": 1} == child.log_form() == form
    assert UserExecutionContext(user_id="alice").log_form()["expires_at"] is None


@pytest.mark.scenario("S12")
def test_log_form_cuts_no_id() -> None:
    """
    Ids of 255 characters stand in the log form in full, so two that begin alike stay two.
    """
    one, two = make_context("x" * 254 + "1", thread_id=None), make_context("x" * 254 + "2", thread_id=None)

    assert 255 == len(str(one.log_form()["user_id"]))
    assert one.log_form()["user_id"] != two.log_form()["user_id"]


@pytest.mark.scenario("S12")
def test_two_requests_never_look_alike() -> None:
    """
    1,000 contexts of one user made in the same moment print differently.
    """
    assert 1_000 == len({repr(make_context()) for _ in range(1_000)})
    assert 1_000 == len({str(make_context().log_form()) for _ in range(1_000)})


def test_repr_is_bounded_and_shows_ids_only() -> None:
    """
    ``repr`` names what is set, cut to what a line can hold.
    """
    assert (
        "UserExecutionContext(tenant_id='acme', user_id='alice', thread_id='t1', run_id='r1', request_id='q1')"
    ) == repr(parent())
    assert len(repr(UserExecutionContext(user_id="x" * 255, tenant_id="y" * 255, thread_id="z" * 255))) < 330


class _Hostile:
    """
    Raises when it is shown or cut.
    """

    def __repr__(self) -> str:
        raise LookupError

    def __getitem__(self, _key: object) -> str:
        raise LookupError


def test_repr_of_what_no_constructor_made() -> None:
    """
    ``repr`` works on an empty and on an edited object, and trusts neither.
    """
    empty = object.__new__(UserExecutionContext)
    edited = parent()
    object.__setattr__(edited, "user_id", _Hostile())

    text = "<UserExecutionContext that its constructor did not make or that was changed>"

    assert text == repr(empty) == repr(edited)
