"""
The session: one live socket of one context, from welcome to goodbye.

The asyncio shell around :mod:`ws_isolation.session_core`: it waits, writes and
carries out effects; it decides nothing about bounds, order or time. Its parts
stand on each other: what it writes (``session_writing``), how it ends
(``session_ending``), how it gets onto its stream (``session_joining``), what it
hears (``session_reading``), and here what a handler, a router and an adapter see.

Rule 1: one guard (``Session.serve``) owns every way out: exception, plain
return, cancellation, shutdown, a peer that is gone or stalled. Each ends with a
code of ours. Rule 2: one write at a time, and no emitter waits for it. Rule 3:
every task has an owner that awaits it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar, assert_never, final

from typing_extensions import override

from . import closing
from .closing import CloseCode
from .core_reading import DUPLICATE
from .errors import ClosedError, InvalidStateError
from .frames import ErrorFrame, Message
from .ids import new_incident_id
from .latch import resolve
from .session_core import SessionCore
from .session_reading import ReadingSession, Reauthenticate
from .steps import (
    Abort,
    Authenticate,
    Close,
    Deliver,
    Draining,
    Effect,
    Ended,
    Refused,
    Renewed,
    Report,
    Stop,
    Wake,
    Write,
)

if TYPE_CHECKING:
    from .context import UserExecutionContext
    from .handshake import Handshake
    from .manager import IsolatedManager
    from .session_home import Home
    from .streams import LiveStream
    from .typing import Transport

__all__ = ("Handler", "Session")

_T = TypeVar("_T")


@final
class Session(ReadingSession):
    """
    One live socket of one context.

    Lives from the handshake to goodbye. Made by an adapter's ``serve`` and by
    ``ManagerFactory.attach``; a handler gets it ready to use. Iterate over it
    for the client's messages; the iteration ends when the session does.

    Attributes:
        handshake: What the client said when it connected; None for an attached socket.
        manager: The manager of this session's context.
    """

    __slots__ = ("_create_manager", "_narrowed", "handshake", "manager")

    def __init__(
        self,
        *,
        core: SessionCore,
        transport: Transport,
        live: LiveStream,
        manager: IsolatedManager,
        create_manager: Callable[[UserExecutionContext], IsolatedManager],
        home: Home[Session],
        handshake: Handshake | None,
    ) -> None:
        super().__init__(core, transport, live, home)
        self.handshake: Handshake | None = handshake
        self.manager: IsolatedManager = manager
        self._create_manager = create_manager
        self._narrowed: dict[int, IsolatedManager] = {}
        """Of the messages in work that name a thread: the manager of each, by the message's address."""

    def __repr__(self) -> str:
        return f"<session {self.connection_id} of {self.context!r}>"

    @property
    def context(self) -> UserExecutionContext:
        """Whose session it is: the identity for life, the claims as the latest accepted ``ws.refresh`` says."""
        return self._core.context

    @property
    def connection_id(self) -> str:
        """The session's id, the same all its life; for logs and support, it grants nothing."""
        return self._core.connection_id

    @property
    def is_open(self) -> bool:
        """Whether the session has not begun to end."""
        return self._core.is_open

    @property
    def code(self) -> CloseCode | None:
        """The first recorded reason to end; None while the session lives, and where the peer left."""
        return self._core.code

    @property
    def waiting(self) -> tuple[int, int]:
        """Events that wait for this socket, and their bytes."""
        return self._core.waiting

    @property
    def acknowledged(self) -> int:
        """
        The last ``seq`` that the client says it has processed (``ws.ack``), 0 until then; for metrics only.

        Never above what was written to this socket. A client need not send any.
        """
        return self._core.acknowledged

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        """
        Wait for the client's next message.

        A message with an ``id`` that was taken before, in this session or in
        another of the user, is answered with ``ws.error`` and ``duplicate``, and not
        returned; ``Settings.message_ids`` and ``message_id_seconds`` say for how long.

        Cancelling is safe: no message is lost.

        Raises:
            StopAsyncIteration: The session has ended.
            ConcurrencyError: Another task is reading already.
        """
        message = await self._take()
        while message.id is not None and not self._seen().take(message.id, self._home.clock.monotonic(), message):
            self.reject(message, DUPLICATE)
            message = await self._take()
        return message

    def spawn(self, work: Coroutine[Any, Any, _T], /, *, name: str | None = None) -> asyncio.Task[_T]:
        """
        Start work that belongs to the user, not to the socket.

        It outlives a lost connection, at most by ``Settings.detached_seconds``
        after the user's last session, so that a client that comes back finds
        its run still going. What it raises is logged with an incident id that
        the client gets as ``ws.error``; the session goes on.

        Args:
            work: A coroutine.
            name: The task's name, for debugging.

        Returns:
            The task; the library awaits it, you need not.

        Raises:
            ClosedError: The session has ended. The coroutine was closed.
        """
        if not self.is_open:
            work.close()
            self._refuse_closed("spawn()")
        return self._home.start_work(self._live, work, name, self._work_failed)

    def reject(self, message: Message, slug: str = "unknown_type", /, *, path: str = "", problem: str = "") -> None:
        """
        Answer a message that cannot be served with ``ws.error``; the session stays open.

        Args:
            message: What the client sent.
            slug: ``unknown_type``, ``invalid_data``, ``not_allowed`` or a word of the application.
            path: For ``invalid_data``: the JSON path.
            problem: For ``invalid_data``: the broken constraint, never the value.

        The client may send it again under the same ``id``. More than 20 in a minute
        end the session with 4022. Harmless when it has ended.
        """
        if slug != DUPLICATE:
            self.forget(message)
        error = ErrorFrame(
            slug=slug, refused_type=message.type, causation_id=message.id or "", path=path, problem=problem
        )
        self._feed(Refused(error, self._home.clock.monotonic()))

    def report_failure(self, message: Message, error: BaseException, /) -> str:
        """
        Answer a message whose handling failed with ``ws.error`` and ``handler_error``; it may be sent again.

        Args:
            message: What the client sent.
            error: What happened: for the operator's log, the client gets the incident id only.

        Returns:
            The incident id. Unlike ``reject()``, it never ends the session: a defect here is not the client's.
        """
        self.forget(message)
        incident = new_incident_id()
        self._log(logging.ERROR, f"the handler of {message.type} failed", error=error, incident_id=incident)
        frame = ErrorFrame(
            slug="handler_error", refused_type=message.type, causation_id=message.id or "", incident_id=incident
        )
        self._feed(Refused(frame, self._home.clock.monotonic()))
        return incident

    def forget(self, message: Message, /) -> None:
        """Let the client send *message* again under the same ``id``; harmless where it has none."""
        if message.id is not None and self._live.seen is not None:
            self._live.seen.forget(message.id, message)

    def manager_for(self, message: Message, /) -> IsolatedManager:
        """
        Return the manager of the thread that *message* names; this session's own where it names none.

        Call it in the message's handler, before the first ``spawn()``; the manager is good for longer.

        Raises:
            InvalidStateError: The thread was not authorized for this message, or its handler has returned.
        """
        if message.thread_id is None:
            return self.manager
        narrowed = self._narrowed.get(id(message))
        if narrowed is None:
            msg = (
                "cannot call manager_for(): no authorize_thread hook allowed the thread of this message, "
                "or its handler has returned; call it in the handler and keep the manager"
            )
            raise InvalidStateError(msg)
        return narrowed

    def close(self, code: CloseCode = closing.NORMAL, /, *, retry_after_ms: int | None = None) -> None:
        """
        End the session: what waits is written, then goodbye, then the close frame.

        Does not wait. Harmless when the session has ended: the first reason counts.

        Args:
            code: One of :mod:`ws_isolation.closing`, or the application's own from 4900.
            retry_after_ms: Milliseconds that the client waits before it comes back.
        """
        self._feed(Ended(code, self._home.clock.monotonic(), retry_after_ms))

    def on_end(self, callback: Callable[[], Awaitable[None] | None], /) -> None:
        """
        Call *callback* exactly once when the session has ended; the last one registered comes first.

        Args:
            callback: Without arguments; a coroutine it returns is awaited, and
                cancelled after twice ``Settings.close_seconds``. What it raises
                is logged and stops no other callback.

        Raises:
            ClosedError: The session has ended.
        """
        if not self.is_open:
            self._refuse_closed("on_end()")
        self._callbacks.append(callback)

    async def wait_closed(self) -> None:
        """Wait until the transport is closed. Cancelling is safe."""
        await self._done.wait()

    def drain(self, close_at: float, retry_after_ms: int | None, /) -> None:
        """End at *close_at* with 4200, and go on until then. For the factory, not for handlers."""
        self._feed(Draining(close_at, self._home.clock.monotonic(), retry_after_ms))

    def refresh_by(self, reauthenticate: Reauthenticate, /) -> None:
        """Take ``ws.refresh`` from now on, and ask *reauthenticate* about it. For adapters, not for handlers."""
        self._reauthenticate = reauthenticate

    def renew(self, context: UserExecutionContext, manager: IsolatedManager, expires_in: float | None, /) -> None:
        """Go on with the context of a new credential, if the identity is the same. For adapters, not for handlers."""
        self._feed(Renewed(context, expires_in, self._home.clock.monotonic()))
        if self._core.context is context:
            self.manager = manager

    async def serve(self, handler: Handler | None, /) -> None:
        """
        Run the session to its end: the one guard around handler, reader and writer.

        Returns when the transport is closed, whatever happened. Cancelling it
        closes the session with 4200 during a drain and 4300 otherwise; then the
        cancellation goes on. Not for handlers.
        """
        # Before the reader: what the handler says first, such as carry_threads(), holds for the first message.
        self._handler = asyncio.create_task(self._handle(handler), name=f"ws-handler-{self.connection_id}")
        self.begin()
        try:
            await self._ended.wait()
        except asyncio.CancelledError as error:
            self.end_by(error)
            raise
        finally:
            await self.leave()

    def carry_threads(self) -> None:
        """Let messages name a thread. For routers: whoever calls it must authorize each before it is handled."""
        self._core.carry_threads()

    def narrow(self, message: Message, thread_id: str, /) -> None:
        """Give *message* a manager of its thread, until ``widen()``. For routers, once the thread is authorized."""
        self._narrowed[id(message)] = self._create_manager(self.context.child(thread_id=thread_id))

    def widen(self, message: Message, /) -> None:
        """Take the manager of ``narrow()`` from this very message; harmless where there is none. For routers."""
        self._narrowed.pop(id(message), None)

    def begin(self) -> None:
        """Start reader and writer. Not for handlers."""
        self._writes_in = copy_context()
        writer = self._write_all()
        self._io = (
            asyncio.create_task(writer, name=f"ws-writer-{self.connection_id}", context=self._writes_in),
            asyncio.create_task(self._read_all(), name=f"ws-reader-{self.connection_id}"),
        )
        self._reschedule()

    async def _handle(self, handler: Handler | None) -> None:
        try:
            with self._home.span("handler"):
                await (_listen(self) if handler is None else handler(self))
        except BaseException as error:  # the guard owns every exit path (P2)
            self.end_by(error)
            if isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit):
                raise
        else:
            self.end_by(None)

    @override
    def _carry_out(self, effect: Effect, /) -> None:
        match effect:
            case Wake() | Write() | Close():
                if self._idle:
                    self._write_through()
                else:
                    self._wake_writer()  # what is to be written, it asks for
            case Deliver():
                self._deliver(effect.message)
            case Authenticate():
                self._authenticate(effect.credential)
            case Stop():
                self._home.session_ended(self._live, self)
                self._ended.set()
                self._waited = self._reading
                self._stop_joining()
                resolve(self._inbox_ready)
                self._wake_writer()
            case Abort():
                self._abort()
                self._cancel_io()
            case Report():
                if effect.alarm:
                    self._home.count_foreign()
                level = logging.CRITICAL if effect.alarm else logging.WARNING
                self._log(level, effect.what, error=effect.error)
            case _:
                assert_never(effect)

    def _work_failed(self, incident_id: str) -> None:
        self._feed(Refused(ErrorFrame(slug="handler_error", incident_id=incident_id), self._home.clock.monotonic()))

    def _refuse_closed(self, call: str) -> NoReturn:
        msg = f"cannot call {call}: session {self.connection_id} has ended"
        raise ClosedError(msg)


Handler: TypeAlias = Callable[[Session], Awaitable[None]]
"""What an application runs for each session. Its return ends the session with 1000."""


async def _listen(session: Session) -> None:
    """Serve a session that only receives: each message is answered as unknown."""
    async for message in session:
        session.reject(message)
