"""
Streams, records and leases in the memory of one process: the default, and the reference for every other engine.

Rule 1: nothing here waits, so each call is one step. Rule 2: one bound for all
windows together; what was appended to longest ago is forgotten first, and its
readers are told so by a gap. Rule 3: a stream without listeners is dropped when
its time is over, by whoever calls next.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, final

from ..ids import new_epoch
from ..leases import Leases
from ..revocations import MemoryRevocations
from ..settings import Settings
from ..stream import Limits, Stream

if TYPE_CHECKING:
    from ..events.envelope import Envelope, Unplaced
    from ..keys import Identity
    from ..stream import Draft, Page, Start
    from .base import Lease, Listener

__all__ = ("MemoryBackplane",)

_LOOK_SECONDS: Final = 1.0
"""How often windows that nobody reads are looked at: with each event it is a microsecond that nobody needs."""
_EARLY_SECONDS: Final = 1.0
"""A stream may go this much before its time: whoever asks may count from another reading of the clock."""


@final
class _Topic:
    """One stream and who listens to it."""

    __slots__ = ("listeners", "stream", "touched")

    def __init__(self, stream: Stream, now: float) -> None:
        self.stream = stream
        self.listeners: tuple[Listener, ...] = ()
        self.touched = now


@final
class MemoryBackplane:
    """
    The streams of one process. Lives as long as the factories that share it.

    Every factory makes one of its own; give the same one to two factories of a
    process where both serve the same users: then limits and revocations hold
    for both together.

    Args:
        settings: The bounds: window, replay, total, how long a stream is kept, and how many revocations there may be.
        monotonic: Seconds that only go forward.
        unix: Seconds since 1970 UTC.
    """

    __slots__ = (
        "_bytes",
        "_heard",
        "_leases",
        "_limits",
        "_look_due",
        "_monotonic",
        "_revocations",
        "_seconds",
        "_size",
        "_unheard",
        "_unix",
        "_windows",
    )

    def __init__(
        self,
        settings: Settings | None = None,
        /,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> None:
        bounds = Settings() if settings is None else settings
        self._limits = Limits(bounds.window_events, bounds.window_bytes, bounds.window_seconds)
        self._bytes = bounds.streams_bytes
        self._seconds = bounds.stream_seconds
        self._monotonic = monotonic
        self._heard: dict[str, _Topic] = {}
        """Streams that somebody listens to."""
        self._unheard: OrderedDict[str, _Topic] = OrderedDict()
        """The others, the one touched longest ago first."""
        self._windows: OrderedDict[str, Stream] = OrderedDict()
        """Streams that keep something, the one appended to longest ago first."""
        self._size = 0
        self._look_due = float("-inf")
        """When windows are looked at next that are too old; one that is read is trimmed at once."""
        self._unix = unix
        self._revocations = MemoryRevocations(bounds.revocations)
        self._leases: dict[str, Leases] = {}
        """By the identity's key."""

    def __len__(self) -> int:
        """Return the number of streams."""
        return len(self._heard) + len(self._unheard)

    @property
    def size(self) -> int:
        """Bytes in all windows together."""
        return self._size

    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """Do the same as ``Bus.publish()``."""
        return self.place(identity, draft)

    def place(self, identity: Identity, draft: Unplaced, /) -> Envelope:
        """Do the same as ``Bus.publish()``, without being waited for."""
        now = self._monotonic()
        key = identity.key
        topic = self._heard.get(key)
        if topic is None:
            topic = self._touch(identity, now)
        else:  # the same, without a call for each event
            topic.touched = now
        stream = topic.stream
        before = stream.size
        envelope = stream.append(draft, now)
        if envelope.durable:
            size = self._size = self._size + stream.size - before
            if not before:
                self._windows[key] = stream  # one that holds something is there
            self._windows.move_to_end(key)
            if size > self._bytes or now >= self._look_due:
                self._forget_windows(now)
        for listener in topic.listeners:
            listener.arrived(envelope)
        return envelope

    async def subscribe(self, identity: Identity, listener: Listener, /) -> None:
        """Do the same as ``Bus.subscribe()``."""
        topic = self._touch(identity, self._monotonic())
        topic.listeners = (*topic.listeners, listener)
        self._unheard.pop(identity.key, None)
        self._heard[identity.key] = topic

    def release(self, identity: Identity, listener: Listener, /) -> None:
        """Do the same as ``Bus.release()``."""
        topic = self._heard.get(identity.key)
        if topic is not None:
            topic.listeners = tuple(other for other in topic.listeners if other is not listener)
            if not topic.listeners:
                del self._heard[identity.key]
                self._unheard[identity.key] = topic
                self._unheard.move_to_end(identity.key, last=not self._is_over(topic))
        self._drop_old()

    async def read(self, identity: Identity, start: Start, /) -> Page:
        """Do the same as ``History.read()``."""
        now = self._monotonic()
        stream = self._touch(identity, now).stream
        before = stream.size
        page = stream.read(start, now)
        self._size += stream.size - before
        return page

    async def revoke(self, identity: Identity, until: float | None, /) -> None:
        """Do the same as ``Revocation.revoke()``."""
        self._revocations.add(identity, until, self._unix())
        for listener in self._listeners(identity):
            listener.revoked()

    async def lift(self, identity: Identity, /) -> bool:
        """Do the same as ``Revocation.lift()``."""
        was_barred = self._revocations.bars(identity, self._unix())
        self._revocations.lift(identity)
        return was_barred

    async def bars(self, identity: Identity, /) -> bool:
        """Do the same as ``Revocation.bars()``."""
        return self._revocations.bars(identity, self._unix())

    async def enter(
        self, lease: Lease, /, *, most: int | None, replace: bool, seconds: float
    ) -> tuple[str, ...] | None:
        """Do the same as ``Presence.enter()``."""
        leases = self._leases.setdefault(lease.identity.key, Leases())
        gone = leases.enter(lease, most=most, replace=replace, now=self._monotonic(), seconds=seconds)
        for connection_id in gone or ():
            for listener in self._listeners(lease.identity):
                listener.replaced(connection_id)
        return gone

    async def renew(self, leases: Sequence[Lease], /, *, seconds: float) -> tuple[str, ...]:
        """Do the same as ``Presence.renew()``."""
        now = self._monotonic()
        gone: list[str] = []
        for lease in leases:
            held = self._leases.setdefault(lease.identity.key, Leases())
            if not held.renew(lease, now=now, seconds=seconds):
                gone.append(lease.connection_id)
        return tuple(gone)

    def leave(self, lease: Lease, /) -> None:
        """Do the same as ``Presence.leave()``."""
        key = lease.identity.key
        leases = self._leases.get(key)
        if leases is not None:
            leases.leave(lease.connection_id, self._monotonic())
            if not leases:
                del self._leases[key]

    async def present(self, identity: Identity, /) -> tuple[Lease, ...]:
        """Do the same as ``Presence.present()``."""
        leases = self._leases.get(identity.key)
        return () if leases is None else leases.present(self._monotonic())

    def _listeners(self, identity: Identity) -> tuple[Listener, ...]:
        topic = self._heard.get(identity.key)
        return () if topic is None else topic.listeners

    def _touch(self, identity: Identity, now: float) -> _Topic:
        topic = self._heard.get(identity.key)
        if topic is None:
            topic = self._unheard.get(identity.key)
            if topic is None:
                self._drop_old()
                topic = self._unheard[identity.key] = _Topic(Stream(identity, new_epoch(), self._limits), now)
            self._unheard.move_to_end(identity.key)
        topic.touched = now
        return topic

    def _forget_windows(self, now: float) -> None:
        """Forget windows that are too old, and the oldest while all together are too large."""
        self._look_due = now + _LOOK_SECONDS
        oldest = now - self._limits.seconds
        while self._windows:
            stream = next(iter(self._windows.values()))
            if stream.newest > oldest and (self._size <= self._bytes or len(self._windows) == 1):
                return
            self._size -= stream.size
            stream.clear()
            del self._windows[stream.identity.key]

    def _is_over(self, topic: _Topic) -> bool:
        return topic.touched <= self._monotonic() - self._seconds + _EARLY_SECONDS

    def _drop_old(self) -> None:
        while self._unheard:
            key, topic = next(iter(self._unheard.items()))
            if not self._is_over(topic):
                return
            self._windows.pop(key, None)
            self._size -= topic.stream.size
            del self._unheard[key]
