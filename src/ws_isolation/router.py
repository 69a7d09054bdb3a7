"""
A client's messages, each to the handler of its type.

A router is configuration: one for all sessions, made at import. What runs for
one session is a ``_Dispatch`` of its own, which never reaches another's.

Rule 1: the session's reader never waits here. ``stop``, pings and the
disconnect are the session's business and pass by every handler. Rule 2: a
message's thread is authorized before anything of its data is decoded. Rule 3: each
message is handled in a task of its own that is owned until it is done, so a
cancellation that is meant for one never strikes the next.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, TypeVar, cast, final, overload

import attrs

from . import closing
from .decoding import InvalidDataError, decode, require_data_class
from .errors import AccessError, ForbiddenError, InvalidStateError, SettingsError, shown
from .frames import Message
from .oplog import report
from .session import Session

__all__ = ("AuthorizeThread", "DataHandler", "MessageHandler", "Router")

_T = TypeVar("_T")
_Plain = TypeVar("_Plain", bound="MessageHandler")

MessageHandler: TypeAlias = Callable[[Session, Message], Awaitable[None]]
"""Handles one message."""

DataHandler: TypeAlias = Callable[[Session, Message, _T], Awaitable[None]]
"""Handles one message whose data has become a value of its class."""

AuthorizeThread: TypeAlias = Callable[[Session, str], Awaitable[bool]]
"""
Says whether the user of this session may use this thread; only True allows it.

False and ``ForbiddenError`` → 4003, ``NotFoundError`` → 4004, another ``AccessError`` → its code.
Anything else that it raises is answered as a failed handler; the message is not handled.
"""

_TYPE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_IN_FLIGHT: Final = (1, 10_000)


_Call: TypeAlias = Callable[[Session], Awaitable[None]]


@attrs.frozen
class _Route:
    prepare: Callable[[Message], _Call]
    """Decodes the message's data; what it returns calls the handler."""
    concurrent: bool


@attrs.frozen(eq=False)
class _Job:
    message: Message
    route: _Route


@final
class Router:
    """
    Handlers by message type; itself the handler that ``serve()`` takes.

    Lives as long as the application, and serves any number of sessions.
    Messages are decoded and handled in the order of their arrival, one at a
    time, except those of types that are registered as ``concurrent``. What
    cannot be served is answered with ``ws.error``, and the session stays: ``unknown_type``,
    ``invalid_data`` with the path and the broken constraint, ``handler_error`` with
    an incident id for what a handler raised.

    Handlers end with their session; long work belongs to ``session.spawn()``.

    Args:
        in_flight: Messages of one session that are handled or wait for their
            turn at most, 1 to 10,000; further ones stay in the session's inbox,
            bounded by ``Settings.inbox_messages``. 16 is half of that inbox.
        authorize_thread: Lets messages name a thread, and decides about each of
            these messages before its data is decoded. Without it such a message ends
            the session with 4003.

    Raises:
        SettingsError: ``in_flight`` is out of range.
    """

    __slots__ = ("_authorize", "_in_flight", "_routes")

    def __init__(self, *, in_flight: int = 16, authorize_thread: AuthorizeThread | None = None) -> None:
        low, high = _IN_FLIGHT
        if type(in_flight) is not int or not low <= in_flight <= high:
            msg = f"in_flight={shown(in_flight)} must be from {low} to {high}"
            raise SettingsError(msg)
        self._in_flight = in_flight
        self._authorize = authorize_thread
        self._routes: dict[str, _Route] = {}

    def __repr__(self) -> str:
        return f"<router for {', '.join(self._routes) or 'nothing yet'}>"

    @overload
    def on(self, kind: str, /, *, concurrent: bool = False) -> Callable[[_Plain], _Plain]: ...

    @overload
    def on(
        self, kind: str, data: type[_T], /, *, concurrent: bool = False
    ) -> Callable[[DataHandler[_T]], DataHandler[_T]]: ...

    def on(
        self, kind: str, data: type[_T] | None = None, /, *, concurrent: bool = False
    ) -> Callable[[_Plain], _Plain] | Callable[[DataHandler[_T]], DataHandler[_T]]:
        """
        Register the decorated function for messages of type *kind*.

        Args:
            kind: a-z, 0-9 and _, at most 64 characters. A ``stop`` with the id of
                an open run never comes here: it stops the run.
            data: What the message's data must be: a msgspec Struct, an attrs class,
                a dataclass or a TypedDict. The handler gets the value as its third
                argument. Nothing is coerced.
            concurrent: Whether messages of this type may overtake others, and are
                handled beside them.

        Returns:
            A decorator that returns the function as it is.

        Raises:
            SettingsError: No such type or data class, or the function does not take
                the session, the message and, with a data class, the data. Nothing
                was registered.
            InvalidStateError: The type has a handler already; that one stays.
        """
        if type(kind) is not str or _TYPE.fullmatch(kind) is None:
            msg = f"message type {shown(kind)} must be a-z, 0-9 and _, at most 64 characters"
            raise SettingsError(msg)
        if data is not None:
            require_data_class(data)
        self._require_free(kind)

        def plain(handler: _Plain) -> _Plain:
            _require_handler(kind, handler, "the session and the message", 2)
            self._add(kind, _Route(lambda message: lambda session: handler(session, message), concurrent))
            return handler

        if data is None:
            return plain

        def with_data(handler: DataHandler[_T]) -> DataHandler[_T]:
            def prepare(message: Message) -> _Call:
                value = decode(message.data, data)
                return lambda session: handler(session, message, value)

            _require_handler(kind, handler, "the session, the message and the data", 3)
            self._add(kind, _Route(prepare, concurrent))
            return handler

        return with_data

    async def __call__(self, session: Session, /) -> None:
        """
        Handle the messages of *session* until it ends: what ``serve()`` calls.

        In the block of ``ManagerFactory.attach()``, await it before anything else.
        Cancelling it cancels the handlers in work and waits for them.

        Raises:
            ConcurrencyError: Somebody reads the session already.
        """
        await _Dispatch(session, self._routes, self._authorize, self._in_flight).run()

    def _add(self, kind: str, route: _Route) -> None:
        self._require_free(kind)  # again: a decorator can be kept
        self._routes[kind] = route

    def _require_free(self, kind: str) -> None:
        if kind in self._routes:
            msg = f"cannot register a handler for {kind}: it has one already; one type has one handler"
            raise InvalidStateError(msg)


def _require_handler(kind: str, handler: Callable[..., object], takes: str, arguments: int) -> None:  # type: ignore[explicit-any]  # two or three parameters
    try:
        inspect.signature(handler).bind(*[None] * arguments)
    except (TypeError, ValueError):
        msg = f"the handler for {kind} must be a function that takes {takes}"
        raise SettingsError(msg) from None


@final
class _Dispatch:
    """The messages of one session in work. Lives as long as the session's handler."""

    __slots__ = ("_authorize", "_is_lane_busy", "_lane", "_routes", "_session", "_slots", "_tasks")

    def __init__(
        self, session: Session, routes: dict[str, _Route], authorize: AuthorizeThread | None, in_flight: int
    ) -> None:
        self._session = session
        self._routes = routes
        self._authorize = authorize
        self._slots = asyncio.Semaphore(in_flight)
        self._lane: deque[_Job] = deque()
        """Those that wait for their turn."""
        self._is_lane_busy = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        if self._authorize is not None:
            self._session.carry_threads()
        try:
            await self._slots.acquire()
            async for message in self._session:
                route = self._routes.get(message.type)
                if route is None:
                    self._session.reject(message)
                    continue
                self._admit(_Job(message, route))
                # Before the next message is taken: one that was taken is never left unhandled for want of room.
                await self._slots.acquire()
        finally:
            self._drop_lane()
            await self._end_tasks()

    def _admit(self, job: _Job) -> None:
        if job.route.concurrent or not self._is_lane_busy:
            self._start(job)
        else:
            self._lane.append(job)

    def _start(self, job: _Job) -> None:
        self._is_lane_busy |= not job.route.concurrent
        name = f"ws-{job.message.type}-{self._session.connection_id}"
        task = asyncio.create_task(self._handle(job), name=name)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(job, done))

    def _done(self, job: _Job, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        self._session.widen(job.message)
        if not job.route.concurrent:
            self._is_lane_busy = False
            if self._lane and self._session.is_open:
                self._start(self._lane.popleft())

    async def _handle(self, job: _Job) -> None:
        session, message = self._session, job.message
        try:
            if message.thread_id is None or await self._allows(message, message.thread_id):
                call = self._prepared(job)
                if call is not None:
                    await call(session)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            session.report_failure(message, error)  # something that it waited for was cancelled, not the handler
        except Exception as error:  # noqa: BLE001  # a handler may raise anything; the session stays
            session.report_failure(message, error)

    def _prepared(self, job: _Job) -> _Call | None:
        """Decode the message's data; None where it does not fit, and the client was told."""
        try:
            return job.route.prepare(job.message)
        except InvalidDataError as error:
            self._session.reject(job.message, "invalid_data", path=error.path, problem=error.problem)
            return None

    async def _allows(self, message: Message, thread_id: str) -> bool:
        """Ask the application about the thread, and narrow the message's manager to it; else end the session."""
        session = self._session
        try:
            # Only a message of a session that carries threads has one: the hook is there. Truthy is not True.
            if await cast("AuthorizeThread", self._authorize)(session, thread_id) is not True:
                detail = "authorize_thread() did not return True"
                raise ForbiddenError(detail)
        except AccessError as error:
            report(
                logging.WARNING,
                "a message's thread was refused",
                error=error,
                connection_id=session.connection_id,
                user_id=session.context.user_id,
                tenant_id=session.context.tenant_id,
            )
            session.close(closing.code_of(error.close_code))
            return False
        session.narrow(message, thread_id)
        return True

    def _drop_lane(self) -> None:
        """Let the client send again, under the same id, what never got its turn."""
        while self._lane:
            self._session.forget(self._lane.popleft().message)

    async def _end_tasks(self) -> None:
        """Cancel what still runs and wait for it; each further cancellation is passed on."""
        cancelled: asyncio.CancelledError | None = None
        while self._tasks:
            for task in self._tasks:
                task.cancel(self._session.cancel_reason)
            try:
                await asyncio.wait(self._tasks)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
