"""
The first step of a coroutine, taken at once for a task that waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any

import attrs
import pytest

from ws_isolation.stepping import Parked, rest, step

WHERE: ContextVar[str] = ContextVar("WHERE", default="nowhere")


@attrs.define
class Waiter:
    """
    A task that waits, and goes on with what was parked for it.
    """

    context: Context = attrs.field(factory=copy_context)
    go: asyncio.Event = attrs.field(factory=asyncio.Event)
    parked: Parked | None = None
    task: asyncio.Task[None] = attrs.field(init=False)

    async def run(self) -> None:
        """
        Wait, then do the rest.
        """
        await self.go.wait()
        if self.parked is not None:
            await rest(self.parked)

    def step(self, work: Any) -> Parked | None:
        """
        Take the first step of *work*.
        """
        self.parked = step(work, self.task, self.context)
        return self.parked


@asynccontextmanager
async def waiting() -> AsyncGenerator[Waiter]:
    """
    Give a waiter, and end it.
    """
    waiter = Waiter()
    waiter.task = asyncio.create_task(waiter.run(), context=waiter.context)
    await asyncio.sleep(0)
    try:
        yield waiter
    finally:
        waiter.task.cancel()
        await asyncio.gather(waiter.task, return_exceptions=True)


async def test_over_in_one_step() -> None:
    """
    What need not wait is over when ``step`` returns; it ran as the other task and in its context, and nothing leaked.
    """
    seen: list[object] = []

    async def work() -> None:
        seen.append(asyncio.current_task())
        WHERE.set("inside")

    async with waiting() as waiter:
        assert waiter.step(work()) is None
        assert [waiter.task] == seen
        assert ("nowhere", "inside") == (WHERE.get(), waiter.context.run(WHERE.get))
        assert asyncio.current_task() is not waiter.task


async def test_error_in_the_first_step() -> None:
    """
    What the first step raises comes out of ``step``, and the caller is the current task again.
    """

    async def work() -> None:
        raise LookupError

    async with waiting() as waiter:
        here = asyncio.current_task()
        with pytest.raises(LookupError):
            waiter.step(work())
        assert here is asyncio.current_task()


async def test_outside_of_any_task() -> None:
    """
    A timer's callback has no current task; it has none afterwards either.
    """
    seen: list[object] = []

    async def work() -> None:
        seen.append(asyncio.current_task())

    async with waiting() as waiter:
        done = asyncio.Event()

        def callback() -> None:
            waiter.step(work())
            seen.append(asyncio.current_task())
            done.set()

        asyncio.get_running_loop().call_soon(callback)
        await done.wait()
        assert [waiter.task, None] == seen


@pytest.mark.parametrize("soon", [True, False])
async def test_the_rest(*, soon: bool) -> None:
    """
    What has to wait is done by the other task, step by step, whether what it waited for came before or after.
    """
    seen: list[object] = []
    gate = asyncio.Event()

    async def work() -> None:
        await gate.wait()
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    async with waiting() as waiter:
        assert waiter.step(work()) is not None
        if soon:
            gate.set()
        waiter.go.set()
        await asyncio.sleep(0)
        gate.set()
        await waiter.task
        assert [waiter.task] == seen


async def test_time_out_inside() -> None:
    """
    A time-out that was entered in the first step strikes the work, never the caller.
    """
    seen: list[str] = []

    async def work() -> None:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append("timed out")

    async with waiting() as waiter:
        waiter.step(work())
        waiter.go.set()
        await waiter.task
        assert ["timed out"] == seen


@pytest.mark.parametrize("caught", [True, False])
async def test_cancelled(*, caught: bool) -> None:
    """
    A cancellation of the other task arrives inside, where it may be caught; ``finally`` blocks run.
    """
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not caught:
                raise
        finally:
            seen.append("finally")

    async with waiting() as waiter:
        waiter.step(work())
        waiter.go.set()
        await asyncio.sleep(0)
        waiter.task.cancel()
        await asyncio.gather(waiter.task, return_exceptions=True)
        assert (["finally"], not caught) == (seen, waiter.task.cancelled())


@pytest.mark.parametrize("begun", [True, False])
async def test_dropped(*, begun: bool) -> None:
    """
    What is never gone on with is ended where it stands, and so is a rest that is closed: ``finally`` blocks run.
    """
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("finally")

    async with waiting() as waiter:
        parked = waiter.step(work())
        assert parked is not None
        if begun:
            going: Any = rest(parked)
            going.send(None)
            going.close()
        else:
            parked.drop()
        waiter.parked = None
        assert ["finally"] == seen
