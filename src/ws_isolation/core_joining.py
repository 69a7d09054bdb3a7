"""
A session on its way onto its stream: between the last check of who it is and welcome.

The engine is asked where the stream stands, and it may take its time. Rule 1:
the session is on its stream already, so a revocation, a drain and its expiry
reach it; its client then hears goodbye and nothing else. Rule 2: what is
published meanwhile is kept, within a bound, and comes after welcome.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from . import closing
from .core_reading import Reading
from .core_state import NOTHING, WAKE, State
from .frames import GapFrame, ResumedFrame, Welcome
from .steps import Draining, Effect, Joined, Missed, Offered, Ticked
from .stream import Cursor, Gap, Resumed

if TYPE_CHECKING:
    from .events.envelope import Envelope
    from .outbox import Waiting

__all__ = ("Joining",)

_MOST_KEPT: Final = 1_024
"""Envelopes that wait for the engine's answer; with more they are made up for by a gap."""


class Joining(Reading):
    """What a session keeps until the engine has answered, and what its client is told first."""

    __slots__ = ()

    # Declared once more, because a checker takes an assignment in a subclass for another declaration.
    state: State

    def _keep(self, happened: Offered) -> tuple[Effect, ...]:
        envelope = happened.envelope
        if len(self._opening) >= _MOST_KEPT:
            self._opening.clear()
            self._kept_gap = Gap("replay_limit", Cursor(envelope.epoch, envelope.seq, envelope.id))
        else:
            self._opening.append(envelope)
        return NOTHING

    def _keep_gap(self, happened: Missed) -> tuple[Effect, ...]:
        self._opening.clear()
        self._kept_gap = happened.gap
        return NOTHING

    def _ticked_joining(self, happened: Ticked) -> tuple[Effect, ...]:
        self._ping_due = happened.now + self._settings.heartbeat_seconds  # there is no ping before welcome
        return self._ticked(happened)

    def _drained_early(self, happened: Draining) -> tuple[Effect, ...]:
        """Nothing was said to the client yet: it need not wait for its turn."""
        self._retry_after_ms = happened.retry_after_ms
        return self._end(closing.DRAIN, now=happened.now)

    def _joined(self, happened: Joined) -> tuple[Effect, ...]:
        kept = self._opening
        self._seq = self._offered_seq = happened.top.seq
        self._opening = self._first_frames(happened.top, happened.answer, happened.now)[::-1]
        self._ping_due = happened.now + self._settings.heartbeat_seconds
        self.state = State.LIVE
        if self._kept_gap is not None:
            self._missed(Missed(self._kept_gap))
        for envelope in kept:
            effects = self._offered(Offered(cast("Envelope", envelope)))
            if not self.is_open:
                return effects
        return WAKE

    def _first_frames(self, top: Cursor, answer: Resumed | Gap | None, now: float) -> list[Waiting]:
        frames: list[Waiting] = [self._welcome(top, now)]
        if isinstance(answer, Resumed):
            if answer.replay:
                self._seq = answer.replay[0].seq - 1
            replay = [envelope for envelope in answer.replay if self._is_in_scope(envelope)]
            frames += [*replay, ResumedFrame(answer.cursor, len(replay))]
        elif answer is not None:
            frames.append(GapFrame(answer))
        return frames

    def _welcome(self, top: Cursor, now: float) -> Welcome:
        settings = self._settings
        return Welcome(
            connection_id=self.connection_id,
            thread_id=self.context.thread_id,
            cursor=top,
            heartbeat_ms=round(settings.heartbeat_seconds * 1000),
            pong_timeout_ms=round(settings.pong_timeout_seconds * 1000),
            message_bytes=settings.message_bytes,
            event_bytes=settings.event_bytes,
            replay_events=settings.replay_events,
            expires_in_ms=self._expires_in_ms(now),
        )
