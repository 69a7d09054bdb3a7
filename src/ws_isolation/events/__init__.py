"""
What is said: the events, their envelope, and the one converter for foreign values.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from .agent import (
    AgentCancelled,
    AgentCompleted,
    AgentError,
    AgentMessageDelta,
    AgentStarted,
    AgentThinking,
    Custom,
    ThinkingMode,
    Visibility,
)
from .conversion import format_time, to_json
from .declaration import Event
from .envelope import WIRE_VERSION, Envelope, encode_data, seal
from .problem import Problem, Usage
from .tool import Executor, ToolCompleted, ToolExecuting, ToolStatus

__all__ = (
    "EVENT_CLASSES",
    "WIRE_VERSION",
    "AgentCancelled",
    "AgentCompleted",
    "AgentError",
    "AgentMessageDelta",
    "AgentStarted",
    "AgentThinking",
    "Custom",
    "Envelope",
    "Event",
    "Executor",
    "Problem",
    "ThinkingMode",
    "ToolCompleted",
    "ToolExecuting",
    "ToolStatus",
    "Usage",
    "Visibility",
    "encode_data",
    "format_time",
    "seal",
    "to_json",
)

EVENT_CLASSES: Final[Mapping[str, type[Event]]] = MappingProxyType(
    {
        kind.type: kind
        for kind in (
            AgentStarted,
            AgentThinking,
            ToolExecuting,
            ToolCompleted,
            AgentCompleted,
            AgentError,
            AgentCancelled,
            AgentMessageDelta,
            Custom,
        )
    }
)
"""Each event class by its ``type``: exactly what can be sent."""
