"""
The scopes inside a run, and the first of them: tool calls.

Rule 1: each closes what it opened, however it is left. Rule 2: what the
application filled in wrongly keeps no end from being sent: the end goes out
without it, and the mistake is raised. Rule 3: what its run has closed already
is closed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, cast, final

from msgspec import UNSET, UnsetType
from typing_extensions import override

from .cutting import arguments_text, measured
from .errors import EngineUnavailableError, InvalidEventError, InvalidStateError, IsolationError, LifecycleError, shown
from .events import Event, Problem, ToolCompleted, ToolExecuting
from .finishing import finish
from .frozen import FrozenDict, FrozenJson
from .oplog import report

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from .delivery import Delivery

__all__ = ("Owner", "Part", "Send", "Tool")

ToolStatus: TypeAlias = Literal["ok", "error", "timeout", "cancelled", "denied"]
"""How a tool call ended."""

Send: TypeAlias = "Callable[[Event], Awaitable[Delivery]]"
"""Sends an event of the run."""


class Owner(Protocol):
    """The run that a part belongs to."""

    @property
    def id(self) -> str:
        """The run's id."""
        ...

    @property
    def thread_id(self) -> str:
        """The run's thread."""
        ...

    async def send(self, event: Event, /) -> Delivery:
        """Send an event of the run, in its turn."""
        ...


class Part(ABC):
    """
    Something open in a run.

    Args:
        run: The run.
        parts: The run's open parts; this one adds and removes itself.
        part_id: Its id.
    """

    __slots__ = ("_ended", "_parts", "_run", "id")

    def __init__(self, run: Owner, parts: dict[Part, None], part_id: str) -> None:
        self.id: str = part_id
        self._run = run
        self._parts = parts
        self._ended = False

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Send the end, also when the task is cancelled meanwhile; the block's own exception goes on."""
        if self._ended:
            return
        leaving = self._leave(error)
        try:
            # A coroutine that is being closed can wait for nothing, so not for another task.
            await (leaving if isinstance(error, GeneratorExit) else finish(leaving))
        except Exception as failure:
            if self not in self._parts and isinstance(failure, InvalidStateError):
                return  # the run ended meanwhile, and has closed it
            if error is None:
                raise
            # The block's own error counts more than what kept its end from being sent.
            report(logging.ERROR, "the end of a part could not be sent", error=failure, run_id=self._run.id)

    async def end_with_run(self, send: Send, /) -> None:
        """End it with *send*, because its run ends first."""
        try:
            await self._end(send)
        except LifecycleError:
            # Its start was cancelled before it was in the stream: there is nothing to close.
            self._forget()

    @abstractmethod
    async def _leave(self, error: BaseException | None) -> None:
        """Send the end as its block was left."""

    @abstractmethod
    async def _end(self, send: Send) -> None:
        """Send the end with *send* where the block was not left."""

    def _forget(self) -> None:
        self._ended = True
        self._parts.pop(self, None)


@final
class Tool(Part):
    """
    One tool call. Lives as long as its ``async with`` block.

    Leaving the block completes the call: ``ok`` with ``result``, ``error`` by
    exception (which goes on), ``timeout`` by ``TimeoutError``, ``cancelled`` by
    cancellation. Set ``status`` and ``error`` for an end that is no exception.

    Attributes:
        id: The tool call's id.
        name: The tool's name.
        result: What it gave: any value that ``events.to_json()`` converts; over
            32 KiB it is left out and ``truncated`` says so.
        summary: One line for people, at most 1,000 characters.
        status: ``ok`` unless set.
        error: Only where ``status`` is not ``ok``; made up generically if absent.
    """

    __slots__ = ("_began", "_opening", "error", "name", "result", "status", "summary")

    def __init__(
        self,
        run: Owner,
        parts: dict[Part, None],
        name: str,
        arguments: Mapping[str, object],
        /,
        *,
        tool_call_id: str,
        title: str | UnsetType,
        timeout_ms: int | UnsetType,
    ) -> None:
        super().__init__(run, parts, tool_call_id)
        self.name: str = name
        self.result: object = UNSET
        self.summary: str | UnsetType = UNSET
        self.status: ToolStatus = "ok"
        self.error: Problem | None = None
        self._began = 0.0
        value, was_cut = measured(arguments, "arguments", ToolExecuting.type)
        self._opening = ToolExecuting(
            run_id=run.id,
            thread_id=run.thread_id,
            tool_call_id=tool_call_id,
            tool_name=name,
            arguments=cast("FrozenDict | UnsetType", value),  # the event refuses what is no object
            arguments_text=arguments_text(arguments, ToolExecuting.type) if was_cut else UNSET,
            truncated=True if was_cut else UNSET,
            title=title,
            timeout_ms=timeout_ms,
        )

    async def __aenter__(self) -> Self:
        """Send ``tool_executing``."""
        if self._began:
            msg = f"tool call {shown(self.id)} was entered before: open another with run.tool()"
            raise InvalidStateError(msg)
        self._began = time.perf_counter()
        # Known to the run before it is sent: cancelled meanwhile, it may be in the stream, and then the run closes it.
        self._parts[self] = None
        try:
            await self._run.send(self._opening)
        except IsolationError as error:
            if not isinstance(error, EngineUnavailableError):  # which may have it all the same
                self._parts.pop(self, None)
            raise
        return self

    @override
    async def _leave(self, error: BaseException | None) -> None:
        await (self._complete() if error is None else self._fail(error))

    @override
    async def _end(self, send: Send) -> None:
        problem = Problem(title="The run ended before the tool did.", code="run_ended")
        await self._send(self._completed("cancelled", problem, synthetic=True), send)

    async def _complete(self) -> None:
        """Complete the call as the application said, or as failed where it said something impossible."""
        try:
            value, was_cut = measured(self.result, "result", ToolCompleted.type)
            event = self._completed(self.status, self._problem(), result=value, truncated=was_cut, summary=self.summary)
        except InvalidEventError:
            # The call ran, its result cannot be told: the pair is closed, the error goes to the agent.
            problem = Problem(title="The tool's result cannot be shown.", code="invalid_result")
            await self._send(self._completed("error", problem), self._run.send)
            raise
        try:
            await self._send(event, self._run.send)
        except InvalidEventError:
            # Larger than this factory's frames: told without what is large.
            event = self._completed(self.status, self._problem(), truncated=True)
            await self._send(event, self._run.send)

    async def _fail(self, error: BaseException) -> None:
        # What an exception says may hold secrets or other people's ids: the operator's log has it, the peer does not.
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            event = self._completed("cancelled", Problem(title="The tool was cancelled.", code="tool_cancelled"))
        elif isinstance(error, TimeoutError):
            event = self._completed("timeout", Problem(title="The tool took too long.", code="tool_timeout"))
        else:
            event = self._completed("error", Problem(title="The tool failed.", code="tool_failed"))
        await self._send(event, self._run.send)

    def _problem(self) -> Problem | None:
        if self.status == "ok" or self.error is not None:
            return self.error
        return Problem(title="The tool did not succeed.", code=f"tool_{self.status}")

    def _completed(
        self,
        status: ToolStatus,
        problem: Problem | None,
        /,
        *,
        result: FrozenJson | UnsetType = UNSET,
        truncated: bool = False,
        summary: str | UnsetType = UNSET,
        synthetic: bool = False,
    ) -> ToolCompleted:
        return ToolCompleted(
            run_id=self._run.id,
            thread_id=self._run.thread_id,
            tool_call_id=self._opening.tool_call_id,
            tool_name=self._opening.tool_name,
            status=status,
            error=UNSET if problem is None else problem,
            result=result,
            summary=summary,
            duration_ms=round((time.perf_counter() - self._began) * 1000, 3),
            truncated=True if truncated else UNSET,
            synthetic=True if synthetic else UNSET,
        )

    async def _send(self, event: ToolCompleted, send: Send) -> None:
        await send(event)
        self._forget()
