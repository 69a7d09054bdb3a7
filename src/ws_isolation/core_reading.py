"""
What a client sends, and how much of it: messages, answers to pings, acks, a new credential.

Rule: a limit reached never harms an open session beyond its own end.
"""

from __future__ import annotations

import hmac
from typing import Final, cast

from . import closing
from .core_manners import Manners
from .core_state import NOTHING, WAKE, State
from .errors import (
    BadFrameError,
    ForbiddenError,
    IsolationError,
    RateLimitedError,
    SchemaViolationError,
)
from .frames import Ack, ErrorFrame, Inbound, Message, Pong, Refresh
from .keys import identity_of
from .steps import Authenticate, Consumed, Deliver, Effect, Received, Refused, Renewed
from .wire import Unservable

__all__ = ("DUPLICATE", "Reading")

DUPLICATE: Final = "duplicate"
"""The slug of the answer to a message whose id was taken before."""
_MINUTE: Final = 60.0
_ERRORS_PER_MINUTE: Final = 20
"""Messages in a minute that are answered with ``ws.error``; one more is a schema violation."""


class Reading(Manners):
    """What is taken from the client, what is answered, and what ends the session."""

    __slots__ = ()

    # Declared once more, because a checker takes an assignment in a subclass for another declaration.
    state: State
    expiry_due: float | None
    _idle_due: float | None

    def carry_threads(self) -> None:
        """Let messages name a thread: somebody decides about each."""
        self._threads = True

    def _received(self, happened: Received) -> tuple[Effect, ...]:
        now = happened.now
        self._pong_due = None  # any frame is a sign of life
        try:
            inbound = self._wire.read(happened.text, self._settings.message_bytes)
            if not (self._answers_ping(inbound) or self._advances(inbound)):
                self._take_token(now)
            return self._served(inbound, now)
        except IsolationError as error:
            return self._end(closing.code_of(error.close_code), now=now, report="broken input", error=error)
        except Exception as error:  # noqa: BLE001  # an application's own wire may raise anything
            return self._end(closing.INTERNAL_ERROR, now=now, report="the wire could not read", error=error)

    def _answers_ping(self, inbound: Inbound | Unservable) -> bool:
        """Tell whether this is the first answer to the latest ping: that one costs nothing of the rate."""
        if not isinstance(inbound, Pong) or inbound.n != self._pings or inbound.n == self._answered:
            return False
        self._answered = inbound.n
        return True

    def _advances(self, inbound: Inbound | Unservable) -> bool:
        """Take an ack that says something new, at no cost: there are as many as events that were written at most."""
        if not isinstance(inbound, Ack) or not self._ack_seq < inbound.seq <= self._seq:
            return False
        self._ack_seq = inbound.seq
        return True

    def _served(self, inbound: Inbound | Unservable, now: float) -> tuple[Effect, ...]:
        if isinstance(inbound, Message):
            if inbound.thread_id is not None and not self._threads:
                msg = "a message may not name a thread: the thread is part of the handshake"
                raise ForbiddenError(msg)
            if self._inbox >= self._settings.inbox_messages:
                msg = f"{self._inbox} messages wait for the handler"
                raise RateLimitedError(msg)
            self._inbox += 1
            if self._idle_due is not None:
                self._idle_due = now + cast("float", self._settings.inactivity_seconds)
            return (Deliver(inbound),)
        if isinstance(inbound, Unservable):
            return self._refuse(inbound.error, now)
        if isinstance(inbound, Refresh):
            return self._refresh(inbound)
        return NOTHING

    def _refresh(self, refresh: Refresh) -> tuple[Effect, ...]:
        if self.state is State.DRAINING:
            return NOTHING  # it is about to resume elsewhere, and authenticates there
        if self.state is State.REFRESHING:
            msg = "a ws.refresh while the one before it is not answered"
            raise BadFrameError(msg)
        self.state = State.REFRESHING
        return (Authenticate(refresh.credential),)

    def _renewed(self, happened: Renewed) -> tuple[Effect, ...]:
        now, context = happened.now, happened.context
        if not hmac.compare_digest(identity_of(context).key, self.identity.key):
            return self._end(closing.FORBIDDEN, now=now, report="refreshed with a credential of somebody else")
        if context.thread_id != self.context.thread_id:
            return self._end(closing.CLAIMS_CHANGED, now=now, report="refreshed with a context of another thread")
        self.context = context
        expires_in = happened.expires_in
        self.expiry_due = None if expires_in is None else now + expires_in + self._settings.expiry_skew_seconds
        if self.state is State.REFRESHING:
            self.state = State.LIVE
        return self._ping()

    def _take_token(self, now: float) -> None:
        if not self._rate.take(now):
            msg = f"more than {self._rate.per_minute:g} messages a minute"
            raise RateLimitedError(msg)
        if self._shared_rate is not None and not self._shared_rate.take(now):
            msg = f"more than {self._shared_rate.per_minute:g} messages a minute of one identity"
            raise RateLimitedError(msg)

    def _consumed(self, _happened: Consumed) -> tuple[Effect, ...]:
        self._inbox -= 1
        return NOTHING

    def _refused(self, happened: Refused) -> tuple[Effect, ...]:
        try:
            return self._refuse(happened.error, happened.now)
        except SchemaViolationError as error:
            return self._end(closing.SCHEMA_VIOLATION, now=happened.now, report="broken input", error=error)

    def _refuse(self, error: ErrorFrame, now: float) -> tuple[Effect, ...]:
        if now - self._error_minute >= _MINUTE:
            self._error_minute, self._errors = now, 0
        self._errors += error.is_clients_fault
        if self._errors > _ERRORS_PER_MINUTE:
            msg = f"more than {_ERRORS_PER_MINUTE} messages a minute could not be served"
            raise SchemaViolationError(msg)
        self._outbox.add_frame(error)
        return WAKE
