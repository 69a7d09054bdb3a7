"""
A tool call: its start and its end, paired by ``tool_call_id``.
"""

# No `from __future__ import annotations`: the annotations are the declaration, and are read at import.

from typing import ClassVar, Literal, TypeAlias, final

from msgspec import UNSET, UnsetType
from msgspec.structs import force_setattr
from typing_extensions import override

from ..frozen import FrozenDict
from .declaration import Event, declared
from .limits import (
    Arguments,
    ArgumentsText,
    Duration,
    FrameJson,
    Id,
    Name,
    OnlyTrue,
    Positive,
    Synthetic,
    Text128,
    Text200,
    Text1000,
    Uri,
)
from .problem import Problem

__all__ = ("Executor", "ToolCompleted", "ToolExecuting", "ToolStatus")

Executor: TypeAlias = Literal["server", "client"]
"""Who carries a tool call out."""

ToolStatus: TypeAlias = Literal["ok", "error", "timeout", "cancelled", "denied"]
"""How a tool call ended."""


@final
@declared
class ToolExecuting(Event, frozen=True, kw_only=True):
    """
    A tool call begins.

    Without ``arguments`` and ``arguments_text`` it has no arguments: ``{}``.

    Raises:
        InvalidEventError: A value that its declaration does not allow, or both
            ``arguments`` and ``arguments_text``.
    """

    type: ClassVar[str] = "tool_executing"

    tool_call_id: Id
    """Unique in the run: two calls of one tool may overlap."""
    tool_name: Name
    """1 to 128 characters."""
    arguments: Arguments | UnsetType = UNSET
    """A JSON object of at most 32 KiB."""
    arguments_text: ArgumentsText | UnsetType = UNSET
    """What the model wrote where it is no JSON object, at most 32 KiB."""
    executor: Executor | UnsetType = UNSET
    """``server`` where absent; a client's tools may be open at the run's end."""
    title: Text200 | UnsetType = UNSET
    """What people read, at most 200 characters."""
    parent_tool_call_id: Id | UnsetType = UNSET
    """The call that this one is part of."""
    timeout_ms: Positive | UnsetType = UNSET
    """Milliseconds that the call may take; for display."""
    truncated: OnlyTrue | UnsetType = UNSET
    """The arguments were cut."""
    result_ref: Uri | UnsetType = UNSET
    """Where the whole can be had, with the user's own authorisation."""

    @override
    def _check_together(self) -> None:
        if self.arguments_text is UNSET:
            if self.arguments is UNSET:
                force_setattr(self, "arguments", _NO_ARGUMENTS)
        elif self.arguments is not UNSET:
            self._refuse("arguments_text", "stands instead of arguments, never beside them")


_NO_ARGUMENTS = FrozenDict()


@final
@declared
class ToolCompleted(Event, frozen=True, kw_only=True):
    """
    A tool call has ended.

    Raises:
        InvalidEventError: A value that its declaration does not allow, a
            failure without ``error``, or an ``error`` beside ``ok``.
    """

    type: ClassVar[str] = "tool_completed"

    tool_call_id: Id
    """The call's, as in its ``tool_executing``."""
    tool_name: Name
    """The call's, repeated for clients that keep no state."""
    status: ToolStatus
    """How it ended. There is no default: a failure must not look like a success."""
    result: FrameJson | UnsetType = UNSET
    """Any JSON value that fits the frame; convert others with ``to_json()``."""
    error: Problem | UnsetType = UNSET
    """What went wrong: if and only if ``status`` is not ``ok``."""
    media_type: Text128 | UnsetType = UNSET
    """What the result is, at most 128 characters."""
    summary: Text1000 | UnsetType = UNSET
    """What people read, at most 1,000 characters."""
    duration_ms: Duration | UnsetType = UNSET
    """Milliseconds that it took."""
    truncated: OnlyTrue | UnsetType = UNSET
    """The result was cut."""
    result_ref: Uri | UnsetType = UNSET
    """Where the whole can be had, with the user's own authorisation."""
    synthetic: Synthetic | UnsetType = UNSET
    """The library closed what the run had left open."""

    @override
    def _check_together(self) -> None:
        if (self.status == "ok") is not (self.error is UNSET):
            self._refuse("error", "must be there if and only if status is not 'ok'")
