"""
The factory: the gate, the streams and the clockwork of one application.

Rule 1: constructing it is configuration and nothing else; it may stand at
module level. No task, thread or socket exists before a user does. Rule 2: the
gate is here: an intact context of exactly the one class, never while a module
is being imported. Rule 3: a factory belongs to one event loop at a time; it
starts by its first use there.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, final

import attrs

from . import closing, duplicates
from ._version import __version__
from .context import UserExecutionContext, require_context
from .deadlines import Deadlines
from .delivery import Delivery
from .errors import ConcurrencyError, ImportTimeError, InvalidStateError, SettingsError, bounded, type_name
from .events.envelope import format_time
from .ids import new_incident_id, new_uuid7
from .keys import identity_of
from .manager import IsolatedManager, RunMixin, StreamManager
from .oplog import report
from .run import CANCEL_PREFIX
from .session import Session
from .session_core import SessionCore
from .settings import Settings
from .streams import LiveStream, Streams
from .wire import DEFAULT_WIRE, Wire

if TYPE_CHECKING:
    from typing import Self

    from .events import Event
    from .handshake import Handshake
    from .keys import Identity
    from .run import Run
    from .stream import Start
    from .typing import Clock, Timer, Transport

__all__ = ("FactoryStats", "ManagerFactory", "Report")

_T = TypeVar("_T")

ManagerWrapper: TypeAlias = Callable[[IsolatedManager], IsolatedManager]
"""Makes the application's own manager around the shipped one."""

_IMPORT_FRAMES: Final = frozenset({"<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"})
_EARLY: Final = 0.001
"""Seconds: timers may fire that much early by rounding, and still count as due."""


@final
@attrs.frozen
class Report:
    """
    What ``self_check()`` found. It made nothing.

    Attributes:
        problems: What must be mended before users come; empty when all is well.
        version: The library's version.
    """

    problems: tuple[str, ...]
    version: str

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def raise_for_problems(self) -> None:
        """
        Raise when there is a problem; for a start-up that should fail early.

        Raises:
            SettingsError: Lists every problem.
        """
        if self.problems:
            raise SettingsError("; ".join(self.problems))


@final
@attrs.frozen
class FactoryStats:
    """
    Counts of a whole factory, for metrics: no id in it.

    Attributes:
        sessions: Open sessions.
        streams: Streams in memory.
        work: Spawned tasks that go on.
        pending: Handshakes that are not authenticated yet.
        foreign: Envelopes that the last hop held back; anything but 0 is a defect.
        closes: Ended handshakes and sessions by close code or HTTP status.
    """

    sessions: int
    streams: int
    work: int
    pending: int
    foreign: int
    closes: dict[int, int]


class _SystemClock:
    """The process's own clocks and the running loop's timers."""

    __slots__ = ()

    def monotonic(self) -> float:
        return time.monotonic()

    def unix(self) -> float:
        return time.time()

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer:
        return asyncio.get_running_loop().call_later(max(0.0, when - time.monotonic()), callback)


@final
class ManagerFactory:
    """
    The only maker of managers. Lives as long as the application does.

    Constructing it is fine at module level. It starts by its first use inside
    an event loop; ``async with factory`` or an adapter's ``lifespan`` adds the
    orderly end, after which it can start again.

    Args:
        settings: Its bounds; the defaults where None.
        manager: Makes a manager of the application's own around the shipped one.
        clock: Where time comes from; the process's clocks where None.

    Raises:
        SettingsError: An argument is of the wrong type.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_closes_by_code",
        "_deadlines",
        "_draining",
        "_foreign",
        "_loop",
        "_pending",
        "_sessions",
        "_settings",
        "_stopped",
        "_streams",
        "_timer",
        "_timer_at",
        "_warned_plain",
        "_wrapper",
    )

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        manager: ManagerWrapper | None = None,
        clock: Clock | None = None,
    ) -> None:
        if settings is not None and type(settings) is not Settings:
            raise SettingsError(f"settings must be a Settings, not {type_name(type(settings))}")
        if manager is not None and not callable(manager):
            raise SettingsError(f"manager must be callable with the shipped manager, not {type_name(type(manager))}")
        self._settings = Settings() if settings is None else settings
        self._wrapper = manager
        self._clock: Clock = _SystemClock() if clock is None else clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = False
        self._foreign = 0
        self._warned_plain = False
        self._closes_by_code: dict[int, int] = {}
        self._pending = 0
        self._reset()

    def _reset(self) -> None:
        self._streams = Streams()
        self._sessions: dict[Session, None] = {}
        self._deadlines: Deadlines[Session | LiveStream] = Deadlines()
        self._timer: Timer | None = None
        self._timer_at = float("inf")
        self._draining = False

    @property
    def settings(self) -> Settings:
        """The bounds that it was made with."""
        return self._settings

    @property
    def clock(self) -> Clock:
        """Where its time comes from."""
        return self._clock

    @property
    def is_draining(self) -> bool:
        """Whether it is stopping: new sockets are refused, open ones get 4200."""
        return self._draining

    @property
    def grace_seconds(self) -> float:
        """Seconds that a handler may take to return once its session has ended."""
        return self._settings.close_seconds

    def create_manager(self, context: UserExecutionContext, /) -> IsolatedManager:
        """
        Return the manager of *context*: the gate.

        Synchronous for good. Registers nothing; the manager needs no clean-up.

        Args:
            context: Exactly a ``UserExecutionContext``, intact.

        Raises:
            ContextTypeError: Anything else. Says where both types come from and what to change.
            ContextIntegrityError: A copied, decoded or edited context.
            ImportTimeError: A module is being imported; names it.

        In none of these cases a manager exists afterwards.
        """
        _refuse_import("create_manager()")
        genuine = require_context(context, caller="create_manager()")
        shipped = StreamManager(genuine, self)
        if self._wrapper is None:
            return shipped
        made = self._wrapper(shipped)
        if made.context is not genuine:
            msg = "the manager that ManagerFactory(manager=...) made has another context: return the one it was given"
            raise InvalidStateError(msg)
        if made is not shipped and isinstance(made, RunMixin):
            made.watch_runs(shipped)
        return made

    def self_check(self) -> Report:
        """
        Look whether the application can serve users, and make nothing.

        For a start-up validation, in place of creating a manager for nobody.
        """
        problems = [
            f"ws_isolation is loaded twice: {other}; import it under one name from one place"
            for other in duplicates.other_copies(UserExecutionContext)
        ]
        if attrs.validators.get_disabled():
            problems.append("attrs validators are switched off for the whole process: switch them on again")
        return Report(tuple(problems), __version__)

    def stats(self) -> FactoryStats:
        """Return counts for metrics."""
        return FactoryStats(
            sessions=len(self._sessions),
            streams=len(self._streams),
            work=sum(len(live.work) for live in self._streams.all()),
            pending=self._pending,
            foreign=self._foreign,
            closes=dict(self._closes_by_code),
        )

    async def __aenter__(self) -> Self:
        """
        Start in the running loop.

        Raises:
            ConcurrencyError: It runs in another loop.
        """
        self._stopped = False
        self.require_running("__aenter__()")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop; see ``stop()``."""
        await self.stop()

    async def stop(self) -> None:
        """
        End every session with goodbye and 4200, then every spawned task.

        Takes at most about ``Settings.drain_seconds``. Managers of this factory
        raise ``InvalidStateError`` afterwards. Harmless when it has stopped.
        Cancelling it leaves the rest to the end of the loop.

        Raises:
            ConcurrencyError: It runs in another loop. Nothing was stopped.
        """
        if self._loop is None or self._stopped:
            self._stopped = True
            return
        self.require_running("stop()")
        self._draining = True
        sessions = tuple(self._sessions)
        for session in sessions:
            session.close(closing.DRAIN)
        await self._within(
            self._settings.drain_seconds,
            [asyncio.ensure_future(session.wait_closed()) for session in sessions],
        )
        work = [task for live in self._streams.all() for task in live.work]
        for task in work:
            task.cancel(CANCEL_PREFIX + "shutdown")
        await self._within(self._settings.close_seconds, work)
        if self._timer is not None:
            self._timer.cancel()
        self._reset()
        self._stopped = True

    async def _within(self, seconds: float, tasks: Sequence[asyncio.Future[Any]]) -> None:
        if not tasks:
            return
        over = asyncio.get_running_loop().create_future()

        def time_is_up() -> None:
            with suppress(asyncio.InvalidStateError):
                over.set_result(None)

        timer = self._clock.call_at(self._clock.monotonic() + seconds, time_is_up)
        everything = asyncio.gather(*tasks, return_exceptions=True)
        either: set[asyncio.Future[Any]] = {everything, over}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        if not everything.done():
            report(logging.ERROR, "the stop left something open", count=sum(not task.done() for task in tasks))

    @asynccontextmanager
    async def attach(
        self,
        context: UserExecutionContext,
        transport: Transport,
        /,
        *,
        wire: Wire = DEFAULT_WIRE,
        start: Start = None,
        handshake: Handshake | None = None,
    ) -> AsyncGenerator[Session]:
        """
        Serve a socket that the application accepted itself: ``async with factory.attach(ctx, transport) as session``.

        The block is the handler: leaving it ends the session with 1000, an
        exception with 4300 or its own code (and goes on), a cancellation with 4300 or 4200.
        Origin, authentication and subprotocol were the application's business.

        Args:
            context: Whose socket it is.
            transport: The accepted socket.
            wire: How the client is spoken to.
            start: Where the client wants to begin.
            handshake: What the session's ``handshake`` says.

        Raises:
            ContextTypeError, ContextIntegrityError: As ``create_manager()``. The transport was not touched.
        """
        session = self.open_session(context, transport, wire=wire, start=start, handshake=handshake)
        session.begin()
        if self._draining:
            session.close(closing.DRAIN)  # stop() knows those that were there when it began
        try:
            yield session
        except BaseException as error:
            session.end_by(error)
            raise
        else:
            session.end_by(None)
        finally:
            await session.leave()

    def open_session(
        self,
        context: UserExecutionContext,
        transport: Transport,
        /,
        *,
        wire: Wire,
        start: Start,
        handshake: Handshake | None,
        enforce_pongs: bool = False,
    ) -> Session:
        """Put a new session on its identity's stream. For adapters: the caller must serve or leave it."""
        self.require_running("open_session()")
        manager = self.create_manager(context)
        now = self._clock.monotonic()
        live = self._streams.open(identity_of(context), now)
        # Synchronous from here: no event can come between the top that welcome names and the subscription.
        core = SessionCore(
            context=context,
            connection_id=new_uuid7(),
            incident_id=new_incident_id(),
            settings=self._settings,
            wire=wire,
            top=live.stream.cursor,
            answer=live.stream.answer(start),
            enforce_pongs=enforce_pongs,
            expires_in=None if context.expires_at is None else (context.expires_at - self.utc_now()).total_seconds(),
            now=now,
        )
        session = Session(core=core, transport=transport, live=live, manager=manager, home=self, handshake=handshake)
        live.subscribe(session)
        self._sessions[session] = None
        return session

    def has_room(self, context: UserExecutionContext, /) -> bool:
        """Tell whether the context's identity may have one more session."""
        sessions, _ = self.counts(identity_of(context))
        return sessions < self._settings.sessions_per_identity

    def begin_handshake(self) -> bool:
        """Count a socket that is not authenticated yet; False where there is no room or a drain goes on."""
        self.require_running("serve()")
        if self._draining or self._pending >= self._settings.pending_handshakes:
            return False
        self._pending += 1
        return True

    def end_handshake(self) -> None:
        """Give the place of ``begin_handshake`` back."""
        self._pending -= 1

    def count_close(self, code: int, /) -> None:
        """Count a refused handshake or an ended session by its code."""
        self._closes_by_code[code] = self._closes_by_code.get(code, 0) + 1

    def warn_plain(self) -> None:
        """Warn, once, that sockets come unencrypted from other machines."""
        if not self._warned_plain:
            self._warned_plain = True
            report(
                logging.WARNING,
                "plain ws from another machine: tokens and events can be read on the way. Use wss, or ignore this "
                "where a proxy ends TLS; Settings.require_tls refuses plain ws",
            )

    # What managers and sessions ask of their factory.

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
                "from a thread with asyncio.run_coroutine_threadsafe(manager.send(event), loop)"
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
                "use asyncio.run_coroutine_threadsafe(manager.send(event), loop) with the factory's loop"
            )
            raise ConcurrencyError(msg)
        self._reset()
        self._pending = 0  # those of the old loop will never end; those that outlast a stop will
        self._loop = loop
        self._stopped = False

    def utc_now(self) -> datetime:
        """Return the time by the factory's clock, aware, in UTC."""
        return datetime.fromtimestamp(self._clock.unix(), UTC)

    def publish(self, identity: Identity, event: Event, /) -> Delivery:
        """Append the event to the identity's stream and offer it to its sessions."""
        now = self._clock.monotonic()
        live = self._streams.open(identity, now)
        if not live.scheduled:
            # Before the append, which may refuse the event: a stream that is new then must not stay for good.
            self._schedule_stream(live, now + self._settings.stream_seconds)
        envelope = live.stream.append(
            event,
            event_id=new_uuid7(),
            time=format_time(self.utc_now()),
            limit=self._settings.event_bytes,
            owner=identity,
        )
        queued, refused = live.publish(envelope, now)
        return Delivery(envelope.id, envelope.seq, queued, refused)

    def run_opened(self, identity: Identity, run: Run, /) -> None:
        """Note an open run of the identity, for a client's ``stop``."""
        self._streams.open(identity, self._clock.monotonic()).runs[run.id] = run

    def run_ended(self, identity: Identity, run: Run, /) -> None:
        """Forget a run of the identity: this very run, not another of the same id."""
        live = self._streams.find(identity)
        if live is not None and live.runs.get(run.id) is run:
            del live.runs[run.id]

    def counts(self, identity: Identity, /) -> tuple[int, int]:
        """Return the identity's local sessions and open runs."""
        live = self._streams.find(identity)
        return (0, 0) if live is None else (len(live.sessions), len(live.stream.lifecycle.open_runs))

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

    def session_ended(self, live: LiveStream, session: Session, /) -> None:
        """Take this very session off its stream; its work may go on for a while."""
        now = self._clock.monotonic()
        self._sessions.pop(session, None)
        live.unsubscribe(session, now)
        if session.code is not None:
            self.count_close(session.code.code)
        if not live.sessions:
            wait = min(self._settings.stream_seconds, self._settings.detached_seconds)
            self._schedule_stream(live, now + wait)

    def count_foreign(self) -> None:
        """Count an envelope that the last hop held back."""
        self._foreign += 1

    # The clockwork: one timer for everything.

    def schedule(self, when: float, item: Session | LiveStream, /) -> None:
        """Look at *item* at *when* at the latest."""
        self._deadlines.add(when, item)
        if when < self._timer_at:
            self._arm(when)

    def _schedule_stream(self, live: LiveStream, when: float) -> None:
        live.scheduled = True
        self.schedule(when, live)

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._clock.call_at(when, self._tick)

    def _tick(self) -> None:
        now = self._clock.monotonic() + _EARLY
        self._timer, self._timer_at = None, float("inf")
        for item in self._deadlines.due(now):
            if isinstance(item, Session):
                item.due(now)
            else:
                self._look_at_stream(item, now)
        following = self._deadlines.next()
        if following is not None and following < self._timer_at:
            self._arm(following)

    def _look_at_stream(self, live: LiveStream, now: float) -> None:
        live.scheduled = False
        if live.sessions:
            return  # the end of the last session schedules the next look
        detached_until = live.detached_at + self._settings.detached_seconds
        if live.work and now >= detached_until:
            for task in live.work:
                task.cancel(CANCEL_PREFIX + "disconnect_policy")
        idle_until = max(live.touched, live.detached_at) + self._settings.stream_seconds
        if live.is_idle and now >= idle_until:
            self._streams.drop(live)
            return
        due = [moment for moment in (detached_until, idle_until) if moment > now]
        self._schedule_stream(live, min(due, default=now + self._settings.stream_seconds))


def _refuse_import(call: str) -> None:
    """Raise when a module is being imported on this stack, naming it (promise P4)."""
    # inspect.currentframe() is the same call.
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    module = ""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "<module>":
            module = str(frame.f_globals.get("__name__", ""))
        elif code.co_filename in _IMPORT_FRAMES and module:
            msg = (
                f"cannot call {call} while {bounded(module, 80)!r} is being imported: a manager belongs to a user. "
                "Create it per session or request, from the context that authenticate() returned"
            )
            raise ImportTimeError(msg)
        frame = frame.f_back
