"""
One session as a state machine: inputs in, effects out, no I/O and no clock.

Rule 1: every decision about a socket is made here: what is legal, what goes out
next, what is too much, too late or foreign. The shell waits, writes and
carries out the effects. Rule 2: the first recorded end decides the code, so a
failure on the way out cannot hide the failure that caused it. Rule 3: an
envelope leaves only after its owner was compared with the session's own
context; a foreign one is held back, reported, and ends the session.

What is legal stands in ``TRANSITIONS``, keyed by state and input.
"""

# The table of transitions stands below the class whose methods it names.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import enum
import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias, final

from msgspec import UNSET

from . import closing
from .closing import CloseCode
from .context import is_intact
from .errors import (
    BadFrameError,
    ContextIntegrityError,
    ForbiddenError,
    InvalidStateError,
    IsolationError,
    OwnerMismatchError,
    RateLimitedError,
    SchemaViolationError,
)
from .events.envelope import Envelope
from .frames import (
    Ack,
    ErrorFrame,
    Frame,
    GapFrame,
    Goodbye,
    Inbound,
    Message,
    Ping,
    Pong,
    Refresh,
    ResumedFrame,
    Welcome,
)
from .keys import Identity, identity_of
from .outbox import Outbox, Waiting
from .rates import TokenBucket
from .steps import (
    Abort,
    Authenticate,
    Close,
    Consumed,
    Deliver,
    Draining,
    Effect,
    Ended,
    Finished,
    Input,
    Missed,
    Offered,
    PeerGone,
    Received,
    Refused,
    Renewed,
    Report,
    Stop,
    Ticked,
    Wake,
    Write,
    WriteFailed,
    WriterReady,
    WriteWaits,
)
from .stream import Cursor, Gap, Resumed
from .wire import Unservable, Wire

if TYPE_CHECKING:
    from .context import UserExecutionContext
    from .settings import Settings

__all__ = ("DUPLICATE", "SessionCore", "State")

DUPLICATE: Final = "duplicate"
"""The slug of the answer to a message whose id was taken before."""
_MINUTE: Final = 60.0
_ERRORS_PER_MINUTE: Final = 20
"""Messages in a minute that are answered with ``ws.error``; one more is a schema violation."""
_CLEARED: Final = frozenset({4010, 4101, 4213, 4310})
"""Ends after which nothing that still waits may go out: authority gone, or no room to send it in."""
_LAG_SECONDS: Final = 1.0
"""How late a tick may come before the delay counts as ours: a blocked loop looks like a dead peer."""


class State(enum.Enum):
    """Where a session is."""

    LIVE = "live"
    REFRESHING = "refreshing"
    DRAINING = "draining"
    CLOSING = "closing"
    CLOSED = "closed"


_OPEN: Final = (State.LIVE, State.REFRESHING, State.DRAINING)
_WAKE: Final[tuple[Effect, ...]] = (Wake(),)
_NOTHING: Final[tuple[Effect, ...]] = ()


@final
class SessionCore:
    """
    The decisions of one session. Lives as long as its socket.

    Args:
        context: Whose session it is. Its identity stays for life, a refresh may change its claims.
        connection_id: The session's id, the same all its life.
        incident_id: What the user quotes should this session fail.
        settings: The bounds.
        wire: How the client is spoken to.
        top: The stream's cursor when the session was put on it.
        answer: What the client's own cursor came to, with what is replayed; None where it gave none.
        enforce_pongs: Whether silence after a ping ends the session.
        expires_in: Seconds until ``expires_at``, None where it never comes.
        now: Seconds, monotonic.
        shared_rate: What all sessions of the identity may send together; None where that has no bound.
    """

    __slots__ = (
        "_ack_seq",
        "_age_due",
        "_answered",
        "_close_due",
        "_drain_due",
        "_enforce_pongs",
        "_error_minute",
        "_errors",
        "_expiry_due",
        "_inbox",
        "_offered_seq",
        "_opening",
        "_outbox",
        "_parting",
        "_ping_due",
        "_ping_waits",
        "_pings",
        "_pong_due",
        "_rate",
        "_retry_after_ms",
        "_seq",
        "_settings",
        "_shared_rate",
        "_skipped",
        "_thread_id",
        "_threads",
        "_wire",
        "_write_due",
        "code",
        "connection_id",
        "context",
        "identity",
        "incident_id",
        "state",
        "written",
    )

    def __init__(
        self,
        *,
        context: UserExecutionContext,
        connection_id: str,
        incident_id: str,
        settings: Settings,
        wire: Wire,
        top: Cursor,
        answer: Resumed | Gap | None,
        enforce_pongs: bool,
        expires_in: float | None,
        now: float,
        shared_rate: TokenBucket | None = None,
    ) -> None:
        self.context: UserExecutionContext = context
        self.identity: Identity = identity_of(context)
        self.connection_id: str = connection_id
        self.incident_id: str = incident_id
        self.state: State = State.LIVE
        self.code: CloseCode | None = None
        """The code of the first recorded end, None while the session lives and where the peer left."""
        self.written: int = 0
        """Envelopes written."""
        self._settings = settings
        self._wire = wire
        self._outbox = Outbox(
            events=settings.outbox_events, size=settings.outbox_bytes, event_bytes=settings.event_bytes
        )
        self._seq = top.seq
        self._inbox = 0
        self._rate = TokenBucket(per_minute=settings.messages_per_minute, burst=settings.message_burst, now=now)
        self._shared_rate = shared_rate
        self._errors = 0
        self._error_minute = now
        self._pings = 0
        self._ping_waits = False
        self._answered = 0
        self._parting = False
        self._ack_seq = 0
        self._threads = False
        self._enforce_pongs = enforce_pongs
        self._retry_after_ms: int | None = None
        self._ping_due = now + settings.heartbeat_seconds
        self._pong_due: float | None = None
        self._write_due: float | None = None
        self._close_due: float | None = None
        self._drain_due: float | None = None
        self._age_due = None if settings.max_age_seconds is None else now + settings.max_age_seconds
        self._expiry_due = None if expires_in is None else now + expires_in + settings.expiry_skew_seconds
        self._offered_seq = top.seq
        self._skipped: Cursor | None = None
        self._thread_id = context.thread_id if settings.session_scope == "thread" else None
        # Stands before whatever is published from now on, and beside the outbox: a replay takes none of its room.
        # A list, last first: it is empty for most of a session's life, and an empty deque holds 600 bytes.
        self._opening: list[Waiting] = self._first_frames(top, answer, expires_in)[::-1]

    def handle(self, happened: Input, /) -> tuple[Effect, ...]:
        """
        Take one input and return what the shell must do, in this order.

        Raises:
            InvalidStateError: The input has no meaning in this state; that is
                a bug of the shell. Nothing changed.
        """
        transition = TRANSITIONS.get((self.state, type(happened)))
        if transition is None:
            msg = f"cannot handle {type(happened).__name__} in state {self.state.value} (session {self.connection_id})"
            raise InvalidStateError(msg)
        return transition(self, happened)

    def next_deadline(self) -> float | None:
        """Return when ``Ticked`` has to come at the latest, None once the session is closed."""
        if self.state is State.CLOSED:
            return None
        if self.state is State.CLOSING:
            # Without a time yet, the next tick starts the clock of the way out: due at once.
            return self._close_due or 0.0
        due = self._ping_due
        for other in (self._pong_due, self._write_due, self._expiry_due, self._drain_due, self._age_due):
            if other is not None and other < due:
                due = other
        return due

    @property
    def is_open(self) -> bool:
        """Whether the session has not begun to end."""
        return self.state is not State.CLOSING and self.state is not State.CLOSED

    @property
    def has_something_to_write(self) -> bool:
        """Whether anything waits, control frames included."""
        return bool(self._opening) or len(self._outbox) > 0

    @property
    def joined(self) -> int:
        """Pieces of text that were joined to one before them, because the client is slow."""
        return self._outbox.joined

    @property
    def waiting(self) -> tuple[int, int]:
        """Envelopes that wait to be written, and their bytes."""
        return self._outbox.events, self._outbox.size

    @property
    def acknowledged(self) -> int:
        """The last ``seq`` that the client says it has processed, 0 until then; never above what was written."""
        return self._ack_seq

    def carry_threads(self) -> None:
        """Let messages name a thread: somebody decides about each."""
        self._threads = True

    def _welcome(self, top: Cursor, expires_in: float | None) -> Welcome:
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
            expires_in_ms=None if expires_in is None else max(0, round(expires_in * 1000)),
        )

    def _first_frames(self, top: Cursor, answer: Resumed | Gap | None, expires_in: float | None) -> list[Waiting]:
        frames: list[Waiting] = [self._welcome(top, expires_in)]
        if isinstance(answer, Resumed):
            if answer.replay:
                self._seq = answer.replay[0].seq - 1
            replay = [envelope for envelope in answer.replay if self._is_in_scope(envelope)]
            frames += [*replay, ResumedFrame(answer.cursor, len(replay))]
        elif answer is not None:
            frames.append(GapFrame(answer))
        return frames

    def _is_in_scope(self, envelope: Envelope) -> bool:
        """Tell whether the session gets this event: of another thread, one that is narrowed to its own does not."""
        thread_id = envelope.event.thread_id
        return self._thread_id is None or thread_id is UNSET or thread_id == self._thread_id

    def _offered(self, happened: Offered) -> tuple[Effect, ...]:
        envelope = happened.envelope
        in_scope = self._is_in_scope(envelope)
        if envelope.durable:
            if envelope.seq <= self._offered_seq and envelope.owner.key == self.identity.key:
                return _NOTHING  # part of what was replayed; a foreign one goes on to the last hop, which reports it
            self._offered_seq = envelope.seq
            self._skipped = None if in_scope else Cursor(envelope.epoch, envelope.seq, envelope.id)
        if not in_scope:
            return _NOTHING
        if happened.ready and not self._opening and not len(self._outbox):
            return self._written_at_once(envelope, happened.now)
        if self._outbox.add(envelope):
            return _WAKE
        return self._end(closing.SLOW_CONSUMER, now=None, report="the outbox is full")

    def _missed(self, happened: Missed) -> tuple[Effect, ...]:
        self._offered_seq = happened.gap.cursor.seq
        self._skipped = None
        self._outbox.add_frame(GapFrame(happened.gap))
        return _WAKE

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
            return (Deliver(inbound),)
        if isinstance(inbound, Unservable):
            return self._refuse(inbound.error, now)
        if isinstance(inbound, Refresh):
            return self._refresh(inbound)
        return _NOTHING

    def _refresh(self, refresh: Refresh) -> tuple[Effect, ...]:
        if self.state is State.DRAINING:
            return _NOTHING  # it is about to resume elsewhere, and authenticates there
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
        self._expiry_due = None if expires_in is None else now + expires_in + self._settings.expiry_skew_seconds
        if self.state is State.REFRESHING:
            self.state = State.LIVE
        return self._ping()

    def _draining(self, happened: Draining) -> tuple[Effect, ...]:
        if happened.close_at <= happened.now:
            self._retry_after_ms = happened.retry_after_ms
            return self._end(closing.DRAIN, now=happened.now)
        if self._drain_due is None or happened.close_at < self._drain_due:
            self._drain_due, self._retry_after_ms = happened.close_at, happened.retry_after_ms
        self.state = State.DRAINING
        return _NOTHING

    def _take_token(self, now: float) -> None:
        if not self._rate.take(now):
            msg = f"more than {self._rate.per_minute:g} messages a minute"
            raise RateLimitedError(msg)
        if self._shared_rate is not None and not self._shared_rate.take(now):
            msg = f"more than {self._shared_rate.per_minute:g} messages a minute of one identity"
            raise RateLimitedError(msg)

    def _consumed(self, _happened: Consumed) -> tuple[Effect, ...]:
        self._inbox -= 1
        return _NOTHING

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
        return _WAKE

    def _writer_ready(self, happened: WriterReady) -> tuple[Effect, ...]:
        now = happened.now
        self._write_due = None
        # The clock's tick may come late; an event after the end of the authority may not come at all.
        expired = self._expiry_due is not None and now >= self._expiry_due
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

    def _written_at_once(self, envelope: Envelope, now: float) -> tuple[Effect, ...]:
        """Decide the same as for what waited: authority, owner, text."""
        if self._expiry_due is not None and now >= self._expiry_due:
            return self._end(closing.TOKEN_EXPIRED, now=now)
        if (breach := self._breach(envelope)) is not None:
            return self._break_off(now, breach)
        try:
            text = self._text_of(envelope, now)
        except Exception as error:  # noqa: BLE001  # an application's own wire may raise anything
            return self._break_off(now, Report("the wire could not write", error))
        return _NOTHING if text is None else (Write(text),)

    def _write_waits(self, happened: WriteWaits) -> tuple[Effect, ...]:
        self._write_due = happened.now + self._settings.write_seconds
        return _NOTHING

    def _next_item(self) -> Waiting | None:
        return self._opening.pop() if self._opening else self._outbox.take()

    def _drop_waiting(self) -> None:
        self._opening.clear()
        self._outbox.clear()

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

    def _write_failed(self, happened: WriteFailed) -> tuple[Effect, ...]:
        self._write_due = None
        return self._break_off(happened.now, None)

    def _break_off(self, now: float, why: Report | None) -> tuple[Effect, ...]:
        """End so that nothing follows the text that was held back or lost; an end recorded before keeps its code."""
        reports = () if why is None else (why,)
        self._drop_waiting()
        if self.is_open:
            rejected = why is not None and isinstance(why.error, ContextIntegrityError)
            return (*reports, *self._end(closing.CONTEXT_REJECTED if rejected else closing.INTERNAL_ERROR, now=now))
        if self.code is not None and not self._parting:
            self._outbox.add_frame(self._goodbye(self.code))
        return (*reports, Wake())

    def _expires_in_ms(self, now: float) -> int | None:
        if self._expiry_due is None:
            return None
        return max(0, round((self._expiry_due - self._settings.expiry_skew_seconds - now) * 1000))

    def _drained(self) -> tuple[Effect, ...]:
        if self.is_open or self.code is None:
            return _NOTHING
        wait = closing.retry_after(self.code, self._retry_after_ms)
        reason = closing.reason(self.code, incident_id=self._shown_incident(self.code), retry_after_ms=wait)
        return (Close(self.code, reason),)

    def _goodbye(self, code: CloseCode) -> Goodbye:
        return Goodbye(code=code, incident_id=self._shown_incident(code), retry_after_ms=self._retry_after_ms)

    def _shown_incident(self, code: CloseCode) -> str:
        return self.incident_id if code.action == "back_off" else ""

    def _ticked(self, happened: Ticked) -> tuple[Effect, ...]:
        now = happened.now
        if self._write_due is not None and now >= self._write_due:
            return self._cut("a write took longer than its deadline")
        for due, code in (
            (self._expiry_due, closing.TOKEN_EXPIRED),
            (self._drain_due, closing.DRAIN),
            (self._age_due, closing.MAX_AGE),
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
        return _NOTHING

    def _ping(self) -> tuple[Effect, ...]:
        if self._ping_waits:
            return _NOTHING  # one at a time: behind a slow write they would pile up
        self._ping_waits = True
        self._pings += 1
        if self._skipped is not None:
            # Moves the client's cursor past events of other threads, so that it does not fall behind the window.
            self._outbox.add_frame(ResumedFrame(self._skipped, 0))
            self._skipped = None
        self._outbox.add_frame(Ping(self._pings, 0, None))
        return _WAKE

    def _ticked_closing(self, happened: Ticked) -> tuple[Effect, ...]:
        if self._close_due is None:
            # The end came from a step without a time: the clock of the way out starts now.
            self._close_due = happened.now + self._settings.close_seconds
        if happened.now >= self._close_due:
            self.state = State.CLOSED
            self._drop_waiting()
            return (Report("goodbye could not be written in time"), Abort())
        return _NOTHING

    def _cut(self, why: str) -> tuple[Effect, ...]:
        self.code = closing.SLOW_CONSUMER
        self.state = State.CLOSED
        self._drop_waiting()
        return (Report(why), Stop(), Abort())

    def _ended(self, happened: Ended) -> tuple[Effect, ...]:
        self._retry_after_ms = happened.retry_after_ms
        return self._end(happened.code, now=happened.now)

    def _end(
        self,
        code: CloseCode,
        *,
        now: float | None,
        report: str = "",
        error: Exception | None = None,
    ) -> tuple[Effect, ...]:
        if code.code in _CLEARED:
            self._drop_waiting()
        self._outbox.add_frame(self._goodbye(code))
        self.code = code
        self.state = State.CLOSING
        self._close_due = None if now is None else now + self._settings.close_seconds
        self._pong_due = None
        reports = (Report(report, error),) if report else ()
        return (*reports, Stop(), Wake())

    def _peer_gone(self, _happened: PeerGone) -> tuple[Effect, ...]:
        was_live = self.is_open
        self.state = State.CLOSED
        self._drop_waiting()
        return (Stop(),) if was_live else _NOTHING

    def _finished(self, _happened: Finished) -> tuple[Effect, ...]:
        self.state = State.CLOSED
        return _NOTHING

    def _ignored(self, _happened: Input) -> tuple[Effect, ...]:
        return _NOTHING


_Transition: TypeAlias = Callable[..., tuple[Effect, ...]]  # type: ignore[explicit-any]  # the key says which input

_WHILE_OPEN: Final[dict[type, _Transition]] = {
    Offered: SessionCore._offered,
    Missed: SessionCore._missed,
    Received: SessionCore._received,
    Consumed: SessionCore._consumed,
    Refused: SessionCore._refused,
    WriterReady: SessionCore._writer_ready,
    WriteFailed: SessionCore._write_failed,
    WriteWaits: SessionCore._write_waits,
    Ticked: SessionCore._ticked,
    Draining: SessionCore._draining,
    Ended: SessionCore._ended,
    PeerGone: SessionCore._peer_gone,
}

TRANSITIONS: Final[dict[tuple[State, type], _Transition]] = {
    **{(state, kind): method for state in _OPEN for kind, method in _WHILE_OPEN.items()},
    (State.REFRESHING, Renewed): SessionCore._renewed,
    (State.DRAINING, Renewed): SessionCore._renewed,
    (State.CLOSING, Renewed): SessionCore._ignored,
    (State.CLOSED, Renewed): SessionCore._ignored,
    (State.CLOSING, Draining): SessionCore._ignored,
    (State.CLOSED, Draining): SessionCore._ignored,
    (State.CLOSING, Offered): SessionCore._ignored,
    (State.CLOSING, Missed): SessionCore._ignored,
    (State.CLOSING, Received): SessionCore._ignored,
    (State.CLOSING, Consumed): SessionCore._consumed,
    (State.CLOSING, Refused): SessionCore._ignored,
    (State.CLOSING, WriterReady): SessionCore._writer_ready,
    (State.CLOSING, WriteFailed): SessionCore._write_failed,
    (State.CLOSING, WriteWaits): SessionCore._write_waits,
    (State.CLOSING, Ticked): SessionCore._ticked_closing,
    (State.CLOSING, Ended): SessionCore._ignored,
    (State.CLOSING, PeerGone): SessionCore._peer_gone,
    (State.CLOSING, Finished): SessionCore._finished,
    (State.CLOSED, Offered): SessionCore._ignored,
    (State.CLOSED, Missed): SessionCore._ignored,
    (State.CLOSED, Received): SessionCore._ignored,
    (State.CLOSED, Consumed): SessionCore._ignored,
    (State.CLOSED, Refused): SessionCore._ignored,
    (State.CLOSED, WriterReady): SessionCore._ignored,
    (State.CLOSED, WriteFailed): SessionCore._ignored,
    (State.CLOSED, WriteWaits): SessionCore._ignored,
    (State.CLOSED, Ticked): SessionCore._ignored,
    (State.CLOSED, Ended): SessionCore._ignored,
    (State.CLOSED, PeerGone): SessionCore._ignored,
    (State.CLOSED, Finished): SessionCore._ignored,
}
"""What is legal where. A pair that is missing is a bug of the shell."""
