"""
Sending from worker threads: into the loop that the factory runs in, and back.

Rule 1: what a thread hands over runs in the factory's loop, in the order in
which this thread handed it over. Rule 2: no call waits for the very loop that
it would keep from running. Rule 3: every wait ends: with the work, with the
time-out, or with the loop.

A portal knows the loop; whom an event reaches still follows from the manager's
context alone.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar, final

from .errors import ConcurrencyError, InvalidStateError, SettingsError
from .factory import ManagerFactory

if TYPE_CHECKING:
    from .delivery import Delivery
    from .events import Event
    from .manager import IsolatedManager

__all__ = ("TIMEOUT_SECONDS", "WAITING", "Portal")

_T = TypeVar("_T")

TIMEOUT_SECONDS: Final = 30.0
"""How long a blocking call waits unless told otherwise: three write deadlines, half of what servers give a request."""
WAITING: Final = 1_024
"""Calls of one thread that may wait for the loop at a time: as many as an outbox holds by default."""
_LOOK_SECONDS: Final = 0.25
"""How often a waiting thread looks whether the loop is still there: what was handed to a closed loop never ends."""


class _Thread(threading.local):
    """What a portal keeps of each thread, for as long as the thread lives."""

    def __init__(self) -> None:
        self.waiting = threading.BoundedSemaphore(WAITING)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.order = asyncio.Lock()

    def order_in(self, loop: asyncio.AbstractEventLoop) -> asyncio.Lock:
        """Return the lock that keeps this thread's calls in order; a new loop needs a new one."""
        if self.loop is not loop:
            self.loop, self.order = loop, asyncio.Lock()
        return self.order


@final
class Portal:
    """
    The way into a factory's loop from other threads. Lives as long as the application; one per factory is enough.

    Making one starts nothing and is fine at module level. All threads may share it.

    Args:
        factory: Whose loop it leads to, looked up with each call.

    Raises:
        SettingsError: That is no ``ManagerFactory``.
    """

    __slots__ = ("_factory", "_thread")

    def __init__(self, factory: ManagerFactory, /) -> None:
        if type(factory) is not ManagerFactory:
            raise SettingsError("a portal leads to the loop of a ManagerFactory: Portal(factory)")
        self._factory = factory
        self._thread = _Thread()

    def send_threadsafe(self, manager: IsolatedManager, event: Event, /) -> concurrent.futures.Future[Delivery]:
        """
        Hand *event* to *manager* in the factory's loop, and return at once.

        Events of one thread go out in the order of the calls. In a coroutine of
        another loop, wait with ``asyncio.wrap_future()``.

        Args:
            manager: A manager of this portal's factory.
            event: As for ``IsolatedManager.send()``.

        Returns:
            Becomes what ``send`` returns or raises; cancelled where its loop
            ends first. Cancelling it is safe: the event is in the stream or
            it is not. Look at it, or failures go unseen.

        Raises:
            ConcurrencyError: Called in the factory's own loop, where waiting for the result would wait for ever: use
                ``await manager.send(event)``. Or ``WAITING`` calls of this thread wait. Nothing was sent.
            InvalidStateError: The factory runs in no loop. Nothing was sent.
        """
        _, future = self.hand_over("send_threadsafe()", lambda: manager.send(event))
        return future

    def call(self, name: str, make: Callable[[], Awaitable[_T]], timeout: float, /) -> _T:
        """
        Run what *make* returns in the factory's loop and wait for it. For ``BlockingManager``.

        Interrupted by Ctrl-C, it is cancelled.

        Args:
            name: The call, for error messages.
            make: Called in the loop.
            timeout: Seconds.

        Raises:
            ConcurrencyError: There is a running loop in this thread. Nothing was begun.
            InvalidStateError: The factory runs in no loop, or its loop ended meanwhile.
            TimeoutError: Time is up. What was asked for is cancelled: it has happened, or it never will.
        """
        if _running_loop() is not None:
            msg = (
                f"cannot call {name} of a blocking manager where an event loop runs, it would stop everything in it: "
                "use 'await manager.send(event)' or 'async with manager.run(...)', or asyncio.to_thread()"
            )
            raise ConcurrencyError(msg)
        loop, future = self.hand_over(name, make)
        try:
            self._wait(name, loop, future, timeout)
        except BaseException:
            future.cancel()
            raise
        if future.cancelled():
            msg = f"{name} was cancelled: the loop of the factory is ending"
            raise InvalidStateError(msg)
        return future.result()

    def adopt(self, task: asyncio.Task[None], /) -> None:
        """Let the factory's ``stop()`` end *task*, which is a run of this portal's threads. For runs."""
        self._factory.adopt(task)

    def _wait(
        self, name: str, loop: asyncio.AbstractEventLoop, future: concurrent.futures.Future[_T], timeout: float
    ) -> None:
        until = time.monotonic() + timeout
        while True:
            left = until - time.monotonic()
            done, _ = concurrent.futures.wait([future], max(0.0, min(left, _LOOK_SECONDS)))
            if done:
                return
            if loop.is_closed():
                msg = f"{name} was never done: the loop of the factory has been closed"
                raise InvalidStateError(msg)
            if left <= 0:
                msg = (
                    f"{name} took longer than {timeout:g} s and was cancelled: see what keeps the event loop busy, "
                    "or give a larger time-out, in seconds"
                )
                raise TimeoutError(msg)

    def hand_over(
        self, name: str, make: Callable[[], Awaitable[_T]]
    ) -> tuple[asyncio.AbstractEventLoop, concurrent.futures.Future[_T]]:
        """Run what *make* returns in the factory's loop, in this thread's order. As ``send_threadsafe()``, for runs."""
        loop = self._factory.loop_for(name)
        if _running_loop() is loop:
            msg = f"cannot call {name} in the factory's own loop: use 'await manager.send(event)' there"
            raise ConcurrencyError(msg)
        waiting = self._thread.waiting
        if not waiting.acquire(blocking=False):
            msg = f"{WAITING:,} calls of this thread wait for the loop: wait for their futures, or send in blocks"
            raise ConcurrencyError(msg)
        future: concurrent.futures.Future[_T] = concurrent.futures.Future()
        future.add_done_callback(lambda _: waiting.release())
        order = self._thread.order_in(loop)

        async def work() -> _T:
            async with order:
                return await make()

        try:
            loop.call_soon_threadsafe(_begin, loop, work, future)
        except RuntimeError:
            future.cancel()
            msg = f"cannot call {name}: the loop of the factory has been closed"
            raise InvalidStateError(msg) from None
        return loop, future


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _begin(
    loop: asyncio.AbstractEventLoop, work: Callable[[], Awaitable[_T]], future: concurrent.futures.Future[_T]
) -> None:
    """Start *work* in its loop and tie it to *future*. The coroutine is made here: one never begun would warn."""
    if future.cancelled():
        future.set_running_or_notify_cancel()  # also those who wait for it with concurrent.futures.wait()
        return
    task: asyncio.Future[_T] = asyncio.ensure_future(work())

    def cancelled_by_thread(_: concurrent.futures.Future[_T]) -> None:
        if future.cancelled():
            with suppress(RuntimeError):  # the loop is closed: nothing goes on in it
                loop.call_soon_threadsafe(task.cancel)

    def done(_: asyncio.Future[_T]) -> None:
        # Looked at in any case: asyncio would report it as never retrieved.
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            future.cancel()
        if not future.set_running_or_notify_cancel():
            return
        if error is None:
            future.set_result(task.result())
        else:
            future.set_exception(error)

    task.add_done_callback(done)
    future.add_done_callback(cancelled_by_thread)
