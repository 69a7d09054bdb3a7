"""
A run: one agent execution, from ``agent_started`` to exactly one end.

Rule 1: the scope is the run. Leaving it ends the run: completed, failed or
cancelled, by how it was left. Rule 2: what was opened is closed first: tools,
thoughts and child runs, so that no spinner turns for ever. Rule 3: an end is
reported, a result never invented.

Everything here is built on ``send`` alone, so it works with any manager.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias, final

from msgspec import UNSET, UnsetType

from .errors import InvalidStateError, IsolationError, shown
from .events import (
    AgentCancelled,
    AgentCompleted,
    AgentError,
    AgentStarted,
    AgentThinking,
    Custom,
    Event,
    Problem,
    Usage,
    to_json,
)
from .finishing import finish
from .ids import new_uuid7
from .oplog import report
from .parts import MessageText, Thought, Tool, cut, measured

if TYPE_CHECKING:
    from typing import Self

    from .context import UserExecutionContext
    from .delivery import Delivery

__all__ = ("CANCEL_PREFIX", "Run", "Sender")

CANCEL_PREFIX: Final = "ws_isolation:"
"""How a cancellation says its reason: ``task.cancel("ws_isolation:shutdown")``."""

_RunState: TypeAlias = Literal["new", "open", "ended"]
_TEXT_LIMIT: Final = 32_768
"""Bytes of an answer that a run sends by itself; more is cut and marked ``truncated``."""


class Sender(Protocol):
    """What a run needs of its manager."""

    @property
    def context(self) -> UserExecutionContext:
        """The context that the run acts for."""
        ...

    async def send(self, event: Event, /) -> Delivery:
        """Append *event* to the stream of the context's identity."""
        ...


class RunWatch(Protocol):
    """Who wants to know when a run opens and ends."""

    def run_opened(self, run: Run, /) -> None:
        """Note that ``agent_started`` was sent."""
        ...

    def run_ended(self, run: Run, /) -> None:
        """Note that the run's end was sent or could not be sent."""
        ...


@final
class Run:
    """
    One agent execution. Lives as long as its ``async with`` block.

    Made by ``manager.run()`` and ``run.child()``. All methods that send raise
    ``InvalidStateError`` once the run has ended, and what ``send`` raises.
    Cancelling them is safe: the event is in the stream or it is not, and the
    scope still ends the run.

    Attributes:
        id: The run's id.
        thread_id: The context's thread; the run's own id where it has none.
    """

    __slots__ = (
        "_children",
        "_opening",
        "_parent",
        "_sender",
        "_started_at",
        "_state",
        "_stop_reason",
        "_stopping",
        "_task",
        "_texts",
        "_tool_count",
        "_tool_errors",
        "_tools",
        "_watch",
        "id",
        "thread_id",
    )

    def __init__(
        self,
        sender: Sender,
        agent_name: str,
        /,
        *,
        run_id: str | None = None,
        model: str | UnsetType = UNSET,
        agent_version: str | UnsetType = UNSET,
        causation_id: str | UnsetType = UNSET,
        parent: Run | None = None,
        watch: RunWatch | None = None,
    ) -> None:
        self.id: str = new_uuid7() if run_id is None else run_id
        thread_id = sender.context.thread_id if parent is None else parent.thread_id
        self.thread_id: str = self.id if thread_id is None else thread_id
        self._sender = sender
        self._parent = parent
        self._watch = watch
        # Built now: a bad name fails in the line that gives it, before anything was sent.
        self._opening = AgentStarted(
            run_id=self.id,
            thread_id=self.thread_id,
            parent_run_id=UNSET if parent is None else parent.id,
            causation_id=causation_id,
            agent_name=agent_name,
            agent_version=agent_version,
            model=model,
        )
        self._state: _RunState = "new"
        self._task: asyncio.Task[object] | None = None
        self._stopping = False
        self._stop_reason = "user"
        self._started_at = 0.0
        self._tools: dict[str, Tool] = {}
        self._texts: dict[str, Thought | MessageText] = {}
        self._children: dict[str, Run] = {}
        self._tool_count = 0
        self._tool_errors = 0

    @property
    def context(self) -> UserExecutionContext:
        """The context that the run acts for."""
        return self._sender.context

    @property
    def is_open(self) -> bool:
        """Whether the run has begun and not ended."""
        return self._state == "open"

    async def __aenter__(self) -> Self:
        """Send ``agent_started``."""
        if self._state != "new":
            msg = f"run {shown(self.id)} was entered before: a run starts once, start another with manager.run()"
            raise InvalidStateError(msg)
        if self._parent is not None:
            self._parent.require_open("child()")
        try:
            await self._sender.send(self._opening)
        except asyncio.CancelledError:
            # It may be in the stream or not; if it is, it must not stay open.
            await self._close_unentered()
            raise
        self._state = "open"
        self._task = asyncio.current_task()
        self._started_at = time.perf_counter()
        if self._parent is not None:
            self._parent._children[self.id] = self  # noqa: SLF001  # a run is its parent's own kind
        if self._watch is not None:
            self._watch.run_opened(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """
        End the run, if nothing inside did.

        Returns:
            True, which swallows the cancellation, only where ``stop`` asked for
            it and nobody else: the code after the block goes on.
        """
        was_open = self._state == "open"
        try:
            if was_open:
                await finish(self._end_by(error))
        except IsolationError as failure:
            if error is None:
                raise
            # The block's own error counts more than what kept its end from being sent.
            report(logging.ERROR, "the end of a run could not be sent", error=failure, run_id=self.id)
        finally:
            self._forget()
        return self._swallows(error)

    async def _close_unentered(self) -> None:
        self._state = "ended"
        cancelled = AgentCancelled(run_id=self.id, thread_id=self.thread_id, reason="disconnect_policy", synthetic=True)
        with suppress(IsolationError):
            await finish(self._sender.send(cancelled))

    async def _end_by(self, error: BaseException | None) -> None:
        if error is None:
            await self.complete()
        elif isinstance(error, asyncio.CancelledError):
            await self.cancel(self._reason_of(error))
        else:
            incident = f"urn:uuid:{new_uuid7()}"
            report(logging.ERROR, "an agent failed", error=error, run_id=self.id, instance=incident)
            await self.fail(Problem(title="The agent failed.", code="agent_failed", instance=incident))

    def _reason_of(self, error: asyncio.CancelledError) -> str:
        if self._stopping:
            return self._stop_reason
        said = error.args[0] if error.args else None
        if type(said) is str and said.startswith(CANCEL_PREFIX):
            return said.removeprefix(CANCEL_PREFIX)
        return "disconnect_policy"

    def _swallows(self, error: BaseException | None) -> bool:
        if not self._stopping or self._task is None:
            return False
        self._stopping = False
        # As asyncio.timeout() does it: somebody else's cancellation, if any, goes on.
        return self._task.uncancel() <= 0 and isinstance(error, asyncio.CancelledError)

    def _forget(self) -> None:
        self._state = "ended"
        if self._parent is not None:
            self._parent._children.pop(self.id, None)  # noqa: SLF001
        if self._watch is not None:
            self._watch.run_ended(self)

    def stop(self, reason: str = "user", /) -> None:
        """
        Cancel what the run is doing: its block is left, and it ends as ``agent_cancelled``.

        Harmless when the run has ended, and when called twice. The code after
        the block goes on; a cancellation that came from elsewhere does too.
        Called by the run's own task it does not return: the block is left there.

        Args:
            reason: ``user``, ``superseded``, ``timeout``, ``quota`` or a word of the application.
        """
        if self._state == "open" and not self._stopping and self._task is not None and not self._task.done():
            self._stopping = True
            self._stop_reason = reason
            if self._task is asyncio.current_task():
                # cancel() on oneself strikes at the next suspension, which may lie after the block.
                raise asyncio.CancelledError(CANCEL_PREFIX + reason)
            self._task.cancel(CANCEL_PREFIX + reason)

    def require_open(self, call: str, /) -> None:
        """Raise ``InvalidStateError`` where *call* makes no sense, because the run is not open."""
        if self._state == "new":
            msg = f"cannot call {call}: run {shown(self.id)} has not begun; use 'async with manager.run(...) as run'"
            raise InvalidStateError(msg)
        if self._state == "ended":
            msg = f"cannot call {call}: run {shown(self.id)} has ended; start a new run"
            raise InvalidStateError(msg)

    async def send(self, event: Event, /) -> Delivery:
        """Send an event that names this run; for those who build events themselves."""
        self.require_open("send()")
        return await self._sender.send(event)

    async def thinking(self, text: str, /, *, visibility: Literal["user", "debug"] = "user") -> Delivery:
        """
        Send a whole thought (durable).

        Args:
            text: At most 16 KiB; more is cut and marked.
            visibility: ``debug`` for what only developers should see.
        """
        self.require_open("thinking()")
        short, was_cut = cut(text, 16_384)
        return await self._sender.send(
            AgentThinking(
                run_id=self.id,
                thread_id=self.thread_id,
                thought_id=new_uuid7(),
                mode="summary",
                text=short,
                truncated=True if was_cut else UNSET,
                visibility=UNSET if visibility == "user" else visibility,
            )
        )

    def thought(self) -> Thought:
        """Return a thought to be written in pieces: ``async with run.thought() as t: await t.write(...)``."""
        self.require_open("thought()")
        return Thought(self, self._texts)

    def message(self) -> MessageText:
        """Return a message to be written in pieces: ``async with run.message() as m: await m.write(...)``."""
        self.require_open("message()")
        return MessageText(self, self._texts)

    def tool(
        self,
        name: str,
        arguments: Mapping[str, object] | None = None,
        /,
        *,
        tool_call_id: str | None = None,
        title: str | UnsetType = UNSET,
        timeout_ms: int | UnsetType = UNSET,
    ) -> Tool:
        """
        Return a tool call as a scope: ``async with run.tool("search", {...}) as tool: tool.result = ...``.

        Args:
            name: The tool's name, 1 to 128 characters.
            arguments: What it is called with. datetimes, UUIDs, Decimals, enums,
                attrs classes, dataclasses and pydantic models are converted;
                over 32 KiB the text is cut and marked.
            tool_call_id: Unique in the run; made if absent.
            title: For people, at most 200 characters.
            timeout_ms: For the display.

        Raises:
            InvalidEventError: The arguments hold something that is no JSON. Nothing was sent.
        """
        self.require_open("tool()")
        return Tool(
            self,
            self._tools,
            name,
            {} if arguments is None else arguments,
            tool_call_id=new_uuid7() if tool_call_id is None else tool_call_id,
            title=title,
            timeout_ms=timeout_ms,
        )

    async def custom(self, name: str, value: object = None, /) -> Delivery:
        """
        Send an event of the application's own within this run (durable).

        Args:
            name: Namespaced: ``shop.cart_changed``.
            value: Any value that ``events.to_json()`` converts.
        """
        self.require_open("custom()")
        return await self._sender.send(
            Custom(run_id=self.id, thread_id=self.thread_id, name=name, value=to_json(value))
        )

    def child(self, agent_name: str, /, *, run_id: str | None = None, model: str | UnsetType = UNSET) -> Run:
        """Return a run within this one, for an agent that this one calls. Same as ``manager.run()`` otherwise."""
        self.require_open("child()")
        return Run(self._sender, agent_name, run_id=run_id, model=model, parent=self, watch=self._watch)

    async def complete(
        self,
        output_text: str | UnsetType = UNSET,
        /,
        *,
        result: object = UNSET,
        summary: str | UnsetType = UNSET,
        usage: tuple[Usage, ...] | UnsetType = UNSET,
        stop_reason: str | UnsetType = UNSET,
    ) -> Delivery:
        """
        End the run as completed. What is still open is closed as cancelled before.

        Args:
            output_text: The whole answer; over 32 KiB it is cut and marked.
            result: Any value that ``events.to_json()`` converts; over 32 KiB it
                is left out and ``truncated`` says so.
            summary: One line for people, at most 1,000 characters.
            usage: What the models used.
            stop_reason: Why the agent stopped: ``end_turn`` or a word of the application.

        Raises:
            InvalidEventError: The result holds something that is no JSON. The run is still open.
            InvalidStateError: The run has ended.
        """
        self.require_open("complete()")
        text, text_cut = (UNSET, False) if output_text is UNSET else cut(output_text, _TEXT_LIMIT)
        value, value_cut = measured(result, "result", AgentCompleted.type)
        event = AgentCompleted(
            run_id=self.id,
            thread_id=self.thread_id,
            result=value,
            output_text=text,
            summary=summary,
            usage=usage,
            stop_reason=stop_reason,
            duration_ms=self._duration_ms(),
            tool_calls=self._tool_count or UNSET,
            tool_errors=self._tool_errors or UNSET,
            truncated=True if text_cut or value_cut else UNSET,
        )
        return await self._end(event)

    async def fail(self, problem: Problem, /, *, failed_tool_call_id: str | UnsetType = UNSET) -> Delivery:
        """
        End the run as failed.

        Args:
            problem: What the user may know of it: no stack trace, no ids of others.
            failed_tool_call_id: The tool call that it failed with.
        """
        self.require_open("fail()")
        event = AgentError(
            run_id=self.id, thread_id=self.thread_id, error=problem, failed_tool_call_id=failed_tool_call_id
        )
        return await self._end(event)

    async def cancel(self, reason: str = "user", /, *, detail: str | UnsetType = UNSET) -> Delivery:
        """
        End the run as cancelled: neither success nor error. It does not stop what runs; ``stop`` does.

        Args:
            reason: ``user``, ``superseded``, ``timeout``, ``quota``, ``shutdown`` or a word of the application.
            detail: For people, at most 1,000 characters.
        """
        self.require_open("cancel()")
        event = AgentCancelled(run_id=self.id, thread_id=self.thread_id, reason=reason, detail=detail)
        return await self._end(event)

    async def _end(self, event: Event) -> Delivery:
        for child in tuple(self._children.values()):
            await child._end_with_parent()  # noqa: SLF001
        for text in tuple(self._texts.values()):
            await text.close()
        for tool in tuple(self._tools.values()):
            await tool.close_unfinished()
        delivery = await self._sender.send(event)
        self._forget()
        return delivery

    async def _end_with_parent(self) -> None:
        await self._end(AgentCancelled(run_id=self.id, thread_id=self.thread_id, reason="parent_ended", synthetic=True))

    def count_tool(self, *, failed: bool) -> None:
        """Count a finished tool call for the run's end."""
        self._tool_count += 1
        self._tool_errors += failed

    def _duration_ms(self) -> float:
        return round((time.perf_counter() - self._started_at) * 1000, 3)
