"""
The nine events: their class facts, their delivery class, and what several fields must fulfil together.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from tests.events.samples import PROBLEM, SAMPLES
from ws_isolation import events
from ws_isolation.errors import InvalidEventError
from ws_isolation.events import (
    EVENT_CLASSES,
    AgentMessageDelta,
    AgentThinking,
    Custom,
    Event,
    ToolCompleted,
    ToolExecuting,
    ToolStatus,
)

TOOL: dict[str, Any] = {"tool_call_id": "c1", "tool_name": "search"}


def test_classes() -> None:
    """
    There are exactly nine event types; the table cannot be changed.
    """
    assert [
        "agent_started",
        "agent_thinking",
        "tool_executing",
        "tool_completed",
        "agent_completed",
        "agent_error",
        "agent_cancelled",
        "agent_message_delta",
        "custom",
    ] == list(EVENT_CLASSES)
    for name, kind in EVENT_CLASSES.items():
        assert name == kind.type
        assert issubclass(kind, Event)
        assert kind.__final__  # type: ignore[attr-defined]  # set by @final
        assert kind is getattr(events, kind.__name__)
    with pytest.raises(TypeError):
        EVENT_CLASSES["mine"] = Custom  # type: ignore[index]


def test_facts() -> None:
    """
    Three types end a run; only ``custom`` may stand outside of one.
    """
    assert {"agent_completed", "agent_error", "agent_cancelled"} == {n for n, k in EVENT_CLASSES.items() if k.final}
    assert {"custom"} == {name for name, kind in EVENT_CLASSES.items() if kind.scope == "any"}


@pytest.mark.requirement("P3")
def test_durable() -> None:
    """
    Only pieces of thoughts and messages that are not the last ones are deltas.
    """
    assert {"agent_thinking_delta", "agent_message_delta"} == {n for n, e in SAMPLES.items() if not e.durable}


@pytest.mark.scenario("S41")
@pytest.mark.parametrize("status", ["error", "timeout", "cancelled", "denied"])
def test_failure_has_error(status: ToolStatus) -> None:
    """
    A tool call that did not end well says why.
    """
    with pytest.raises(InvalidEventError, match=r"\$.error: must be there if and only if status is not 'ok'"):
        ToolCompleted(**TOOL, status=status)

    assert PROBLEM is ToolCompleted(**TOOL, status=status, error=PROBLEM).error


@pytest.mark.scenario("S41")
def test_success_has_none() -> None:
    """
    A tool call that ended well has no error.
    """
    with pytest.raises(InvalidEventError, match=r"\$.error: must be there if and only if"):
        ToolCompleted(**TOOL, status="ok", error=PROBLEM)

    assert UNSET is ToolCompleted(**TOOL, status="ok").error


@pytest.mark.scenario("S41")
def test_arguments() -> None:
    """
    Arguments come as an object or as text, never both; without either there are none.
    """
    with pytest.raises(InvalidEventError, match=r"\$.arguments_text: stands instead of arguments"):
        ToolExecuting(**TOOL, arguments={}, arguments_text="{}")

    assert {} == ToolExecuting(**TOOL).arguments
    assert UNSET is ToolExecuting(**TOOL, arguments_text="{").arguments
    assert UNSET is ToolExecuting(**TOOL, arguments={"q": 1}).arguments_text


@pytest.mark.scenario("S41")
def test_full_text() -> None:
    """
    The whole text comes with the last piece only.
    """
    with pytest.raises(InvalidEventError, match=r"agent_thinking at \$.full_text: belongs to the last piece"):
        AgentThinking(thought_id="t", mode="delta", text="", full_text="all")
    with pytest.raises(InvalidEventError, match=r"agent_message_delta at \$.full_text: belongs to the last piece"):
        AgentMessageDelta(message_id="m", delta="", full_text="all")


@pytest.mark.scenario("S41")
@pytest.mark.parametrize("name", ["", "plain", "Billing.paid", "a..b", "a.b\n", "a." + "b" * 127, "ä.b"])
def test_custom_name(name: str) -> None:
    """
    A custom event's name has a namespace, lower case, at most 128 characters.
    """
    with pytest.raises(InvalidEventError, match=r"\$.name"):
        Custom(name=name, value=None)


@pytest.mark.scenario("S40")
def test_value_is_required_and_may_be_null() -> None:
    """
    ``None`` is a value; leaving the value out is not.
    """
    assert Custom(name="a.b", value=None).value is None
    with pytest.raises(InvalidEventError, match=r"\$.value"):
        Custom(name="a.b", value=UNSET)  # type: ignore[arg-type]
