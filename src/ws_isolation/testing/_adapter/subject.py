"""
The application that the checks talk to: who its users are, and what it does when told to.

An adapter serves it as it serves any other: a factory, ``authenticate`` and a handler.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias, cast, final

from ...closing import CloseCode
from ...context import UserExecutionContext
from ...errors import ForbiddenError, UnauthenticatedError
from ...events import Custom
from ...factory import ManagerFactory
from ...frames import Message
from ...handshake import Handshake
from ...session import Session
from ...settings import Settings
from .client import HOST

PENDING: Final = 8
"""Handshakes that may wait for their credential at the same time."""
LONGEST: Final = CloseCode(4999, "the_longest_name_that_a_close_code_may_x", "resume", "The longest slug.")
"""A code of an application's own with the longest name that it may have."""

_FLOOD: Final = 250
_FLOOD_BYTES: Final = 60_000
"""Together 15 MB: more than a kernel keeps for a peer that does not read, and the outbox after it."""

_Answer: TypeAlias = Callable[[Session, Message], Awaitable[None]]


class _DefectError(Exception):
    """A defect of the application."""


class _OddError(BaseException):
    """What no ``except Exception`` catches."""


@final
class AdapterSubject:
    """
    The application under test for ``check_adapter()``: one factory and what goes with it.

    Build your adapter's application from it, with the WebSocket at ``/ws``, as you build any other:
    ``serve(websocket, subject.factory, subject.authenticate, subject.handler)``. Making one makes no
    task and no socket, so a module may have it. Its settings are short, for tests only.

    Attributes:
        factory: To be stopped in order where the adapter has a way to, a lifespan say.
    """

    __slots__ = ("_answers", "_pairs", "factory")

    def __init__(self) -> None:
        self.factory: ManagerFactory = ManagerFactory(_SETTINGS)
        self._pairs: dict[str, asyncio.Event] = {}
        self._answers: dict[str, _Answer] = {
            "size": _tell_size,
            "raise": _raise(_DefectError),
            "odd": _raise(_OddError),
            "cancel": _raise(asyncio.CancelledError),
            "surrogate": _send_surrogate,
            "longest": _close_with_longest,
            "flood": _flood,
            "stream": _stream,
            "census": self._census,
        }

    async def authenticate(self, handshake: Handshake, /) -> UserExecutionContext | None:
        """Take a token ``how.user``: most ways are ways to fail, ``user`` is the way in."""
        how, _, user = (handshake.bearer_token or "").partition(".")
        if how == "raise":
            raise _DefectError
        if how == "cancel":
            raise asyncio.CancelledError
        if how == "forbid":
            raise ForbiddenError
        if how == "refuse":
            raise UnauthenticatedError
        if how == "impostor":
            return cast("UserExecutionContext", {"user_id": user})
        if how == "wait":
            await asyncio.Event().wait()
        if how == "pair":
            await self._meet(user[:-1])
        expires_at = datetime.now(UTC) - timedelta(hours=1) if how == "expire" else None
        return UserExecutionContext(user_id=user, expires_at=expires_at) if user else None

    async def _meet(self, name: str) -> None:
        """Wait for the other one of a pair: both have asked before either is answered."""
        other = self._pairs.pop(name, None)
        if other is not None:
            other.set()
            return
        self._pairs[name] = own = asyncio.Event()
        await own.wait()

    async def handler(self, session: Session, /) -> None:
        """Say who the session belongs to, then do what each message says; ``return`` ends it."""
        await session.manager.send(Custom(name="check.user", value=session.context.user_id))
        async for message in session:
            if message.type == "return":
                return
            await self._answers[message.type](session, message)

    async def _census(self, session: Session, _message: Message) -> None:
        gc.collect()
        stats = self.factory.stats()
        counts: dict[str, Any] = {
            "sessions": stats.sessions,
            "handshakes": stats.pending,
            "streams": stats.streams,
            "tasks": len(asyncio.all_tasks()),
            "descriptors": _descriptors(),
            "contexts": sum(1 for value in gc.get_objects() if type(value) is UserExecutionContext),
        }
        await session.manager.send(Custom(name="check.census", value=counts))


def _descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def _raise(error: type[BaseException]) -> _Answer:
    async def answer(_session: Session, _message: Message) -> None:
        raise error

    return answer


async def _tell_size(session: Session, message: Message) -> None:
    await session.manager.send(Custom(name="check.size", value=len(message.data["text"])))


async def _send_surrogate(session: Session, _message: Message) -> None:
    await session.manager.send(Custom(name="check.surrogate", value="\ud800"))


async def _close_with_longest(session: Session, _message: Message) -> None:
    session.close(LONGEST, retry_after_ms=3_600_000)


async def _flood(session: Session, _message: Message) -> None:
    for _ in range(_FLOOD):
        await session.manager.send(Custom(name="check.flood", value="x" * _FLOOD_BYTES))
        await asyncio.sleep(0)


async def _stream(session: Session, _message: Message) -> None:
    async def run() -> None:
        while True:
            await session.manager.send(Custom(name="check.stream", value=1))
            await asyncio.sleep(0.01)

    session.spawn(run())


_SETTINGS: Final = Settings(
    hosts=(HOST,),
    auth_seconds=1.5,
    heartbeat_seconds=1.0,
    pong_timeout_seconds=1.0,
    server_ping_seconds=None,
    write_seconds=0.5,
    close_seconds=1.0,
    drain_seconds=2.0,
    drain_share=1.0,
    detached_seconds=0.2,
    stream_seconds=1.0,
    window_events=0,
    messages_per_minute=100_000.0,
    message_burst=10_000,
    identity_messages_per_minute=100_000.0,
    identity_message_burst=10_000,
    pending_handshakes=PENDING,
)
"""Deadlines as short as a loaded machine keeps; rates that no check reaches."""
