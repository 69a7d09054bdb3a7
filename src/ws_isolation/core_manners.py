"""
What time and the server bring: deadlines, heartbeat, drain, and the ways to an end.

Time comes in as a value. Rule: what is due is found by looking, never by a
timer of its own; ``next_deadline`` says when to look at the latest.
"""

from __future__ import annotations

from typing import Final

from . import closing
from .closing import CloseCode
from .core_state import CLEARED, NOTHING, WAKE, State
from .core_writing import Writing
from .frames import Ping, ResumedFrame
from .steps import Abort, Draining, Effect, Ended, Finished, Input, PeerGone, Report, Stop, Ticked

__all__ = ("Manners",)

_LAG_SECONDS: Final = 1.0
"""How late a tick may come before the delay counts as ours: a blocked loop looks like a dead peer."""


class Manners(Writing):
    """What a session does as time passes, and when it is told to end."""

    __slots__ = ()

    # Declared once more, because a checker takes an assignment in a subclass for another declaration.
    state: State
    code: CloseCode | None

    def next_deadline(self) -> float | None:
        """Return when ``Ticked`` has to come at the latest, None once the session is closed."""
        if self.state is State.CLOSED:
            return None
        if self.state is State.CLOSING:
            # Without a time yet, the next tick starts the clock of the way out: due at once.
            return self._close_due or 0.0
        due = self._ping_due
        for other in (self._pong_due, self._write_due, self.expiry_due, self._drain_due, self._age_due, self._idle_due):
            if other is not None and other < due:
                due = other
        return due

    def _ticked(self, happened: Ticked) -> tuple[Effect, ...]:
        now = happened.now
        if self._write_due is not None and now >= self._write_due:
            return self._cut("a write took longer than its deadline")
        for due, code in (
            (self.expiry_due, closing.TOKEN_EXPIRED),
            (self._drain_due, closing.DRAIN),
            (self._age_due, closing.MAX_AGE),
            (self._idle_due, closing.INACTIVE),
        ):
            if due is not None and now >= due:
                return self._end(code, now=now)
        if self._pong_due is not None and now >= self._pong_due:
            if now - self._pong_due < _LAG_SECONDS:
                return self._end(closing.HEARTBEAT_TIMEOUT, now=now)
            self._pong_due = now + _LAG_SECONDS  # the loop was late: the answer may be waiting to be read
        if now >= self._ping_due:
            self._ping_due = now + self._settings.heartbeat_seconds
            return self._ping()
        return NOTHING

    def _ping(self) -> tuple[Effect, ...]:
        if self._ping_waits:
            return NOTHING  # one at a time: behind a slow write they would pile up
        self._ping_waits = True
        self._pings += 1
        if self._skipped is not None:
            # Moves the client's cursor past events of other threads, so that it does not fall behind the window.
            self._outbox.add_frame(ResumedFrame(self._skipped, 0))
            self._skipped = None
        self._outbox.add_frame(Ping(self._pings, 0, None))
        return WAKE

    def _ticked_closing(self, happened: Ticked) -> tuple[Effect, ...]:
        if self._close_due is None:
            # The end came from a step without a time: the clock of the way out starts now.
            self._close_due = happened.now + self._settings.close_seconds
        if happened.now >= self._close_due:
            self.state = State.CLOSED
            self._drop_waiting()
            return (Report("goodbye could not be written in time"), Abort())
        return NOTHING

    def _cut(self, why: str) -> tuple[Effect, ...]:
        self.code = closing.SLOW_CONSUMER
        self.state = State.CLOSED
        self._drop_waiting()
        return (Report(why), Stop(), Abort())

    def _draining(self, happened: Draining) -> tuple[Effect, ...]:
        if happened.close_at <= happened.now:
            self._retry_after_ms = happened.retry_after_ms
            return self._end(closing.DRAIN, now=happened.now)
        if self._drain_due is None or happened.close_at < self._drain_due:
            self._drain_due, self._retry_after_ms = happened.close_at, happened.retry_after_ms
        self.state = State.DRAINING
        return NOTHING

    def _ended(self, happened: Ended) -> tuple[Effect, ...]:
        self._retry_after_ms = happened.retry_after_ms
        return self._end(happened.code, now=happened.now)

    def _ended_again(self, happened: Ended) -> tuple[Effect, ...]:
        """Keep the code of the first end, and let nothing out that the later one forbids."""
        return self._break_off(happened.now, None) if happened.code.code in CLEARED else NOTHING

    def _peer_gone(self, _happened: PeerGone) -> tuple[Effect, ...]:
        was_live = self.is_open
        self.state = State.CLOSED
        self._drop_waiting()
        return (Stop(),) if was_live else NOTHING

    def _finished(self, _happened: Finished) -> tuple[Effect, ...]:
        self.state = State.CLOSED
        return NOTHING

    def _ignored(self, _happened: Input) -> tuple[Effect, ...]:
        return NOTHING
