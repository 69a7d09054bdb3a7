"""
The link of one process to its engine: connects, comes back, and keeps what is asked meanwhile.

Rule 1: what is asked in one turn of the loop travels together, in its order.
Rule 2: nobody waits longer than was said: an engine that does not answer in
time loses the connection, and what was asked goes out again on the next one
while its caller waits. Rule 3: a node that does not hear itself is deaf, and
connects again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, final

import attrs

from ...errors import EngineTimeoutError, SettingsError
from ...ids import new_fractions
from ...oplog import report
from .backoff import delay
from .beats import Beat, Mark
from .finding import NotFoundError
from .line import Line, pack
from .opening import Checked, opened
from .pending import Job, Pending
from .topics import Topics

if TYPE_CHECKING:
    from .address import Address
    from .jobs import Ask
    from .scripts import Script

__all__ = ("Bounds", "Link", "Owner")

_T = TypeVar("_T")

_RESTORE: Final = 250
"""Identities whose history is read again in one step after a reconnect."""
_RESTORE_SECONDS: Final = 0.01
_STEADY_SECONDS: Final = 1.0
"""A connection that lasts less counts as a failed attempt: an engine that lets in and throws out is not stormed."""
_BEAT_SECONDS: Final = 5.0
"""Between two proofs that the node hears."""
_LOOK_BEATS: Final = 12
"""Between two looks at what the engine is set to."""


@final
@attrs.frozen
class Bounds:
    """
    How long and how much waits for the engine.

    Attributes:
        answer_seconds: An engine that takes longer loses the connection.
        send_seconds: How long one call waits in all.
        jobs: Calls that may wait.
        size: Their bytes.
    """

    answer_seconds: float = 2.0
    send_seconds: float = 5.0
    jobs: int = 10_000
    size: int = 33_554_432

    @property
    def tick_seconds(self) -> float:
        """How often it is looked who waits too long."""
        return min(self.answer_seconds, self.send_seconds) / 4


class Owner(Protocol):
    """Who has a link."""

    def announced(self, topics: Topics, channel: bytes, letter: bytes, /) -> None:
        """Take what was said on a channel to whoever listens."""
        ...

    def look(self, link: Link, /) -> None:
        """See whether the engine is still as it was; called when it is connected, and each minute."""
        ...


class Nodes(Protocol):
    """The Cluster that a link is part of."""

    def redirected(self, link: Link, job: Job | None, /) -> None:
        """Take back what the node did not do; None: it does not announce what it was asked to."""
        ...

    def lost(self) -> None:
        """Hear that there is no connection to the node."""
        ...


@final
class Link:
    """
    Lives as long as its event loop needs it; starts by the first call.

    Args:
        locate: Says where the engine is now; asked again for each connection, and while one lasts.
        bounds: How long and how much waits.
        scripts: What is to be known to the engine.
        pulse: The channel on which the node hears itself.
        owner: Who gets the announcements.
        nodes: The Cluster that the engine is part of; None where it is none.

    Attributes:
        topics: What is subscribed to.
    """

    def __init__(
        self,
        locate: Callable[[], Awaitable[Address]],
        bounds: Bounds,
        *,
        scripts: tuple[Script, ...],
        pulse: str,
        owner: Owner,
        nodes: Nodes | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._locate = locate
        self._nodes = nodes
        self._bounds = bounds
        self._scripts = scripts
        self.topics: Topics = Topics()
        self._pulse = pulse.encode()
        self._owner = owner
        self._pending = Pending(bounds.jobs, bounds.size)
        self._room: deque[asyncio.Future[None]] = deque()
        self._line: Line | None = None
        self._flushing = False
        self._timer: asyncio.TimerHandle | None = None
        self._beats = 0
        self._heard = 0
        self._restoring = False
        self.checked: Checked | None = None
        """What the engine said of itself when it was connected to last."""
        self.connections: int = 0
        self.problem: str = ""
        """Why there is no connection."""
        self._task = self._loop.create_task(self._run(), name="ws-redis", context=Context())

    @property
    def is_up(self) -> bool:
        """Whether there is a connection that works."""
        return self._line is not None and self._line.is_open

    @property
    def waiting(self) -> int:
        """How many calls wait for the engine."""
        return len(self._pending) + (0 if self._line is None else len(self._line.waiting))

    @property
    def listening(self) -> int:
        """How many identities are listened to."""
        return len(self.topics)

    def topics_of(self, _name: str, /) -> Topics:
        """Return where is noted who listens to the channel of this name."""
        return self.topics

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
        self._pending.add(job)
        self.flush_soon()
        return await job.answer

    def add(self, job: Job, /) -> None:
        """Ask without waiting for the answer, whatever waits."""
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
            self._loop.call_soon(self._flush)
        if self._timer is None:
            self._timer = self._loop.call_later(self._bounds.tick_seconds, self._tick)

    def _flush(self) -> None:
        self._flushing = False
        line = self._line
        if line is None or not line.is_open:
            return
        now = self._loop.time()
        parts: list[bytes] = []
        for word, channels in self.topics.commands(sharded=self._nodes is not None):
            parts += (pack((word, *channels)), self._mark(line, now))
        size = 0
        while not line.is_paused and size < _CHUNK:
            job = self._pending.take()
            if job is None:
                break
            job.sent_at = now
            packed = job.packed()
            line.waiting.append(job)
            parts.append(packed)
            size += len(packed)
        if parts:
            line.write(b"".join(parts))
        self._make_room()
        if size >= _CHUNK:
            self.flush_soon()

    def _mark(self, line: Line, now: float) -> bytes:
        """Return a command whose place tells an answer to the one before it from an answer to what came earlier."""
        mark = Mark(pack(("TIME",)), self.due())
        mark.sent_at = now
        line.waiting.append(mark)
        return mark.packed()

    def _tick(self) -> None:
        """See that nobody waits too long."""
        now = self._loop.time()
        for job in self._pending.expire(now):
            job.expired()
        line = self._line
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

    # The connection.

    async def _run(self) -> None:
        attempt = 0
        while True:
            redirected = None if self._nodes is None else partial(self._nodes.redirected, self)
            line = Line(self._announced, self.flush_soon, redirected)
            try:
                async with asyncio.timeout(self._bounds.answer_seconds):
                    address = await self._locate()
                    self.checked = await opened(
                        line, address, self._scripts, self._pulse, self._loop.time, cluster=self._nodes is not None
                    )
            except Exception as error:  # noqa: BLE001  # whatever it is, the next attempt may do
                unfit = str(error) if isinstance(error, SettingsError | NotFoundError) else ""
                self._say_away(unfit or line.reason or type(error).__name__, error)
            else:
                since = self._loop.time()
                await self._stay(line, address)
                if self._loop.time() - since >= _STEADY_SECONDS:
                    attempt = 0
                self._say_away(line.reason or "the connection was lost", None)
            finally:
                line.abort()
            await asyncio.sleep(delay(attempt, new_fractions(1)[0]))
            attempt += 1

    def _say_away(self, problem: str, error: Exception | None) -> None:
        if problem != self.problem:
            self.problem = problem
            detail = None if error is None or isinstance(error, SettingsError) else str(error)
            report(logging.ERROR, "no connection to Redis", problem=problem, detail=detail)
        if self._nodes is not None:
            self._nodes.lost()

    async def _stay(self, line: Line, address: Address) -> None:
        """Serve until the connection is lost."""
        self.connections += 1
        if self.problem:
            report(logging.WARNING, "connected to Redis again", problem=self.problem)
        self.problem = ""
        self._line = line
        self._beats = self._heard = 0
        self._flush()
        self.flush_soon()
        try:
            while not line.over.done():
                self._beat(line)
                await asyncio.wait((line.over,), timeout=_BEAT_SECONDS)
                if self._heard < self._beats and not line.over.done():
                    line.reason = "DEAF"
                    line.abort()
                elif not await self._is_still_at(address):
                    line.reason = "SWITCHED"
                    line.abort()
        finally:
            self._line = None
            self._pending.put_back(line.waiting)
            line.waiting.clear()
            self.topics.lost()
            self.flush_soon()

    async def _is_still_at(self, address: Address) -> bool:
        """See whether those who know say that the engine is elsewhere now: a master that was cut off still answers."""
        try:
            async with asyncio.timeout(self._bounds.answer_seconds):
                return await self._locate() == address
        except Exception:  # noqa: BLE001  # nobody knows: what works stays
            return True

    def _beat(self, line: Line) -> None:
        self._beats += 1
        beat = Beat(pack(("PUBLISH", self._pulse, str(self._beats))), self.due())
        line.ask(beat, beat.packed(), self._loop.time())
        if self._beats % _LOOK_BEATS == 1:
            self._owner.look(self)
        self.flush_soon()

    def drop(self, reason: str, /) -> None:
        """End the connection, for this reason; the next one is looked at before it is used."""
        if self._line is not None:
            self._line.reason = reason
            self._line.abort()

    def _announced(self, push: list[object]) -> None:
        match push:
            case [b"message" | b"smessage", bytes() as channel, bytes() as letter]:
                if channel == self._pulse:
                    self._heard = max(self._heard, self._beats if letter == b"%d" % self._beats else 0)
                else:
                    self._owner.announced(self.topics, channel, letter)
            case [b"subscribe" | b"ssubscribe", bytes() as channel, *_]:
                self.topics.confirmed(channel)
                if self.topics.is_interrupted:
                    self._restore_soon()
            case [b"sunsubscribe", bytes() as channel, *_] if self._nodes is not None and self.topics.left(channel):
                self._nodes.redirected(self, None)
            case _:
                pass

    def flying(self) -> frozenset[str]:
        """Return the keys of what was sent and is not answered."""
        return frozenset(() if self._line is None else (job.key for job in self._line.waiting if job.key))

    def sift(self, is_elsewhere: Callable[[str], bool], /) -> list[Job]:
        """Take off, and return, what was not sent yet and is about a key that *is_elsewhere* tells."""
        return self._pending.sift(lambda job: not job.key or not is_elsewhere(job.key))

    def retire(self) -> list[Job]:
        """End it now, and return what was asked and is about a key, in its order."""
        self._task.cancel()
        if self._line is not None:
            self._pending.put_back(self._line.waiting)
            self._line.waiting.clear()
            self._line.abort()
        return [job for job in self._pending.take_all() if job.key]

    def _restore_soon(self) -> None:
        """Have the histories read again of those who may have missed something, some at a time."""
        if not self._restoring:
            self._restoring = True
            self._loop.call_soon(self._restore)

    def _restore(self) -> None:
        self._restoring = False
        if self.topics.interrupted(_RESTORE):
            self._restoring = True
            self._loop.call_later(_RESTORE_SECONDS, self._restore)

    async def close(self) -> None:
        """End it: what still waits is sent if there is a connection, and fails otherwise."""
        line = self._line
        self._flush()
        self._task.cancel()
        if line is not None:
            await line.close()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (job := self._pending.take()) is not None:
            job.expired()


_CHUNK: Final = 1_048_576
"""Bytes that are written in one turn of the loop."""
