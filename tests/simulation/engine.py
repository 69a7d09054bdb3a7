"""
An engine in memory that waits, fails, is late or deaf when it is told to, and falls back to older data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import attrs

from tests.simulation.history import History
from ws_isolation import UserExecutionContext
from ws_isolation.backplanes.base import Lease, Listener
from ws_isolation.backplanes.memory import MemoryBackplane
from ws_isolation.events import Envelope, ToolCompleted, ToolExecuting
from ws_isolation.keys import Identity, identity_of
from ws_isolation.settings import Settings
from ws_isolation.stream import Draft, Page, Start, Stream
from ws_isolation.typing import Clock


@attrs.define(eq=False)
class _Line:
    """
    What stands between the engine and one node's interest in one stream.
    """

    engine: TroubledEngine
    listener: Listener | None

    def arrived(self, envelope: Envelope, /) -> None:
        """
        Pass an announcement on: at once, late, twice, or not at all.
        """
        engine = self.engine
        engine.stored(envelope)
        if engine.is_deaf:
            return
        if engine.late:
            asyncio.get_running_loop().call_later(engine.late, self._pass_on, envelope)
        else:
            self._pass_on(envelope)
        if engine.repeats:
            asyncio.get_running_loop().call_later(engine.late + 0.01, self._pass_on, envelope)

    def revoked(self) -> None:
        """
        Pass it on, unless it gets lost.
        """
        if self.listener is not None and not self.engine.is_deaf:
            self.listener.revoked()

    def replaced(self, connection_id: str, /) -> None:
        """
        Pass it on, unless it gets lost.
        """
        if self.listener is not None and not self.engine.is_deaf:
            self.listener.replaced(connection_id)

    def interrupted(self) -> None:
        """
        Pass it on.
        """
        if self.listener is not None:
            self.listener.interrupted()

    def _pass_on(self, envelope: Envelope) -> None:
        if self.listener is not None:
            self.listener.arrived(envelope)


@attrs.define(eq=False)
class TroubledEngine:
    """
    The engine of all nodes of one schedule. What it has no trouble with, it leaves to the one in memory.
    """

    settings: Settings
    clock: Clock
    history: History
    who_is: dict[str, int]
    """The number of each user, by the identity's key."""
    inner: MemoryBackplane = attrs.field(init=False)
    lines: dict[tuple[str, int], _Line] = attrs.field(factory=dict[tuple[str, int], _Line])
    """By the stream and the very listener."""
    waits: float = 0.0
    """Seconds that each answer takes."""
    answers_late: float = 0.0
    """Seconds after which the answer to a publish comes, once it is done."""
    fails: bool = False
    forgets_answers: bool = False
    """Whether a publish fails after it was done."""
    is_deaf: bool = False
    late: float = 0.0
    repeats: bool = False
    is_troubled: bool = False
    lost: set[str] = attrs.field(factory=set[str])
    known: set[str] = attrs.field(factory=set[str])

    def __attrs_post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """
        Forget everything: what a process has in its own memory ends with it.
        """
        clock, before = self.clock, getattr(self, "inner", None)
        self.inner = MemoryBackplane(self.settings, monotonic=clock.monotonic, unix=clock.unix)
        if before is not None:
            self.inner._revocations = before._revocations  # a factory keeps its own over a stop and start

    def is_in_trouble(self, how: str = "") -> None:
        """
        Begin some trouble.
        """
        self.is_troubled = True
        self.history.note("trouble", id=how)

    def is_sound_again(self) -> None:
        """
        End all trouble.
        """
        self.waits = self.late = self.answers_late = 0.0
        if self.is_troubled:
            self.is_troubled = False
            self.history.note("sound")
        self.fails = self.forgets_answers = self.is_deaf = self.repeats = False

    def stored(self, envelope: Envelope) -> None:
        """
        Write down a durable event the first time that it is seen: before any node hears of it.
        """
        if envelope.durable and envelope.id not in self.known:
            self.known.add(envelope.id)
            thread, run = envelope.event.thread_id, envelope.event.run_id
            self.history.note(
                "stored",
                who=self.who_is[envelope.owner.key],
                id=envelope.id,
                number=envelope.seq,
                epoch=envelope.epoch,
                thread=thread if isinstance(thread, str) else None,
                run=run if isinstance(run, str) else None,
                run_seq=envelope.run_seq,
                is_end=envelope.event.final,
                tool=envelope.event.tool_call_id if isinstance(envelope.event, ToolExecuting | ToolCompleted) else "",
                text=envelope.event.type,
            )

    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """
        Do the same as ``Bus.publish()``.
        """
        await self._answer()
        envelope = await self.inner.publish(identity, draft)
        self.stored(envelope)
        if self.answers_late:
            await asyncio.sleep(self.answers_late)
        if self.forgets_answers:
            msg = "the answer was lost"
            raise ConnectionError(msg)
        return envelope

    async def subscribe(self, identity: Identity, listener: Listener, /) -> None:
        """
        Do the same as ``Bus.subscribe()``.
        """
        await self._answer()
        line = self.lines[identity.key, id(listener)] = _Line(self, listener)
        await self.inner.subscribe(identity, line)

    def release(self, identity: Identity, listener: Listener, /) -> None:
        """
        Do the same as ``Bus.release()``.
        """
        line = self.lines.pop((identity.key, id(listener)), None)
        if line is not None:
            line.listener = None
            self.inner.release(identity, line)

    async def read(self, identity: Identity, start: Start, /) -> Page:
        """
        Do the same as ``History.read()``.
        """
        await self._answer()
        return await self.inner.read(identity, start)

    async def revoke(self, identity: Identity, until: float | None, /) -> None:
        """
        Do the same as ``Revocation.revoke()``.
        """
        await self._answer()
        await self.inner.revoke(identity, until)

    async def lift(self, identity: Identity, /) -> bool:
        """
        Do the same as ``Revocation.lift()``.
        """
        await self._answer()
        return await self.inner.lift(identity)

    async def bars(self, identity: Identity, /) -> bool:
        """
        Do the same as ``Revocation.bars()``.
        """
        await self._answer()
        return await self.inner.bars(identity)

    async def enter(
        self, lease: Lease, /, *, most: int | None, replace: bool, seconds: float
    ) -> tuple[str, ...] | None:
        """
        Do the same as ``Presence.enter()``.
        """
        await self._answer()
        return await self.inner.enter(lease, most=most, replace=replace, seconds=seconds)

    async def renew(self, leases: Sequence[Lease], /, *, seconds: float) -> tuple[str, ...]:
        """
        Do the same as ``Presence.renew()``.
        """
        await self._answer()
        return await self.inner.renew(leases, seconds=seconds)

    def leave(self, lease: Lease, /) -> None:
        """
        Do the same as ``Presence.leave()``.
        """
        self.inner.leave(lease)

    async def present(self, identity: Identity, /) -> tuple[Lease, ...]:
        """
        Do the same as ``Presence.present()``.
        """
        await self._answer()
        return await self.inner.present(identity)

    async def _answer(self) -> None:
        if self.waits:
            await asyncio.sleep(self.waits)
        if self.fails:
            msg = "the engine is down"
            raise ConnectionError(msg)

    def reconnects(self) -> None:
        """
        Let every node hear that announcements may have been lost.
        """
        for line in tuple(self.lines.values()):
            line.interrupted()

    def _stream_of(self, context: UserExecutionContext) -> Stream | None:
        identity = identity_of(context)
        topic = self.inner._heard.get(identity.key) or self.inner._unheard.get(identity.key)
        return None if topic is None else topic.stream

    def behind(self, context: UserExecutionContext, seconds: float) -> int:
        """
        Return how many entries of one stream a replica lacks that is so far behind.
        """
        stream, since = self._stream_of(context), self.clock.monotonic() - seconds
        return 0 if stream is None or stream._times is None else sum(at > since for at in stream._times)

    def fall_back(self, context: UserExecutionContext, count: int) -> None:
        """
        Lose the last *count* entries of one stream, as a lagging replica that is promoted has; their places are free.
        """
        identity, stream = identity_of(context), self._stream_of(context)
        while count and stream is not None and stream._window and stream._times:
            lost = stream._window.pop()
            stream._times.pop()
            stream.seq, stream.last_id = lost.seq - 1, lost.prev
            stream.size -= lost.size
            self.inner._size -= lost.size
            self.lost.add(lost.id)
            self.history.note("lost", who=self.who_is[identity.key], id=lost.id)
            count -= 1
