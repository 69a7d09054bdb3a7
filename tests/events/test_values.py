"""Events are values: equal by what they say, hashable, and readable in a log."""

from __future__ import annotations

from ws_isolation.events import AgentThinking, Custom, Problem, ToolCompleted


def test_equal_by_what_they_say() -> None:
    """Two events of one class with the same members are equal and hash alike; anything else is not equal."""
    first, second = Custom(name="a.b", value={"n": [1]}), Custom(name="a.b", value={"n": [1]})

    assert first == second
    assert hash(first) == hash(second)
    thought = AgentThinking(thought_id="t", mode="summary", text="x")
    others: tuple[object, ...] = (Custom(name="a.b", value={"n": [2]}), "a.b", thought)
    for other in others:
        assert first != other
        assert other != first


def test_repr_shows_what_is_there() -> None:
    """The repr names the class and the members that are present, in declared order."""
    event = ToolCompleted(
        tool_call_id="c", tool_name="t", status="error", error=Problem(title="No.", code="no"), run_id="r"
    )

    assert (
        "ToolCompleted(run_id='r', tool_call_id='c', tool_name='t', status='error', "
        "error=Problem(title='No.', code='no'))" == repr(event)
    )
