"""
The way out of a session: whatever is to be written, one write at a time.

Rule 1: everything for the socket goes through the core's one outbox, so nothing
overtakes. Rule 2: while the writer task waits, whoever has something to say
writes in its place, as far as the transport takes it at once; what has to wait
is the writer's, so no emitter ever waits for a socket. A transport that tells
beforehand whether it has to wait (``write_at_once``) is asked without a coroutine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from .closing import CloseCode
from .core_state import OPEN
from .errors import TransportClosedError
from .latch import resolve
from .oplog import report
from .session_core import SessionCore, State
from .session_home import Home
from .stepping import Parked, rest, step
from .steps import (
    Close,
    Effect,
    Ended,
    Finished,
    Input,
    Missed,
    Offered,
    PeerGone,
    Ticked,
    Write,
    WriteFailed,
    WriterReady,
    WriteWaits,
)

if TYPE_CHECKING:
    from .events.envelope import Envelope
    from .stream import Gap
    from .typing import Transport

__all__ = ("WritingSession",)


class WritingSession:
    """
    The part of a session that its stream, its clock and its transport see.

    Args:
        core: What decides.
        transport: The socket.
        home: The factory.
    """

    __slots__ = (
        "__weakref__",
        "_core",
        "_home",
        "_idle",
        "_io",
        "_parked",
        "_scheduled",
        "_transport",
        "_wake",
        "_write_now",
        "_writes_in",
    )

    def __init__(self, core: SessionCore, transport: Transport, home: Home[Any]) -> None:
        self._core = core
        self._transport = transport
        self._home = home
        # Of the class: what wraps a transport and passes on the rest has a ``send`` of its own, to be called.
        able = hasattr(type(transport), "write_at_once")
        self._write_now: Callable[[str], bool] | None = transport.write_at_once if able else None  # type: ignore[attr-defined]
        """Writes a text, or says that ``send()`` has to; None where the transport cannot tell."""
        self._wake: asyncio.Future[None] | None = None
        self._idle = False
        """Whether the writer waits for something to write, so that others may write in its place."""
        self._parked: Parked | None = None
        """A write that was begun in the writer's place and has to wait; the writer goes on with it."""
        self._writes_in = Context()
        self._scheduled = float("inf")
        self._io: tuple[asyncio.Task[None], ...] = ()
        """Writer and reader, once they have begun."""

    if TYPE_CHECKING:

        def _carry_out(self, effect: Effect, /) -> None:
            """Do what the core asks for: the whole session knows how."""

    def offer(self, envelope: Envelope, /) -> bool:
        """Queue an envelope of the stream without waiting; False where it cannot be taken. Not for handlers."""
        core = self._core
        if self._idle:
            text = core.straight(envelope, 0.0 if core.expiry_due is None else self._home.clock.monotonic())
            if text is not None:
                self._write_at_once(text)
                return core.state in OPEN
        return self._offer_step_by_step(envelope)

    def _offer_step_by_step(self, envelope: Envelope) -> bool:
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
            if self._core.is_at_rest:
                self._idle = True
            else:
                self._write_through()
        else:
            self._feed(WriteWaits(self._home.clock.monotonic()))

    def _stepped(self, text: str) -> bool:
        """Write *text* in the writer's place; False where it has to go on with it."""
        write_now = self._write_now
        try:
            if write_now is not None and write_now(text):
                return True
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
        resolve(self._wake)

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
        for reader in self._io[1:]:
            reader.cancel()  # granian 2.8 sends no close frame while a receive() waits
        try:
            await self._transport.close(close.code.code, close.reason)
        except TransportClosedError:
            pass  # it left while we said goodbye
        except Exception as error:  # noqa: BLE001  # an adapter may raise anything
            self._log(logging.ERROR, "the transport's close() failed", error=error)
            self._abort()
        self._feed(Finished())

    def _abort(self) -> None:
        try:
            self._transport.abort()
        except Exception as error:  # noqa: BLE001  # the factory's clockwork calls this: others come after
            self._log(logging.ERROR, "the transport's abort() failed", error=error)

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

    def _reschedule(self) -> None:
        due = self._core.next_deadline()
        if due is not None and due < self._scheduled:
            self._scheduled = due
            self._home.schedule(due, self)

    def _log(self, level: int, what: str, *, error: BaseException | None = None, incident_id: str = "") -> None:
        core = self._core
        report(
            level,
            what,
            error=error,
            connection_id=core.connection_id,
            user_id=core.context.user_id,
            tenant_id=core.context.tenant_id,
            request_id=core.context.request_id,
            code=None if core.code is None else core.code.code,
            incident_id=incident_id or core.incident_id,
        )

    def _end(self, code: CloseCode) -> None:
        self._feed(Ended(code, self._home.clock.monotonic()))
