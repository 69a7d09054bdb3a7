"""
A block that is stopped from outside is left; its task and everybody else's cancellations are untouched.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import pytest

from ws_isolation.stopping import CANCEL_PREFIX, Stopping
from ws_isolation.testing.clock import settle

pytestmark = pytest.mark.scenario("S32", "S46")


class Block:
    """
    The smallest block that can be stopped, as a run is one.
    """

    def __init__(self) -> None:
        self.stopping = Stopping()

    async def __aenter__(self) -> Self:
        self.stopping.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self.stopping.leave()
        return self.stopping.swallows(error)


async def _in(block: Block, log: list[str]) -> None:
    async with block:
        log.append("in")
        await asyncio.Event().wait()
    log.append("after")
    await asyncio.sleep(0)
    log.append("later")


async def test_left_and_nothing_else() -> None:
    """The block is left, the code after it goes on, and no cancellation is left over for it."""
    block, log = Block(), list[str]()
    task = asyncio.create_task(_in(block, log))
    await settle()
    block.stopping.stop("user")
    block.stopping.stop("quota")
    await task

    assert ["in", "after", "later"] == log
    assert "user" == block.stopping.reason
    assert 0 == task.cancelling()


async def test_message_carries_the_reason() -> None:
    """Whoever is cancelled inside the block reads the reason."""
    block, said = Block(), list[object]()

    async def inside() -> None:
        async with block:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                said.extend(error.args)
                raise

    task = asyncio.create_task(inside())
    await settle()
    block.stopping.stop("quota")
    await task

    assert [CANCEL_PREFIX + "quota"] == said


async def test_nobody_inside() -> None:
    """After the block was left, and once its task is done, stopping does nothing."""
    block = Block()
    async with block:
        assert block.stopping.reason is None
    block.stopping.stop("user")
    await asyncio.sleep(0)
    assert block.stopping.reason is None
    assert not block.stopping.swallows(asyncio.CancelledError())

    abandoned = Block()
    await asyncio.create_task(abandoned.__aenter__())
    abandoned.stopping.stop("user")

    assert abandoned.stopping.reason is None


async def test_before_anybody_is_inside() -> None:
    """Stopped while it is being entered, the block is left at its first await, and the code after it goes on."""
    block, log = Block(), list[str]()
    block.stopping.stop("revoked")
    block.stopping.stop("user")
    task = asyncio.create_task(_in(block, log))
    await task

    assert ["in", "after", "later"] == log
    assert "revoked" == block.stopping.reason
    assert 0 == task.cancelling()


async def test_by_the_task_itself() -> None:
    """The task inside is not cancelled at some later point, but leaves the block where it says so."""
    block, log = Block(), list[str]()
    async with block:
        block.stopping.stop("user")
        log.append("unreachable")
    await asyncio.sleep(0)

    assert [] == log


@pytest.mark.parametrize("first", ["stop", "cancel"])
async def test_cancellation_from_elsewhere_goes_on(first: str) -> None:
    """Where somebody else cancels the task as well, before or after, it stays cancelled."""
    block, log = Block(), list[str]()
    task = asyncio.create_task(_in(block, log))
    await settle()
    if first == "cancel":
        task.cancel()
    block.stopping.stop("user")
    if first == "stop":
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ["in"] == log
    assert 1 == task.cancelling()


async def test_cancelled_and_then_stopped_by_itself() -> None:
    """A cancellation that has not struck yet is not swallowed with the own one."""

    async def inside() -> None:
        block = Block()
        async with block:
            asyncio.current_task().cancel()  # type: ignore[union-attr]  # a coroutine of asyncio runs in a task
            block.stopping.stop("user")

    task = asyncio.create_task(inside())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_turned_into_another_error() -> None:
    """An error that the block makes of it goes on, and the task is not left cancelled."""
    block = Block()

    async def inside() -> None:
        async with block:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise LookupError from None

    task = asyncio.create_task(inside())
    await settle()
    block.stopping.stop("user")
    with pytest.raises(LookupError):
        await task

    assert 0 == task.cancelling()


async def test_caught_inside() -> None:
    """A block that catches the cancellation and returns goes on, and so does the code after it."""
    block, log = Block(), list[str]()

    async def inside() -> None:
        async with block:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                log.append("caught")
        await asyncio.sleep(0)
        log.append("after")

    task = asyncio.create_task(inside())
    await settle()
    block.stopping.stop("user")
    await task

    assert ["caught", "after"] == log
    assert 0 == task.cancelling()


async def test_inside_a_task_that_cleans_up() -> None:
    """A task that was cancelled before it entered the block can be stopped in it all the same."""
    block, log = Block(), list[str]()

    async def worker() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await _in(block, log)

    task = asyncio.create_task(worker())
    await settle()
    task.cancel()
    await settle()
    block.stopping.stop("user")
    await task

    assert ["in", "after", "later"] == log


@pytest.mark.parametrize("stopped", [False, True])
async def test_inside_a_time_out(*, stopped: bool) -> None:
    """A time-out around the block raises TimeoutError, whether or not the block was stopped at the same moment."""
    block, log = Block(), list[str]()

    async def worker() -> None:
        async with asyncio.timeout(None) as deadline:
            deadlines.append(deadline)
            await _in(block, log)

    deadlines: list[asyncio.Timeout] = []
    task = asyncio.create_task(worker())
    await settle()
    deadlines[0].reschedule(0)
    if stopped:
        block.stopping.stop("user")
    with pytest.raises(TimeoutError):
        await task

    assert "later" not in log
    assert 0 == task.cancelling()


async def test_around_a_time_out() -> None:
    """A time-out inside the block does not take the stop for its own."""
    block, log = Block(), list[str]()

    async def worker() -> None:
        async with block, asyncio.timeout(60):
            await asyncio.Event().wait()
        log.append("after")

    task = asyncio.create_task(worker())
    await settle()
    block.stopping.stop("user")
    await task

    assert ["after"] == log


@pytest.mark.parametrize("both", [False, True])
async def test_one_in_another(*, both: bool) -> None:
    """Stopping the outer block leaves both; the code after the outer one goes on, also where both are stopped."""
    outer, inner, log = Block(), Block(), list[str]()

    async def worker() -> None:
        async with outer:
            await _in(inner, log)
        log.append("after the outer one")

    task = asyncio.create_task(worker())
    await settle()
    outer.stopping.stop("user")
    if both:
        inner.stopping.stop("user")
    await task

    assert ["in", "after the outer one"] == log
    assert 0 == task.cancelling()


async def test_in_a_task_group() -> None:
    """A stopped block in one task of a group disturbs no other task of it."""
    block, log = Block(), list[str]()
    go_on = asyncio.Event()

    async def other() -> None:
        await go_on.wait()
        log.append("other")

    async with asyncio.TaskGroup() as group:
        group.create_task(_in(block, log))
        group.create_task(other())
        await settle()
        block.stopping.stop("user")
        await settle()
        go_on.set()

    assert ["in", "after", "later", "other"] == log
