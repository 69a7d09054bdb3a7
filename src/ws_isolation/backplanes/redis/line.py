"""
One connection: what was asked and what is answered, in the same order, and what is announced in between.

Rule 1: every command but (un)subscribing takes one place in the row of those
that wait, and every answer takes the first one. A caller who has gone leaves
its place where it is. Rule 2: what does not fit into that order ends the
connection: nobody ever gets another's answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast, final

import hiredis

from .moving import asked_place

if TYPE_CHECKING:
    from .pending import Job

Place = tuple[str, int]

__all__ = ("Line", "pack")

_MISSING: Final = object()
_MOST_BYTES: Final = 67_108_864
"""The most that an answer may have: a window is 1 MiB by default, and an engine is not trusted with our memory."""

_ENDS: Final = frozenset(
    ("NOSCRIPT", "NOPERM", "NOAUTH", "READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "MOVED", "UNKILLABLE")
)
"""Errors that are the connection's and not the command's: it was restarted, demoted, or never let in."""

_ELSEWHERE: Final = frozenset(("MOVED", "ASK", "TRYAGAIN"))
"""Errors of a Cluster whose slots move: another node serves it, or will soon."""

pack: Final = cast(
    "Callable[[tuple[bytes | str | int, ...]], bytes]",
    hiredis.pack_command,  # pyright: ignore[reportUnknownMemberType]  # its stub says nothing of the result
)
"""Return a command as the engine takes it."""


@final
class Line(asyncio.Protocol):
    """
    Lives as long as its connection.

    Args:
        announced: Called with each announcement.
        writable: Called when more may be written.
        redirected: Called with what a node of a Cluster did not do because another one serves it, and host and port
            where that one is to be asked this once; with None where it was a command without a place, which a mark
            follows. None: such an answer ends the connection.

    Attributes:
        waiting: What was sent and is not answered, in its order.
        over: Done when the connection is lost.
        reason: The word of the error that ended it, where there was one.
    """

    def __init__(
        self,
        announced: Callable[[list[object]], None],
        writable: Callable[[], None],
        redirected: Callable[[Job | None, Place | None], None] | None = None,
    ) -> None:
        self.waiting: deque[Job] = deque()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_paused: bool = False
        self.reason: str = ""
        self._announced = announced
        self._writable = writable
        self._redirected = redirected
        self._reader = hiredis.Reader(notEnoughData=_MISSING)
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can be written to."""
        return self._transport is not None and not self.over.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        del exc
        if not self.over.done():
            self.over.set_result(None)

    def pause_writing(self) -> None:
        """Hear that the engine does not take more now."""
        self.is_paused = True

    def resume_writing(self) -> None:
        """Hear that it does."""
        self.is_paused = False
        self._writable()

    def data_received(self, data: bytes) -> None:
        """Give each answer to whom it belongs."""
        try:
            self._reader.feed(data)
            if self._reader.len() > _MOST_BYTES:
                self.reason = "TOOBIG"
                self.abort()
            while not self.over.done():
                reply = cast("object", self._reader.gets())
                if reply is _MISSING:
                    return
                if isinstance(reply, hiredis.PushNotification):
                    self._announced(cast("list[object]", reply))
                elif isinstance(reply, hiredis.ReplyError) and self._is_elsewhere(reply):
                    pass
                elif isinstance(reply, hiredis.ReplyError) and self._is_the_end(reply):
                    self.reason = str(reply).partition(" ")[0]
                    self.abort()
                elif self.waiting:
                    self.waiting.popleft().answered(reply)
                else:
                    self.reason = "UNASKED"
                    self.abort()
        except Exception:
            self.abort()
            raise

    def _is_elsewhere(self, error: hiredis.ReplyError) -> bool:
        """Give back what another node serves; False where it is another error, or is not expected."""
        if self._redirected is None or not self.waiting or str(error).partition(" ")[0] not in _ELSEWHERE:
            return False
        job = None if self.waiting[0].is_mark else self.waiting.popleft()
        self._redirected(job, asked_place(str(error)))
        return True

    def _is_the_end(self, error: hiredis.ReplyError) -> bool:
        word = str(error).partition(" ")[0]
        if self.waiting and self.waiting[0].is_mark:
            return True
        return word in _ENDS and not (word == "NOPERM" and self.waiting and self.waiting[0].optional)

    def ask(self, job: Job, packed: bytes, now: float, /) -> None:
        """Give *job* its place; *packed* is to be written right after."""
        job.sent_at = now
        self.waiting.append(job)
        self.write(packed)

    def write(self, packed: bytes, /) -> None:
        """Write; nothing before the connection is made."""
        if self._transport is not None:
            self._transport.write(packed)

    def abort(self) -> None:
        """End it now, whatever is still on its way."""
        if self._transport is not None:
            self._transport.abort()
        if not self.over.done():
            self.over.set_result(None)

    async def close(self) -> None:
        """End it once everything is written, within a second."""
        if self._transport is not None:
            self._transport.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await asyncio.shield(self.over)
        self.abort()
