"""
One timer for everything: each item is looked at when it is due, and no defect of one stops the others.
"""

from __future__ import annotations

import asyncio
import time

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.shell import Bench, note
from ws_isolation import ManagerFactory, Settings
from ws_isolation.clockwork import Clockwork, SystemClock
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.typing import Clock


@attrs.define(eq=False)
class Item:
    """
    Something that is looked at.
    """

    name: str


def armed(clock: FakeClock) -> int:
    """
    Return how many timers are waiting.
    """
    return sum(timer.callback is not None for _, _, timer in clock._heap)


@given(st.lists(st.integers(min_value=0, max_value=50), min_size=1, max_size=10))
async def test_each_when_it_is_due(whens: list[int]) -> None:
    """Every item is looked at in its second, with one timer at a time and none in the end."""
    clock = FakeClock()
    began = clock.monotonic()
    looks: list[tuple[str, int]] = []
    clockwork: Clockwork[Item] = Clockwork(
        clock, lambda item, _now: looks.append((item.name, round(clock.monotonic())))
    )
    items = [Item(str(number)) for number in range(len(whens))]
    for item, when in zip(items, whens, strict=True):
        clockwork.schedule(began + when, item)
        assert 1 == armed(clock)
    await clock.advance(60)

    assert sorted((item.name, round(began + when)) for item, when in zip(items, whens, strict=True)) == sorted(looks)
    assert 0 == armed(clock)


@pytest.mark.requirement("P5")
async def test_one_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """An item whose look raises is reported; those that are due with it and after it are looked at."""
    clock = FakeClock()
    looks: list[str] = []

    def look(item: Item, _now: float) -> None:
        if item.name == "fails":
            raise LookupError
        looks.append(item.name)

    clockwork: Clockwork[Item] = Clockwork(clock, look)
    items = [Item("fails"), Item("same time"), Item("later")]
    for item, seconds in zip(items, (1, 1, 2), strict=True):
        clockwork.schedule(clock.monotonic() + seconds, item)
    await clock.advance(3)

    assert ["same time", "later"] == looks
    assert "a deadline could not be kept" in caplog.text


async def test_scheduled_by_a_look() -> None:
    """A look may schedule the next, earlier or later than what waits."""
    clock = FakeClock()
    began = clock.monotonic()
    looks: list[tuple[str, float]] = []

    def look(item: Item, _now: float) -> None:
        looks.append((item.name, clock.monotonic() - began))
        if item is short and len(looks) < 4:
            clockwork.schedule(clock.monotonic() + 1, item)

    clockwork: Clockwork[Item] = Clockwork(clock, look)
    short, long = Item("short"), Item("long")
    clockwork.schedule(began + 3, long)
    clockwork.schedule(began + 1, short)
    await clock.advance(9)

    assert [("short", 1), ("short", 2), ("long", 3), ("short", 3)] == looks


async def test_stopped() -> None:
    """After the stop nothing is looked at, and no timer is left; it can be used again."""
    clock = FakeClock()
    looks: list[str] = []
    clockwork: Clockwork[Item] = Clockwork(clock, lambda item, _now: looks.append(item.name))
    clockwork.stop()
    old, new = Item("old"), Item("new")
    clockwork.schedule(clock.monotonic() + 1, old)
    clockwork.stop()
    assert 0 == armed(clock)
    clockwork.schedule(clock.monotonic() + 2, new)
    await clock.advance(5)

    assert ["new"] == looks


@pytest.mark.requirement("P5")
async def test_deadlines_do_not_pile_up() -> None:
    """A session that lives and is written to for hours has a few deadlines waiting, not more and more."""
    bench = Bench.new()
    served = await bench.serve()
    waiting: set[int] = set()
    for _ in range(40):
        for _ in range(3):
            await bench.manager().send(note())
            await bench.clock.advance(7)
        waiting.add(len(bench.factory._runtime._clockwork._deadlines))
    served.transport.client_leaves()
    await served.over()

    assert max(waiting) <= 6


@pytest.mark.requirement("P5")
async def test_looks_at_a_stream_do_not_pile_up() -> None:
    """A user who comes and goes while a run goes on has one look at the stream waiting, not one for each visit."""
    bench = Bench.new(Settings(detached_seconds=5, stream_seconds=300))
    run = bench.manager().run("assistant")
    async with run:
        for _ in range(60):
            async with bench.factory.attach(make_context(), RecordingTransport()):
                pass
            await bench.clock.advance(10)
        await bench.clock.advance(400)  # what was scheduled for the visits has passed
        assert 1 == len(bench.factory._runtime._clockwork._deadlines)
    await bench.clock.advance(600)

    assert 0 == bench.factory.stats().streams
    assert 0 == armed(bench.clock)


async def test_system_clock() -> None:
    """The process's clocks, and a timer of the running loop that does not come early."""
    clock: Clock = SystemClock()
    assert abs(clock.unix() - time.time()) < 5
    assert abs(clock.monotonic() - time.monotonic()) < 5

    called: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    when = clock.monotonic() + 0.02
    clock.call_at(when, lambda: called.set_result(clock.monotonic()))
    past: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    clock.call_at(clock.monotonic() - 5, lambda: past.set_result(None))
    clock.call_at(when, lambda: pytest.fail("it was cancelled")).cancel()
    await asyncio.wait_for(past, 5)

    assert await asyncio.wait_for(called, 5) >= when - 0.002


async def test_factory_with_the_system_clock() -> None:
    """Without a clock the factory takes the process's own."""
    factory = ManagerFactory()

    assert isinstance(factory.clock, SystemClock)
