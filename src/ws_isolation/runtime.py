"""
What a factory has while it runs in an event loop: streams, sessions, work, deadlines.

Internal, and never handed out: whoever holds it could name any identity.
Managers and sessions hold it for their own; the factory decides who gets one.

Rule 1: it belongs to one event loop at a time, and starts by its first use
there. Rule 2: it keeps a stream only as long as there is a reason to.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Iterable
from contextlib import nullcontext, suppress
from contextvars import Context
from datetime import UTC, datetime
from random import uniform
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from msgspec import UNSET

from . import closing
from .access import Access, answered
from .backplanes.base import Closing, Lease, Noting, Presence, Revocation
from .backplanes.memory import MemoryBackplane
from .chain import Chain
from .clockwork import Clockwork
from .delivery import Delivery
from .doubts import was_stored, what_closes, what_ends
from .errors import (
    ConcurrencyError,
    EngineTimeoutError,
    EngineUnavailableError,
    InvalidEventError,
    InvalidStateError,
    type_name,
)
from .events.envelope import Unplaced, format_unix
from .finishing import finish
from .hooks import Span, guarded
from .ids import new_fractions, new_incident_id, new_uuid7
from .keys import Identity, identity_of
from .oplog import report
from .places import Places
from .run import CANCEL_PREFIX
from .session import Session
from .spreading import closing_delays
from .stream import Cursor, Draft, Gap, Resumed, answer
from .streams import LiveStream, Streams

if TYPE_CHECKING:
    from .backplanes.base import Backplane
    from .entrance import Entrance
    from .events import Event
    from .events.envelope import Envelope
    from .hooks import Guard
    from .observing import Observer, Outcome, SpanName
    from .run import Run
    from .settings import Settings
    from .stream import Start
    from .typing import Clock

__all__ = ("Runtime",)

_T = TypeVar("_T")
_JOIN: Final = "joining a stream"
_NEXT_LOOK: Final = "what is missing waits; the next look asks again"


def _heeded(gathered: asyncio.Future[Any]) -> None:
    """Take the cancellation of what was given up: nobody awaits it, and asyncio would log it as forgotten."""
    with suppress(asyncio.CancelledError):
        gathered.exception()


@final
class Runtime:
    """
    Where the streams of one factory live. Lives as long as the factory; what it holds, from start to stop.

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
        pending: Handshakes that are not authenticated yet.
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
        "entering",
        "foreign",
        "is_draining",
        "leaving",
        "observer",
        "pending",
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
        self.pending: int = 0
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

    @property
    def grace_seconds(self) -> float:
        """Seconds that a handler may take to return once its session has ended."""
        return self.settings.close_seconds

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
        self.pending = 0  # those of the old loop will never end; those that outlast a stop will
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

    async def stop(self) -> None:
        """Same as ``ManagerFactory.stop()``."""
        if self._loop is None or self._stopped:
            self._stopped = True
            return
        await self.drain(None)
        work = [*self.adopted, *(task for live in self.streams.all() for task in live.work)]
        for task in work:
            task.cancel(CANCEL_PREFIX + "shutdown")
        await self._within(self.settings.close_seconds, work)
        await self._within(self.settings.close_seconds, self._readings)
        for live in self.streams.all():
            self.backplane.release(live.identity, live)
        if self.places is not None:
            self.places.stop()
        # Before the engine's connections end: nothing is asked any more that would open new ones.
        self._clockwork.stop()
        self._clear()
        self._stopped = True
        given: object = self._given
        if isinstance(given, Closing):
            await given.close()

    async def drain(self, retry_after_ms: int | None) -> None:
        """Same as ``ManagerFactory.drain()``."""
        if self._stopped:
            return
        self.require_running("drain()")
        settings, sessions = self.settings, tuple(self.sessions)
        observer = None if self.is_draining else self.observer  # a drain that several wait for is told once
        if not self.is_draining:
            self.is_draining = True
            now = self.clock.monotonic()
            within = settings.drain_seconds - settings.close_seconds
            delays = closing_delays(new_fractions(len(sessions)), share=settings.drain_share, within=within)
            for session, delay in zip(sessions, delays, strict=True):
                session.drain(now + delay, retry_after_ms)
            for entrance in self.entering:
                entrance.close(closing.DRAIN)
        leaving: tuple[Session | Entrance, ...] = (*sessions, *self.leaving, *self.entering)
        with Span(observer, self.clock, "drain") as span:
            span.is_ok = await self._within(settings.drain_seconds, [one.wait_closed() for one in leaving])

    async def revoke(self, identity: Identity, until: float | None) -> int:
        """Same as ``ManagerFactory.revoke()`` of an identity; up to the engine it is one step."""
        live = self.streams.find(identity)
        here: asyncio.CancelledError | None = None
        count = 0
        try:
            self.access.bar(identity, until)
        finally:
            if live is not None:
                count, here = self._end_all(live)
        try:
            # Whoever revokes from the identity's own work is cancelled by now.
            await finish(self.access.record(identity, until))
        except asyncio.CancelledError as error:
            here = here or error
        if here is not None:
            raise here
        return count

    def _end_all(self, live: LiveStream) -> tuple[int, asyncio.CancelledError | None]:
        """End sessions, runs and work; return how many sessions, and what the caller has to raise at last."""
        sessions = [one for one in live.sessions if isinstance(one, Session)]
        # Those that end for another reason already may have events left to say.
        leaving = [one for one in self.leaving if identity_of(one.context) == live.identity]
        for session in (*sessions, *leaving):
            session.close(closing.REVOKED)
        here: asyncio.CancelledError | None = None
        for run in tuple(live.runs.values()):
            try:
                run.stop("revoked")
            except asyncio.CancelledError as error:
                here = error  # the caller is in this very run: it leaves once the others are told
        for task in live.work:
            task.cancel(CANCEL_PREFIX + "revoked")
        return len(sessions), here

    def check_soon(self, live: LiveStream, /) -> None:
        """Read whether the identity is revoked, in a task of its own."""
        self._in_background(self._check(live), "ws-access")

    async def _check(self, live: LiveStream) -> None:
        try:
            barred = await self.access.bars(live.identity)
        except Exception as error:  # noqa: BLE001  # an engine may raise anything; the next look asks again
            report(logging.ERROR, "a revocation could not be read", error=error)
        else:
            if barred:
                self._end_all(live)

    def replaced(self, live: LiveStream, connection_id: str, /) -> None:
        """End this very session, if it is here: a newer one of its identity took its place."""
        if self.places is not None:
            self.places.lose(live.identity, connection_id)

    def _end_replaced(self, lease: Lease) -> None:
        live = self.streams.find(lease.identity)
        for session in () if live is None else live.sessions:
            if isinstance(session, Session) and session.connection_id == lease.connection_id:
                session.close(closing.REPLACED)

    def end_oldest(self, identity: Identity, /) -> None:
        """Make room for one more session of the identity: end its own oldest, by the order in which they came."""
        live = self.streams.find(identity)
        sessions = [] if live is None else [one for one in live.sessions if isinstance(one, Session)]
        for session in sessions[: len(sessions) - self.settings.sessions_per_identity + 1]:
            session.close(closing.REPLACED)

    async def _within(self, seconds: float, all_of: Iterable[Coroutine[Any, Any, Any] | asyncio.Task[Any]]) -> bool:
        tasks = [asyncio.ensure_future(one) for one in all_of]
        if not tasks:
            return True
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def time_is_up() -> None:
            with suppress(asyncio.InvalidStateError):
                over.set_result(None)

        timer = self.clock.call_at(self.clock.monotonic() + seconds, time_is_up)
        everything = asyncio.gather(*tasks, return_exceptions=True)
        either: set[asyncio.Future[Any]] = {everything, over}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            left = sum(not task.done() for task in tasks)
            if everything.cancel():
                everything.add_done_callback(_heeded)
        if left:
            report(logging.ERROR, "the stop left something open", count=left)
        return not left

    # What managers ask for.

    def utc_now(self) -> datetime:
        """Return the time by the factory's clock, aware, in UTC."""
        return datetime.fromtimestamp(self.clock.unix(), UTC)

    def publish_at_once(self, identity: Identity, event: Event, /) -> Delivery | None:
        """Do the same as ``publish`` without waiting; None, and nothing is done, where the engine has to be awaited."""
        place = self._place
        if place is None:
            return None
        clock, settings = self.clock, self.settings
        now = clock.monotonic()
        live = self.streams.open(identity, now)
        if now + settings.stream_seconds < live.due:
            self._look_by(live, now)
        # From here to the place it is one step: nothing else of the run can come between.
        run_seq = live.lifecycle.check(event, durable := event.durable)
        when = format_unix(clock.unix())
        draft = Unplaced(event, identity, new_uuid7(), when, run_seq, settings.event_bytes, durable)
        envelope = place(identity, draft)
        live.lifecycle.apply(event, durable)
        return self._published(live, envelope, now)

    async def publish(self, identity: Identity, event: Event, /) -> Delivery:
        """Append the event to the identity's stream, waiting for the engine, and offer it to its sessions."""
        now = self.clock.monotonic()
        live = self.streams.open(identity, now)
        self._look_by(live, now)
        is_of_run = event.run_id is not UNSET
        # Nothing else of a run is checked until this has its place, or two ends would both be legal.
        async with live.turn() if is_of_run else nullcontext():
            if is_of_run and live.doubt is not None:
                await self._settle(live)
            run_seq = live.lifecycle.check(event)
            when = format_unix(self.clock.unix())
            draft = Draft(event, identity, new_uuid7(), when, run_seq, self.settings.event_bytes)
            try:
                envelope = await self.backplane.publish(identity, draft)
            except BaseException as error:
                if is_of_run:
                    self._doubt(live, draft, error)
                raise
            live.lifecycle.apply(event)
        return self._published(live, envelope, now)

    def _look_by(self, live: LiveStream, now: float) -> None:
        """See that the stream ends. Before the append, which may refuse its event: a new one must not stay for good."""
        self._look_at(live, now + self.settings.stream_seconds)

    def _published(self, live: LiveStream, envelope: Envelope, now: float) -> Delivery:
        """Say what the event came to, now that it has its place."""
        live.touched = now
        if live.last is not envelope and envelope.durable and live.chain is not None:
            live.arrived(envelope)  # an engine that announces it later: then it is a repetition; a piece would be two
        if self.observer is not None:
            self.observer.event_published(envelope.event.type, durable=envelope.durable)
        queued, refused = live.counts if live.last is envelope else (0, 0)
        return Delivery(envelope.id, envelope.seq, queued, refused)

    def _doubt(self, live: LiveStream, draft: Draft, error: BaseException) -> None:
        """Note that an event of a run may be in the stream or not; the turn is held."""
        if draft.event.durable and not isinstance(error, InvalidEventError):
            live.doubt = draft
            self._look_at(live, self._next_tip())

    async def _settle(self, live: LiveStream) -> None:
        """
        Find out what became of the event in doubt, before anything else of a run gets its place; the turn is held.

        Raises what the engine raises, or is cancelled: the doubt stays, and nothing was sent.
        """
        draft = live.doubt
        if draft is None:
            return
        page = await self.backplane.read(live.identity, "window")
        live.doubt = None
        is_stored = was_stored(draft, page)
        if is_stored:
            live.lifecycle.apply(draft.event)
        event = what_closes(draft.event, is_stored=is_stored)
        if event is not None:
            await self._repair(live, event)

    async def _repair(self, live: LiveStream, event: Event) -> None:
        """Close what its sender cannot close any more; the turn is held."""
        repair = Draft(
            event=event,
            owner=live.identity,
            id=new_uuid7(),
            time=format_unix(self.clock.unix()),
            run_seq=live.lifecycle.check(event),
            event_bytes=self.settings.event_bytes,
        )
        try:
            envelope = await self.backplane.publish(live.identity, repair)
        except BaseException as error:
            self._doubt(live, repair, error)
            raise
        live.lifecycle.apply(event)
        if live.last is not envelope and live.chain is not None:
            live.arrived(envelope)
        if self.observer is not None:
            self.observer.event_published(event.type, durable=event.durable)

    async def _settle_soon(self, live: LiveStream) -> None:
        try:
            async with live.turn():
                await self._settle(live)
                while live.unended:
                    run_id = next(iter(live.unended))
                    while (event := what_ends(live.lifecycle, run_id)) is not None:
                        await self._repair(live, event)
                    del live.unended[run_id]
        except Exception as error:  # noqa: BLE001  # an engine may raise anything; the next look asks again
            report(logging.WARNING, "a run could not be mended yet", error=error)
            self._look_at(live, self._next_tip())

    def run_opened(self, identity: Identity, run: Run, /) -> None:
        """Note an open run of the identity, for a client's ``stop``."""
        live = self.streams.open(identity, self.clock.monotonic())
        live.runs[run.id] = run
        if self.access.is_shared and not live.sessions:
            self._attend_soon(live)

    def run_ended(self, identity: Identity, run: Run, seconds: float, outcome: Outcome, /) -> None:
        """Forget a run of the identity: this very run, not another of the same id."""
        if self.observer is not None:
            self.observer.span_ended("run", seconds, outcome)
        live = self.streams.find(identity)
        if live is not None and live.runs.get(run.id) is run:
            del live.runs[run.id]
            if live.lifecycle.thread_of(run.id) is not None:
                live.unended[run.id] = None  # it is over, and its end did not get there, or nobody knows
                self._look_at(live, self._next_tip())
            self._leave(live)

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

    # What sessions ask for.

    async def join(self, live: LiveStream, session: Session, start: Start, /, *, has_place: bool) -> None:
        """
        Follow the identity's stream, and tell *session* where it stands and what its client gets.

        The session is on the stream already: nothing that is published meanwhile is missed.

        Raises:
            EngineTimeoutError: It took longer than ``Settings.engine_seconds``.
            EngineUnavailableError: The engine failed.
        """
        try:
            await session.join(self._placed(live, session, start, has_place=has_place), self.settings.engine_seconds)
        except EngineUnavailableError:
            raise
        except TimeoutError:
            state = f"no answer in {self.settings.engine_seconds:g} s (Settings.engine_seconds); nobody was let in"
            raise EngineTimeoutError(_JOIN, state) from None
        except Exception as error:
            raise EngineUnavailableError(_JOIN, f"{type_name(type(error))}; nobody was let in") from error
        if session.is_open:
            self._look_after(live)

    async def _placed(
        self, live: LiveStream, session: Session, start: Start, *, has_place: bool
    ) -> tuple[Cursor, Resumed | Gap | None]:
        """
        Return where the stream stands, and what a client that begins at *start* gets.

        The engine is asked for a revocation after this node has begun to listen: none falls between.
        """
        if self.places is not None and not has_place:
            await self.places.take(live.identity, session.connection_id, is_limited=False)
            if not session.is_open:  # it ended as the answer came: nobody else gives the place back
                self.places.give_back(session.connection_id)
        async with live.joining:
            chain = live.chain or await self._follow(live)
            live.attends = False
        if await self.access.bars(live.identity):
            session.close(closing.REVOKED)
        elif self.places is not None and not self.places.holds(session.connection_id):
            session.close(closing.REPLACED)
        if start is None:
            return chain.cursor, None
        known = chain.cursor.seq  # what is announced while the engine is asked may be newer than its answer
        page = await self.backplane.read(live.identity, start)
        if page.top.epoch != chain.cursor.epoch or page.top.seq < known:
            live.read_again()  # the engine fell back to older data: the others must hear of it as well
            return chain.cursor, self._noted(Gap("divergence", chain.cursor))
        return page.top, self._noted(answer(start, page, replay=self.settings.replay_events))

    def _noted(self, result: Resumed | Gap | None, sessions: int = 1) -> Resumed | Gap | None:
        """Tell the observer what clients that were away get, and return it."""
        if self.observer is not None and result is not None:
            if isinstance(result, Gap):
                self.observer.gap(result.reason, sessions)
            else:
                self.observer.replayed(len(result.replay))
        return result

    async def _follow(self, live: LiveStream) -> Chain:
        """Put this node on the identity's stream."""
        live.reading = True
        try:
            await self.backplane.subscribe(live.identity, live)
            return live.begin(await self.backplane.read(live.identity, None))
        except BaseException:
            live.reading = False
            self.backplane.release(live.identity, live)
            raise

    def _attend_soon(self, live: LiveStream) -> None:
        """See that this node hears of a revocation: a run of the identity is here, and no session that would."""
        self._in_background(self._attend(live), "ws-run")
        self._look_after(live)

    async def _attend(self, live: LiveStream) -> None:
        try:
            await self._listen(live)
        except Exception as error:  # noqa: BLE001  # an engine may raise anything; the next look asks again
            report(logging.ERROR, "a run cannot hear of a revocation", error=error)
        else:
            await self._check(live)
            self._leave(live)

    async def _listen(self, live: LiveStream) -> None:
        """Listen where nobody does yet."""
        async with live.joining:
            if live.chain is not None:
                return
            await self._follow(live)
            live.attends = True

    def _leave(self, live: LiveStream) -> None:
        """Listen no more where that was for runs alone, and none is left."""
        if live.attends and live.is_idle:
            self.backplane.release(live.identity, live)
            live.leave()

    def add_session(self, live: LiveStream, session: Session, /) -> None:
        """Put a session on its identity's stream; what is published from now on is offered to it."""
        live.subscribe(session)
        self.sessions[session] = self.clock.unix()
        if self.observer is not None:
            self.observer.session_opened()
        if self.access.bars_here(live.identity):
            session.close(closing.REVOKED)

    def _look_after(self, live: LiveStream, /) -> None:
        """See that the stream's tip is asked for, now that somebody follows it."""
        if live.tip_due == float("inf"):
            live.tip_due = self._next_tip()
        self._look_at(live, live.tip_due)

    def session_ended(self, live: LiveStream, session: Session, /) -> None:
        """Take this very session off its stream; its work may go on for a while."""
        now = self.clock.monotonic()
        self.sessions.pop(session, None)
        live.unsubscribe(session, now)
        self.leaving[session] = None
        if self.places is not None:
            self.places.give_back(session.connection_id)
        code = None if session.code is None else session.code.code
        if code is not None:
            self._count_close(code)
        if self.observer is not None:
            self.observer.session_closed(code)
        if not live.sessions:
            self._look_at(live, now + min(self.settings.stream_seconds, self.settings.detached_seconds))

    def session_closed(self, session: Session, /) -> None:
        """Forget a session whose transport is closed."""
        self.leaving.pop(session, None)

    def start_work(
        self, live: LiveStream, work: Coroutine[Any, Any, _T], name: str | None, failed: Callable[[str], None], /
    ) -> asyncio.Task[_T]:
        """Start work that belongs to the identity, and keep it until it is done."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        live.work.add(task)

        def done(finished: asyncio.Task[_T]) -> None:
            live.work.discard(finished)
            if not finished.cancelled() and (error := finished.exception()) is not None:
                incident = new_incident_id()
                report(logging.ERROR, "spawned work failed", error=error, incident_id=incident)
                failed(incident)

        task.add_done_callback(done)
        return task

    def schedule(self, when: float, session: Session, /) -> None:
        """Look at *session* at *when* at the latest."""
        self._clockwork.schedule(when, session)

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

    # What is due.

    def _look_at(self, live: LiveStream, when: float) -> None:
        if when < live.due:
            live.due = when
            self._clockwork.schedule(when, live)

    def _look(self, item: Session | LiveStream | Places, now: float) -> None:
        if isinstance(item, Session):
            item.due(now)
        elif isinstance(item, LiveStream):
            self._look_at_stream(item, now)
        elif item.due():
            self._in_background(item.renew(), "ws-leases")

    def _look_at_stream(self, live: LiveStream, now: float) -> None:
        if now < live.due:
            return  # an earlier look has been scheduled since, and has scheduled the next
        live.due = float("inf")
        if live.doubt is not None or live.unended:
            self._in_background(self._settle_soon(live), "ws-doubt")
        if live.sessions or live.runs:
            self._look_at_tip(live, now)
        if live.sessions:
            return  # the end of the last session schedules the next look
        detached_until = live.detached_at + self.settings.detached_seconds
        if live.work and now >= detached_until:
            for task in live.work:
                task.cancel(CANCEL_PREFIX + "disconnect_policy")
        idle_until = max(live.touched, live.detached_at) + self.settings.stream_seconds
        if live.is_idle and now >= idle_until:
            self.streams.drop(live)
            self.backplane.release(live.identity, live)
            return
        following = [moment for moment in (detached_until, idle_until) if moment > now]
        self._look_at(live, min(following, default=now + self.settings.stream_seconds))

    def _look_at_tip(self, live: LiveStream, now: float) -> None:
        """Ask the engine for more than was announced: the last message of all leaves no hole behind it."""
        if now >= live.tip_due:
            live.tip_due = self._next_tip()
            if live.chain is None:
                self._attend_soon(live)
            else:
                live.read_again()
                if self.access.is_shared:
                    self.check_soon(live)
        self._look_at(live, live.tip_due)

    def _next_tip(self) -> float:
        # Spread, so that an engine that was restarted is not asked by everybody at once.
        return self.clock.monotonic() + self.settings.tip_seconds * uniform(0.75, 1.25)  # noqa: S311  # no secret

    def read_soon(self, live: LiveStream, /) -> None:
        """Read the history of *live* again, in a task of its own."""
        self._in_background(self._read_again(live), "ws-history")

    def _in_background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name, context=Context())
        self._readings.add(task)
        task.add_done_callback(self._readings.discard)

    async def _read_again(self, live: LiveStream) -> None:
        try:
            chain = live.chain
            reading = self.backplane.read(live.identity, None if chain is None else chain.cursor)
            page = await answered(reading, "read()", _NEXT_LOOK, self.settings.tip_seconds)
        except Exception as error:  # noqa: BLE001  # an engine may raise anything; the next look asks again
            live.reading = False
            report(logging.ERROR, "a history could not be read", error=error)
        else:
            # Where everybody has left meanwhile, it is nobody's history any more.
            gap = live.caught_up(page, self.settings.replay_events) if live.chain is chain else None
            if gap is not None:
                report(logging.WARNING, f"gap: {gap.reason}", count=len(live.sessions))
                self._noted(gap, len(live.sessions))
