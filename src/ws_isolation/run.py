"""
A run: one agent execution, from ``agent_started`` to exactly one end.

Rule 1: the scope is the run. Leaving it ends the run: completed, failed or
cancelled, by how it was left, and no cancellation meanwhile prevents it. Rule
2: what was opened is closed first: tools, thoughts and child runs, so that no
spinner turns for ever. Rule 3: an end is reported, a result never invented.
Rule 4: a run's events go out one after the other, in the order of the calls,
however long the manager's ``send`` takes.

Everything here is built on ``send`` alone, so it works with any manager.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias, final

from msgspec import UNSET, UnsetType

from .cutting import PIECE_BYTES, ROOM, SHORT, WHOLE_BYTES, cut, encoded_size, measured
from .errors import InvalidStateError, shown
from .events import (
    AgentCancelled,
    AgentCompleted,
    AgentError,
    AgentStarted,
    AgentThinking,
    Custom,
    Event,
    Problem,
    ToolCompleted,
    Usage,
    to_json,
)
from .events.declaration import variant
from .finishing import finish
from .frozen import FrozenJson
from .ids import new_uuid7
from .oplog import report
from .order import Order
from .parts import Part, Tool
from .stopping import CANCEL_PREFIX, Stopping
from .texts import MessageText, Thought

if TYPE_CHECKING:
    from typing import Self

    from .context import UserExecutionContext
    from .delivery import Delivery
    from .events import Visibility
    from .observing import Outcome

__all__ = ("CANCEL_PREFIX", "Run", "RunWatch", "Sender")

SendAtOnce: TypeAlias = "Callable[[Event], Delivery | None]"
"""Does the same as ``Sender.send`` without waiting; returns None, with nothing done, where it would have to."""

_RunState: TypeAlias = Literal["new", "open", "ended"]
_REASON: Final = re.compile(r"[a-z][a-z0-9_.]{0,63}")
"""What ``agent_cancelled`` can carry."""
_ENDS: Final = (AgentCompleted, AgentError, AgentCancelled)
_OUTCOMES: Final[dict[type[Event], Outcome]] = {AgentCompleted: "ok", AgentCancelled: "cancelled"}


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

    def run_ended(self, run: Run, seconds: float, outcome: Outcome, /) -> None:
        """Note that the run's end was sent or could not be sent, how long it took and what end it was."""
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
        "_at_once",
        "_children",
        "_opening",
        "_order",
        "_parent",
        "_parts",
        "_sender",
        "_started_at",
        "_state",
        "_stopping",
        "_thought",
        "_tool_count",
        "_tool_errors",
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
        at_once: SendAtOnce | None = None,
    ) -> None:
        self.id: str = new_uuid7() if run_id is None else run_id
        thread_id = sender.context.thread_id if parent is None else parent.thread_id
        self.thread_id: str = self.id if thread_id is None else thread_id
        self._sender = sender
        self._parent = parent
        self._watch = watch
        self._at_once = at_once
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
        self._order = Order()
        """Held while an event of the run is sent, and while everything is closed for its end."""
        self._stopping = Stopping()
        self._thought: AgentThinking | None = None
        """What whole thoughts of this run have in common, checked once; None before the first."""
        self._started_at = 0.0
        self._parts: dict[Part, None] = {}
        self._children: dict[Run, None] = {}
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
        try:
            await finish(self._start() if self._parent is None else self._parent._start_child(self))  # noqa: SLF001
        except asyncio.CancelledError as error:
            # Begun or not, the block is not entered.
            await finish(self._end_anyhow(self._cancelled(_reason_of(error))))
            raise
        self._stopping.enter()
        return self

    async def _start(self) -> None:
        await self._sender.send(self._opening)
        self._state = "open"
        self._started_at = time.perf_counter()
        if self._watch is not None:
            self._watch.run_opened(self)

    async def _start_child(self, child: Run) -> None:
        async with self._order:
            self._require_open("child()")
            await child._start()
            self._children[child] = None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """
        End the run, if nothing inside did, also when its task is cancelled meanwhile.

        Returns:
            True, which swallows the cancellation, only where ``stop`` asked for
            it and nobody else: the code after the block goes on.
        """
        self._stopping.leave()
        try:
            leaving = self._leave(error)
            # A coroutine that is being closed can wait for nothing, so not for another task.
            await (leaving if isinstance(error, GeneratorExit) else finish(leaving))
        finally:
            swallows = self._stopping.swallows(error)
        return swallows

    async def _leave(self, error: BaseException | None) -> None:
        if error is None:
            await self._complete_or_fail()
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            reason = self._stopping.reason
            await self._end_anyhow(self._cancelled(_reason_of(error) if reason is None else reason))
        elif self._state == "open":
            incident = f"urn:uuid:{new_uuid7()}"
            report(logging.ERROR, "an agent failed", error=error, run_id=self.id, instance=incident)
            await self._end_anyhow(
                self._failed(Problem(title="The agent failed.", code="agent_failed", instance=incident))
            )

    async def _complete_or_fail(self) -> None:
        try:
            async with self._order:
                if self._state == "open":
                    await self._end_now(self._completed())
        except Exception:
            # Not completed, but over all the same. Why not goes to the agent.
            await self._end_anyhow(self._failed(Problem(title="The run could not be completed.", code="not_completed")))
            raise

    async def _end_anyhow(self, event: Event) -> None:
        """End the run, whatever cannot be closed or sent; the reason is logged."""
        async with self._order:
            if self._state != "open":
                return
            try:
                await self._end_now(event)
            except Exception as failure:  # noqa: BLE001  # a manager may raise anything; the block's own error counts
                report(logging.ERROR, "the end of a run could not be sent", error=failure, run_id=self.id)
            finally:
                self._forget(event)

    async def _end(self, event: Event, call: str) -> Delivery:
        async with self._order:
            self._require_open(call)
            return await self._end_now(event)

    async def _end_now(self, event: Event) -> Delivery:
        for child in tuple(self._children):
            await child._end_with_parent()  # noqa: SLF001
        for part in reversed(self._parts.copy()):
            try:
                await part.end_with_run(self._send_now)
            except Exception as failure:
                # Completed is only what is closed. Of any other end it keeps nothing back.
                if isinstance(event, AgentCompleted):
                    raise
                report(logging.ERROR, "a part of a run could not be closed", error=failure, run_id=self.id)
        delivery = await self._sender.send(event)
        self._forget(event)
        return delivery

    async def _end_with_parent(self) -> None:
        await self._end_anyhow(self._cancelled("parent_ended", synthetic=True))

    def _forget(self, end: Event) -> None:
        if self._state == "open":
            self._state = "ended"
            if self._parent is not None:
                self._parent._children.pop(self, None)  # noqa: SLF001
            if self._watch is not None:
                seconds = time.perf_counter() - self._started_at
                self._watch.run_ended(self, seconds, _OUTCOMES.get(type(end), "failed"))

    def stop(self, reason: str = "user", /) -> None:
        """
        Cancel what the run is doing: its block is left, and it ends as ``agent_cancelled``.

        Harmless when the run has ended, and when called twice. The code after
        the block goes on; a cancellation that came from elsewhere does too.
        Called by the run's own task it does not return: the block is left there.

        Args:
            reason: ``user``, ``superseded``, ``timeout``, ``quota`` or a word of the application.

        Raises:
            InvalidEventError: No event can carry the reason. Nothing is stopped.
        """
        self._cancelled(reason)  # fails in the line that gives it
        if self._state == "open":
            self._stopping.stop(reason)

    async def send(self, event: Event, /) -> Delivery:
        """
        Send an event that names this run; for those who build events themselves.

        One that ends this run closes what is open before, as ``complete`` does.
        """
        if isinstance(event, _ENDS) and event.run_id == self.id:
            return await finish(self._end(event, "send()"))
        return await self._send(event, "send()")

    def _require_open(self, call: str) -> None:
        if self._state == "new":
            msg = f"cannot call {call}: run {shown(self.id)} has not begun; use 'async with manager.run(...) as run'"
            raise InvalidStateError(msg)
        if self._state == "ended":
            msg = f"cannot call {call}: run {shown(self.id)} has ended; start a new run"
            raise InvalidStateError(msg)

    async def _send(self, event: Event, call: str) -> Delivery:
        if self._state == "open" and not self._order.waiting and self._at_once is not None:
            delivery = self._at_once(event)
            if delivery is not None:
                if isinstance(event, ToolCompleted):
                    self._count(event)
                return delivery
        async with self._order:
            self._require_open(call)
            return await self._send_now(event)

    async def _send_now(self, event: Event) -> Delivery:
        delivery = await self._sender.send(event)
        if isinstance(event, ToolCompleted):
            self._count(event)
        return delivery

    def _count(self, event: ToolCompleted) -> None:
        self._tool_count += 1
        self._tool_errors += event.status != "ok"

    async def thinking(self, text: str, /, *, visibility: Literal["user", "debug"] = "user") -> Delivery:
        """
        Send a whole thought (durable).

        Args:
            text: At most 16 KiB; more is cut and marked.
            visibility: ``debug`` for what only developers should see.
        """
        if self._state != "open":
            self._require_open("thinking()")
        is_short = type(text) is str and len(text) <= SHORT
        short, was_cut = (text, False) if is_short else cut(text, PIECE_BYTES)
        if visibility == "user" and not was_cut:
            if self._thought is None:
                self._thought = self._whole_thought("")
            event = variant(self._thought, "thought_id", new_uuid7(), "text", short)
        else:
            event = self._whole_thought(short, UNSET if visibility == "user" else visibility, truncated=was_cut)
        # As _send() begins, without a call for each thought.
        at_once = None if self._order.waiting else self._at_once
        delivery = None if at_once is None else at_once(event)
        return await self._send(event, "thinking()") if delivery is None else delivery

    def _whole_thought(
        self, text: str, visibility: Visibility | UnsetType = UNSET, *, truncated: bool = False
    ) -> AgentThinking:
        return AgentThinking(
            run_id=self.id,
            thread_id=self.thread_id,
            thought_id=new_uuid7(),
            mode="summary",
            text=text,
            truncated=True if truncated else UNSET,
            visibility=visibility,
        )

    def thought(self) -> Thought:
        """Return a thought to be written in pieces: ``async with run.thought() as t: await t.write(...)``."""
        self._require_open("thought()")
        return Thought(self, self._parts)

    def message(self) -> MessageText:
        """Return a message to be written in pieces: ``async with run.message() as m: await m.write(...)``."""
        self._require_open("message()")
        return MessageText(self, self._parts)

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
                over 32 KiB the first part of their JSON is sent as text, and marked.
            tool_call_id: Unique in the run; made if absent.
            title: For people, at most 200 characters.
            timeout_ms: For the display.

        Raises:
            InvalidEventError: The arguments hold something that is no JSON. Nothing was sent.
        """
        self._require_open("tool()")
        return Tool(
            self,
            self._parts,
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
            value: Any value that ``events.to_json()`` converts, at most ``Settings.event_bytes``.
        """
        self._require_open("custom()")
        event = Custom(run_id=self.id, thread_id=self.thread_id, name=name, value=to_json(value))
        return await self._send(event, "custom()")

    def child(self, agent_name: str, /, *, run_id: str | None = None, model: str | UnsetType = UNSET) -> Run:
        """Return a run within this one, for an agent that this one calls. Same as ``manager.run()`` otherwise."""
        self._require_open("child()")
        return Run(
            self._sender,
            agent_name,
            run_id=run_id,
            model=model,
            parent=self,
            watch=self._watch,
            at_once=self._at_once,
        )

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
            output_text: The whole answer; over 32 KiB, or 24 beside a large result, it is cut and marked.
            result: Any value that ``events.to_json()`` converts; over 32 KiB it
                is left out and ``truncated`` says so.
            summary: One line for people, at most 1,000 characters.
            usage: What the models used.
            stop_reason: Why the agent stopped: ``end_turn`` or a word of the application.

        Raises:
            InvalidEventError: The result holds something that is no JSON. The run is still open.
            InvalidStateError: The run has ended.

        Cancelled meanwhile, it is completed first. The same holds for ``fail`` and ``cancel``.
        """
        self._require_open("complete()")
        value, value_cut = measured(result, "result", AgentCompleted.type)
        room = ROOM if value is UNSET else ROOM - encoded_size(value)
        text, text_cut = (UNSET, False) if output_text is UNSET else cut(output_text, WHOLE_BYTES, room=room)
        event = self._completed(
            text, value, summary=summary, usage=usage, stop_reason=stop_reason, truncated=text_cut or value_cut
        )
        return await finish(self._end(event, "complete()"))

    async def fail(self, problem: Problem, /, *, failed_tool_call_id: str | UnsetType = UNSET) -> Delivery:
        """
        End the run as failed.

        Args:
            problem: What the user may know of it: no stack trace, no ids of others.
            failed_tool_call_id: The tool call that it failed with.
        """
        self._require_open("fail()")
        return await finish(self._end(self._failed(problem, failed_tool_call_id), "fail()"))

    async def cancel(self, reason: str = "user", /, *, detail: str | UnsetType = UNSET) -> Delivery:
        """
        End the run as cancelled: neither success nor error. It does not stop what runs; ``stop`` does.

        Args:
            reason: ``user``, ``superseded``, ``timeout``, ``quota``, ``shutdown`` or a word of the application.
            detail: For people, at most 1,000 characters.
        """
        self._require_open("cancel()")
        return await finish(self._end(self._cancelled(reason, detail=detail), "cancel()"))

    def _completed(
        self,
        text: str | UnsetType = UNSET,
        result: FrozenJson | UnsetType = UNSET,
        *,
        summary: str | UnsetType = UNSET,
        usage: tuple[Usage, ...] | UnsetType = UNSET,
        stop_reason: str | UnsetType = UNSET,
        truncated: bool = False,
    ) -> AgentCompleted:
        open_tools = sum(isinstance(part, Tool) for part in self._parts)  # cancelled before the end
        return AgentCompleted(
            run_id=self.id,
            thread_id=self.thread_id,
            result=result,
            output_text=text,
            summary=summary,
            usage=usage,
            stop_reason=stop_reason,
            duration_ms=round((time.perf_counter() - self._started_at) * 1000, 3),
            tool_calls=self._tool_count + open_tools or UNSET,
            tool_errors=self._tool_errors + open_tools or UNSET,
            truncated=True if truncated else UNSET,
        )

    def _failed(self, problem: Problem, failed_tool_call_id: str | UnsetType = UNSET) -> AgentError:
        return AgentError(
            run_id=self.id, thread_id=self.thread_id, error=problem, failed_tool_call_id=failed_tool_call_id
        )

    def _cancelled(self, reason: str, /, *, detail: str | UnsetType = UNSET, synthetic: bool = False) -> AgentCancelled:
        return AgentCancelled(
            run_id=self.id,
            thread_id=self.thread_id,
            reason=reason,
            detail=detail,
            synthetic=True if synthetic else UNSET,
        )


def _reason_of(error: BaseException) -> str:
    said = error.args[0] if error.args else None
    word = said.removeprefix(CANCEL_PREFIX) if type(said) is str and said.startswith(CANCEL_PREFIX) else ""
    return word if _REASON.fullmatch(word) else "disconnect_policy"
