"""
The session: one live socket of one context, from welcome to goodbye.

The asyncio shell around :mod:`ws_isolation.session_core`: it waits, writes and
carries out effects; it decides nothing about bounds, order or time.

Rule 1: one guard (``Session.serve``) owns every way out: exception, plain
return, cancellation, shutdown, a peer that is gone or stalled. Each ends with a
code of ours. Rule 2: everything for the socket goes through the one outbox, one
write at a time, so nothing overtakes. While the writer task waits, whoever has
something to say writes in its place, as far as the transport takes it at once;
what has to wait is the writer's, so no emitter ever waits for a socket. Rule 3:
every task has an owner that awaits it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias, TypeVar, assert_never, final

from . import closing
from .closing import CloseCode
from .errors import (
    AccessError,
    ClosedError,
    ConcurrencyError,
    ContextExpiredError,
    InvalidStateError,
    PeerError,
    TransportClosedError,
)
from .finishing import finish
from .frames import ErrorFrame, Message
from .ids import new_incident_id
from .oplog import report
from .run import CANCEL_PREFIX
from .seen import SeenIds
from .session_core import DUPLICATE, SessionCore, State
from .stepping import Parked, rest, step
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

if TYPE_CHECKING:
    from .context import UserExecutionContext
    from .events.envelope import Envelope
    from .handshake import Credential, Handshake
    from .hooks import Guard, Span
    from .manager import IsolatedManager
    from .observing import SpanName
    from .settings import Settings
    from .stream import Gap
    from .streams import LiveStream
    from .typing import Clock, Transport

__all__ = ("Handler", "Session")

_T = TypeVar("_T")


class Home(Protocol):
    """The factory, as its sessions see it."""

    @property
    def clock(self) -> Clock:
        """Where time comes from."""
        ...

    @property
    def is_draining(self) -> bool:
        """Whether the factory is stopping."""
        ...

    @property
    def settings(self) -> Settings:
        """The bounds."""
        ...

    @property
    def grace_seconds(self) -> float:
        """Seconds that a handler may take to return once its client is gone."""
        ...

    def schedule(self, when: float, session: Session, /) -> None:
        """Call ``session.due()`` at *when* at the latest."""
        ...

    def start_work(
        self, live: LiveStream, work: Coroutine[Any, Any, _T], name: str | None, failed: Callable[[str], None], /
    ) -> asyncio.Task[_T]:
        """Start work that belongs to the identity."""
        ...

    def session_ended(self, live: LiveStream, session: Session, /) -> None:
        """Take the session off its stream."""
        ...

    def count_foreign(self) -> None:
        """Count an envelope that the last hop held back."""
        ...

    @property
    def observer(self) -> Guard | None:
        """Who is told of what happens; None where nobody is. Calling it is safe."""
        ...

    def span(self, name: SpanName, /) -> Span:
        """Return a stopwatch for a block."""
        ...


@final
class Session:
    """
    One live socket of one context.

    Lives from the handshake to goodbye. Made by an adapter's ``serve`` and by
    ``ManagerFactory.attach``; a handler gets it ready to use. Iterate over it
    for the client's messages; the iteration ends when the session does.

    Attributes:
        handshake: What the client said when it connected; None for an attached socket.
        manager: The manager of this session's context.
    """

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_core",
        "_create_manager",
        "_done",
        "_ended",
        "_handler",
        "_home",
        "_idle",
        "_inbox",
        "_inbox_ready",
        "_io",
        "_live",
        "_narrowed",
        "_parked",
        "_reading",
        "_reauthenticate",
        "_refresh",
        "_scheduled",
        "_transport",
        "_waited",
        "_wake",
        "_writes_in",
        "handshake",
        "manager",
    )

    def __init__(
        self,
        *,
        core: SessionCore,
        transport: Transport,
        live: LiveStream,
        manager: IsolatedManager,
        create_manager: Callable[[UserExecutionContext], IsolatedManager],
        home: Home,
        handshake: Handshake | None,
    ) -> None:
        self.handshake: Handshake | None = handshake
        self.manager: IsolatedManager = manager
        self._core = core
        self._transport = transport
        self._live = live
        self._create_manager = create_manager
        self._home = home
        self._narrowed: dict[int, IsolatedManager] = {}
        """Of the messages in work that name a thread: the manager of each, by the message's address."""
        self._inbox: deque[Message] = deque()
        self._inbox_ready: asyncio.Future[None] | None = None
        self._reading = False
        self._reauthenticate: Reauthenticate | None = None
        self._refresh: asyncio.Task[None] | None = None
        self._waited = False
        """Whether somebody waited for a message when the session ended."""
        self._wake: asyncio.Future[None] | None = None
        self._idle = False
        """Whether the writer waits for something to write, so that others may write in its place."""
        self._parked: Parked | None = None
        """A write that was begun in the writer's place and has to wait; the writer goes on with it."""
        self._writes_in = Context()
        self._callbacks: list[Callable[[], Awaitable[None] | None]] = []
        self._scheduled = float("inf")
        self._ended = asyncio.Event()
        """Set when the session begins to end, whatever the way out."""
        self._done = asyncio.Event()
        """Set when the transport is closed."""
        self._io: tuple[asyncio.Task[None], ...] = ()
        """Writer and reader, once they have begun."""
        self._handler: asyncio.Task[None] | None = None

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

    async def _take(self) -> Message:
        if self._reading:
            msg = f"cannot read session {self.connection_id}: another task is already reading it"
            raise ConcurrencyError(msg)
        self._reading = True
        try:
            while not self._inbox:
                if not self.is_open:
                    raise StopAsyncIteration
                self._inbox_ready = asyncio.get_running_loop().create_future()
                await self._inbox_ready
        finally:
            self._reading = False
        message = self._inbox.popleft()
        self._feed(Consumed())
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

    def offer(self, envelope: Envelope, /) -> bool:
        """Queue an envelope of the stream without waiting; False where it cannot be taken. Not for handlers."""
        core = self._core
        was_open, joined, ready = core.is_open, core.joined, self._idle
        effects = core.handle(Offered(envelope, self._home.clock.monotonic(), ready))
        if ready and len(effects) == 1 and isinstance(effects[0], Write):
            self._write_at_once(effects[0].text)
        else:
            self._carry_out_all(effects)
        if core.joined != joined and (observer := self._home.observer) is not None:
            observer.coalesced(envelope.event.type)
        return was_open and core.is_open

    def missed(self, gap: Gap, /) -> None:
        """Tell the client, before any later event, that something cannot be replayed. Not for handlers."""
        self._feed(Missed(gap))

    def due(self, now: float) -> None:
        """Look at the deadlines. Called by the factory's clockwork."""
        if now < self._scheduled:
            return  # an earlier look has been scheduled since, and has scheduled the next
        self._scheduled = float("inf")
        self._feed(Ticked(now))

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

    @property
    def cancel_reason(self) -> str:
        """With what a handler is cancelled whose session has ended. For routers, not for handlers."""
        return CANCEL_PREFIX + ("shutdown" if self._home.is_draining else "disconnect_policy")

    def begin(self) -> None:
        """Start reader and writer. Not for handlers."""
        self._writes_in = copy_context()
        writer = self._write_all()
        self._io = (
            asyncio.create_task(writer, name=f"ws-writer-{self.connection_id}", context=self._writes_in),
            asyncio.create_task(self._read_all(), name=f"ws-reader-{self.connection_id}"),
        )
        self._reschedule()

    def end_by(self, error: BaseException | None, /) -> None:
        """End the session as *error* says: the one place that maps what happened to a code. Not for handlers."""
        if not self.is_open:
            return  # the first recorded end decides
        if error is None:
            self.close(closing.NORMAL)
        elif isinstance(error, asyncio.CancelledError):
            draining = self._home.is_draining
            self._log(logging.INFO if draining else logging.WARNING, "session cancelled")
            self.close(closing.DRAIN if draining else closing.INTERNAL_ERROR)
        else:
            self._log(logging.ERROR, "the handler failed", error=error)
            spoken = error.close_code if isinstance(error, AccessError | ContextExpiredError | PeerError) else None
            self.close(closing.INTERNAL_ERROR if spoken is None else closing.code_of(spoken))

    async def leave(self) -> None:
        """
        Wait until everything of the session is closed. Not for handlers.

        Bounded: the core cuts a goodbye that cannot be written, and the
        handler's grace is finite. A cancellation meanwhile waits its turn.
        """
        await finish(self._close_everything())

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

    async def _read_all(self) -> None:
        try:
            while self.is_open:
                text = await self._transport.receive()
                self._feed(Received(text, self._home.clock.monotonic()))
            # Closing: go on reading, so that a peer that leaves first is noticed, but serve nothing.
            while self._core.state is not State.CLOSED:
                await self._transport.receive()
        except TransportClosedError as error:
            self._peer_gone(error)
        except Exception as error:  # noqa: BLE001  # an adapter may raise anything
            # What cannot be read from may still be written to: the writer says goodbye.
            self._log(logging.ERROR, "the transport's receive() failed", error=error)
            self.close(closing.INTERNAL_ERROR)

    async def _write_all(self) -> None:
        try:
            while self._core.state is not State.CLOSED:
                await self._write_next()
        finally:
            parked, self._parked = self._parked, None
            if parked is not None:
                parked.drop()

    async def _write_next(self) -> None:
        parked, self._parked = self._parked, None
        if parked is not None:
            await self._sent(rest(parked))
            return
        todo = self._next()
        if isinstance(todo, Write):
            await self._sent(self._transport.send(todo.text))
        elif isinstance(todo, Close):
            await self._send_close(todo)
        else:
            self._wake = asyncio.get_running_loop().create_future()
            self._idle = True
            try:
                await self._wake
            finally:
                self._idle = False

    def _write_through(self) -> None:
        """Write what waits as far as the transport takes it at once; the writer does what has to wait."""
        self._idle = False
        while isinstance(todo := self._next(), Write):
            if not self._stepped(todo.text):
                return
        if todo is None and self._core.state is not State.CLOSED:
            self._idle = True
        else:
            self._wake_writer()

    def _next(self) -> Write | Close | None:
        """Ask the core what the writer does next; None where nothing waits."""
        todo: Write | Close | None = None
        while todo is None and (effects := self._core.handle(WriterReady(self._home.clock.monotonic()))):
            for effect in effects:
                if isinstance(effect, Write | Close):
                    todo = effect
                else:
                    # An end that begins in this very step leaves something to write: ask again.
                    self._carry_out(effect)
            self._reschedule()
        return todo

    def _write_at_once(self, text: str) -> None:
        """Write an event that need not wait for anything."""
        self._idle = False
        if self._stepped(text):
            if self._core.has_something_to_write or self._core.state is not State.LIVE:
                self._write_through()
            else:
                self._idle = True
        else:
            self._feed(WriteWaits(self._home.clock.monotonic()))

    def _stepped(self, text: str) -> bool:
        """Write *text* in the writer's place; False where it has to go on with it."""
        try:
            self._parked = step(self._transport.send(text), self._io[0], self._writes_in)
        except TransportClosedError as error:
            self._peer_gone(error)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # an adapter may raise anything
            # Whoever sends is no part of it: a cancellation in there is not theirs either.
            self._write_failed(error)
        if self._parked is None:
            return True
        self._wake_writer()
        return False

    def _wake_writer(self) -> None:
        self._idle = False
        _resolve(self._wake)

    async def _sent(self, sending: Awaitable[None]) -> None:
        observer, clock = self._home.observer, self._home.clock
        begun = 0.0 if observer is None else clock.monotonic()
        try:
            await sending
        except TransportClosedError as error:
            self._peer_gone(error)
        except Exception as error:  # noqa: BLE001  # an adapter may raise anything
            self._write_failed(error)
        else:
            if observer is not None:
                observer.write_time(clock.monotonic() - begun)

    def _write_failed(self, error: BaseException) -> None:
        self._log(logging.ERROR, "the transport's send() failed", error=error)
        self._feed(WriteFailed(self._home.clock.monotonic()))

    async def _send_close(self, close: Close) -> None:
        try:
            await self._transport.close(close.code.code, close.reason)
        except TransportClosedError:
            pass  # it left while we said goodbye
        except Exception as error:  # noqa: BLE001  # an adapter may raise anything
            self._log(logging.ERROR, "the transport's close() failed", error=error)
            self._abort()
        self._feed(Finished())

    def _peer_gone(self, error: TransportClosedError) -> None:
        self._feed(PeerGone(error.code))
        for task in self._io:
            if task is not asyncio.current_task():
                task.cancel()  # a write to a peer that is gone may never return by itself

    def _feed(self, happened: Input) -> None:
        self._carry_out_all(self._core.handle(happened))

    def _carry_out_all(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            self._carry_out(effect)
        self._reschedule()

    def _carry_out(self, effect: Effect) -> None:
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
                _resolve(self._inbox_ready)
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

    def _authenticate(self, credential: Credential) -> None:
        if self._reauthenticate is None:
            self._log(logging.WARNING, "a ws.refresh, and nobody here could check it")
            self.close(closing.BAD_FRAME)
            return
        work = self._reauthenticate(self, credential)
        self._refresh = asyncio.create_task(work, name=f"ws-refresh-{self.connection_id}")

    def _deliver(self, message: Message) -> None:
        if message.type == "stop" and message.run_id is not None:
            run = self._live.runs.get(message.run_id)
            if run is not None:
                self._feed(Consumed())
                run.stop("user")
                return
        self._inbox.append(message)
        _resolve(self._inbox_ready)

    def _seen(self) -> SeenIds:
        if self._live.seen is None:
            settings = self._home.settings
            self._live.seen = SeenIds(settings.message_ids, settings.message_id_seconds)
        return self._live.seen

    def _abort(self) -> None:
        try:
            self._transport.abort()
        except Exception as error:  # noqa: BLE001  # the factory's clockwork calls this: others come after
            self._log(logging.ERROR, "the transport's abort() failed", error=error)

    def _cancel_io(self) -> None:
        for task in self._io:
            task.cancel()

    async def _close_everything(self) -> None:
        try:
            await self._end_handler()
            await self._end_io()
            while self._callbacks:
                await self._call_back(self._callbacks.pop())
        finally:
            self._done.set()
        code = None if self.code is None else self.code.slug
        self._log(logging.INFO, f"session closed: {code or 'the peer left'}")

    async def _end_handler(self) -> None:
        task = self._handler
        if task is None or task.done():
            return
        # One that waited for a message was woken instead, and may return by itself.
        if not self._waited or not await self._wait_for(task):
            await self._cancel(task, "the handler")

    async def _end_io(self) -> None:
        for writer in self._io[:1]:
            await self._wait_for(writer)
        for task in self._io:
            await self._cancel(task, "the transport")
        if self._refresh is not None:
            await self._cancel(self._refresh, "authenticate()")

    async def _call_back(self, callback: Callable[[], Awaitable[None] | None]) -> None:
        task = asyncio.create_task(self._called_back(callback), name=f"ws-on-end-{self.connection_id}")
        if not await self._wait_for(task):
            await self._cancel(task, "a callback of on_end()")

    async def _called_back(self, callback: Callable[[], Awaitable[None] | None]) -> None:
        try:
            result = callback()
            if result is not None:
                await result
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # it must not stop the other callbacks
            self._log(logging.ERROR, "a callback of on_end() failed", error=error)

    async def _cancel(self, task: asyncio.Task[None], what: str) -> None:
        """Cancel *task* twice at most, since the first time may be caught, and wait each time."""
        for _ in range(2):
            if task.done():
                return
            task.cancel(self.cancel_reason)
            if await self._wait_for(task):
                return
        self._log(logging.ERROR, f"{what} ignores its cancellation")

    async def _wait_for(self, task: asyncio.Task[None]) -> bool:
        """Wait for *task* as long as the handler's grace; tell whether it is done."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        clock = self._home.clock
        # Twice the time for goodbye: the core cuts a stalled one first.
        timer = clock.call_at(clock.monotonic() + 2 * self._home.grace_seconds, lambda: _resolve(over))
        try:
            await asyncio.wait({task, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        return task.done()

    def _reschedule(self) -> None:
        due = self._core.next_deadline()
        if due is not None and due < self._scheduled:
            self._scheduled = due
            self._home.schedule(due, self)

    def _work_failed(self, incident_id: str) -> None:
        self._feed(Refused(ErrorFrame(slug="handler_error", incident_id=incident_id), self._home.clock.monotonic()))

    def _refuse_closed(self, call: str) -> NoReturn:
        msg = f"cannot call {call}: session {self.connection_id} has ended"
        raise ClosedError(msg)

    def _log(self, level: int, what: str, *, error: BaseException | None = None, incident_id: str = "") -> None:
        report(
            level,
            what,
            error=error,
            connection_id=self.connection_id,
            user_id=self.context.user_id,
            tenant_id=self.context.tenant_id,
            request_id=self.context.request_id,
            code=None if self.code is None else self.code.code,
            incident_id=incident_id or self._core.incident_id,
        )


Reauthenticate: TypeAlias = "Callable[[Session, Credential], Coroutine[Any, Any, None]]"
"""Asks the application about a new credential; renews or closes the session, and raises nothing."""

Handler: TypeAlias = Callable[[Session], Awaitable[None]]
"""What an application runs for each session. Its return ends the session with 1000."""


async def _listen(session: Session) -> None:
    """Serve a session that only receives: each message is answered as unknown."""
    async for message in session:
        session.reject(message)


def _resolve(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
