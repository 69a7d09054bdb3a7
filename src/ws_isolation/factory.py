"""
The factory: the gate of one application, and the door of its sockets.

Rule 1: constructing it is configuration and nothing else; it may stand at
module level. No task, thread or socket exists before a user does. Rule 2: the
gate is here: an intact context of exactly the one class, never while a module
is being imported. Rule 3: no call takes an identity and something to send;
streams live in the :mod:`ws_isolation.runtime`, which it keeps to itself.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Final, TypeAlias, final

import attrs

from . import closing, duplicates
from ._version import __version__
from .clockwork import SystemClock
from .context import UserExecutionContext, require_context
from .errors import ImportTimeError, InvalidStateError, SettingsError, UsageError, bounded, shown, type_name
from .ids import new_incident_id, new_uuid7
from .keys import Identity, identity_of
from .manager import IsolatedManager, RunMixin, StreamManager
from .oplog import report
from .rates import TokenBucket
from .runtime import Runtime
from .session import Session
from .session_core import SessionCore
from .settings import Settings
from .wire import DEFAULT_WIRE, Wire

if TYPE_CHECKING:
    import asyncio
    from typing import Self

    from .backplanes.base import Backplane, Lease
    from .entrance import Entrance
    from .handshake import Handshake
    from .hooks import Span
    from .observing import Observer, SpanName
    from .stream import Start
    from .typing import Clock, Transport

__all__ = ("FactoryStats", "ManagerFactory", "Report")

ManagerWrapper: TypeAlias = Callable[[IsolatedManager], IsolatedManager]
"""Makes the application's own manager around the shipped one."""

_IMPORT_FRAMES: Final = frozenset({"<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"})


@final
@attrs.frozen
class Report:
    """
    What ``self_check()`` found. It made nothing.

    Attributes:
        problems: What must be mended before users come; empty when all is well.
        version: The library's version.
        notes: What holds for this process alone, because the backplane cannot do it for all; no problem by itself.
    """

    problems: tuple[str, ...]
    version: str
    notes: tuple[str, ...] = ()

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
        hook_failures: Calls in which the observer raised.
    """

    sessions: int
    streams: int
    work: int
    pending: int
    foreign: int
    closes: dict[int, int]
    hook_failures: int = 0


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
        backplane: What carries the streams; the factory's own memory where None.
        observer: Who is told of what happens, for metrics and logs; nobody where None.

    Raises:
        SettingsError: An argument is of the wrong type, or the observer lacks hooks.
    """

    __slots__ = ("__weakref__", "_runtime", "_warned_plain", "_wrapper")

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        manager: ManagerWrapper | None = None,
        clock: Clock | None = None,
        backplane: Backplane | None = None,
        observer: Observer | None = None,
    ) -> None:
        if settings is not None and type(settings) is not Settings:
            raise SettingsError(f"settings must be a Settings, not {type_name(type(settings))}")
        if manager is not None and not callable(manager):
            raise SettingsError(f"manager must be callable with the shipped manager, not {type_name(type(manager))}")
        self._wrapper = manager
        bounds = Settings() if settings is None else settings
        self._runtime = Runtime(bounds, SystemClock() if clock is None else clock, backplane, observer)
        self._warned_plain = False

    @property
    def settings(self) -> Settings:
        """The bounds that it was made with."""
        return self._runtime.settings

    @property
    def clock(self) -> Clock:
        """Where its time comes from."""
        return self._runtime.clock

    @property
    def is_draining(self) -> bool:
        """Whether it is stopping: new sockets are refused, open ones get 4200."""
        return self._runtime.is_draining

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
        shipped = StreamManager(genuine, self._runtime)
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
        return Report(tuple(problems), __version__, self._runtime.lacks())

    def stats(self) -> FactoryStats:
        """Return counts for metrics."""
        runtime = self._runtime
        return FactoryStats(
            sessions=len(runtime.sessions),
            streams=len(runtime.streams),
            work=sum(len(live.work) for live in runtime.streams.all()),
            pending=runtime.pending,
            foreign=runtime.foreign,
            closes=dict(runtime.closes),
            hook_failures=0 if runtime.observer is None else runtime.observer.failures,
        )

    async def __aenter__(self) -> Self:
        """
        Start in the running loop.

        Raises:
            ConcurrencyError: It runs in another loop.
        """
        self._runtime.start("__aenter__()")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop; see ``stop()``."""
        await self.stop()

    async def stop(self) -> None:
        """
        End every session with goodbye and 4200, then every spawned task and every run of a thread.

        Takes at most about ``Settings.drain_seconds``. Managers of this factory
        raise ``InvalidStateError`` afterwards. Harmless when it has stopped.
        Cancelling it leaves the rest to the end of the loop.

        Raises:
            ConcurrencyError: It runs in another loop. Nothing was stopped.
        """
        await self._runtime.stop()

    async def drain(self, *, retry_after_ms: int | None = None) -> None:
        """
        End every session with 4200, a share of them each second, and refuse new ones with 503.

        Sessions get their events until their own moment comes. To be started
        before the server closes its sockets, by a signal handler for example;
        ``stop()`` does it where nobody has. Returns when all are closed, after
        about ``Settings.drain_seconds`` at most. Called again, it waits as
        well. Cancelling it stops the waiting only.

        Args:
            retry_after_ms: Milliseconds that clients wait at least before they come back.

        Raises:
            ConcurrencyError: It runs in another loop. Nothing is drained.
        """
        await self._runtime.drain(retry_after_ms)

    async def revoke(self, who: UserExecutionContext | Identity | Session, /, *, until: datetime | None = None) -> int:
        """
        Take the access of an identity away, or end one session of it; 4010 either way.

        An identity's sessions end, its runs and spawned work are cancelled
        (``revoked``), and it is refused at handshake, at refresh and by
        ``adapters``' dependency until ``lift()`` or *until*. One session bars
        nothing by itself: ``authenticate`` has to refuse its credential.

        On this node all of that is done before anything is waited for. Where
        the backplane keeps revocations, the record is written then, and the
        other nodes follow: at once while they hear the engine, else within
        ``Settings.tip_seconds``.

        Args:
            who: A context or an identity for all its sessions, or one session.
            until: When the identity may come back, aware; None: never by itself.

        Returns:
            The number of sessions of this node that were told.

        Raises:
            asyncio.CancelledError: Called inside a run of this identity, which ends here. Everything was revoked.
            ConcurrencyError, InvalidStateError: It does not run in this loop. Nothing was revoked.
            InvalidStateError: ``Settings.revocations`` are there already. Its
                sessions were ended, but it may come back.
            EngineUnavailableError: The record could not be written: this node
                bars the identity, the others need not. Call it again.
            UsageError: *until* is no aware datetime. Nothing was revoked.
            ContextTypeError, ContextIntegrityError: *who* is something else, or no intact context. Nothing was revoked.

        Cancelling it waits for the engine first.
        """
        self._runtime.require_running("revoke()")
        if until is not None:
            _require_aware(until)
        if isinstance(who, Session):
            was_open = who.is_open
            who.close(closing.REVOKED)
            return int(was_open)
        return await self._runtime.revoke(_identity(who, "revoke()"), None if until is None else until.timestamp())

    async def lift(self, who: UserExecutionContext | Identity, /) -> bool:
        """
        Let a revoked identity come back; False where it was not revoked.

        Raises:
            EngineUnavailableError: The backplane's engine failed: it may be revoked or not. Call it again.
        """
        return await self._runtime.access.lift(_identity(who, "lift()"))

    async def bars(self, who: UserExecutionContext | Identity, /) -> bool:
        """
        Tell whether the identity is revoked now.

        Raises:
            EngineUnavailableError: The backplane's engine failed: nobody knows.
        """
        return await self._runtime.access.bars(_identity(who, "bars()"))

    async def presence(self, who: UserExecutionContext | Identity, /) -> tuple[Lease, ...]:
        """
        Return the sessions of an identity, oldest first: their connection ids, and since when.

        Those of all nodes where the backplane counts sessions, and of this one
        otherwise. A node that died is in it until its leases end.

        Raises:
            EngineUnavailableError: The backplane's engine failed.
        """
        identity = _identity(who, "presence()")
        runtime = self._runtime
        return runtime.present_here(identity) if runtime.places is None else await runtime.places.present(identity)

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
            EngineUnavailableError, EngineTimeoutError: The engine could not say where the stream stands. The
                transport was not touched.
        """
        session = await self.open_session(context, transport, wire=wire, start=start, handshake=handshake)
        session.begin()
        try:
            yield session
        except BaseException as error:
            session.end_by(error)
            raise
        else:
            session.end_by(None)
        finally:
            await session.leave()

    async def open_session(
        self,
        context: UserExecutionContext,
        transport: Transport,
        /,
        *,
        wire: Wire,
        start: Start,
        handshake: Handshake | None,
        enforce_pongs: bool = False,
        connection_id: str | None = None,
    ) -> Session:
        """
        Put a new session on its identity's stream. For adapters: the caller must serve or leave it.

        One that was revoked, or met a drain, before its client was told anything comes back ended: serving it says so.
        With the *connection_id* of ``admit()`` it has its place; raising, it gives it back.
        """
        runtime = self._runtime
        runtime.require_running("open_session()")
        manager = self.create_manager(context)
        now = runtime.clock.monotonic()
        live = runtime.streams.open(identity_of(context), now)
        if live.rate is None:
            bounds = runtime.settings
            live.rate = TokenBucket(
                per_minute=bounds.identity_messages_per_minute, burst=bounds.identity_message_burst, now=now
            )
        core = SessionCore(
            context=context,
            connection_id=connection_id or new_uuid7(),
            incident_id=new_incident_id(),
            settings=runtime.settings,
            wire=wire,
            enforce_pongs=enforce_pongs,
            expires_in=self.expires_in(context),
            now=now,
            shared_rate=live.rate,
        )
        session = Session(
            core=core,
            transport=transport,
            live=live,
            manager=manager,
            create_manager=self.create_manager,
            home=runtime,
            handshake=handshake,
        )
        # From here on the identity's revocation and a drain reach it, and what is published is kept for it.
        runtime.add_session(live, session)
        if runtime.is_draining:
            session.close(closing.DRAIN)
        try:
            await runtime.join(live, session, start, has_place=connection_id is not None)
        except BaseException:
            session.abandon()
            raise
        return session

    def expires_in(self, context: UserExecutionContext, /) -> float | None:
        """Return the seconds until the context expires, None where it never does."""
        return None if context.expires_at is None else (context.expires_at - self.utc_now()).total_seconds()

    async def admit(self, context: UserExecutionContext, /) -> str | None:
        """
        Take a place for a session of the context: its connection id, None where there is no room.

        ``open_session()`` or ``give_back()`` has to follow. Without a backplane that counts for several nodes
        nothing is waited for: what was free is free in the same step.

        Raises:
            EngineUnavailableError: The engine failed. No place is held.
        """
        places = self._runtime.places
        connection_id = new_uuid7()
        if places is None:
            return connection_id if self.make_room(context) else None
        taken = await places.take(identity_of(context), connection_id, is_limited=True)
        return connection_id if taken else None

    def give_back(self, connection_id: str, /) -> None:
        """Give back the place of ``admit()``; harmless where there is none."""
        if self._runtime.places is not None:
            self._runtime.places.give_back(connection_id)

    def bars_here(self, context: UserExecutionContext, /) -> bool:
        """Tell whether this node knows that the identity is revoked, without waiting for an engine."""
        return self._runtime.access.bars_here(identity_of(context))

    def make_room(self, context: UserExecutionContext, /) -> bool:
        """Tell whether there is room for a session of the context, after ending the oldest where settings say so."""
        if not self.has_room(context) and self.settings.session_limit == "replace_oldest":
            self._runtime.end_oldest(identity_of(context))
        return self.has_room(context)

    def has_room(self, context: UserExecutionContext, /) -> bool:
        """Tell whether the context's identity may have one more session."""
        sessions, _ = self._runtime.counts(identity_of(context))
        return sessions < self._runtime.settings.sessions_per_identity

    def begin_handshake(self) -> bool:
        """Count a socket that is not authenticated yet; False where there is no room or a drain goes on."""
        runtime = self._runtime
        runtime.require_running("serve()")
        if runtime.is_draining or runtime.pending >= runtime.settings.pending_handshakes:
            return False
        runtime.pending += 1
        return True

    def end_handshake(self) -> None:
        """Give the place of ``begin_handshake`` back."""
        self._runtime.pending -= 1

    def begin_entrance(self, entrance: Entrance, /) -> None:
        """Note an accepted socket that is to say who it is: a stop tells it 4200."""
        self._runtime.entering[entrance] = None

    def end_entrance(self, entrance: Entrance, /) -> None:
        """Forget it."""
        self._runtime.entering.pop(entrance, None)

    def count_close(self, code: int, /) -> None:
        """Count a refused handshake by its code or status."""
        self._runtime.count_refusal(code)

    def span(self, name: SpanName, /) -> Span:
        """Return a stopwatch for a block; the observer is told when it ends, and how."""
        return self._runtime.span(name)

    def warn_plain(self) -> None:
        """Warn, once, that sockets come unencrypted from other machines."""
        if not self._warned_plain:
            self._warned_plain = True
            report(
                logging.WARNING,
                "plain ws from another machine: tokens and events can be read on the way. Use wss, or ignore this "
                "where a proxy ends TLS; Settings.require_tls refuses plain ws",
            )

    def require_running(self, call: str, /) -> None:
        """
        Start here, or see that this is where it runs. For adapters.

        Raises:
            ConcurrencyError: There is no running loop, or another one.
            InvalidStateError: It has stopped.
        """
        self._runtime.require_running(call)

    def loop_for(self, call: str, /) -> asyncio.AbstractEventLoop:
        """
        Return the loop that it runs in. For portals: the one method that any thread may call.

        Raises:
            InvalidStateError: It does not run: not yet, not any more, or its loop is closed.
        """
        return self._runtime.loop_for(call)

    def adopt(self, task: asyncio.Task[None], /) -> None:
        """Let ``stop()`` end *task* as it ends spawned work. For portals: a run of another thread is a task here."""
        adopted = self._runtime.adopted
        adopted.add(task)
        task.add_done_callback(adopted.discard)

    def utc_now(self) -> datetime:
        """Return the time by the factory's clock, aware, in UTC."""
        return self._runtime.utc_now()


def _identity(who: UserExecutionContext | Identity, caller: str) -> Identity:
    return who if isinstance(who, Identity) else identity_of(require_context(who, caller=caller))


def _require_aware(until: object) -> None:
    """Refuse a time that names no moment, which the machine's own time zone would decide."""
    if not isinstance(until, datetime) or until.utcoffset() is None:
        msg = f"revoke(until={shown(until)}) must be an aware datetime: datetime.now(UTC) + timedelta(...), or None"
        raise UsageError(msg)


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
