"""
The clockwork: one timer for everything that has to be looked at again.

Rule 1: there is a timer only while something is scheduled. Rule 2: what one
item raises when it is looked at keeps no other from its turn.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Final, Generic, TypeVar, final

from .deadlines import Deadlines
from .oplog import report

if TYPE_CHECKING:
    from .typing import Clock, Timer

__all__ = ("Clockwork", "SystemClock")

_T = TypeVar("_T")

_EARLY: Final = 0.001
"""Seconds: timers may fire that much early by rounding, and still count as due."""
_NEVER: Final = float("inf")


@final
class SystemClock:
    """The process's own clocks and the running loop's timers."""

    __slots__ = ()

    # Read with each event: the functions themselves, and nothing around them.
    monotonic: staticmethod[[], float] = staticmethod(time.monotonic)
    unix: staticmethod[[], float] = staticmethod(time.time)

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer:
        """Call *callback* in the running event loop, with no context variable of whoever asks."""
        delay = max(0.0, when - time.monotonic())
        return asyncio.get_running_loop().call_later(delay, callback, context=Context())


@final
class Clockwork(Generic[_T]):
    """
    Looks at items when they are due. Lives as long as its factory runs.

    Args:
        clock: Where time comes from.
        look: Called with an item and the time. It schedules the next look, if there is to be one.
        lag: Called with the seconds that a timer came late; must not raise.
    """

    __slots__ = ("_armed_for", "_clock", "_deadlines", "_expected", "_lag", "_look", "_timer")

    def __init__(
        self, clock: Clock, look: Callable[[_T, float], None], lag: Callable[[float], None] | None = None
    ) -> None:
        self._clock = clock
        self._look = look
        self._lag = lag
        self._expected = 0.0
        """When the timer can come at the earliest: what was due in the past does not make it late."""
        self._deadlines: Deadlines[_T] = Deadlines()
        self._timer: Timer | None = None
        self._armed_for = _NEVER

    def schedule(self, when: float, item: _T, /) -> None:
        """Look at *item* at *when* at the latest."""
        self._deadlines.add(when, item)
        if when < self._armed_for:
            self._arm(when)

    def stop(self) -> None:
        """Look at nothing any more."""
        self._deadlines = Deadlines()
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._armed_for = None, _NEVER

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = when
        if self._lag is not None:
            self._expected = max(when, self._clock.monotonic())
        self._timer = self._clock.call_at(when, self._tick)

    def _tick(self) -> None:
        now = self._clock.monotonic()
        if self._lag is not None:
            self._lag(max(0.0, now - self._expected))
        now += _EARLY
        self._timer, self._armed_for = None, _NEVER
        for item in self._deadlines.due(now):
            try:
                self._look(item, now)
            except Exception as error:  # noqa: BLE001  # the others' deadlines come all the same
                report(logging.ERROR, "a deadline could not be kept", error=error)
        following = self._deadlines.next()
        if following is not None and following < self._armed_for:
            self._arm(following)
