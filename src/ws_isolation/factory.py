"""
The factory: the gate of one application, and the door of its sockets.

Rule 1: constructing it is configuration and nothing else; it may stand at
module level. No task, thread or socket exists before a user does. Rule 2: the
gate is here: an intact context of exactly the one class, never while a module
is being imported. Rule 3: no call takes an identity and something to send;
streams live in the :mod:`ws_isolation.runtime`, which it keeps to itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias, final

import attrs

from . import closing, duplicates
from ._version import __version__
from .ambient import Variable, require_variables
from .clockwork import SystemClock
from .context import UserExecutionContext, require_context
from .errors import InvalidStateError, SettingsError, type_name
from .factory_door import FactoryDoor
from .gate import identity_named, refuse_import, require_aware
from .ids import new_incident_id, new_uuid7
from .keys import Identity, identity_of
from .manager import IsolatedManager, RunMixin, StreamManager
from .rates import TokenBucket
from .readiness import Readiness, Ready
from .reports import FactoryStats, Report
from .runtime import Runtime
from .session import Session
from .session_core import SessionCore
from .settings import Settings
from .wire import DEFAULT_WIRE, Wire

if TYPE_CHECKING:
    from typing import Self

    from .backplanes.base import Backplane, Lease
    from .handshake import Handshake
    from .observing import Observer
    from .stream import Start
    from .typing import Clock, Transport

__all__ = ("ManagerFactory",)

ManagerWrapper: TypeAlias = Callable[[IsolatedManager], IsolatedManager]
"""Makes the application's own manager around the shipped one."""


@final
class ManagerFactory(FactoryDoor):
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
        ready: Asked before anybody is authenticated, within ``Settings.ready_seconds``; anything but True is answered
            with 4303. Many handshakes at once ask once. Always ready where None.
        carry: Context variables, of tracing for example, that ``authenticate`` and handlers see as they are set
            where ``serve()`` is called. Any other is unset there: a server may hand one request's to the next.

    Raises:
        SettingsError: An argument is of the wrong type, or the observer lacks hooks.
    """

    __slots__ = ("__weakref__", "_looked_below", "_wrapper")

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        manager: ManagerWrapper | None = None,
        clock: Clock | None = None,
        backplane: Backplane | None = None,
        observer: Observer | None = None,
        carry: Iterable[Variable] = (),
        ready: Ready | None = None,
    ) -> None:
        if settings is not None and type(settings) is not Settings:
            raise SettingsError(f"settings must be a Settings, not {type_name(type(settings))}")
        if manager is not None and not callable(manager):
            raise SettingsError(f"manager must be callable with the shipped manager, not {type_name(type(manager))}")
        if ready is not None and not callable(ready):
            raise SettingsError(f"ready must be an async callable that returns a bool, not {type_name(type(ready))}")
        variables = require_variables(carry)
        self._wrapper = manager
        self._looked_below: asyncio.AbstractEventLoop | None = None
        """The loop below which no import was found."""
        bounds = Settings() if settings is None else settings
        runtime = Runtime(bounds, SystemClock() if clock is None else clock, backplane, observer)
        super().__init__(runtime, variables, Readiness(ready, bounds.ready_seconds))

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

    async def is_ready(self) -> bool:
        """
        Tell whether new clients would be let in: it neither drains nor has stopped, and ``ready`` says True.

        For a health endpoint. Takes ``Settings.ready_seconds`` at most. Cancelling it is safe.
        """
        runtime = self._runtime
        return not (runtime.is_draining or runtime.is_stopped) and await self._readiness.ask()

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
        refuse_import("create_manager()")
        return self._manager_of(context)

    def _manager_of(self, context: UserExecutionContext) -> IsolatedManager:
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
            pending=runtime.crowd.pending,
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
        self._readiness.stop()
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
            require_aware(until)
        if isinstance(who, Session):
            was_open = who.is_open
            who.close(closing.REVOKED)
            return int(was_open)
        return await self._runtime.revoke(identity_named(who, "revoke()"), None if until is None else until.timestamp())

    async def lift(self, who: UserExecutionContext | Identity, /) -> bool:
        """
        Let a revoked identity come back; False where it was not revoked.

        Raises:
            EngineUnavailableError: The backplane's engine failed: it may be revoked or not. Call it again.
            ConcurrencyError, InvalidStateError: It does not run in this loop. Nothing was changed.
        """
        self._runtime.require_running("lift()")
        return await self._runtime.access.lift(identity_named(who, "lift()"))

    async def bars(self, who: UserExecutionContext | Identity, /) -> bool:
        """
        Tell whether the identity is revoked now.

        Raises:
            EngineUnavailableError: The backplane's engine failed: nobody knows.
            ConcurrencyError, InvalidStateError: It does not run in this loop.
        """
        self._runtime.require_running("bars()")
        return await self._runtime.access.bars(identity_named(who, "bars()"))

    async def presence(self, who: UserExecutionContext | Identity, /) -> tuple[Lease, ...]:
        """
        Return the sessions of an identity, oldest first: their connection ids, and since when.

        Those of all nodes where the backplane counts sessions, and of this one
        otherwise. A node that died is in it until its leases end.

        Raises:
            EngineUnavailableError: The backplane's engine failed.
            ConcurrencyError, InvalidStateError: It does not run in this loop.
        """
        identity = identity_named(who, "presence()")
        runtime = self._runtime
        runtime.require_running("presence()")
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
        loop = asyncio.get_running_loop()
        if self._looked_below is not loop:
            # Once for a loop: what stands below it stays there, and nothing above it that can await is an import.
            # To look at each session would keep the frames of its connection's coroutines, 3 KiB of them.
            refuse_import("serve() or attach()")
            self._looked_below = loop
        manager = self._manager_of(context)
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
