"""
One declaration gives each field its check; nothing gets past it.
"""

from __future__ import annotations

import contextlib
import copy
import enum
import json
import pickle
from collections.abc import Callable
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, cast

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, UnsetType

from tests.events.samples import PROBLEM, SAMPLES, USAGE, anything, json_values, mutable_parts, plain
from ws_isolation.errors import EventTypeError, InvalidEventError
from ws_isolation.events import (
    AgentCompleted,
    AgentStarted,
    AgentThinking,
    Custom,
    Event,
    Problem,
    ToolCompleted,
    ToolExecuting,
    Usage,
)
from ws_isolation.events.checks import check_of, declares
from ws_isolation.events.declaration import Value, data_fields, data_of, declared, envelope_fields, variant
from ws_isolation.events.envelope import encode_data
from ws_isolation.frozen import FrozenDict, Json, JsonValueError


class Name(str):
    """
    A str that may do anything.
    """

    __slots__ = ()


class Status(enum.StrEnum):
    """
    Looks like the status, is an enum.
    """

    OK = "ok"


def completed(**fields: object) -> ToolCompleted:
    """
    Return a completed tool call with *fields*, unchecked by type checkers.
    """
    members: dict[str, Any] = {"tool_call_id": "c1", "tool_name": "search", "status": "ok", **fields}
    return ToolCompleted(**members)


def refusal(kind: Callable[..., object], **fields: object) -> tuple[str, str]:
    """
    Return path and problem with which *kind* refuses *fields*.
    """
    with pytest.raises(InvalidEventError) as caught:
        kind(**fields)
    return caught.value.path, caught.value.problem


@pytest.mark.scenario("S41")
@pytest.mark.parametrize("kind", [AgentStarted, AgentThinking, ToolExecuting, ToolCompleted, Custom, Problem])
def test_required(kind: type[Any]) -> None:
    """
    A required field has no default, and cannot be left out by UNSET either.
    """
    with pytest.raises(TypeError, match="Missing required"):
        kind()
    members: dict[type[Any], dict[str, object]] = {
        AgentStarted: {"agent_name": "a"},
        AgentThinking: {"thought_id": "t", "mode": "summary", "text": ""},
        ToolExecuting: {"tool_call_id": "c", "tool_name": "n"},
        ToolCompleted: {"tool_call_id": "c", "tool_name": "n", "status": "ok"},
        Custom: {"name": "a.b", "value": 1},
        Problem: {"title": "t", "code": "c"},
    }
    full = members[kind]
    for name in full:
        path, problem = refusal(kind, **{**full, name: UNSET})

        assert f"$.{name}" == path
        assert "Unset" in problem


@pytest.mark.scenario("S41")
def test_unknown_field() -> None:
    """
    A field that does not exist is refused by the constructor.
    """
    with pytest.raises(TypeError, match="user_id"):
        completed(user_id="bob")


@pytest.mark.scenario("S41", "S48")
@pytest.mark.parametrize(
    ("fields", "path", "problem"),
    [
        ({"tool_name": None}, "$.tool_name", "must be a str, not NoneType: leave it out instead"),
        ({"tool_name": True}, "$.tool_name", "must be a str, not bool"),
        ({"tool_name": b"x"}, "$.tool_name", "must be a str, not bytes"),
        ({"tool_name": Name("x")}, "$.tool_name", "must be a str, not "),
        ({"tool_name": ""}, "$.tool_name", "must not be empty"),
        ({"tool_name": "x" * 129}, "$.tool_name", "must be at most 128 characters"),
        ({"tool_name": "a\ud800"}, "$.tool_name", "holds a lone surrogate, which UTF-8 cannot carry"),
        ({"tool_call_id": "c1\n"}, "$.tool_call_id", "must match "),
        ({"tool_call_id": "ä"}, "$.tool_call_id", "must match "),
        ({"tool_call_id": "x" * 256}, "$.tool_call_id", "must match "),
        ({"run_id": "a b"}, "$.run_id", "must match "),
        ({"causation_id": "0192F0C3-AAAA-7BBB-8CCC-DDDDEEEEFFFF"}, "$.causation_id", "must match "),
        ({"status": Status.OK}, "$.status", "must be one of 'ok', "),
        ({"status": "done"}, "$.status", "must be one of 'ok', 'error', 'timeout', 'cancelled', 'denied'"),
        ({"duration_ms": True}, "$.duration_ms", "must be a float, not bool"),
        ({"duration_ms": "3"}, "$.duration_ms", "must be a float, not str"),
        ({"duration_ms": -0.5}, "$.duration_ms", "must be a finite number from 0 to 2^53-1"),
        ({"duration_ms": float("nan")}, "$.duration_ms", "must be a finite number from 0 to 2^53-1"),
        ({"duration_ms": float("inf")}, "$.duration_ms", "must be a finite number from 0 to 2^53-1"),
        ({"duration_ms": 2**53}, "$.duration_ms", "must be a finite number from 0 to 2^53-1"),
        ({"truncated": 1}, "$.truncated", "must be a bool, not int"),
        ({"truncated": False}, "$.truncated", "must be True, or left out"),
        ({"error": {"title": "t"}}, "$.error", "must be exactly ws_isolation.events.problem.Problem, not dict"),
        ({"result": {"rows": [1, 2, 3, object()]}}, "$.result.rows[3]", "a value of type object is no JSON value"),
        ({"result": [{"a": float("nan")}]}, "$.result[0].a", "nan is no JSON number"),
        ({"result": {"status": Status.OK}}, "$.result.status", "a value of type "),
        ({"result_ref": "/files/ä"}, "$.result_ref", "must match "),
        ({"result_ref": "x" * 2049}, "$.result_ref", "must be at most 2,048 characters"),
        ({"metadata": {"plain": 1}}, "$.metadata.plain", "the key must match "),
        ({"metadata": {"a.b": "x" * 4096}}, "$.metadata", "the value is larger than 4096 bytes"),
        ({"metadata": {"a.b": "\x01" * 1000}}, "$.metadata", "is 6,010 bytes long when encoded, must be at most 4,096"),
        ({"metadata": ["a.b"]}, "$.metadata", "must be a mapping, not list"),
        ({"metadata": None}, "$.metadata", "must be a mapping, not NoneType: leave it out instead"),
    ],
)
def test_refused(fields: dict[str, Any], path: str, problem: str) -> None:
    """
    Each wrong value is refused at its path, with what would be right.
    """
    got_path, got_problem = refusal(completed, **fields)

    assert path == got_path
    assert got_problem.startswith(problem)


@pytest.mark.scenario("S41")
@pytest.mark.parametrize(
    ("fields", "path", "problem"),
    [
        ({"attempt": 0}, "$.attempt", "must be from 1 to 9007199254740991"),
        ({"attempt": 2**53}, "$.attempt", "must be from 1 to 9007199254740991"),
        ({"attempt": True}, "$.attempt", "must be an int, not bool"),
        ({"attempt": 1.0}, "$.attempt", "must be an int, not float"),
        ({"input": "x" * 16_384}, "$.input", "the value is larger than 16384 bytes"),
        ({"parent_run_id": ""}, "$.parent_run_id", "must match "),
    ],
)
def test_refused_start(fields: dict[str, Any], path: str, problem: str) -> None:
    """
    The same for what only a start has.
    """
    got_path, got_problem = refusal(AgentStarted, agent_name="a", **fields)

    assert path == got_path
    assert got_problem.startswith(problem)


@pytest.mark.scenario("S41")
def test_bytes_not_characters() -> None:
    """
    Where the limit is in bytes, characters of several bytes count as several.
    """
    text = "ä" * 8192

    assert text == AgentThinking(thought_id="t", mode="summary", text=text).text
    assert ("$.text", "must be at most 16,384 bytes in UTF-8") == refusal(
        AgentThinking, thought_id="t", mode="summary", text=text + "ä"
    )
    assert ("$.text", "must be at most 16,384 bytes in UTF-8") == refusal(
        AgentThinking, thought_id="t", mode="summary", text="x" * 16_385
    )


@pytest.mark.scenario("S41")
def test_lists() -> None:
    """
    Lists are tuples of checked items; the path names the item.
    """
    done = AgentCompleted(usage=(USAGE,), pending_tool_call_ids=("a", "b"))

    assert (USAGE,) == done.usage
    assert ("$.usage", "must be a tuple, not list") == refusal(AgentCompleted, usage=[USAGE])
    assert refusal(AgentCompleted, usage=(USAGE, 1))[0] == "$.usage[1]"
    assert refusal(AgentCompleted, pending_tool_call_ids=("a", "b", ""))[0] == "$.pending_tool_call_ids[2]"


@pytest.mark.scenario("S41")
def test_values() -> None:
    """
    Problem and Usage check their own fields, and say whose they are.
    """
    with pytest.raises(InvalidEventError, match=r"invalid Problem at \$.status: must be from 100 to 599"):
        Problem(title="t", code="c", status=99)

    assert refusal(Problem, title="t", code="Code")[0] == "$.code"
    assert refusal(Problem, title="t" * 201, code="c") == ("$.title", "must be at most 200 characters")
    assert refusal(Problem, title="t", code="c", instance="urn:uuid:x")[0] == "$.instance"
    assert refusal(Problem, title="t", code="c", retryable=1)[0] == "$.retryable"
    assert Problem(title="t", code="c", retryable=False).retryable is False
    assert refusal(Usage, input_tokens=-1)[0] == "$.input_tokens"
    assert Usage() != Usage(input_tokens=0)


@pytest.mark.scenario("S41")
def test_message() -> None:
    """
    The text names event type, path and problem, and never the value.
    """
    with pytest.raises(InvalidEventError) as caught:
        completed(result={"password": {"hunter2"}})

    assert "tool_completed" == caught.value.event
    assert str(caught.value).startswith("invalid tool_completed at $.result.password: a value of type set")
    assert "hunter2" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.scenario("S41")
def test_only_declared_classes() -> None:
    """
    Neither the base nor a subclass of one's own can be built.
    """

    class Mine(Event, frozen=True, kw_only=True):
        type: ClassVar[str] = "mine"

    with pytest.raises(EventTypeError, match="Event"):
        Event()
    with pytest.raises(EventTypeError, match="Mine"):
        Mine()
    with pytest.raises(EventTypeError, match="Value"):
        Value()


def test_attrs_switch() -> None:
    """
    Switching attrs validators off for the process does not switch the checks off.
    """
    with attrs.validators.disabled():
        assert refusal(AgentStarted, agent_name="")[0] == "$.agent_name"


def test_every_field_has_its_check() -> None:
    """
    Each field of each class refuses a foreign object: no annotation was left unresolved.
    """
    for event in [*SAMPLES.values(), PROBLEM, USAGE]:
        for name in type(event).__struct_fields__:
            with pytest.raises(InvalidEventError) as caught:
                msgspec.structs.replace(event, **{name: object()})

            assert f"$.{name}" == caught.value.path
        assert type(event).__struct_fields__ == type(event).__struct_encode_fields__


def test_frozen() -> None:
    """
    An event cannot be changed, takes no new attribute, and can be hashed, compared, copied and pickled.
    """
    for event in SAMPLES.values():
        with pytest.raises(AttributeError):
            event.run_id = "other"  # type: ignore[misc]

        assert not hasattr(event, "__dict__")
        assert event == copy.deepcopy(event) == copy.copy(event) == pickle.loads(pickle.dumps(event))
        assert hash(event) == hash(msgspec.structs.replace(event))


@pytest.mark.requirement("P1")
@given(json_values)
def test_shares_nothing_mutable(value: Json) -> None:
    """
    What an event holds equals what was handed in, and no list or dict of it.
    """
    event = Custom(name="a.b", value=value)
    expected = plain(copy.deepcopy(value))
    for part in mutable_parts(value):
        part.clear()

    assert expected == plain(event.value)
    assert [] == mutable_parts(event.value)


@given(anything)
def test_total(value: object) -> None:
    """
    For any object there is an event or an InvalidEventError, in each kind of field.
    """
    for name in ("tool_call_id", "status", "result", "error", "duration_ms", "truncated", "metadata", "run_id"):
        with contextlib.suppress(InvalidEventError):
            assert encode_data(completed(**{name: value}))


@given(st.text())
def test_ids(text: str) -> None:
    """
    An id is accepted if and only if it is 1 to 255 characters from 0x21 to 0x7e.
    """
    legal = 1 <= len(text) <= 255 and all("\x21" <= character <= "\x7e" for character in text)
    try:
        event = Custom(name="a.b", value=None, run_id=text)
    except InvalidEventError:
        assert not legal
    else:
        assert legal
        assert text == event.run_id


def test_places() -> None:
    """
    The fields below ``data`` are the declared ones in order; the others are the envelope's.
    """
    assert ("error", "failed_tool_call_id", "usage") == data_fields(type(SAMPLES["agent_error"]))
    assert {"run_id", "thread_id", "causation_id", "metadata", "synthetic"} == set(
        envelope_fields(type(SAMPLES["agent_error"]))
    )
    assert "parent_run_id" in envelope_fields(AgentStarted)
    assert "parent_run_id" not in data_fields(AgentStarted)
    for event in SAMPLES.values():
        members = json.loads(encode_data(event))

        assert list(members) == [name for name in data_fields(type(event)) if name in members]
        assert data_fields(type(event)) == data_of(event).__struct_fields__


def test_mappings() -> None:
    """
    Any Mapping is an object, stored as one that refuses changes.
    """
    event = ToolExecuting(tool_call_id="c", tool_name="n", arguments=MappingProxyType({"q": (1,)}))

    assert type(event.arguments) is FrozenDict
    assert {"q": (1,)} == event.arguments
    assert ("$.arguments", "must be a mapping, not tuple") == refusal(
        ToolExecuting, tool_call_id="c", tool_name="n", arguments=()
    )


def test_declaring() -> None:
    """
    A field that nothing is known to check is refused when its class is declared.
    """
    annotations: tuple[Any, ...] = (set, list[int], tuple[int, str], dict[str, int], Problem | Usage, int | None)
    for annotation in annotations:
        odd = msgspec.defstruct("Odd", [("x", annotation)], bases=(Value,), frozen=True, kw_only=True)
        with pytest.raises(TypeError):
            declared(cast("type[Value]", odd))


def test_bare_annotations() -> None:
    """
    Types without limits are checked as well: JSON's own bounds hold.
    """
    whole, number, anything_json = check_of(int, ()), check_of(float, ()), check_of(Any, ())

    assert -(2**53) + 1 == whole(-(2**53) + 1)
    with pytest.raises(JsonValueError):
        whole(-(2**53))
    assert -1.5 == number(-1.5)
    assert (1,) == anything_json([1])
    assert "a" == check_of(Literal["a"], ())("a")
    assert "ä" == check_of(str, ())("ä")
    assert {"k": 1} == check_of(dict[str, Any], ())({"k": 1})
    assert (int, True, False) == declares(int | UnsetType)
    assert (str, False, False) == declares(str)
    assert 5 == check_of(Annotated[int, "note", Meta(le=5)], ())(5)


@pytest.mark.scenario("S41")
def test_variant() -> None:
    """
    A variant equals what the constructor makes, shares nothing with its model, and a bad text is refused alike.
    """
    model = AgentThinking(run_id="r", thread_id="t", thought_id="a", mode="summary", text="", metadata={"a.b": 1})
    made = variant(model, "thought_id", "b", "text", "ä")

    assert msgspec.structs.replace(model, thought_id="b", text="ä") == made
    assert AgentThinking is type(made)
    assert ("a", "") == (model.thought_id, model.text)
    for text in (None, Name("x"), "\ud800", "x" * 16_385):
        with pytest.raises(InvalidEventError) as caught:
            variant(model, "thought_id", "b", "text", text)

        assert (caught.value.path, caught.value.problem) == refusal(
            AgentThinking, thought_id="b", mode="summary", text=text
        )
        assert "agent_thinking" == caught.value.event
    with pytest.raises(AttributeError):
        made.text = "other"  # type: ignore[misc]


def test_payload_of_an_edited_event() -> None:
    """
    The payload of an event that was edited to hold what JSON cannot is refused with an error that says so.
    """
    event = completed()
    msgspec.structs.force_setattr(event, "result", object())
    with pytest.raises(InvalidEventError, match="or was edited"):
        encode_data(event)
