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
from .errors import ImportTimeError, InvalidStateError, SettingsError, bounded, type_name
from .ids import new_incident_id, new_uuid7
from .keys import identity_of
from .manager import IsolatedManager, RunMixin, StreamManager
from .oplog import report
from .runtime import Runtime
from .session import Session
from .session_core import SessionCore
from .settings import Settings
from .wire import DEFAULT_WIRE, Wire

if TYPE_CHECKING:
    from typing import Self

    from .handshake import Handshake
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

    __slots__ = ("__weakref__", "_runtime", "_warned_plain", "_wrapper")

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
        self._wrapper = manager
        self._runtime = Runtime(Settings() if settings is None else settings, SystemClock() if clock is None else clock)
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
        return Report(tuple(problems), __version__)

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
        End every session with goodbye and 4200, then every spawned task.

        Takes at most about ``Settings.drain_seconds``. Managers of this factory
        raise ``InvalidStateError`` afterwards. Harmless when it has stopped.
        Cancelling it leaves the rest to the end of the loop.

        Raises:
            ConcurrencyError: It runs in another loop. Nothing was stopped.
        """
        await self._runtime.stop()

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
        if self._runtime.is_draining:
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
        runtime = self._runtime
        runtime.require_running("open_session()")
        manager = self.create_manager(context)
        now = runtime.clock.monotonic()
        live = runtime.streams.open(identity_of(context), now)
        # Synchronous from here: no event can come between the top that welcome names and the subscription.
        core = SessionCore(
            context=context,
            connection_id=new_uuid7(),
            incident_id=new_incident_id(),
            settings=runtime.settings,
            wire=wire,
            top=live.stream.cursor,
            answer=live.stream.answer(start),
            enforce_pongs=enforce_pongs,
            expires_in=None if context.expires_at is None else (context.expires_at - self.utc_now()).total_seconds(),
            now=now,
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
        runtime.add_session(live, session)
        return session

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

    def count_close(self, code: int, /) -> None:
        """Count a refused handshake or an ended session by its code."""
        self._runtime.count_close(code)

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

    def utc_now(self) -> datetime:
        """Return the time by the factory's clock, aware, in UTC."""
        return self._runtime.utc_now()


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
