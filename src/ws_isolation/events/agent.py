"""
A run: its start, what it thinks and says, and its three ends.
"""

# No `from __future__ import annotations`: the annotations are the declaration, and are read at import.

from typing import ClassVar, Literal, TypeAlias, final

from msgspec import UNSET, UnsetType
from typing_extensions import override

from .declaration import Event, declared
from .limits import (
    Count,
    CustomName,
    Duration,
    FrameJson,
    FrameText,
    FullText,
    Id,
    InputJson,
    Name,
    OnlyTrue,
    ParentRunId,
    Positive,
    Slug,
    Synthetic,
    Text16K,
    Text64,
    Text128,
    Text1000,
    Uri,
)
from .problem import Problem, Usage

__all__ = (
    "AgentCancelled",
    "AgentCompleted",
    "AgentError",
    "AgentMessageDelta",
    "AgentStarted",
    "AgentThinking",
    "Custom",
    "ThinkingMode",
    "Visibility",
)

ThinkingMode: TypeAlias = Literal["delta", "summary"]
"""A piece of a thought, or a whole one."""

Visibility: TypeAlias = Literal["user", "debug"]
"""Whom a thought is for."""

_DONE_FIRST = "belongs to the last piece: set done=True as well"


@final
@declared
class AgentStarted(Event, frozen=True, kw_only=True):
    """
    A run begins.

    Raises:
        InvalidEventError: A field has a value that its declaration does not allow.
    """

    type: ClassVar[str] = "agent_started"

    agent_name: Name
    """A label of 1 to 128 characters, never the identity of a run."""
    agent_version: Text64 | UnsetType = UNSET
    """At most 64 characters."""
    model: Text128 | UnsetType = UNSET
    """At most 128 characters."""
    attempt: Positive | UnsetType = UNSET
    """Which attempt this is; 1 where absent."""
    max_attempts: Positive | UnsetType = UNSET
    """How many there may be."""
    parent_tool_call_id: Id | UnsetType = UNSET
    """The tool call of the parent run that this agent carries out."""
    resumes_run_id: Id | UnsetType = UNSET
    """The interrupted run that this one continues."""
    input: InputJson | UnsetType = UNSET
    """What the agent was asked, at most 16 KiB. Leave it out unless it may be seen again."""
    truncated: OnlyTrue | UnsetType = UNSET
    """The input was cut."""
    result_ref: Uri | UnsetType = UNSET
    """Where the whole can be had, with the user's own authorisation."""
    parent_run_id: ParentRunId | UnsetType = UNSET
    """The run that started this one."""


@final
@declared
class AgentThinking(Event, frozen=True, kw_only=True):
    """
    A thought that the user may see: whole, or piece by piece.

    A whole thought and the last piece are durable, the pieces before it are not.

    Raises:
        InvalidEventError: A value that its declaration does not allow, or
            ``full_text`` without ``done``.
    """

    type: ClassVar[str] = "agent_thinking"

    thought_id: Id
    """Joins the pieces of one thought."""
    mode: ThinkingMode
    """``delta``: a piece; ``summary``: the whole."""
    text: Text16K
    """At most 16 KiB; may be empty. Never signatures or encrypted reasoning."""
    index: Count | UnsetType = UNSET
    """The number of the first piece in this frame, from 0."""
    pieces: Positive | UnsetType = UNSET
    """How many pieces it holds; 1 where absent."""
    done: OnlyTrue | UnsetType = UNSET
    """This is the last piece."""
    full_text: FullText | UnsetType = UNSET
    """The whole thought, at most 48 KiB, else cut with ``truncated``; with ``done`` only."""
    visibility: Visibility | UnsetType = UNSET
    """``user`` where absent."""
    truncated: OnlyTrue | UnsetType = UNSET
    """The text was cut."""
    result_ref: Uri | UnsetType = UNSET
    """Where the whole can be had, with the user's own authorisation."""

    @property
    @override
    def durable(self) -> bool:
        """Whether it is a whole thought or a last piece."""
        return self.mode == "summary" or self.done is True

    @override
    def _check_together(self) -> None:
        if self.full_text is not UNSET and self.done is UNSET:
            self._refuse("full_text", _DONE_FIRST)


@final
@declared
class AgentMessageDelta(Event, frozen=True, kw_only=True):
    """
    A piece of what the agent says. The last one, with ``done``, is durable.

    Raises:
        InvalidEventError: A value that its declaration does not allow, or
            ``full_text`` without ``done``.
    """

    type: ClassVar[str] = "agent_message_delta"

    message_id: Id
    """Joins the pieces of one message."""
    delta: Text16K
    """At most 16 KiB; may be empty."""
    index: Count | UnsetType = UNSET
    """The number of the first piece in this frame, from 0."""
    pieces: Positive | UnsetType = UNSET
    """How many pieces it holds; 1 where absent."""
    done: OnlyTrue | UnsetType = UNSET
    """This is the last piece."""
    full_text: FullText | UnsetType = UNSET
    """The whole message, at most 48 KiB, else cut with ``truncated``; with ``done`` only."""
    truncated: OnlyTrue | UnsetType = UNSET
    """The text was cut."""
    result_ref: Uri | UnsetType = UNSET
    """Where the whole can be had, with the user's own authorisation."""

    @property
    @override
    def durable(self) -> bool:
        """Whether it is the last piece."""
        return self.done is True

    @override
    def _check_together(self) -> None:
        if self.full_text is not UNSET and self.done is UNSET:
            self._refuse("full_text", _DONE_FIRST)


@final
@declared
class AgentCompleted(Event, frozen=True, kw_only=True):
    """
    A run ends as it should.

    Raises:
        InvalidEventError: A field has a value that its declaration does not allow.
    """

    type: ClassVar[str] = "agent_completed"
    final: ClassVar[bool] = True

    result: FrameJson | UnsetType = UNSET
    """Any JSON value that fits the frame; convert others with ``to_json()``."""
    output_text: FrameText | UnsetType = UNSET
    """The whole answer; it makes up for pieces that were missed."""
    summary: Text1000 | UnsetType = UNSET
    """At most 1,000 characters."""
    usage: tuple[Usage, ...] | UnsetType = UNSET
    """What the models used, one entry for each."""
    pending_tool_call_ids: tuple[Id, ...] | UnsetType = UNSET
    """The client's tool calls that are still open, all of them."""
    stop_reason: Slug | UnsetType = UNSET
    """Why the model stopped; readers accept reasons that they do not know."""
    duration_ms: Duration | UnsetType = UNSET
    """Milliseconds that the run took."""
    tool_calls: Count | UnsetType = UNSET
    """How many tool calls there were."""
    tool_errors: Count | UnsetType = UNSET
    """How many of them failed."""
    truncated: OnlyTrue | UnsetType = UNSET
    """The result or the text was cut."""
    result_ref: Uri | UnsetType = UNSET
    """Where the whole can be had, with the user's own authorisation."""


@final
@declared
class AgentError(Event, frozen=True, kw_only=True):
    """
    A run ends because something went wrong; also one that never began.

    Raises:
        InvalidEventError: A field has a value that its declaration does not allow.
    """

    type: ClassVar[str] = "agent_error"
    final: ClassVar[bool] = True

    error: Problem
    """What went wrong, as the user may see it."""
    failed_tool_call_id: Id | UnsetType = UNSET
    """The tool call that it failed at."""
    usage: tuple[Usage, ...] | UnsetType = UNSET
    """What the models used until then."""
    synthetic: Synthetic | UnsetType = UNSET
    """The library closed what was left open."""


@final
@declared
class AgentCancelled(Event, frozen=True, kw_only=True):
    """
    A run ends because somebody wanted it to: neither success nor error.

    Raises:
        InvalidEventError: A field has a value that its declaration does not allow.
    """

    type: ClassVar[str] = "agent_cancelled"
    final: ClassVar[bool] = True

    reason: Slug
    """``user``, ``superseded``, ``timeout``, ``quota``, ``shutdown``, ``disconnect_policy``, ``parent_ended``, …"""
    detail: Text1000 | UnsetType = UNSET
    """At most 1,000 characters."""
    usage: tuple[Usage, ...] | UnsetType = UNSET
    """What the models used until then."""
    synthetic: Synthetic | UnsetType = UNSET
    """The library closed what was left open."""


@final
@declared
class Custom(Event, frozen=True, kw_only=True):
    """
    An application's own event, inside a run or outside of one.

    Raises:
        InvalidEventError: A field has a value that its declaration does not allow.
    """

    type: ClassVar[str] = "custom"
    scope: ClassVar[Literal["run", "any"]] = "any"

    name: CustomName
    """At most 128 characters with a namespace: ``billing.invoice_paid``."""
    value: FrameJson
    """Any JSON value that fits the frame, None too; convert others with ``to_json()``."""
    truncated: OnlyTrue | UnsetType = UNSET
    """The value was cut."""
    result_ref: Uri | UnsetType = UNSET
    """Where the whole can be had, with the user's own authorisation."""
