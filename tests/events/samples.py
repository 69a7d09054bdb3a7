"""
Events and values that several test modules use.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypedDict, cast

from hypothesis import strategies as st
from msgspec import UNSET

from ws_isolation.events import (
    AgentCancelled,
    AgentCompleted,
    AgentError,
    AgentMessageDelta,
    AgentStarted,
    AgentThinking,
    Custom,
    Envelope,
    Event,
    Problem,
    ToolCompleted,
    ToolExecuting,
    Usage,
    seal,
)
from ws_isolation.keys import Identity

ALICE: Final = Identity(None, "alice")
EVENT_ID: Final = "0192f0c2-0a0b-7c0d-8e0f-101112131415"
CAUSE_ID: Final = "0192f0c3-aaaa-7bbb-8ccc-ddddeeeeffff"
EPOCH: Final = "q3J8vZ0kT1mYb7XwP4cR2A"
TIME: Final = "2026-11-22T21:09:00.123456Z"

PROBLEM: Final = Problem(
    type="https://errors.example/quota",
    title="Quota used up",
    status=429,
    detail="The search quota of this hour is used up.",
    instance=f"urn:uuid:{CAUSE_ID}",
    code="quota_exceeded",
    retryable=True,
    retry_after_ms=60_000,
)
USAGE: Final = Usage(
    provider="acme",
    model="large-1",
    input_tokens=10,
    output_tokens=7,
    total_tokens=17,
    reasoning_tokens=3,
    cached_input_tokens=4,
    cache_write_input_tokens=0,
)


class _Run(TypedDict):
    run_id: str
    thread_id: str


RUN: Final[_Run] = {"run_id": "run_9", "thread_id": "thr_7"}

SAMPLES: Final[dict[str, Event]] = {
    "agent_started": AgentStarted(**RUN, agent_name="assistant"),
    "agent_started_full": AgentStarted(
        **RUN,
        causation_id=CAUSE_ID,
        metadata={"my_app.trace": "t-1", "ag_ui.raw": {"k": [1, None]}},
        agent_name="assistant",
        agent_version="2026.11",
        model="large-1",
        attempt=1,
        max_attempts=3,
        parent_tool_call_id="c0",
        resumes_run_id="run_8",
        input={"text": "Which invoices are open?"},
        truncated=True,
        result_ref="https://app.example/inputs/1",
        parent_run_id="run_1",
    ),
    "agent_thinking_summary": AgentThinking(**RUN, thought_id="t1", mode="summary", text="looking it up"),
    "agent_thinking_delta": AgentThinking(
        **RUN, thought_id="t1", mode="delta", text="look", index=0, pieces=2, visibility="debug"
    ),
    "agent_thinking_done": AgentThinking(
        **RUN, thought_id="t1", mode="delta", text="", index=2, pieces=1, done=True, full_text="looking it up"
    ),
    "tool_executing": ToolExecuting(**RUN, tool_call_id="c1", tool_name="search", arguments={"q": "open invoices"}),
    "tool_executing_text": ToolExecuting(
        **RUN,
        tool_call_id="c1",
        tool_name="search",
        arguments_text='{"q": "open',
        executor="client",
        title="Searching",
        parent_tool_call_id="c0",
        timeout_ms=5000,
    ),
    "tool_executing_bare": ToolExecuting(**RUN, tool_call_id="c1", tool_name="now"),
    "tool_completed": ToolCompleted(
        **RUN, tool_call_id="c1", tool_name="search", status="ok", result={"rows": 5}, duration_ms=182.4
    ),
    "tool_completed_error": ToolCompleted(
        **RUN,
        tool_call_id="c1",
        tool_name="search",
        status="error",
        error=PROBLEM,
        media_type="application/json",
        summary="Nothing found",
        duration_ms=3,
    ),
    "tool_completed_synthetic": ToolCompleted(
        **RUN,
        tool_call_id="c1",
        tool_name="search",
        status="cancelled",
        error=Problem(title="The run ended first", code="run_ended"),
        synthetic=True,
    ),
    "agent_completed": AgentCompleted(
        **RUN, output_text="Five invoices are open.", stop_reason="end_turn", tool_calls=1, tool_errors=0
    ),
    "agent_completed_full": AgentCompleted(
        **RUN,
        result=["ä", "\u2028", '"\\', 1.5, None],
        output_text="Grüße 🎉",
        summary="short",
        usage=(USAGE, Usage(model="small-1", input_tokens=0)),
        pending_tool_call_ids=("c7", 'c"8'),
        stop_reason="end_turn",
        duration_ms=1200.0,
        tool_calls=2,
        tool_errors=1,
    ),
    "agent_completed_bare": AgentCompleted(**RUN),
    "agent_error": AgentError(**RUN, error=PROBLEM, failed_tool_call_id="c1", usage=(USAGE,)),
    "agent_error_synthetic": AgentError(
        **RUN, error=Problem(title="The run was lost", code="run_lost"), synthetic=True
    ),
    "agent_cancelled": AgentCancelled(**RUN, reason="user"),
    "agent_cancelled_full": AgentCancelled(
        **RUN, reason="parent_ended", detail="The parent was stopped.", usage=(), synthetic=True
    ),
    "agent_message_delta": AgentMessageDelta(**RUN, message_id="m1", delta="Five ", index=0, pieces=1),
    "agent_message_delta_done": AgentMessageDelta(
        **RUN, message_id="m1", delta="open.", index=1, done=True, full_text="Five invoices are open."
    ),
    "custom": Custom(name="billing.invoice_paid", value={"number": 7}),
    "custom_in_run": Custom(**RUN, name="billing.invoice_paid", value=None),
}
"""One event of each type, and its variants: the golden files' names."""


def sealed(event: Event, /, *, event_bytes: int = 65_536) -> Envelope:
    """
    Return *event* at a fixed place.
    """
    durable = event.durable
    return seal(
        event,
        owner=ALICE,
        id=EVENT_ID,
        epoch=EPOCH,
        seq=44,
        prev="0192f0c1-6f00-7b11-9a22-334455667788" if durable else "",
        run_seq=3 if durable and event.run_id is not UNSET else None,
        time=TIME,
        event_bytes=event_bytes,
    )


texts: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars: Final = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values: Final = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=20
)
"""Any legal JSON value."""

STRANGE: Final[list[object]] = [object(), object, int, len, ValueError("x"), ...]

anything: Final[st.SearchStrategy[object]] = st.recursive(
    scalars
    | st.floats()
    | st.integers()
    | st.text(st.characters(), max_size=5)
    | st.binary(max_size=3)
    | st.complex_numbers()
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
    | st.sampled_from(STRANGE),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(texts | st.integers() | st.none(), inner, max_size=4)
        | st.lists(inner, max_size=2).map(iter)
    ),
    max_leaves=15,
)
"""Whatever an agent's author may hand in."""


def plain(value: object, /) -> object:
    """
    Return *value* with lists where it has tuples, as JSON comes back.
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in cast("dict[object, object]", value).items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in cast("list[object]", value)]
    return value


def mutable_parts(value: object, /) -> list[list[object] | dict[object, object]]:
    """
    Return the lists and plain dicts in *value*.
    """
    found: list[list[object] | dict[object, object]] = []
    mutable = type(value) in {list, dict}
    items: Iterable[object] = ()
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).values()
    elif isinstance(value, (list, tuple)):
        items = cast("list[object]", value)
    for item in items:
        found += mutable_parts(item)
    if mutable:
        found.append(cast("list[object]", value))
    return found
