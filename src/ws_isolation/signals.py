"""
A drain before the server hears of the signal that ends it.

Servers close their sockets first and tell the application afterwards: uvicorn 0.54 answers SIGTERM with
1012 about 0.1 s before ``lifespan.shutdown``, hypercorn 0.18 on Python 3.11 cancels them after three seconds.
So the drain has to begin with the signal. Rule 1: whoever handled a signal before still does, after the
drain. Rule 2: a second signal waits for nothing. Rule 3: what was installed is taken back with the block,
unless somebody else has taken its place. Rule 4: a drain that fails keeps no server from its end.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import Context
from types import FrameType
from typing import TYPE_CHECKING, Final, TypeAlias, final

from .oplog import report

if TYPE_CHECKING:
    from .factory import ManagerFactory

__all__ = ("SIGNALS", "drain_first", "drained")

_Handler: TypeAlias = Callable[[int, FrameType | None], object]
_Previous: TypeAlias = _Handler | int | None
"""What ``signal.getsignal()`` returns."""

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""What ends a server: Ctrl-C, and what service managers send."""


@asynccontextmanager
async def drain_first(factory: ManagerFactory, /) -> AsyncGenerator[None]:
    """
    While the block runs, let SIGINT and SIGTERM drain *factory* before the server hears of them.

    Each session ends with 4200 within ``Settings.drain_seconds``; then the handler that the server had
    installed is called. A second signal goes to it at once. Adapters' ``lifespan()`` enters this block.

    Nothing is installed outside of the main thread, and for a signal that no Python function handles.
    A server that listens with ``loop.add_signal_handler()`` hears of the signal at the same time as the
    drain begins: give it ``drained()`` where it takes a trigger.
    """
    watch = _Watch(factory)
    with _installed(watch.heard, callable) as previous:
        watch.previous = {number: handler for number, handler in previous.items() if callable(handler)}
        try:
            yield
        finally:
            await watch.leave()


async def drained(factory: ManagerFactory, /) -> None:
    """
    Wait for SIGINT or SIGTERM, drain *factory*, and return: a server's trigger for its shutdown.

    ``hypercorn.asyncio.serve(app, config, shutdown_trigger=partial(drained, factory))``. A second signal
    ends the waiting for the drain. To be awaited in the main thread. Cancelling it is safe: the signals
    are handled as before.

    Raises:
        ValueError: It runs in another thread, which hears no signals.
    """
    come: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    watch = _Watch(factory)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if not come.done():
            come.set_result(number)

    watch.previous = dict.fromkeys(map(int, SIGNALS), pass_on)
    with _installed(watch.heard, lambda handler: handler is not None) as taken:
        if not taken:
            msg = "drained() hears no signals: await it in the main thread"
            raise ValueError(msg)
        try:
            await come
        finally:
            await watch.leave()


@final
class _Watch:
    """What has been heard so far, and who is told after the drain."""

    __slots__ = ("_draining", "_factory", "_heard", "_loop", "previous")

    def __init__(self, factory: ManagerFactory) -> None:
        self._factory = factory
        self._loop = asyncio.get_running_loop()
        self._heard = False
        self._draining: asyncio.Task[None] | None = None
        self.previous: dict[int, _Handler] = {}
        """Who handled each signal that is handled here."""

    def heard(self, number: int, _frame: FrameType | None) -> None:
        """Take a signal, between any two instructions of the main thread: what is to be done is left to the loop."""
        begin = self._pass_on if self._heard else self._begin
        self._heard = True
        try:
            self._loop.call_soon_threadsafe(begin, number, context=Context())
        except RuntimeError:  # the loop is closed: somebody has kept this handler beyond its block
            self._pass_on(number)

    def _begin(self, number: int) -> None:
        self._draining = self._loop.create_task(self._drain(number), name="ws-drain")

    async def _drain(self, number: int) -> None:
        try:
            await self._factory.drain()
        except Exception as error:  # noqa: BLE001  # whatever it is, the process has to end
            report(logging.ERROR, "the drain before the shutdown failed", error=error)
        self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        self.previous[number](number, None)

    async def leave(self) -> None:
        """Wait for the drain no longer: the factory's stop does."""
        if self._draining is not None:
            self._draining.cancel()
            await asyncio.wait({self._draining})


@contextmanager
def _installed(handler: _Handler, takes: Callable[[_Previous], bool]) -> Generator[dict[signal.Signals, _Previous]]:
    """Handle the signals whose handler so far *takes* accepts; give what handled them."""
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in SIGNALS} if is_main else {}
    taken = {number: previous for number, previous in before.items() if takes(previous)}
    for number in taken:
        signal.signal(number, handler)
    try:
        yield taken
    finally:
        for number, previous in taken.items():
            if signal.getsignal(number) == handler:
                signal.signal(number, previous)
