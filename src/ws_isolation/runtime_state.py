"""
What a factory has while it runs, and the one event loop that it belongs to.

Internal, and never handed out: whoever holds it could name any identity.
Managers and sessions hold it for their own; the factory decides who gets one.

Rule: it belongs to one event loop at a time, and starts by its first use there.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from contextvars import Context
from datetime import UTC, datetime
from random import uniform
from typing import TYPE_CHECKING, Any

from .access import Access
from .backplanes.base import Lease, Noting, Presence, Revocation
from .backplanes.memory import MemoryBackplane
from .clockwork import Clockwork
from .crowd import Crowd
from .errors import ConcurrencyError, InvalidStateError, type_name
from .hooks import Span, guarded
from .places import Places
from .session import Session
from .streams import LiveStream, Streams

if TYPE_CHECKING:
    from .backplanes.base import Backplane
    from .entrance import Entrance
    from .hooks import Guard
    from .keys import Identity
    from .observing import Observer, SpanName
    from .settings import Settings
    from .typing import Clock

__all__ = ("RuntimeState",)


class RuntimeState:
    """
    The part of a runtime that counts and keeps. Lives as long as the factory; what it holds, from start to stop.

    Args:
        settings: The factory's bounds.
        clock: Where time comes from.
        backplane: What carries the streams; one in memory, of this factory alone, where None.
        observer: Whom to tell, if anybody.

    Raises:
        SettingsError: The observer lacks hooks.

    Attributes:
        adopted: Tasks that are runs of other threads; a stop ends them, no bound of an identity's work does.
        backplane: What carries the streams.
        is_draining: Whether it is stopping.
        observer: The guard around the observer; None, and nothing is called, where there is none.
        streams: Of all identities.
        sessions: Open ones, in the order in which they came, and since when (Unix seconds).
        leaving: Sessions that have ended, whose transports are not closed yet.
        entering: Accepted sockets that still have to say who they are.
        access: Who may not come back; kept across stop and start.
        places: The sessions' places among those of all nodes; None where the backplane counts none, or is this
            factory's own.
        crowd: Handshakes that are not authenticated yet.
        foreign: Envelopes that the last hop held back.
        closes: Ended handshakes and sessions by close code or HTTP status.
    """

    __slots__ = (
        "_clockwork",
        "_given",
        "_loop",
        "_place",
        "_process",
        "_readings",
        "_stopped",
        "access",
        "adopted",
        "backplane",
        "clock",
        "closes",
        "crowd",
        "entering",
        "foreign",
        "is_draining",
        "leaving",
        "observer",
        "places",
        "sessions",
        "settings",
        "streams",
    )

    def __init__(
        self, settings: Settings, clock: Clock, backplane: Backplane | None = None, observer: Observer | None = None
    ) -> None:
        self.observer: Guard | None = guarded(observer)
        self.settings: Settings = settings
        self.clock: Clock = clock
        self._given = backplane
        records = backplane if isinstance(backplane, Revocation) else None
        self.access: Access = Access(settings.revocations, records, clock, settings.engine_seconds)
        self.crowd: Crowd = Crowd(settings)
        self.foreign: int = 0
        self.closes: dict[int, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        self._stopped = False
        self._clear()

    def _clear(self) -> None:
        self.streams: Streams = Streams(self)
        given = self._given
        self.backplane: Backplane = (
            MemoryBackplane(self.settings, monotonic=self.clock.monotonic, unix=self.clock.unix)
            if given is None
            else given
        )
        # Of exactly this class: another may do more in its publish().
        self._place = self.backplane.place if type(self.backplane) is MemoryBackplane else None
        self._readings: set[asyncio.Task[None]] = set()
        self.sessions: dict[Session, float] = {}
        self.adopted: set[asyncio.Task[None]] = set()
        self.leaving: dict[Session, None] = {}
        self.entering: dict[Entrance, None] = {}
        self.is_draining: bool = False
        self._clockwork: Clockwork[Session | LiveStream | Places] = Clockwork(
            self.clock, self._look, None if self.observer is None else self.observer.loop_lag
        )
        self.places: Places | None = None
        counts: object = given
        if isinstance(counts, Presence):
            self.places = Places(counts, self.settings, self.clock, self._end_replaced, self._clockwork.schedule)

    if TYPE_CHECKING:

        def read_soon(self, live: LiveStream, /) -> None:
            """Read the history of *live* again: what follows streams knows how."""

        def check_soon(self, live: LiveStream, /) -> None:
            """Read whether the identity is revoked: what ends sessions knows how."""

        def replaced(self, live: LiveStream, connection_id: str, /) -> None:
            """End this very session: what ends sessions knows how."""

        def _end_replaced(self, lease: Lease, /) -> None:
            """End the session of a lost place: what ends sessions knows how."""

        def _look(self, item: Session | LiveStream | Places, now: float, /) -> None:
            """Look at what is due: the whole runtime knows how."""

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped, and not started since."""
        return self._stopped

    @property
    def grace_seconds(self) -> float:
        """Seconds that a handler may take to return once its session has ended."""
        return self.settings.close_seconds

    def utc_now(self) -> datetime:
        """Return the time by the factory's clock, aware, in UTC."""
        return datetime.fromtimestamp(self.clock.unix(), UTC)

    def start(self, call: str, /) -> None:
        """Start in the running loop, also after a stop; raises as ``require_running``."""
        self._stopped = False
        self.require_running(call)

    def require_running(self, call: str, /) -> None:
        """
        Start here, or see that this is where it runs.

        Raises:
            ConcurrencyError: There is no running loop, or another one.
            InvalidStateError: It has stopped.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            msg = (
                f"cannot call {call} outside an event loop: call it in the loop of the application, "
                "or from a thread with ws_isolation.threads.Portal(factory)"
            )
            raise ConcurrencyError(msg) from None
        if self._loop is loop:
            if self._stopped:
                msg = f"cannot call {call}: the factory has stopped; start it with 'async with factory' or lifespan"
                raise InvalidStateError(msg)
            return
        if self._loop is not None and not self._loop.is_closed() and not self._stopped:
            msg = (
                f"cannot call {call} in another event loop than the one the factory runs in: "
                "use ws_isolation.threads.Portal(factory), awaiting asyncio.wrap_future(portal.send_threadsafe(...))"
            )
            raise ConcurrencyError(msg)
        self._clear()
        self.crowd = Crowd(self.settings)  # those of the old loop will never end; those that outlast a stop will
        self._loop = loop
        self._process = os.getpid()
        self._stopped = False

    def loop_for(self, call: str, /) -> asyncio.AbstractEventLoop:
        """
        Return the loop that it runs in, for a call from another thread.

        Raises:
            InvalidStateError: It does not run: not yet, not any more, or its loop is closed or in the parent process.
        """
        loop = self._loop
        if loop is not None and self._process != os.getpid():
            msg = (
                f"cannot call {call}: this process was forked, and the loop of the factory is its parent's; "
                "create the manager in this process, with a BlockingPublisher or a new factory"
            )
            raise InvalidStateError(msg)
        if loop is None or self._stopped or loop.is_closed():
            msg = (
                f"cannot call {call}: the factory runs in no event loop now; "
                "start it in the application's loop, with 'async with factory' or lifespan"
            )
            raise InvalidStateError(msg)
        return loop

    def lacks(self) -> tuple[str, ...]:
        """Return, in words, what a given backplane cannot do for all nodes."""
        given = self._given
        if given is None:
            return ()
        name = type_name(type(given))
        notes: list[str] = []
        if not isinstance(given, Revocation):
            notes.append(f"{name} keeps no revocations: revoke() holds for this process; call it in each")
        if not isinstance(given, Presence):
            notes.append(f"{name} counts no sessions: sessions_per_identity and presence() hold for this process")
        engine: object = given
        if isinstance(engine, Noting):
            notes += engine.notes()
        return tuple(notes)

    def counts(self, identity: Identity, /) -> tuple[int, int]:
        """Return the identity's local sessions and open runs."""
        live = self.streams.find(identity)
        return (0, 0) if live is None else (len(live.sessions), len(live.lifecycle.open_runs))

    def present_here(self, identity: Identity, /) -> tuple[Lease, ...]:
        """Return the identity's sessions on this node, in the order in which they came."""
        live = self.streams.find(identity)
        sessions = () if live is None else live.sessions
        return tuple(
            Lease(identity, one.connection_id, self.sessions[one]) for one in sessions if isinstance(one, Session)
        )

    def count_refusal(self, code: int, /) -> None:
        """Count a refused handshake by its code or status."""
        self._count_close(code)
        if self.observer is not None:
            self.observer.handshake_refused(code)

    def _count_close(self, code: int) -> None:
        self.closes[code] = self.closes.get(code, 0) + 1

    def count_foreign(self) -> None:
        """Count an envelope that the last hop held back."""
        self.foreign += 1
        if self.observer is not None:
            self.observer.foreign()

    def span(self, name: SpanName, /) -> Span:
        """Return a stopwatch for a block; the observer is told when it ends, and how."""
        return Span(self.observer, self.clock, name)

    def schedule(self, when: float, session: Session, /) -> None:
        """Look at *session* at *when* at the latest."""
        self._clockwork.schedule(when, session)

    def _look_at(self, live: LiveStream, when: float) -> None:
        if when < live.due:
            live.due = when
            self._clockwork.schedule(when, live)

    def _next_tip(self) -> float:
        # Spread, so that an engine that was restarted is not asked by everybody at once.
        return self.clock.monotonic() + self.settings.tip_seconds * uniform(0.75, 1.25)  # noqa: S311  # no secret

    def _in_background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name, context=Context())
        self._readings.add(task)
        task.add_done_callback(self._readings.discard)
