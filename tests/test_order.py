"""
Turns in the order of the calls, and when somebody may act without waiting for one.
"""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from tests.runs import desk
from ws_isolation import Run
from ws_isolation.order import Order
from ws_isolation.testing.clock import settle

_THOUGHTS: Final = 40


async def test_turns_come_in_the_order_of_the_calls() -> None:
    """
    Who holds it and who waits are counted, one that is cancelled is not any more, and turns come in order.
    """
    order, had, gate = Order(), list[int](), asyncio.Event()

    async def work(number: int) -> None:
        async with order:
            had.append(number)
            await gate.wait()

    tasks = [asyncio.create_task(work(number)) for number in range(4)]
    await settle()
    assert ([0], 4) == (had, order.waiting)

    tasks[2].cancel()
    await settle()
    assert 3 == order.waiting

    gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert ([0, 1, 3], 0) == (had, order.waiting)


async def test_given_back_is_not_free_while_somebody_waits() -> None:
    """
    Between the end of one turn and the beginning of the next nobody may slip in: it is counted as taken.
    """
    order = Order()
    await order.__aenter__()
    following = asyncio.create_task(order.__aenter__())
    await settle()

    await order.__aexit__()
    assert not following.done()
    assert 1 == order.waiting

    await following
    await order.__aexit__()
    assert 0 == order.waiting


async def _texts(*, careless: bool) -> tuple[list[str], list[str]]:
    """Return what two tasks thought in one run, in the order of the calls, and as it was sent."""
    called: list[str] = []

    async def think(run: Run, name: str) -> None:
        for number in range(_THOUGHTS // 2):
            called.append(f"{name}{number}")
            thinking = run.thinking(called[-1])
            if careless:
                run._order.waiting = 0  # as if nobody waited
            await thinking
            if number % 3:
                await asyncio.sleep(0)

    async with desk() as here:
        async with here.manager.run("assistant") as run:
            await asyncio.gather(think(run, "a"), think(run, "b"))
        sent = [event["data"]["text"] for event in await here.events() if event["type"] == "agent_thinking"]
    return called, sent


@pytest.mark.requirement("P3")
async def test_no_thought_overtakes_one_that_waits_for_its_turn() -> None:
    """
    While one event of a run gives others a turn, those called later go behind it, also where they need not wait.
    """
    called, sent = await _texts(careless=False)
    assert _THOUGHTS == len(sent)
    assert called == sent


@pytest.mark.requirement("P3")
async def test_negative_control_a_lock_that_looks_free() -> None:
    """
    The same work finds it where nobody looks whether somebody waits.
    """
    called, sent = await _texts(careless=True)
    assert sorted(called) == sorted(sent)
    assert called != sent
