"""
One example or more of each event and of each control frame, for the reference.
"""

from __future__ import annotations

from typing import Final

from ws_isolation import closing
from ws_isolation.events import (
    AgentCancelled,
    AgentCompleted,
    AgentError,
    AgentMessageDelta,
    AgentStarted,
    AgentThinking,
    Custom,
    Event,
    Problem,
    ToolCompleted,
    ToolExecuting,
)
from ws_isolation.frames import ErrorFrame, Frame, GapFrame, Goodbye, Ping, ResumedFrame, Welcome
from ws_isolation.stream import Cursor, Gap

_RUN: Final = {"run_id": "run-9", "thread_id": "thread-7"}
_TOP: Final = Cursor("q3J8vZ0kT1mYb7XwP4cR2A", 44, "0192f0c2-0a0b-7c0d-8e0f-101112131415")

EVENTS: Final[dict[str, tuple[Event, ...]]] = {
    "agent_started": (AgentStarted(**_RUN, agent_name="assistant"),),
    "agent_thinking": (
        AgentThinking(**_RUN, thought_id="t1", mode="summary", text="looking it up"),
        AgentThinking(**_RUN, thought_id="t2", mode="delta", text="looking ", index=0),
    ),
    "tool_executing": (ToolExecuting(**_RUN, tool_call_id="c1", tool_name="search", arguments={"q": "open invoices"}),),
    "tool_completed": (
        ToolCompleted(
            **_RUN, tool_call_id="c1", tool_name="search", status="ok", result={"rows": 5}, duration_ms=182.4
        ),
    ),
    "agent_completed": (
        AgentCompleted(**_RUN, output_text="Five invoices are open.", duration_ms=961.2, tool_calls=1),
    ),
    "agent_error": (AgentError(**_RUN, error=Problem(title="The agent failed.", code="agent_failed")),),
    "agent_cancelled": (AgentCancelled(**_RUN, reason="user"),),
    "agent_message_delta": (
        AgentMessageDelta(**_RUN, message_id="m1", delta="Five ", index=0),
        AgentMessageDelta(**_RUN, message_id="m1", delta="", index=2, done=True, full_text="Five invoices."),
    ),
    "custom": (Custom(name="billing.invoice_paid", value={"number": 7}),),
}
"""By type. Where a type is sometimes durable and sometimes not, one of each."""

FRAMES: Final[tuple[Frame, ...]] = (
    Welcome(
        connection_id="0192f0c1-7a2b-7c3d-8e4f-5a6b7c8d9e01",
        thread_id="thread-7",
        cursor=_TOP,
        heartbeat_ms=25_000,
        pong_timeout_ms=8_000,
        message_bytes=65_536,
        event_bytes=65_536,
        replay_events=300,
        expires_in_ms=900_000,
    ),
    ResumedFrame(_TOP, 0),
    GapFrame(Gap("trimmed", _TOP, 42, 44)),
    Ping(12, 44, 540_000),
    ErrorFrame(slug="unknown_type", refused_type="dance", causation_id="0192f0c3-aaaa-7bbb-8ccc-ddddeeeeffff"),
    Goodbye(code=closing.INTERNAL_ERROR, incident_id="7f3a9c21d0"),
)
"""In the order in which a client meets them."""
