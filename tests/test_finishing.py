"""What was begun is finished, whatever happens to the task that waits for it."""

from __future__ import annotations

import asyncio

import pytest

from ws_isolation.finishing import finish
from ws_isolation.testing.clock import settle

pytestmark = pytest.mark.scenario("S32")


async def test_returns_what_the_work_returns() -> None:
    """Without a cancellation it is a plain await."""

    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await finish(work()) == 7


async def test_raises_what_the_work_raises() -> None:
    """Without a cancellation the work's own error comes out."""

    async def work() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await finish(work())


@pytest.mark.parametrize("fails", [False, True])
async def test_cancelled_twice_the_work_is_finished_first(*, fails: bool) -> None:
    """However often the caller is cancelled, the work ends by itself and the cancellation goes on afterwards."""
    go_on = asyncio.Event()
    done: list[str] = []

    async def work() -> None:
        await go_on.wait()
        done.append("work")
        if fails:
            raise LookupError

    caller = asyncio.create_task(finish(work()))
    for _ in range(2):
        await settle()
        caller.cancel()
    await settle()
    assert not caller.done()

    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller

    assert done == ["work"]


async def test_work_that_is_cancelled_itself_says_so() -> None:
    """Work that ends by a cancellation of its own raises it, also where the caller was cancelled as well."""

    async def work() -> None:
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await finish(work())

    caller = asyncio.create_task(finish(work()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
