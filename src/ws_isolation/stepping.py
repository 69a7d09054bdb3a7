"""
The first step of a coroutine, taken at once on behalf of a task that waits.

Most writes do not wait: the transport takes the text, and the coroutine is
over in its first step. Waking a task for that costs more than the write. So the
step is taken where the text came up, and only what has to wait is left to the
task whose work it is.

Rule 1: while the step runs, ``asyncio.current_task()`` is that task and the
context variables are its own: a time-out or a task group inside belongs to it,
never to whoever happened to have something to write. Rule 2: what was begun is
gone on with by ``rest`` or ended by ``Parked.drop``; a ``finally`` inside runs.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any, Final, final

__all__ = ("Parked", "rest", "step")


@final
class Parked:
    """A coroutine (what its ``__await__`` gave) after its first step, and what it waits for."""

    __slots__ = ("coroutine", "waits_for")

    def __init__(self, coroutine: Generator[Any, Any, None], waits_for: object) -> None:
        self.coroutine: Generator[Any, Any, None] = coroutine
        self.waits_for: object = waits_for

    def drop(self) -> None:
        """End it where it stands: its ``finally`` blocks run."""
        self.coroutine.close()


def step(coroutine: Coroutine[Any, Any, None], task: asyncio.Task[Any], context: Context, /) -> Parked | None:
    """
    Take the first step of *coroutine* as *task*; return what is left, None where it is over.

    Args:
        coroutine: Not begun yet.
        task: A task of the running loop that waits for something else.
        context: That task's, in which nothing runs now.

    Raises:
        BaseException: What the coroutine raised in that step. It is over.
    """
    loop = task.get_loop()
    current = _current(loop)
    if current is not None:
        _leave(loop, current)
    _enter(loop, task)
    # next() and not send(): a coroutine that is over costs no StopIteration then.
    steps = coroutine.__await__()
    try:
        waits_for = context.run(next, steps, _OVER)
    finally:
        _leave(loop, task)
        if current is not None:
            _enter(loop, current)
    return None if waits_for is _OVER else Parked(steps, waits_for)


@types.coroutine
def rest(parked: Parked, /) -> Generator[object, object, None]:
    """Go on with *parked* to its end. Awaited in the task that the first step was taken for."""
    coroutine, waits_for = parked.coroutine, parked.waits_for
    while True:
        try:
            try:
                value = yield waits_for
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001  # a cancellation belongs inside
                waits_for = coroutine.throw(error)
            else:
                waits_for = coroutine.send(value)
        except StopIteration:
            return


_OVER: Final = object()
"""What no coroutine waits for."""
# asyncio documents both for those who write tasks of their own ("Extending asyncio").
_current = asyncio.current_task
_enter = asyncio.tasks._enter_task  # noqa: SLF001
_leave = asyncio.tasks._leave_task  # noqa: SLF001
