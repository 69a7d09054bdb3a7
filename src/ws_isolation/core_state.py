"""
Where one session is, what it holds, and how it ends: the ground of the session core.

Rule 1: the first recorded end decides the code, so a failure on the way out
cannot hide the failure that caused it. Rule 2: what may not go out any more is
dropped in the same step.

The core's parts stand on each other: what it holds (here), what it writes
(``core_writing``), what time and the server bring (``core_manners``), what the
client sends (``core_reading``), how it begins (``core_joining``). ``session_core`` says which of it is legal when.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from . import closing
from .closing import CloseCode
from .errors import ContextIntegrityError
from .events.envelope import Envelope
from .frames import Goodbye
from .keys import Identity, identity_of
from .outbox import Outbox, Waiting
from .rates import TokenBucket
from .steps import Effect, Report, Stop, Wake
from .stream import Cursor, Gap
from .wire import Wire

if TYPE_CHECKING:
    from .context import UserExecutionContext
    from .settings import Settings

__all__ = ("CLEARED", "LIVE", "NOTHING", "OPEN", "WAKE", "WELCOMED", "CoreState", "State")

CLEARED: Final = frozenset({4010, 4101, 4213, 4310})
"""Ends after which nothing that still waits may go out: authority gone, or no room to send it in."""


class State(enum.Enum):
    """Where a session is."""

    JOINING = "joining"
    LIVE = "live"
    REFRESHING = "refreshing"
    DRAINING = "draining"
    CLOSING = "closing"
    CLOSED = "closed"


WELCOMED: Final = (State.LIVE, State.REFRESHING, State.DRAINING)
"""Where a client has been told where its stream stands, and the session has not begun to end."""
OPEN: Final = (State.JOINING, *WELCOMED)
"""Where a session has not begun to end."""
WAKE: Final[tuple[Effect, ...]] = (Wake(),)
NOTHING: Final[tuple[Effect, ...]] = ()
LIVE: Final = State.LIVE
"""For what is asked with each event: to read a member from its class takes three times as long."""


class CoreState:
    """
    What a session core holds. Its arguments are those of ``SessionCore``.
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
        "_idle_due",
        "_inbox",
        "_kept_gap",
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
        "expiry_due",
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
        enforce_pongs: bool,
        expires_in: float | None,
        now: float,
        shared_rate: TokenBucket | None = None,
    ) -> None:
        self.context: UserExecutionContext = context
        self.identity: Identity = identity_of(context)
        self.connection_id: str = connection_id
        self.incident_id: str = incident_id
        self.state: State = State.JOINING
        self.code: CloseCode | None = None
        """The code of the first recorded end, None while the session lives and where the peer left."""
        self.written: int = 0
        """Envelopes written."""
        self._settings = settings
        self._wire = wire
        self._outbox = Outbox(
            events=settings.outbox_events, size=settings.outbox_bytes, event_bytes=settings.event_bytes
        )
        self._seq = 0
        self._inbox: int = 0
        self._rate = TokenBucket(per_minute=settings.messages_per_minute, burst=settings.message_burst, now=now)
        self._shared_rate = shared_rate
        self._errors = 0
        self._error_minute = now
        self._pings: int = 0
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
        self._idle_due = None if settings.inactivity_seconds is None else now + settings.inactivity_seconds
        self._age_due = None if settings.max_age_seconds is None else now + settings.max_age_seconds
        self.expiry_due: float | None = None if expires_in is None else now + expires_in + settings.expiry_skew_seconds
        """When the authority ends; None where it never does."""
        self._offered_seq = 0
        self._skipped: Cursor | None = None
        self._thread_id = context.thread_id if settings.session_scope == "thread" else None
        # Stands before whatever is published from now on, and beside the outbox: a replay takes none of its room.
        # A list, last first: it is empty for most of a session's life, and an empty deque holds 600 bytes.
        # Until the engine has answered it holds what is published meanwhile, first first.
        self._opening: list[Waiting] = []
        self._kept_gap: Gap | None = None
        """The last gap before the engine has answered: what was kept before it does not matter any more."""

    @property
    def is_open(self) -> bool:
        """Whether the session has not begun to end."""
        return self.state in OPEN

    @property
    def is_at_rest(self) -> bool:
        """Whether the session is live and nothing waits to be written, control frames included."""
        return self.state is LIVE and not self._opening and not self._outbox.queue

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

    def _is_in_scope(self, envelope: Envelope) -> bool:
        """Tell whether the session gets this event: of another thread, one that is narrowed to its own does not."""
        thread_id = envelope.event.thread_id
        return self._thread_id is None or thread_id is UNSET or thread_id == self._thread_id

    def _drop_waiting(self) -> None:
        self._opening.clear()
        self._outbox.clear()

    def _end(
        self,
        code: CloseCode,
        *,
        now: float | None,
        report: str = "",
        error: Exception | None = None,
    ) -> tuple[Effect, ...]:
        if code.code in CLEARED or self.state is State.JOINING:
            self._drop_waiting()
        self._outbox.add_frame(self._goodbye(code))
        self.code = code
        self.state = State.CLOSING
        self._close_due = None if now is None else now + self._settings.close_seconds
        self._pong_due = None
        reports = (Report(report, error),) if report else ()
        return (*reports, Stop(), Wake())

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

    def _goodbye(self, code: CloseCode) -> Goodbye:
        return Goodbye(code=code, incident_id=self._shown_incident(code), retry_after_ms=self._retry_after_ms)

    def _shown_incident(self, code: CloseCode) -> str:
        return self.incident_id if code.action == "back_off" else ""
