"""
What a session writes, and what may be written: the session core's way out.

Rule 1: everything for the socket goes through the one outbox, or straight past
it where it is empty; nothing overtakes. Rule 2: an envelope leaves only after
its owner was compared with the session's own context; a foreign one is held
back, reported, and ends the session. Rule 3: what is decided in one call
(``straight``) is decided as the step for it would.
"""

from __future__ import annotations

import hmac

from . import closing
from .context import is_intact
from .core_state import LIVE, NOTHING, WAKE, CoreState
from .errors import ContextIntegrityError, OwnerMismatchError
from .events.envelope import Envelope
from .frames import Frame, GapFrame, Goodbye, Ping, ResumedFrame
from .outbox import Waiting
from .steps import Close, Effect, Missed, Offered, Report, Write, WriteFailed, WriterReady, WriteWaits
from .stream import Cursor
from .wire import DEFAULT_WIRE

__all__ = ("Writing",)


class Writing(CoreState):
    """What is offered, what goes out next, and what is held back."""

    __slots__ = ()

    # Declared once more, because a checker takes an assignment in a subclass for another declaration.
    written: int

    def straight(self, envelope: Envelope, now: float, /) -> str | None:
        """
        Take *envelope* and return its text, where nothing waits and nothing stands against it.

        The common case in one call, without a step's input and effects. It decides as ``Offered`` with
        *ready* does; where that has more to decide, it returns None and changes nothing.

        Args:
            envelope: What the stream has for this session, while nothing is being written.
            now: Seconds, monotonic; not looked at where ``expiry_due`` is None.
        """
        if (
            self.state is not LIVE
            or self._opening
            or self._outbox.queue
            or self._wire is not DEFAULT_WIRE
            or self._thread_id is not None
            or (self.expiry_due is not None and now >= self.expiry_due)
            or envelope.owner.key != self.identity.key
            or not is_intact(self.context)
        ):
            return None
        if envelope.durable:
            seq = envelope.seq
            if seq <= self._offered_seq:
                return None
            self._offered_seq = self._seq = seq
        self.written += 1
        return envelope.text

    def _offered(self, happened: Offered) -> tuple[Effect, ...]:
        envelope = happened.envelope
        in_scope = self._is_in_scope(envelope)
        if envelope.durable:
            if envelope.seq <= self._offered_seq and envelope.owner.key == self.identity.key:
                return NOTHING  # part of what was replayed; a foreign one goes on to the last hop, which reports it
            self._offered_seq = envelope.seq
            self._skipped = None if in_scope else Cursor(envelope.epoch, envelope.seq, envelope.id)
        if not in_scope:
            return NOTHING
        if happened.ready and not self._opening and not self._outbox.queue:
            return self._written_at_once(envelope, happened.now)
        if self._outbox.add(envelope):
            return WAKE
        return self._end(closing.SLOW_CONSUMER, now=None, report="the outbox is full")

    def _written_at_once(self, envelope: Envelope, now: float) -> tuple[Effect, ...]:
        """Decide the same as for what waited: authority, owner, text."""
        if self.expiry_due is not None and now >= self.expiry_due:
            return self._end(closing.TOKEN_EXPIRED, now=now)
        if (breach := self._breach(envelope)) is not None:
            return self._break_off(now, breach)
        try:
            text = self._text_of(envelope, now)
        except Exception as error:  # noqa: BLE001  # an application's own wire may raise anything
            return self._break_off(now, Report("the wire could not write", error))
        return NOTHING if text is None else (Write(text),)

    def _missed(self, happened: Missed) -> tuple[Effect, ...]:
        self._offered_seq = happened.gap.cursor.seq
        self._skipped = None
        self._outbox.add_frame(GapFrame(happened.gap))
        return WAKE

    def _writer_ready(self, happened: WriterReady) -> tuple[Effect, ...]:
        now = happened.now
        self._write_due = None
        # The clock's tick may come late; an event after the end of the authority may not come at all.
        expired = self.expiry_due is not None and now >= self.expiry_due
        if expired and self.is_open:
            return self._end(closing.TOKEN_EXPIRED, now=now)
        while (item := self._next_item()) is not None:
            if expired and isinstance(item, Envelope):
                continue  # on the way out for another reason: what is left to say is goodbye
            if isinstance(item, Envelope) and (breach := self._breach(item)) is not None:
                return self._break_off(now, breach)
            try:
                text = self._text_of(item, now)
            except Exception as error:  # noqa: BLE001  # an application's own wire may raise anything
                return self._break_off(now, Report("the wire could not write", error))
            if text is not None:
                self._write_due = now + self._settings.write_seconds
                return (Write(text),)
        return self._drained()

    def _write_waits(self, happened: WriteWaits) -> tuple[Effect, ...]:
        self._write_due = happened.now + self._settings.write_seconds
        return NOTHING

    def _write_failed(self, happened: WriteFailed) -> tuple[Effect, ...]:
        self._write_due = None
        return self._break_off(happened.now, None)

    def _next_item(self) -> Waiting | None:
        return self._opening.pop() if self._opening else self._outbox.take()

    def _breach(self, envelope: Envelope) -> Report | None:
        """Compare the owner at the last hop; None where the envelope may go out."""
        if not hmac.compare_digest(envelope.owner.key, self.identity.key):
            error = OwnerMismatchError(envelope.id, self.connection_id)
            return Report("foreign envelope held back", error, alarm=True)
        if not is_intact(self.context):
            caller = "the last hop"
            return Report("edited context at the last hop", ContextIntegrityError(caller), alarm=True)
        return None

    def _text_of(self, item: Envelope | Frame, now: float) -> str | None:
        if isinstance(item, Envelope):
            text = self._wire.event(item)
            self.written += 1
            if item.durable:
                self._seq = item.seq
            return text
        if isinstance(item, Ping):
            return self._ping_text(item.n, now)
        if isinstance(item, GapFrame | ResumedFrame):
            self._seq = (item.gap if isinstance(item, GapFrame) else item).cursor.seq
        if isinstance(item, Goodbye):
            self._parting = True
        return self._wire.control(item)

    def _ping_text(self, n: int, now: float) -> str | None:
        self._ping_waits = False
        # Stamped when it leaves: it says what this socket was given before it.
        text = self._wire.control(Ping(n, self._seq, self._expires_in_ms(now)))
        # From the first ping that nothing answered: with a time-out longer than the heartbeat, each ping would move it.
        if text is not None and self._enforce_pongs and self.is_open and self._pong_due is None:
            self._pong_due = now + self._settings.pong_timeout_seconds
        return text

    def _expires_in_ms(self, now: float) -> int | None:
        if self.expiry_due is None:
            return None
        return max(0, round((self.expiry_due - self._settings.expiry_skew_seconds - now) * 1000))

    def _drained(self) -> tuple[Effect, ...]:
        if self.is_open or self.code is None:
            return NOTHING
        wait = closing.retry_after(self.code, self._retry_after_ms)
        reason = closing.reason(self.code, incident_id=self._shown_incident(self.code), retry_after_ms=wait)
        return (Close(self.code, reason),)
