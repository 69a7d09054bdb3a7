"""
The scopes inside a run: tool calls, and thoughts and messages in pieces.

Each closes what it opened, however it is left: a tool that began completes, a
text that began is done and brings the whole text, which heals pieces that a
slow or reconnected client has missed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias, cast, final

import msgspec
from msgspec import UNSET, UnsetType

from .errors import InvalidEventError, InvalidStateError, IsolationError, LifecycleError, shown
from .events import AgentMessageDelta, AgentThinking, Event, Problem, ToolCompleted, ToolExecuting
from .events.conversion import converted
from .finishing import finish
from .frozen import FrozenDict, FrozenJson, JsonTooLargeError, JsonValueError
from .ids import new_uuid7
from .oplog import report

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping
    from typing import Self

    from .delivery import Delivery

__all__ = ("MessageText", "Owner", "Thought", "Tool", "cut", "measured")

ToolStatus: TypeAlias = Literal["ok", "error", "timeout", "cancelled", "denied"]
"""How a tool call ended."""

_PIECE: Final = 16_384
"""Bytes of one piece of text."""
_WHOLE: Final = 32_768
"""Bytes of the whole text that the last piece brings; the wire allows 48 KiB, JSON escapes may need the rest."""
_JSON: Final = 32_768
"""Bytes of arguments or a result that a run sends by itself: half of the smallest frame that everybody forwards."""


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
        """Send an event of the run."""
        ...

    def count_tool(self, *, failed: bool) -> None:
        """Count a finished tool call."""
        ...


def cut(text: str, limit: int, /) -> tuple[str, bool]:
    """Return *text* cut to *limit* bytes of UTF-8, between characters, and whether it was cut."""
    if type(text) is not str or len(text) * 4 <= limit:
        return text, False  # a wrong type is the event's own error
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) <= limit:
        return text, False
    return raw[:limit].decode("utf-8", "ignore"), True


def measured(value: object, field: str, event: str, /, *, limit: int = _JSON) -> tuple[FrozenJson | UnsetType, bool]:
    """
    Return *value* as frozen JSON, or UNSET and True where it takes more than *limit* bytes.

    Raises:
        InvalidEventError: It is no JSON; names the path from *field* on. See ``events.to_json()``.
    """
    if value is UNSET:
        return UNSET, False
    try:
        frozen = converted(value, limit=limit)
    except JsonTooLargeError:
        return UNSET, True
    except JsonValueError as error:
        raise InvalidEventError(f"$.{field}{error.path.removeprefix('$')}", error.problem, event) from None
    # What was counted so far is a lower bound: quotes, escapes and commas come on top.
    if len(msgspec.json.encode(frozen)) > limit:
        return UNSET, True
    return frozen, False


@final
class Tool:
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
        error: Required where ``status`` is not ``ok``; made up generically if absent.
    """

    __slots__ = ("_began", "_ended", "_opening", "_run", "_tools", "error", "id", "name", "result", "status", "summary")

    def __init__(
        self,
        run: Owner,
        tools: MutableMapping[str, Tool],
        name: str,
        arguments: Mapping[str, object],
        /,
        *,
        tool_call_id: str,
        title: str | UnsetType,
        timeout_ms: int | UnsetType,
    ) -> None:
        self.id: str = tool_call_id
        self.name: str = name
        self.result: object = UNSET
        self.summary: str | UnsetType = UNSET
        self.status: ToolStatus = "ok"
        self.error: Problem | None = None
        self._run = run
        self._tools = tools
        self._began = 0.0
        self._ended = False
        value, was_cut = measured(arguments, "arguments", ToolExecuting.type)
        self._opening = ToolExecuting(
            run_id=run.id,
            thread_id=run.thread_id,
            tool_call_id=tool_call_id,
            tool_name=name,
            arguments=cast("FrozenDict | UnsetType", value),  # the event refuses what is no object
            arguments_text=_text_of(arguments) if was_cut else UNSET,
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
        self._tools[self.id] = self
        try:
            await self._run.send(self._opening)
        except IsolationError:
            del self._tools[self.id]
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Send ``tool_completed``; the block's own exception goes on."""
        if self._ended:
            return
        if error is None:
            await finish(self._complete_by_hand())
            return
        status, problem = _end_of(error)
        try:
            await finish(self._complete(status, problem))
        except IsolationError as failure:
            report(logging.ERROR, "tool_completed could not be sent", error=failure, run_id=self._run.id)

    async def _complete_by_hand(self) -> None:
        try:
            value, was_cut = measured(self.result, "result", ToolCompleted.type)
        except IsolationError:
            # The call ran, its result cannot be told: the pair is closed, the error goes to the agent.
            await self._complete("error", _problem("The tool's result cannot be shown.", "invalid_result"))
            raise
        problem = self.error
        if self.status != "ok" and problem is None:
            problem = _problem("The tool did not succeed.", f"tool_{self.status}")
        await self._complete(self.status, problem, result=value, truncated=was_cut)

    async def close_unfinished(self) -> None:
        """Complete the call as cancelled, because its run ends first; marked as synthetic."""
        problem = _problem("The run ended before the tool did.", "run_ended")
        try:
            await self._complete("cancelled", problem, synthetic=True)
        except LifecycleError:
            # Its start was cancelled before it was in the stream: there is nothing to close.
            self._tools.pop(self.id, None)

    async def _complete(
        self,
        status: ToolStatus,
        problem: Problem | None,
        *,
        result: FrozenJson | UnsetType = UNSET,
        truncated: bool = False,
        synthetic: bool = False,
    ) -> None:
        event = ToolCompleted(
            run_id=self._run.id,
            thread_id=self._run.thread_id,
            tool_call_id=self.id,
            tool_name=self.name,
            status=status,
            error=UNSET if problem is None else problem,
            result=result,
            summary=self.summary,
            duration_ms=round((time.perf_counter() - self._began) * 1000, 3),
            truncated=True if truncated else UNSET,
            synthetic=True if synthetic else UNSET,
        )
        self._ended = True
        try:
            await self._run.send(event)
        except BaseException:
            self._ended = False  # the run's end closes it
            raise
        self._tools.pop(self.id, None)
        self._run.count_tool(failed=status != "ok")


def _text_of(arguments: Mapping[str, object]) -> str:
    # Too large to send whole: the first part, for people. Measured first, so a huge value is not encoded for it.
    frozen, _ = measured(arguments, "arguments", ToolExecuting.type, limit=16 * _JSON)
    if frozen is UNSET:
        return ""
    return msgspec.json.encode(frozen)[:_PIECE].decode("utf-8", "ignore")


def _problem(title: str, code: str) -> Problem:
    return Problem(title=title, code=code)


def _end_of(error: BaseException) -> tuple[ToolStatus, Problem]:
    # What an exception says may hold secrets or other people's ids: the operator's log has it, the peer does not.
    if isinstance(error, asyncio.CancelledError):
        return "cancelled", _problem("The tool was cancelled.", "tool_cancelled")
    if isinstance(error, TimeoutError):
        return "timeout", _problem("The tool took too long.", "tool_timeout")
    return "error", _problem("The tool failed.", "tool_failed")


class _Pieces(ABC):
    """Text in pieces: what thoughts and messages have in common."""

    __slots__ = ("_done", "_index", "_run", "_size", "_texts", "_whole", "id")

    def __init__(self, run: Owner, texts: MutableMapping[str, Thought | MessageText]) -> None:
        self.id: str = new_uuid7()
        self._run = run
        self._texts = texts
        self._whole: list[str] = []
        self._size = 0
        self._index = 0
        self._done = False

    async def write(self, text: str, /) -> None:
        """
        Send a piece.

        Args:
            text: Any length; longer than 16 KiB goes out as several pieces.

        Raises:
            InvalidStateError: The text is done.
        """
        if self._done:
            msg = f"text {shown(self.id)} is done: begin another"
            raise InvalidStateError(msg)
        rest = text
        while True:
            piece, _ = cut(rest, _PIECE)
            await self._run.send(self._piece(piece, self._index))
            self._keep(piece)
            self._index += 1
            rest = rest[len(piece) :]
            if not rest:
                return

    async def close(self) -> None:
        """Send the last piece, which brings the whole text. Harmless when it was sent."""
        if self._done:
            return
        whole, was_cut = cut("".join(self._whole), _WHOLE)
        self._done = True
        try:
            await self._run.send(self._last(whole, self._index, truncated=was_cut or self._size > _WHOLE))
        except BaseException:
            self._done = False  # the run's end closes it
            raise
        self._texts.pop(self.id, None)

    def _keep(self, piece: str) -> None:
        # Past the limit nothing more is kept: a run of hours must not keep its whole text.
        if self._size <= _WHOLE:
            self._whole.append(piece)
        self._size += len(piece.encode("utf-8", "surrogatepass"))

    @abstractmethod
    def _piece(self, text: str, index: int) -> Event:
        """Build the event of one piece."""

    @abstractmethod
    def _last(self, whole: str, index: int, *, truncated: bool) -> Event:
        """Build the event that ends the text."""

    async def _leave(self, error: BaseException | None) -> None:
        try:
            await finish(self.close())
        except IsolationError as failure:
            if error is None:
                raise
            report(logging.ERROR, "the end of a text could not be sent", error=failure, run_id=self._run.id)


@final
class Thought(_Pieces):
    """A thought in pieces. Lives as long as its ``async with`` block, which sends the whole at its end."""

    __slots__ = ()

    async def __aenter__(self) -> Self:
        """Begin; the first piece goes out with the first ``write``."""
        self._texts[self.id] = self
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Send the last piece; the block's own exception goes on."""
        await self._leave(error)

    def _piece(self, text: str, index: int) -> Event:
        return AgentThinking(
            run_id=self._run.id,
            thread_id=self._run.thread_id,
            thought_id=self.id,
            mode="delta",
            text=text,
            index=index,
        )

    def _last(self, whole: str, index: int, *, truncated: bool) -> Event:
        return AgentThinking(
            run_id=self._run.id,
            thread_id=self._run.thread_id,
            thought_id=self.id,
            mode="delta",
            text="",
            index=index,
            done=True,
            full_text=whole,
            truncated=True if truncated else UNSET,
        )


@final
class MessageText(_Pieces):
    """A message to the user in pieces. Same as ``Thought``, but for the answer itself."""

    __slots__ = ()

    async def __aenter__(self) -> Self:
        """Begin; the first piece goes out with the first ``write``."""
        self._texts[self.id] = self
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Send the last piece; the block's own exception goes on."""
        await self._leave(error)

    def _piece(self, text: str, index: int) -> Event:
        return AgentMessageDelta(
            run_id=self._run.id,
            thread_id=self._run.thread_id,
            message_id=self.id,
            delta=text,
            index=index,
        )

    def _last(self, whole: str, index: int, *, truncated: bool) -> Event:
        return AgentMessageDelta(
            run_id=self._run.id,
            thread_id=self._run.thread_id,
            message_id=self.id,
            delta="",
            index=index,
            done=True,
            full_text=whole,
            truncated=True if truncated else UNSET,
        )
