"""
Managers and runs for code that is not async: each call returns when it is done.

Rule 1: what a run is, is decided in :mod:`ws_isolation.run`; here is only the
waiting. Rule 2: a run has one task in the loop that is its block, so that a
client's ``stop`` finds it like any other; the thread learns of it by its next
call, which leaves the block.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Generator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeVar, final

from msgspec import UNSET, UnsetType

from .errors import InvalidStateError, SettingsError, UsageError
from .finishing import finish
from .stopping import CANCEL_PREFIX
from .threads import TIMEOUT_SECONDS, Portal

if TYPE_CHECKING:
    from typing import Self

    from .context import UserExecutionContext
    from .delivery import Delivery
    from .events import Event, Problem, Usage
    from .manager import IsolatedManager
    from .parts import Tool
    from .run import Run
    from .texts import MessageText, Thought

__all__ = ("BlockingManager", "BlockingRun", "BlockingText")

_T = TypeVar("_T")
_P = TypeVar("_P", "Tool", "Thought", "MessageText")


@final
class BlockingManager:
    """
    A manager for code that is not async: a thread, a sync endpoint, a task of a worker. A handle, like a manager.

    Every call of it and of its runs raises what the awaited one raises, and
    ``ConcurrencyError`` where an event loop runs in the thread,
    ``InvalidStateError`` where the factory's loop is not there or ends,
    ``TimeoutError`` when time is up; the call was cancelled then: it has
    happened, or it never will.

    Args:
        portal: The way into the loop.
        manager: A manager of the portal's factory.
        timeout: Seconds that each call may take; more than 0, finite.

    Raises:
        SettingsError: The time-out is none.
    """

    __slots__ = ("_manager", "_portal", "_timeout")

    def __init__(self, portal: Portal, manager: IsolatedManager, /, *, timeout: float = TIMEOUT_SECONDS) -> None:
        require_timeout(timeout)
        self._portal = portal
        self._manager = manager
        self._timeout = timeout

    @property
    def context(self) -> UserExecutionContext:
        """The context of its manager."""
        return self._manager.context

    def send(self, event: Event, /) -> Delivery:
        """Same as ``IsolatedManager.send()``, and returns when the event is in the stream."""
        return self._portal.call("send()", lambda: self._manager.send(event), self._timeout)

    def run(self, agent_name: str, /, *, run_id: str | None = None, model: str | UnsetType = UNSET) -> BlockingRun:
        """Return a run as a scope: ``with manager.run("assistant") as run``. Same as ``IsolatedManager.run()``."""

        def make() -> Run:
            return self._manager.run(agent_name, run_id=run_id, model=model)

        return BlockingRun(make, self._portal, self._timeout)


@final
class BlockingRun:
    """
    A run for code that is not async. Lives as long as its ``with`` block, in one thread.

    Leaving the block ends the run as ``Run`` does; by Ctrl-C as cancelled. When
    a client has stopped it, the next call raises
    ``concurrent.futures.CancelledError``; that leaves the block, which
    swallows it, and the code after the block goes on. When the factory stops,
    the run ends as cancelled (``shutdown``), and the next call raises
    ``InvalidStateError``, which the block does not swallow.
    """

    __slots__ = ("_host", "_leaving", "_make", "_portal", "_run", "_shut_down", "_stopped", "_timeout")

    def __init__(self, make: Callable[[], Run], portal: Portal, timeout: float) -> None:
        self._make = make
        self._portal = portal
        self._timeout = timeout
        self._run: Run | None = None
        self._host: asyncio.Task[None] | None = None
        self._leaving: asyncio.Future[BaseException | None] | None = None
        self._stopped = False
        """Whether a client's ``stop``, or a revocation, ended it."""
        self._shut_down = False
        """Whether the factory's stop, or its loop's end, ended it."""

    @property
    def id(self) -> str:
        """The run's id; the run must have begun."""
        return self._begun().id

    @property
    def is_open(self) -> bool:
        """Whether the run has begun and not ended."""
        return self._run is not None and self._run.is_open

    def __enter__(self) -> Self:
        """Send ``agent_started``."""
        if self._host is not None:
            msg = "this run was entered before: a run starts once, start another with manager.run()"
            raise InvalidStateError(msg)
        try:
            self._portal.call("run()", self._begin, self._timeout)
        except BaseException:
            # It may have begun all the same, just when the wait for it ended. Where the loop is gone, so is the run.
            with suppress(UsageError):
                self._portal.hand_over("the end of a run", lambda: self._end(KeyboardInterrupt()))
            raise
        return self

    async def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._run = self._make()
        self._leaving = loop.create_future()
        entered: asyncio.Future[None] = loop.create_future()
        self._host = loop.create_task(self._live(self._run, entered, self._leaving), name="ws-blocking-run")
        self._portal.adopt(self._host)
        try:
            await asyncio.wait({self._host, entered}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._host.cancel()
            raise
        if not entered.done():
            await self._host  # raises why it could not begin

    async def _live(
        self, run: Run, entered: asyncio.Future[None], leaving: asyncio.Future[BaseException | None]
    ) -> None:
        await run.__aenter__()
        entered.set_result(None)
        error: BaseException | None
        try:
            error = await leaving
        except asyncio.CancelledError as cancelled:
            error = cancelled
        self._stopped = await run.__aexit__(None if error is None else type(error), error, None)
        self._shut_down = leaving.cancelled() and not self._stopped

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """End the run, if nothing inside did; swallow what a client's ``stop`` raised here."""
        if self._shut_down:
            return False
        self._portal.call("the end of a run", lambda: self._end(error), self._timeout)
        return self._stopped and isinstance(error, CancelledError)

    async def _end(self, error: BaseException | None) -> None:
        leaving, host = self._leaving, self._host
        if leaving is None or host is None:
            return
        if not leaving.done():
            leaving.set_result(None if error is None else _in_the_loop(error))
        await finish(host)

    def _begun(self) -> Run:
        if self._run is None:
            msg = "the run has not begun: use 'with manager.run(...) as run'"
            raise InvalidStateError(msg)
        return self._run

    def _call(self, name: str, make: Callable[[Run], Awaitable[_T]], /) -> _T:
        run = self._begun()

        async def work() -> _T:
            await self._wait_if_stopped()
            try:
                return await make(run)
            except InvalidStateError:
                await self._wait_if_stopped()
                raise

        try:
            return self._portal.call(name, work, self._timeout)
        except InvalidStateError:
            if self._stopped:
                msg = "the run was stopped"
                raise CancelledError(msg) from None
            if self._shut_down:
                msg = f"cannot call {name}: the run has ended as cancelled, for the factory stops; leave the block"
                raise InvalidStateError(msg) from None
            raise

    async def _wait_if_stopped(self) -> None:
        """Let the run end first, where it was stopped from outside."""
        if self._host is not None and self._leaving is not None and self._leaving.cancelled():
            await asyncio.wait({self._host})

    def send(self, event: Event, /) -> Delivery:
        """Same as ``Run.send()``."""
        return self._call("send()", lambda run: run.send(event))

    def thinking(self, text: str, /, *, visibility: Literal["user", "debug"] = "user") -> Delivery:
        """Same as ``Run.thinking()``."""
        return self._call("thinking()", lambda run: run.thinking(text, visibility=visibility))

    def custom(self, name: str, value: object = None, /) -> Delivery:
        """Same as ``Run.custom()``."""
        return self._call("custom()", lambda run: run.custom(name, value))

    def complete(
        self,
        output_text: str | UnsetType = UNSET,
        /,
        *,
        result: object = UNSET,
        summary: str | UnsetType = UNSET,
        usage: tuple[Usage, ...] | UnsetType = UNSET,
        stop_reason: str | UnsetType = UNSET,
    ) -> Delivery:
        """Same as ``Run.complete()``."""
        return self._call(
            "complete()",
            lambda run: run.complete(output_text, result=result, summary=summary, usage=usage, stop_reason=stop_reason),
        )

    def fail(self, problem: Problem, /) -> Delivery:
        """Same as ``Run.fail()``."""
        return self._call("fail()", lambda run: run.fail(problem))

    def cancel(self, reason: str = "user", /) -> Delivery:
        """Same as ``Run.cancel()``."""
        return self._call("cancel()", lambda run: run.cancel(reason))

    @contextmanager
    def tool(self, name: str, arguments: Mapping[str, object] | None = None, /) -> Generator[Tool]:
        """Return a tool call as a scope: ``with run.tool("search", {...}) as tool: tool.result = ...``."""
        with self._part("tool()", lambda run: run.tool(name, arguments)) as tool:
            yield tool

    @contextmanager
    def thought(self) -> Generator[BlockingText]:
        """Return a thought to be written in pieces: ``with run.thought() as t: t.write(...)``."""
        with self._part("thought()", lambda run: run.thought()) as text:
            yield BlockingText(text, self._write)

    @contextmanager
    def message(self) -> Generator[BlockingText]:
        """Return a message to be written in pieces: ``with run.message() as m: m.write(...)``."""
        with self._part("message()", lambda run: run.message()) as text:
            yield BlockingText(text, self._write)

    def _write(self, text: Thought | MessageText, piece: str) -> None:
        self._call("write()", lambda _: text.write(piece))

    @contextmanager
    def _part(self, name: str, make: Callable[[Run], _P], /) -> Generator[_P]:
        async def begin(run: Run) -> _P:
            part = make(run)
            await part.__aenter__()
            return part

        part = self._call(name, begin)
        try:
            yield part
        except BaseException as error:
            inner = _in_the_loop(error)
            if not self._shut_down:  # which has closed the part as well
                self._call(f"the end of {name}", lambda _: part.__aexit__(type(inner), inner, None))
            raise
        self._call(f"the end of {name}", lambda _: part.__aexit__(None, None, None))


@final
class BlockingText:
    """A text in pieces, of ``BlockingRun.thought()`` and ``message()``. Lives as long as its ``with`` block."""

    __slots__ = ("_text", "_write")

    def __init__(self, text: Thought | MessageText, write: Callable[[Thought | MessageText, str], None], /) -> None:
        self._text = text
        self._write = write

    def write(self, piece: str, /) -> None:
        """Send a piece of any length. Raises ``InvalidStateError`` once the text is done."""
        self._write(self._text, piece)


def require_timeout(timeout: float, /) -> None:
    """Raise ``SettingsError`` where *timeout* would be a wait without an end, or none."""
    if not (timeout > 0 and math.isfinite(timeout)):
        raise SettingsError("timeout must be a finite number of seconds above 0: a wait without an end can hang")


def _in_the_loop(error: BaseException) -> BaseException:
    """Return what a block's *error* means in the loop: leaving because of Ctrl-C or a stop is no failure."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return asyncio.CancelledError(CANCEL_PREFIX + "shutdown")
    if isinstance(error, CancelledError):
        return asyncio.CancelledError(CANCEL_PREFIX + "user")
    return error
