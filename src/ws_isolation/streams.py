"""
The streams of one process, and who listens to them.

In memory, and the only place that knows which session belongs to which
identity. There is no call that reaches more than one stream.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, final

from .ids import new_epoch
from .seen import SeenIds
from .stream import Stream

if TYPE_CHECKING:
    from .events.envelope import Envelope
    from .keys import Identity

__all__ = ("LiveStream", "OpenRun", "Streams", "Subscriber")


class Subscriber(Protocol):
    """A session, as its stream sees it."""

    def offer(self, envelope: Envelope, /) -> bool:
        """Queue the envelope without waiting; False where the session is over or full."""
        ...


class OpenRun(Protocol):
    """An open run, as a client's ``stop`` finds it."""

    def stop(self, reason: str = "user", /) -> None:
        """Cancel what the run is doing; it ends as ``agent_cancelled``."""
        ...


@final
class LiveStream:
    """
    One identity's stream with its sessions, runs and spawned work.

    Lives from the first session or event to ``Settings.stream_seconds`` after
    the last, and not longer.
    """

    __slots__ = ("__weakref__", "detached_at", "due", "runs", "seen", "sessions", "stream", "touched", "work")

    def __init__(self, stream: Stream, now: float) -> None:
        self.stream: Stream = stream
        self.sessions: tuple[Subscriber, ...] = ()
        self.runs: dict[str, OpenRun] = {}
        self.work: set[asyncio.Task[Any]] = set()
        self.seen: SeenIds | None = None
        """The ids of the identity's messages, once one has an id."""
        self.touched: float = now
        self.detached_at: float = now
        self.due: float = float("inf")
        """When it is looked at next."""

    def subscribe(self, session: Subscriber, /) -> None:
        """Add a session; what is published from now on is offered to it."""
        self.sessions = (*self.sessions, session)

    def unsubscribe(self, session: Subscriber, now: float, /) -> None:
        """Remove this very session, by object and never by id; harmless when it is gone."""
        self.sessions = tuple(other for other in self.sessions if other is not session)
        if not self.sessions:
            self.detached_at = now

    def publish(self, envelope: Envelope, now: float, /) -> tuple[int, int]:
        """Offer *envelope* to every session; return how many queued it and how many could not."""
        self.touched = now
        queued = 0
        sessions = self.sessions
        for session in sessions:
            if session.offer(envelope):
                queued += 1
        return queued, len(sessions) - queued

    @property
    def is_idle(self) -> bool:
        """Whether nobody listens, no run is open and no work goes on."""
        return not (self.sessions or self.runs or self.work)


@final
class Streams:
    """All streams of one factory. Lives as long as the factory runs."""

    __slots__ = ("_by_identity",)

    def __init__(self) -> None:
        self._by_identity: dict[Identity, LiveStream] = {}

    def __len__(self) -> int:
        """Return the number of streams."""
        return len(self._by_identity)

    def open(self, identity: Identity, now: float, /) -> LiveStream:
        """Return the identity's stream, a new one where there is none."""
        live = self._by_identity.get(identity)
        if live is None:
            live = self._by_identity[identity] = LiveStream(Stream(identity, new_epoch()), now)
        return live

    def find(self, identity: Identity, /) -> LiveStream | None:
        """Return the identity's stream, None where there is none."""
        return self._by_identity.get(identity)

    def drop(self, live: LiveStream, /) -> None:
        """Forget this very stream; its epoch ends with it."""
        if self._by_identity.get(live.stream.identity) is live:
            del self._by_identity[live.stream.identity]

    def all(self) -> tuple[LiveStream, ...]:
        """Return every stream, for the end of the factory."""
        return tuple(self._by_identity.values())
