"""
What one node has of its users' streams: who listens, what runs, and where they have got to.

The only place that knows which session belongs to which identity. There is no
call that reaches more than one stream.

Rule: what an engine announces is followed along its chain. What comes next is
offered; what is missing is read again; what cannot be read is a gap, and every
session is told before anything later.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol, final

from .chain import NEXT, Arrival, Chain
from .lifecycle import Lifecycle
from .rates import TokenBucket
from .seen import SeenIds
from .stream import Cursor, Gap, Page, Resumed, answer

if TYPE_CHECKING:
    from .events.envelope import Envelope
    from .keys import Identity
    from .stream import Draft

__all__ = ("LiveStream", "OpenRun", "Reader", "Streams", "Subscriber")

_MOST_HELD: Final = 1_024
"""Events that wait while a history is read again; with more the rest is left to the next reading."""


class Subscriber(Protocol):
    """A session, as its stream sees it."""

    def offer(self, envelope: Envelope, /) -> bool:
        """Queue the envelope without waiting; False where the session is over or full."""
        ...

    def missed(self, gap: Gap, /) -> None:
        """Tell the client, before any later event, that something cannot be replayed."""
        ...


class Reader(Protocol):
    """Who reads histories."""

    def read_soon(self, live: LiveStream, /) -> None:
        """Read what is behind the stream's chain, and hand it to ``caught_up``."""
        ...

    def check_soon(self, live: LiveStream, /) -> None:
        """Read whether the identity is revoked, and end what is open if it is."""
        ...

    def replaced(self, live: LiveStream, connection_id: str, /) -> None:
        """End the session of this connection, if it is here, because a newer one took its place."""
        ...


class OpenRun(Protocol):
    """An open run, as a client's ``stop`` finds it."""

    def stop(self, reason: str = "user", /) -> None:
        """Cancel what the run is doing; it ends as ``agent_cancelled``."""
        ...


@final
class LiveStream:
    """
    One identity's stream as this node sees it: sessions, runs and spawned work.

    Lives from the first session or event to ``Settings.stream_seconds`` after
    the last, and not longer.

    Args:
        identity: Whose it is.
        now: Seconds, monotonic.
        reader: Who reads the history again when something is missing.
    """

    __slots__ = (
        "__weakref__",
        "_asked_for",
        "_held",
        "_reader",
        "_turn",
        "attends",
        "chain",
        "counts",
        "detached_at",
        "doubt",
        "due",
        "identity",
        "joining",
        "last",
        "lifecycle",
        "rate",
        "reading",
        "runs",
        "seen",
        "sessions",
        "tip_due",
        "touched",
        "unended",
        "work",
    )

    def __init__(self, identity: Identity, now: float, reader: Reader) -> None:
        self.identity: Identity = identity
        self.chain: Chain | None = None
        """Where its sessions have got to; None before the first one."""
        self.attends: bool = False
        """Whether this node listens for its runs alone."""
        self.lifecycle: Lifecycle = Lifecycle()
        self.doubt: Draft | None = None
        """An event of a run that may be in the stream or not: nothing of a run gets a place before that is known."""
        self.unended: dict[str, None] = {}
        """Runs that are over and whose ends could not be sent."""
        self.sessions: tuple[Subscriber, ...] = ()
        self.runs: dict[str, OpenRun] = {}
        self.work: set[asyncio.Task[Any]] = set()
        self.rate: TokenBucket | None = None
        """What all its sessions may send together, once there was one."""
        self.seen: SeenIds | None = None
        """The ids of the identity's messages, once one has an id."""
        self.touched: float = now
        self.detached_at: float = now
        self.due: float = float("inf")
        """When it is looked at next."""
        self.tip_due: float = float("inf")
        """When the engine is asked next whether there is more."""
        self.last: Envelope | None = None
        """What was offered last."""
        self.counts: tuple[int, int] = (0, 0)
        """How many sessions queued it, and how many could not."""
        self.reading: bool = False
        """Whether the history is being read; what arrives meanwhile is held."""
        self.joining: asyncio.Lock = asyncio.Lock()
        """Held while the first session puts this node on the stream."""
        self._turn: asyncio.Lock | None = None
        self._held: list[Envelope] = []
        self._asked_for: int = 0
        """How many of those were there before the engine was asked."""
        self._reader = reader

    def turn(self) -> asyncio.Lock:
        """Return what is held while an event of a run is on its way to the engine."""
        if self._turn is None:
            self._turn = asyncio.Lock()
        return self._turn

    def subscribe(self, session: Subscriber, /) -> None:
        """Add a session; what is published from now on is offered to it."""
        self.sessions = (*self.sessions, session)

    def unsubscribe(self, session: Subscriber, now: float, /) -> None:
        """Remove this very session, by object and never by id; harmless when it is gone."""
        self.sessions = tuple(other for other in self.sessions if other is not session)
        if not self.sessions:
            self.detached_at = now

    def arrived(self, envelope: Envelope, /) -> None:
        """Take what the engine announces."""
        chain = self.chain
        if self.reading or chain is None:
            self._hold(envelope)
            return
        arrival = chain.follow(envelope)
        if arrival is NEXT:
            self.offer(envelope)
        elif arrival is not Arrival.DUPLICATE:
            self._hold(envelope)
            self.read_again()

    def revoked(self) -> None:
        """Hear that the identity was revoked."""
        self._reader.check_soon(self)

    def replaced(self, connection_id: str, /) -> None:
        """Hear that a newer session took the place of this connection."""
        self._reader.replaced(self, connection_id)

    def interrupted(self) -> None:
        """Hear that announcements may have been lost."""
        self._reader.check_soon(self)
        if self.chain is not None:
            self.read_again()

    def read_again(self) -> None:
        """Have the history read from where the sessions are; harmless while that goes on."""
        if not self.reading:
            self.reading = True
            self._asked_for = len(self._held)
            self._reader.read_soon(self)

    def begin(self, page: Page, /) -> Chain:
        """Follow the stream from its top on."""
        self.reading = False
        chain = self.chain = Chain(page.top)
        self._take_held(chain, page.top)
        return chain

    def leave(self) -> None:
        """Follow the stream no more: nobody is here."""
        self.attends = self.reading = False
        self.chain = None
        self._held = []

    def caught_up(self, page: Page, replay: int, /) -> Gap | None:
        """
        Go on from what was read: offer what was missed, or tell every session of the gap; return the gap.

        Args:
            page: What is behind the chain's cursor.
            replay: Events that may be made up for at most.
        """
        self.reading = False
        chain = self.chain or self.begin(page)
        result = answer(chain.cursor, page, replay=replay)
        if isinstance(result, Resumed):
            for envelope in result.replay:
                chain.follow(envelope)
                self.offer(envelope)
            self._take_held(chain, chain.cursor)
            return None
        gap = Gap("divergence", page.top) if result is None else result
        chain.move_to(gap.cursor)
        for session in self.sessions:
            session.missed(gap)
        self._take_held(chain, gap.cursor)
        return gap

    def _hold(self, envelope: Envelope) -> None:
        if len(self._held) < _MOST_HELD:
            self._held.append(envelope)

    def _take_held(self, chain: Chain, top: Cursor) -> None:
        """
        Go through what arrived meanwhile; what *top* covers was made up for.

        What came before the engine was asked, and is not next even so, the engine has lost: it is dropped, and the
        next look at the tip finds what there is. To ask at once again would go on for good.
        """
        held, self._held = self._held, []
        for at, envelope in enumerate(held):
            if envelope.epoch != top.epoch or envelope.seq < top.seq + envelope.durable:
                continue
            if at >= self._asked_for:
                self.arrived(envelope)
            elif chain.follow(envelope) is NEXT:
                self.offer(envelope)
        self._asked_for = len(self._held)  # the engine is asked for all of these, if it is

    def offer(self, envelope: Envelope, /) -> tuple[int, int]:
        """Offer *envelope* to every session; return how many queued it and how many could not."""
        queued = 0
        sessions = self.sessions
        for session in sessions:
            if session.offer(envelope):
                queued += 1
        self.last, self.counts = envelope, (queued, len(sessions) - queued)
        return self.counts

    @property
    def is_idle(self) -> bool:
        """Whether nobody listens, no run is open, no work goes on and no event of a run is on its way to an engine."""
        is_waited_for = self._turn is not None and self._turn.locked()
        return not (self.sessions or self.runs or self.work or is_waited_for)


@final
class Streams:
    """All streams of one factory. Lives as long as the factory runs."""

    __slots__ = ("_by_identity", "_reader")

    def __init__(self, reader: Reader) -> None:
        self._by_identity: dict[str, LiveStream] = {}
        """By the identity's key, which is injective and hashed once."""
        self._reader = reader

    def __len__(self) -> int:
        """Return the number of streams."""
        return len(self._by_identity)

    def open(self, identity: Identity, now: float, /) -> LiveStream:
        """Return the identity's stream, a new one where there is none."""
        key = identity.key
        live = self._by_identity.get(key)
        if live is None:
            live = self._by_identity[key] = LiveStream(identity, now, self._reader)
        return live

    def find(self, identity: Identity, /) -> LiveStream | None:
        """Return the identity's stream, None where there is none."""
        return self._by_identity.get(identity.key)

    def drop(self, live: LiveStream, /) -> None:
        """Forget this very stream."""
        if self._by_identity.get(live.identity.key) is live:
            del self._by_identity[live.identity.key]

    def all(self) -> tuple[LiveStream, ...]:
        """Return every stream, for the end of the factory."""
        return tuple(self._by_identity.values())
