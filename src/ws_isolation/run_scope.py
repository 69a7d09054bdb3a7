"""
The scope of a run: it begins once, and ends exactly once, however it is left.

Rule 1: leaving it ends the run: completed, failed or cancelled, by how it was
left, and no cancellation meanwhile prevents it. Rule 2: what was opened is
closed first: tools, thoughts and child runs, so that no spinner turns for ever.
Rule 3: a run's events go out one after the other, in the order of the calls,
however long the manager's ``send`` takes.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from msgspec import UNSET, UnsetType

from .errors import InvalidStateError, shown
from .events import (
    AgentCancelled,
    AgentCompleted,
    AgentError,
    AgentStarted,
    AgentThinking,
    Event,
    Problem,
    ToolCompleted,
    Usage,
)
from .finishing import finish
from .frozen import FrozenJson
from .ids import new_uuid7
from .oplog import report
from .order import Order
from .parts import Part, Tool
from .run_home import RunWatch, SendAtOnce, Sender
from .stopping import CANCEL_PREFIX, Stopping

if TYPE_CHECKING:
    from typing import Self

    from .context import UserExecutionContext
    from .delivery import Delivery
    from .observing import Outcome

__all__ = ("RunScope",)

_RunState: TypeAlias = Literal["new", "open", "ended"]
_REASON: Final = re.compile(r"[a-z][a-z0-9_.]{0,63}")
"""What ``agent_cancelled`` can carry."""
_ENDS: Final = (AgentCompleted, AgentError, AgentCancelled)
_OUTCOMES: Final[dict[type[Event], Outcome]] = {AgentCompleted: "ok", AgentCancelled: "cancelled"}


class RunScope:
    """The part of a run that begins, sends and ends; the arguments are those of ``manager.run()``."""

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
        parent: RunScope | None = None,
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
        self._children: dict[RunScope, None] = {}
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

    async def _start_child(self, child: RunScope) -> None:
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
