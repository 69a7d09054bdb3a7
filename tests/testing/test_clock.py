"""
The fake clock moves by hand only, in order, and lets the loop's tasks react to each step.
"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_isolation.testing import FakeClock
from ws_isolation.typing import Clock


def test_it_stands_still() -> None:
    """Both scales show what they showed, however often they are looked at, and begin where the test says."""
    clock: Clock = FakeClock(unix=86_400.0)

    assert 86_400.0 == clock.unix() == clock.unix()
    assert clock.monotonic() == clock.monotonic()


async def test_both_scales_move_together() -> None:
    """What passes on one scale passes on the other; nothing and fractions of a second pass as well."""
    clock = FakeClock(unix=0.0)
    began = clock.monotonic()
    for seconds in (10, 0, 0.5):
        await clock.advance(seconds)

    assert 10.5 == clock.unix() == clock.monotonic() - began


@given(st.lists(st.integers(min_value=-5, max_value=20), max_size=12), st.integers(min_value=0, max_value=20))
async def test_timers_in_order(whens: list[int], seconds: int) -> None:
    """Exactly the timers that are due are called, once, earliest first, and each sees its own time."""
    clock = FakeClock()
    began = clock.monotonic()
    called: list[tuple[float, int]] = []
    for number, when in enumerate(whens):
        clock.call_at(began + when, lambda n=number: called.append((clock.monotonic() - began, n)))  # type: ignore[misc]  # the loop's n
    await clock.advance(seconds)
    await clock.advance(0)

    due = sorted((when, number) for number, when in enumerate(whens) if when <= seconds)
    assert [number for _, number in due] == [number for _, number in called]
    assert [max(0, when) for when, _ in due] == [at for at, _ in called]


async def test_cancelled_timer() -> None:
    """A cancelled timer is not called; cancelling it again, or after it was called, is harmless."""
    clock = FakeClock()
    called: list[str] = []
    timer = clock.call_at(clock.monotonic() + 1, lambda: called.append("cancelled"))
    other = clock.call_at(clock.monotonic() + 1, lambda: called.append("other"))
    timer.cancel()
    timer.cancel()
    await clock.advance(1)
    other.cancel()

    assert ["other"] == called


async def test_timer_that_sets_timers() -> None:
    """A timer that is set by another one is called in the same advance, if it is due."""
    clock = FakeClock()
    began = clock.monotonic()
    called: list[float] = []

    def again() -> None:
        called.append(clock.monotonic() - began)
        clock.call_at(clock.monotonic() + 2, again)

    clock.call_at(began + 2, again)
    await clock.advance(7)

    assert [2, 4, 6] == called


async def test_tasks_react_to_each_step() -> None:
    """Before the time moves on, tasks have done what the last timer started."""
    clock = FakeClock()
    began = clock.monotonic()
    ready = asyncio.Event()
    seen: list[float] = []

    async def waiter() -> None:
        await ready.wait()
        await asyncio.sleep(0)
        seen.append(clock.monotonic() - began)

    task = asyncio.create_task(waiter())
    clock.call_at(began + 1, ready.set)
    clock.call_at(began + 5, lambda: None)
    await clock.advance(9)
    await task

    assert [1] == seen


async def test_timer_that_raises() -> None:
    """What a timer raises comes out of advance(), into the test."""
    clock = FakeClock()

    def fails() -> None:
        raise LookupError

    clock.call_at(clock.monotonic(), fails)
    with pytest.raises(LookupError):
        await clock.advance(1)


async def test_time_does_not_go_back() -> None:
    """A negative step is refused, and the time is the same."""
    clock = FakeClock()
    began = clock.monotonic()
    with pytest.raises(ValueError, match="at least 0"):
        await clock.advance(-1)

    assert began == clock.monotonic()
