"""
What is asked of one engine, on whatever connection there is: in its order, together, and not for ever.

Rule 1: what is asked in one turn of the loop travels together, in its order.
Rule 2: nobody waits longer than was said: an engine that does not answer in
time loses the connection, and what was asked goes out again on the next one
while its caller waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, TypeVar, final

from ...errors import EngineTimeoutError
from .beats import Asking, Mark
from .line import Line, pack
from .pending import Job, Pending

if TYPE_CHECKING:
    from .bounds import Bounds
    from .jobs import Ask
    from .topics import Topics

__all__ = ("Sending",)

_T = TypeVar("_T")

_CHUNK: Final = 1_048_576
"""Bytes that are written in one turn of the loop."""


@final
class Sending:
    """
    Lives as long as its link.

    Args:
        bounds: How long and how much waits.
        topics: What is subscribed to: it goes out before what is asked.
        sharded: Whether the engine is a node of a Cluster.

    Attributes:
        line: The connection; None while there is none.
    """

    def __init__(self, bounds: Bounds, topics: Topics, *, sharded: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._bounds = bounds
        self._topics = topics
        self._sharded = sharded
        self._pending = Pending(bounds.jobs, bounds.size)
        self._room: deque[asyncio.Future[None]] = deque()
        self._flushing = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False
        self.line: Line | None = None

    def __len__(self) -> int:
        """Return how many calls wait for the engine."""
        return len(self._pending) + (0 if self.line is None else len(self.line.waiting))

    def __iter__(self) -> Iterator[Job]:
        """Yield what is not answered yet, in its order."""
        if self.line is not None:
            yield from tuple(self.line.waiting)
        yield from self._pending

    @property
    def is_up(self) -> bool:
        """Whether there is a connection that works."""
        return self.line is not None and self.line.is_open

    def flying(self) -> frozenset[str]:
        """Return the keys of what was sent and is not answered."""
        return frozenset(() if self.line is None else (job.key for job in self.line.waiting if job.key))

    def due(self) -> float:
        """Return until when a call that is made now may wait."""
        return self._loop.time() + self._bounds.send_seconds

    async def do(self, job: Ask[_T], /) -> _T:
        """
        Return what the engine answers to *job*.

        Raises:
            EngineTimeoutError: Not in time.
            EngineUnavailableError: It could not.
        """
        if self._room or self._pending.is_full:
            await self._wait_for_room(job)
        self.add(job)
        return await job.answer

    def add(self, job: Job, /) -> None:
        """Ask without waiting for the answer, whatever waits."""
        if self._is_over:
            job.expired()
            return
        self._pending.add(job)
        self.flush_soon()

    async def _wait_for_room(self, job: Job) -> None:
        room: asyncio.Future[None] = self._loop.create_future()
        self._room.append(room)
        try:
            async with asyncio.timeout_at(job.due):
                await room
        except TimeoutError:
            call, state = "a call", "too many wait already: nothing was stored"
            raise EngineTimeoutError(call, state) from None
        finally:
            if room in self._room:
                self._room.remove(room)
            else:
                self._make_room()

    def _make_room(self) -> None:
        """Let the first one in who waits, if there is room; the next follows when that one has gone on."""
        while self._room and not self._pending.is_full:
            room = self._room.popleft()
            if not room.done():
                room.set_result(None)
                return

    def flush_soon(self) -> None:
        """Send what waits at the end of this turn of the loop."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)
        if self._timer is None:
            self._timer = self._loop.call_later(self._bounds.tick_seconds, self._tick)

    def flush(self) -> None:
        """Send what waits now, as much as the connection takes."""
        self._flushing = False
        line = self.line
        if line is None or not line.is_open:
            return
        now = self._loop.time()
        parts: list[bytes] = []
        for word, channels in self._topics.commands(sharded=self._sharded):
            parts += (pack((word, *channels)), self._mark(line, now))
        size = 0
        while not line.is_paused and size < _CHUNK:
            job = self._pending.take()
            if job is None:
                break
            if job.asking:
                parts.append(self._put(line, Asking(job.due), now))
            packed = self._put(line, job, now)
            parts.append(packed)
            size += len(packed)
        if parts:
            line.write(b"".join(parts))
        self._make_room()
        if size >= _CHUNK:
            self.flush_soon()

    def _mark(self, line: Line, now: float) -> bytes:
        """Return a command whose place tells an answer to the one before it from an answer to what came earlier."""
        return self._put(line, Mark(pack(("TIME",)), self.due()), now)

    @staticmethod
    def _put(line: Line, job: Job, now: float) -> bytes:
        job.sent_at = now
        line.waiting.append(job)
        return job.packed()

    def _tick(self) -> None:
        """See that nobody waits too long."""
        now = self._loop.time()
        for job in self._pending.expire(now):
            job.expired()
        line = self.line
        waiting = () if line is None else tuple(line.waiting)
        for job in waiting:
            if job.due <= now and not job.is_over:
                job.expired()
        if line is not None and line.waiting and line.waiting[0].sent_at <= now - self._bounds.answer_seconds:
            line.reason = "TIMEOUT"
            line.abort()
        self._timer = None
        self._make_room()
        if len(self._pending) or (line is not None and line.waiting):
            self._timer = self._loop.call_later(self._bounds.tick_seconds, self._tick)

    def lost(self) -> None:
        """Hear that there is no connection any more: what was sent on it goes out first on the next one."""
        line, self.line = self.line, None
        if line is not None:
            self._pending.put_back(line.waiting)
            line.waiting.clear()

    def sift(self, keep: Callable[[Job], bool], /) -> list[Job]:
        """Take off, and return, what was not sent yet and *keep* does not tell to stay."""
        return self._pending.sift(keep)

    def end(self) -> None:
        """Let all who wait still, and all who ask later, hear that their time is over."""
        self._is_over = True
        self.lost()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (job := self._pending.take()) is not None:
            job.expired()
        self._make_room()
