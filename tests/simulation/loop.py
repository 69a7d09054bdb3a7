"""
An event loop whose time passes only when nobody has anything left to do, and a clock on it.

Nothing here opens a descriptor. A wait of an hour takes no time, and a wait of a millionth of a second returns once
every task of the loop waits for something that is still to come: exactly, not after some number of turns.
"""

from __future__ import annotations

import asyncio
import random
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, Final, TypeVar, cast

_T = TypeVar("_T")

_UNIX: Final = 1_700_000_000.0 - 1_000.0
_MOMENT: Final = 1e-6
_MOST_TURNS: Final = 5_000


class DeadlockError(AssertionError):
    """
    Every task waits and nothing is to come, or tasks go round in circles.
    """


class _Passing:
    """
    What an event loop waits with: it moves the time.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None) -> tuple[()]:
        """
        Let *timeout* pass.
        """
        if timeout is None:
            msg = "every task waits, and nothing is to come"
            raise DeadlockError(msg)
        if timeout > 0:
            self._loop.now += timeout
            self._turns = 0
        elif self._turns > _MOST_TURNS:
            msg = "the tasks keep each other busy, and time stands still"
            raise DeadlockError(msg)
        self._turns += 1
        return ()


class VirtualLoop(asyncio.BaseEventLoop):
    """
    The loop of one schedule.

    With *dice*, what is ready at the same time runs in the order that they give. asyncio runs it in the order in which
    it was told, and documents that of ``call_soon``. Which of two tasks that wake up together goes first is still
    nothing to build on, and nothing in the library does: every schedule keeps every invariant in either order.
    """

    def __init__(self, dice: random.Random | None = None) -> None:
        super().__init__()
        self._dice = dice
        self.now = 1_000.0
        self.failures: list[str] = []
        """What nobody caught."""
        self._selector = _Passing(self)
        self.set_exception_handler(lambda _loop, about: self.failures.append(f"{about}"))

    def time(self) -> float:
        """
        Return the virtual time.
        """
        return self.now

    def _process_events(self, events: object) -> None:
        """
        Take no descriptors, of which there are none; put what is ready in its order.
        """
        if self._dice is not None:
            ready = cast("deque[asyncio.Handle]", vars(self)["_ready"])
            drawn = list(ready)
            self._dice.shuffle(drawn)
            ready.clear()
            ready.extend(drawn)

    def _write_to_self(self) -> None:
        """
        Do nothing: nobody sleeps.
        """

    @property
    def timers(self) -> int:
        """
        Timers that are still to come.
        """
        scheduled = cast("list[asyncio.TimerHandle]", vars(self)["_scheduled"])  # what else would know
        return sum(not timer.cancelled() for timer in scheduled)


class LoopClock:
    """
    The ``Clock`` of factories in such a loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        """
        Return the virtual time.
        """
        return self._loop.time()

    def unix(self) -> float:
        """
        Return the virtual time since 1970.
        """
        return self._loop.time() + _UNIX

    def call_at(self, when: float, callback: Callable[[], None], /) -> asyncio.TimerHandle:
        """
        Call *callback* then.
        """
        return self._loop.call_at(when, callback)


async def quiet() -> None:
    """
    Wait until every task waits for something that is still to come.
    """
    await asyncio.sleep(_MOMENT)


@types.coroutine
def with_first_step(work: Coroutine[Any, Any, _T], noted: Callable[[], None]) -> Generator[Any, Any, _T]:
    """
    Do *work*, and call *noted* when it waits for the first time, or when it is over and never has.
    """
    steps = work.__await__()
    try:
        waits_for = next(steps)
    except StopIteration as over:
        return cast("_T", over.value)
    finally:
        noted()
    yield waits_for
    return (yield from steps)


def in_virtual_time(main: Callable[[VirtualLoop], Coroutine[Any, Any, _T]], dice: random.Random | None = None) -> _T:
    """
    Run *main* in a loop of its own; *dice* put what is ready in its order.
    """
    loop = VirtualLoop(dice)
    try:
        return loop.run_until_complete(main(loop))
    finally:
        left = asyncio.all_tasks(loop)
        if left:  # only where something failed before
            with suppress(DeadlockError):
                for task in left:
                    task.cancel()
                loop.run_until_complete(asyncio.wait(left, timeout=100))
        loop.close()
