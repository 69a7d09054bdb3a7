"""
A context is made whole, by its constructor, with keywords; and then it never changes.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from types import FrameType
from typing import Any, Final, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import MAKE_HOSTILE, Something, anything, ids
from ws_isolation import IdPolicy, UserExecutionContext
from ws_isolation.errors import ContextError, InvalidContextError, UnknownFieldError
from ws_isolation.frozen import FrozenDict
from ws_isolation.identifiers import DEFAULT_POLICY

NOON: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
FIELDS: Final = (
    "user_id",
    "tenant_id",
    "thread_id",
    "run_id",
    "request_id",
    "expires_at",
    "parent_request_id",
    "depth",
    "claims",
)

# The constructor as callers without a type checker see it.
build = cast("Any", UserExecutionContext)


@pytest.mark.scenario("S01")
def test_needs_user_id_only() -> None:
    """
    Only ``user_id`` is required; what is left out is None, and the request gets an id.
    """
    context = UserExecutionContext(user_id="alice")

    assert "alice" == context.user_id
    assert (None, None, None) == (context.tenant_id, context.thread_id, context.run_id)
    assert (None, None, 0) == (context.expires_at, context.parent_request_id, context.depth)
    assert {} == context.claims
    assert 36 == len(context.request_id)


@pytest.mark.scenario("S01", "S04")
@given(st.fixed_dictionaries(dict.fromkeys(("user_id", "tenant_id", "thread_id", "run_id", "request_id"), ids())))
def test_keeps_what_it_was_given(given_ids: dict[str, str]) -> None:
    """
    Every id is kept verbatim.
    """
    context = build(**given_ids)

    assert given_ids == {name: getattr(context, name) for name in given_ids}


@pytest.mark.scenario("S01")
def test_takes_keywords_only() -> None:
    """
    Two ids cannot be given in the wrong order: positional arguments are refused.
    """
    with pytest.raises(TypeError, match="positional"):
        build("alice")
    with pytest.raises(TypeError, match="user_id"):
        build()


@pytest.mark.scenario("S01", "S12")
def test_request_ids_are_unique() -> None:
    """
    10,000 contexts have 10,000 request ids.
    """
    made = {UserExecutionContext(user_id="alice").request_id for _ in range(10_000)}

    assert 10_000 == len(made)


@pytest.mark.parametrize(
    ("keyword", "hint"),
    [
        ("userid", "did you mean user_id?"),
        ("tenant", "did you mean tenant_id?"),
        ("thread", "did you mean thread_id?"),
        ("expires", "did you mean expires_at?"),
        ("claim", "did you mean claims?"),
        ("websocket", "it takes user_id, tenant_id,"),
        ("connection_id", "it takes user_id"),
        ("x" * 10_000, "it takes user_id"),
    ],
)
def test_unknown_keyword_names_the_nearest(keyword: str, hint: str) -> None:
    """
    An unknown keyword is refused with the field that was probably meant.
    """
    with pytest.raises(UnknownFieldError) as caught:
        build(user_id="alice", **{keyword: "x"})

    assert hint in str(caught.value)
    assert len(str(caught.value)) <= 300


def test_policy_must_be_a_policy() -> None:
    """
    A policy is exactly an ``IdPolicy``; None or a dict is refused by name.
    """
    values: tuple[object, ...] = (None, "strict", object())
    for policy in values:
        with pytest.raises(InvalidContextError, match="invalid policy: must be an IdPolicy"):
            build(user_id="alice", policy=policy)


@pytest.mark.scenario("S02")
@given(
    st.fixed_dictionaries(
        {},
        optional={name: anything() for name in (*FIELDS[:6], "claims", "policy", "depth", "unknown")},
    )
)
def test_nothing_else_is_ever_raised(arguments: dict[str, Something]) -> None:
    """
    Whatever the values are: a context, or one of the library's errors with a bounded text.
    """
    outcome = _outcome({"user_id": "alice"} | {name: value.make() for name, value in arguments.items()})

    if isinstance(outcome, ContextError):
        assert str(outcome).isprintable()
        assert len(str(outcome)) <= 300
        assert repr(outcome)
    else:
        assert type(outcome) is UserExecutionContext


def _outcome(arguments: dict[str, object]) -> object:
    try:
        return build(**arguments)
    except ContextError as error:
        return error


@pytest.mark.scenario("S02")
@pytest.mark.parametrize("name", sorted(MAKE_HOSTILE))
@pytest.mark.parametrize("field", ["user_id", "thread_id", "expires_at", "policy"])
def test_hostile_values_are_named_by_field(field: str, name: str) -> None:
    """
    An object that raises, lies or never ends is refused by the error that names its field.
    """
    value = MAKE_HOSTILE[name]()

    with pytest.raises(InvalidContextError) as caught:
        build(**({"user_id": "alice"} | {field: value}))

    assert field == caught.value.field
    assert str(caught.value).startswith(f"invalid {field}")
    assert len(str(caught.value)) <= 300


class _BrokenZone(tzinfo):
    """
    A time zone that cannot tell its offset.
    """

    def utcoffset(self, when: datetime | None, /) -> timedelta | None:
        """
        Raise what no caller expects.
        """
        raise LookupError

    dst = utcoffset

    def tzname(self, when: datetime | None, /) -> str:
        """
        Raise as well.
        """
        raise LookupError


def test_expiry_is_aware_and_becomes_utc() -> None:
    """
    ``expires_at`` keeps its moment, in UTC.
    """
    tokyo = datetime(2026, 11, 22, 21, tzinfo=timezone(timedelta(hours=9)))
    context = UserExecutionContext(user_id="alice", expires_at=tokyo)

    assert (NOON, UTC) == (context.expires_at, getattr(context.expires_at, "tzinfo", None))


@pytest.mark.scenario("S02")
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (NOON.replace(tzinfo=None), "must be aware"),
        (NOON.replace(tzinfo=_BrokenZone()), "must be aware"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-9))), "must be aware"),
        (1_700_000_000, "must be a datetime, not int"),
        ("2026-11-22T12:00:00Z", "must be a datetime, not str"),
        (NOON.date(), "must be a datetime, not datetime.date"),
    ],
)
def test_expiry_is_checked(value: object, problem: str) -> None:
    """
    A naive time, a number, a text and a time zone that fails are refused by name.
    """
    with pytest.raises(InvalidContextError, match="invalid expires_at") as caught:
        build(user_id="alice", expires_at=value)

    assert problem in str(caught.value)


def test_expiry_is_a_moment() -> None:
    """
    A context has expired at its moment and after it, not before, and never without one.
    """
    context = UserExecutionContext(user_id="alice", expires_at=NOON)

    assert not context.is_expired(NOON - timedelta(microseconds=1))
    assert context.is_expired(NOON)
    assert not UserExecutionContext(user_id="alice").is_expired(NOON)
    assert UserExecutionContext(user_id="alice", expires_at=datetime.now(UTC) - timedelta(days=1)).is_expired()
    assert not UserExecutionContext(user_id="alice", expires_at=datetime.now(UTC) + timedelta(days=1)).is_expired()


@pytest.mark.scenario("S05")
@pytest.mark.parametrize("field", [*FIELDS, "_fingerprint", "_claims", "_policy", "anything_else"])
def test_cannot_be_assigned_or_deleted(field: str) -> None:
    """
    No attribute can be set, deleted or added.
    """
    context = UserExecutionContext(user_id="alice")
    before = context.log_form()

    with pytest.raises((attrs.exceptions.FrozenInstanceError, AttributeError)):
        setattr(context, field, "mallory")
    with pytest.raises((attrs.exceptions.FrozenInstanceError, AttributeError)):
        delattr(context, field)

    assert before == context.log_form()
    assert not hasattr(context, "__dict__")


@pytest.mark.scenario("S11")
def test_equal_only_to_itself() -> None:
    """
    A context is a dict key and a set member; another of the same user and request is another one.
    """
    context = UserExecutionContext(user_id="alice", request_id="r1", claims={"roles": ["admin"]})
    same_words = UserExecutionContext(user_id="alice", request_id="r1", claims={"roles": ["admin"]})

    assert {context: 1}[context] == 1
    assert context == context  # noqa: PLR0124  # that is the question
    assert context != same_words
    assert 2 == len({context, same_words})


@pytest.mark.scenario("S13", "S18")
def test_holds_nothing_that_can_change() -> None:
    """
    All that hangs on a context is immutable: no callback, service or shared list can hide in it.
    """
    context = UserExecutionContext(user_id="alice", expires_at=NOON, claims={"roles": [{"a": 1}]})
    allowed = (str, int, float, bool, type(None), bytes, tuple, FrozenDict, datetime, IdPolicy, frozenset)

    found: list[object] = []
    waiting = list(gc.get_referents(context))
    while waiting:
        thing: object = waiting.pop()
        if isinstance(thing, type):
            continue
        found.append(thing)
        waiting.extend(gc.get_referents(thing))

    assert [] == [thing for thing in found if type(thing) not in (*allowed, type(UTC))]
    assert DEFAULT_POLICY in found


def _assert_apart(made: list[UserExecutionContext]) -> None:
    assert 100 == len({context.request_id for context in made})
    assert [f"user-{number}" for number in range(100)] == [context.user_id for context in made]
    assert list(range(100)) == [context.claims["n"] for context in made]


@pytest.mark.scenario("S13")
async def test_concurrent_tasks_keep_their_own() -> None:
    """
    100 contexts made by tasks that take turns have distinct request ids and their own fields.
    """

    async def make(number: int) -> UserExecutionContext:
        await asyncio.sleep(0)
        context = UserExecutionContext(user_id=f"user-{number}", claims={"n": number})
        await asyncio.sleep(0)
        return context.child(thread_id=f"thread-{number}")

    _assert_apart(list(await asyncio.gather(*(make(number) for number in range(100)))))


@pytest.mark.scenario("S13")
def test_concurrent_threads_keep_their_own() -> None:
    """
    So do 100 contexts made by eight threads that begin together.
    """
    start = threading.Barrier(8)

    def make(numbers: range) -> list[UserExecutionContext]:
        start.wait(timeout=30)
        return [UserExecutionContext(user_id=f"user-{number}", claims={"n": number}) for number in numbers]

    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(make, [range(part, 100, 8) for part in range(8)]))

    _assert_apart(sorted((context for part in parts for context in part), key=lambda context: context.claims["n"]))


def calls_of_construction() -> list[str]:
    """
    Return the functions that one construction enters, Python's and C's, in order.
    """
    calls: list[str] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            calls.append(frame.f_code.co_qualname)
        elif event == "c_call":
            calls.append(str(getattr(argument, "__qualname__", argument)))

    before = sys.getprofile()
    # A collection may fall into it at any time, and others hang callbacks on collections.
    gc.disable()
    sys.setprofile(note)
    try:
        UserExecutionContext(user_id="alice", request_id="r1", claims={"roles": ["admin"]})
    finally:
        sys.setprofile(before)
        gc.enable()
    calls.remove("setprofile")
    return calls


@pytest.mark.scenario("S13")
def test_construction_does_not_look_around() -> None:
    """
    What a construction does is the same whether none or 2,000 contexts live: no walk of objects or stacks.
    """
    few = calls_of_construction()
    kept = [UserExecutionContext(user_id="bob") for _ in range(2_000)]
    many = calls_of_construction()

    assert few == many
    assert len(kept) == 2_000
    assert len(few) < 60
    assert set[str]() == {"get_objects", "_getframe", "extract_stack", "walk_stack", "currentframe"} & set(few)
