"""
The link of one process to its engine: connects, comes back, and ends.

Rule 1: what is asked meanwhile is kept, and goes out on the next connection.
Rule 2: a node that does not hear itself is deaf, and connects again. Rule 3:
what was asked before it is closed is answered first, as far as a second goes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, final

from ...errors import SettingsError
from ...ids import new_fractions
from ...oplog import report
from .backoff import delay
from .beats import Pulse
from .draining import DRAIN_SECONDS, drained
from .finding import NotFoundError
from .line import Line
from .opening import Checked, opened
from .restoring import Restoring
from .sending import Sending
from .topics import Topics

if TYPE_CHECKING:
    from .address import Address
    from .bounds import Bounds
    from .jobs import Ask
    from .pending import Job
    from .scripts import Script

__all__ = ("Link", "Nodes", "Owner")

_T = TypeVar("_T")

_STEADY_SECONDS: Final = 1.0
"""A connection that lasts less counts as a failed attempt: an engine that lets in and throws out is not stormed."""
_BEAT_SECONDS: Final = 5.0
"""Between two proofs that the node hears."""
_LOOK_BEATS: Final = 12
"""Between two looks at what the engine is set to."""


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

    def redirected(self, link: Link, job: Job | None, place: tuple[str, int] | None, /) -> None:
        """
        Take back what the node did not do; None: it does not announce what it was asked to.

        *place* is host and port of the node that is to be asked this once.
        """
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
        self._pulse = Pulse(pulse.encode())
        self._owner = owner
        self._sending = Sending(bounds, self.topics, sharded=nodes is not None)
        self._restoring = Restoring(self.topics)
        self._is_closing = False
        self.checked: Checked | None = None
        """What the engine said of itself when it was connected to last."""
        self.connections: int = 0
        self.problem: str = ""
        """Why there is no connection."""
        self._task = self._loop.create_task(self._run(), name="ws-redis", context=Context())

    @property
    def is_up(self) -> bool:
        """Whether there is a connection that works."""
        return self._sending.is_up

    @property
    def waiting(self) -> int:
        """How many calls wait for the engine."""
        return len(self._sending)

    @property
    def listening(self) -> int:
        """How many identities are listened to."""
        return len(self.topics)

    def topics_of(self, _name: str, /) -> Topics:
        """Return where is noted who listens to the channel of this name."""
        return self.topics

    def due(self) -> float:
        """Return until when a call that is made now may wait."""
        return self._sending.due()

    async def do(self, job: Ask[_T], /) -> _T:
        """
        Return what the engine answers to *job*.

        Raises:
            EngineTimeoutError: Not in time.
            EngineUnavailableError: It could not.
        """
        return await self._sending.do(job)

    def add(self, job: Job, /) -> None:
        """Ask without waiting for the answer, whatever waits."""
        self._sending.add(job)

    def flush_soon(self) -> None:
        """Send what waits at the end of this turn of the loop."""
        self._sending.flush_soon()

    async def _run(self) -> None:
        attempt = 0
        while True:
            redirected = None if self._nodes is None else partial(self._nodes.redirected, self)
            line = Line(self._announced, self.flush_soon, redirected)
            try:
                async with asyncio.timeout(self._bounds.answer_seconds):
                    address = await self._locate()
                    self.checked = await self._opened(line, address)
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
            if self._is_closing:
                return
            await asyncio.sleep(delay(attempt, new_fractions(1)[0]))
            attempt += 1

    async def _opened(self, line: Line, address: Address) -> Checked:
        is_node, channel = self._nodes is not None, self._pulse.channel
        return await opened(line, address, self._scripts, channel, self._loop.time, cluster=is_node)

    def _say_away(self, problem: str, error: Exception | None) -> None:
        if self._is_closing:
            return
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
        self._sending.line = line
        self._pulse.begin()
        self._sending.flush()
        self.flush_soon()
        try:
            while not line.over.done():
                self._beat(line)
                await asyncio.wait((line.over,), timeout=_BEAT_SECONDS)
                if self._pulse.is_deaf and not line.over.done():
                    line.reason = "DEAF"
                    line.abort()
                elif not await self._is_still_at(address):
                    line.reason = "SWITCHED"
                    line.abort()
        finally:
            self._sending.lost()
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
        beat = self._pulse.beat(self.due())
        line.ask(beat, beat.packed(), self._loop.time())
        if self._pulse.said(_LOOK_BEATS):
            self._owner.look(self)
        self.flush_soon()

    def drop(self, reason: str, /) -> None:
        """End the connection, for this reason; the next one is looked at before it is used."""
        if self._sending.line is not None:
            self._sending.line.reason = reason
            self._sending.line.abort()

    def _announced(self, push: list[object]) -> None:
        match push:
            case [b"message" | b"smessage", bytes() as channel, bytes() as letter]:
                if channel == self._pulse.channel:
                    self._pulse.hear(letter)
                else:
                    self._owner.announced(self.topics, channel, letter)
            case [b"subscribe" | b"ssubscribe", bytes() as channel, *_]:
                self.topics.confirmed(channel)
                self._restoring.soon()
            case [b"sunsubscribe", bytes() as channel, *_] if self._nodes is not None and self.topics.left(channel):
                self._nodes.redirected(self, None, None)
            case _:
                pass

    def flying(self) -> frozenset[str]:
        """Return the keys of what was sent and is not answered."""
        return self._sending.flying()

    def outstanding(self) -> Iterator[Job]:
        """Yield what is not answered yet."""
        return iter(self._sending)

    def sift(self, is_elsewhere: Callable[[str], bool], /) -> list[Job]:
        """Take off, and return, what was not sent yet and is about a key that *is_elsewhere* tells."""
        return self._sending.sift(lambda job: not job.key or job.asking or not is_elsewhere(job.key))

    def retire(self) -> list[Job]:
        """End it now, and return what was asked and is about a key, in its order."""
        self._task.cancel()
        line = self._sending.line
        self._sending.lost()
        if line is not None:
            line.abort()
        return [job for job in self._sending.sift(lambda _job: False) if job.key]

    async def close(self, seconds: float = DRAIN_SECONDS) -> None:
        """
        End it: what was asked before is answered first, if the engine does so within *seconds*; the rest fails.

        Cancelled, it ends at once.
        """
        self._is_closing = True
        try:
            if not self.problem:
                await drained(self.outstanding, seconds, self._task)
            if self._sending.line is not None:
                await self._sending.line.close()
        finally:
            self._task.cancel()
            self._sending.end()
        await asyncio.gather(self._task, return_exceptions=True)
