"""
What the engine behind the streams must be able to do: one protocol for each capability.

``Bus`` and ``History`` are what a factory needs. ``Revocation``, ``Presence``, ``Closing``
and ``Noting`` are what an engine may have besides: the factory looks whether their methods are
there. Without them revocations and limits hold for each process by itself, and
``ManagerFactory.self_check()`` says so.

Rule 1: an engine allots ``seq``, swaps the last id, appends and announces in
one step; two nodes that publish at the same time get two places. Rule 2: an
engine looks at one identity at a time; what is said of one is never read, told
or counted for another. Rule 3: what an engine hands back is checked, not
believed: see ``ws_isolation.stream.answer`` and ``ws_isolation.chain``. Rule 4:
an engine that cannot answer raises. It never says *admitted* or *not barred*
because it does not know.

``ws_isolation.testing.check_backplane`` proves an implementation of one's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, final, runtime_checkable

import msgspec

from ..keys import Identity

if TYPE_CHECKING:
    from ..events.envelope import Envelope
    from ..stream import Draft, Page, Start

__all__ = ("Backplane", "Bus", "Closing", "History", "Lease", "Listener", "Noting", "Presence", "Revocation")


class Listener(Protocol):
    """One node's interest in one identity. Its methods do not wait and do not raise; call them in the loop."""

    def arrived(self, envelope: Envelope, /) -> None:
        """Take an event that was published."""
        ...

    def revoked(self) -> None:
        """
        Hear that the identity was revoked: the node reads the record, and ends what is open if it is there.

        A hint, so one that comes late or too often does no harm; one that is
        lost is made up for within ``Settings.tip_seconds``.
        """
        ...

    def replaced(self, connection_id: str, /) -> None:
        """
        Hear that ``Presence.enter()`` took the lease of this connection for a newer one.

        Harmless where the connection is not this node's. One that is lost is
        made up for by the next ``renew()``.
        """
        ...

    def interrupted(self) -> None:
        """Hear that announcements may have been lost, after a reconnect for example: the node reads all again."""
        ...


class Bus(Protocol):
    """Publish and subscribe."""

    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """
        Give *draft* its place in the identity's stream, keep it, and announce it to every listener.

        One step: the place, ``prev``, the entry and the announcement belong
        together. A delta gets no place and is not kept.

        Args:
            identity: Whose stream it is.
            draft: The event. Its owner may be another: the last hop finds out.

        Returns:
            The event in its place. Listeners of this process may have heard of it before.

        Raises:
            InvalidEventError: Too big. Nothing was stored.

        Cancelled, the event is in the stream or it is not.
        """
        ...

    async def subscribe(self, identity: Identity, listener: Listener, /) -> None:
        """
        Announce to *listener* whatever is published from now on, in the order of the stream.

        When it returns, nothing that is published later is missed.
        """
        ...

    def release(self, identity: Identity, listener: Listener, /) -> None:
        """
        Take this very *listener* off, by object; harmless when it is not there.

        Does not wait. The stream itself ends when its time is over and nobody
        listens, and with it its epoch.
        """
        ...


class History(Protocol):
    """What was published."""

    async def read(self, identity: Identity, start: Start, /) -> Page:
        """
        Return the top and what is kept behind *start*, read in one step.

        Args:
            identity: Whose stream it is; one that does not exist yet is made, so that a client has a cursor.
            start: A cursor, which need not be one of this stream; ``window`` for all that is kept; None for the
                top alone.
        """
        ...


@runtime_checkable
class Revocation(Protocol):
    """
    Who may not come back: a record, not a message.

    Times are seconds since 1970 UTC. A record whose time is over is as good as
    none. No record is dropped to make room: that would let somebody back in.
    """

    async def revoke(self, identity: Identity, until: float | None, /) -> None:
        """
        Record that *identity* is barred until then, for good where None; then tell its listeners ``revoked()``.

        Of two records the later end holds. When it returns, every ``bars()``
        that begins, on whatever node, finds the record.

        Raises:
            InvalidStateError: There is no room for another record; nothing was recorded.
            Exception: The engine did not answer; it may be recorded or not. Done again, it does no harm.

        Cancelled, it is recorded or it is not.
        """
        ...

    async def lift(self, identity: Identity, /) -> bool:
        """Take the record away; False where there was none. Nobody is told: no session waits for it."""
        ...

    async def bars(self, identity: Identity, /) -> bool:
        """
        Tell whether *identity* is barred now.

        Raises:
            Exception: The engine does not know; the client is not let in.
        """
        ...


@final
class Lease(msgspec.Struct, frozen=True):
    """
    One session's place among those of its identity, on whatever node it is.

    Attributes:
        identity: Whose session it is.
        connection_id: The session's id. It is made for this one session, so no later one is taken for it.
        since: When it came, seconds since 1970 UTC by the clock of its node.
    """

    identity: Identity
    connection_id: str
    since: float


@runtime_checkable
class Presence(Protocol):
    """
    Who is there: leases, which end by themselves unless their node renews them.

    So a node that dies gives its places back by time, and nobody guesses which
    session looks dead. The times of leases are counted by the engine's clock.
    """

    async def enter(
        self, lease: Lease, /, *, most: int | None, replace: bool, seconds: float
    ) -> tuple[str, ...] | None:
        """
        Give a new session its lease, if there is room for it.

        One step: looking at the leases that have not ended, deciding, and
        taking. Two that enter at the same time never get the last place both.

        Args:
            lease: Whose session, which, and since when.
            most: How many leases the identity may have with this one; None: as many as come, and nobody goes.
            replace: At the limit, take as many leases as needed from the identity's own oldest, the least
                ``since`` first; of equals the one that entered first, where the engine knows. False: refuse.
            seconds: How long the lease holds unless it is renewed.

        Returns:
            The connection ids whose leases were taken, oldest first, mostly none; their listeners are told
            ``replaced()``. None: refused, and nothing was changed.

        Raises:
            Exception: The engine did not answer. The caller gives the lease back with ``leave()`` and lets nobody in.

        Cancelled, the lease is there or it is not; the caller gives it back.
        """
        ...

    async def renew(self, leases: Sequence[Lease], /, *, seconds: float) -> tuple[str, ...]:
        """
        Let all *leases* of a node hold for *seconds* from now; at most 1,000 of them, of any identities.

        A lease that has ended meanwhile is taken again, also above the limit:
        its node was slow, its session is there. One that was taken for a newer
        session is not: the engine remembers that for ``seconds`` of that
        ``enter()`` at least.

        Returns:
            The connection ids whose leases were taken by ``enter()``: these sessions have to go.
        """
        ...

    def leave(self, lease: Lease, /) -> None:
        """
        Give this very lease back, by identity and connection id; harmless when it is not there.

        Does not wait and does not raise: an engine that has to does it in the
        background, before any later ``enter()`` of the identity through this
        object. What fails ends by its time.
        """
        ...

    async def present(self, identity: Identity, /) -> tuple[Lease, ...]:
        """Return the identity's leases that have not ended, oldest first."""
        ...


@runtime_checkable
class Closing(Protocol):
    """Connections that have an end."""

    async def close(self) -> None:
        """
        Hear that a factory has stopped and taken its listeners off; end what nobody else needs.

        Does not raise and takes a second or two at most. Nothing while others
        listen. What was asked before is answered first, as far as the time
        goes. Whatever is asked later begins anew: another factory may have
        the same engine. The one that has stopped asks nothing more, its calls
        raise ``InvalidStateError``; what nobody waits for, as ``leave()``,
        opens no connection.
        """
        ...


@runtime_checkable
class Noting(Protocol):
    """An engine that knows what ought to be mended."""

    def notes(self) -> tuple[str, ...]:
        """
        Return it in words, for ``self_check()``: without ids and secrets, and nothing where all is well.

        Does not wait and does not raise.
        """
        ...


class Backplane(Bus, History, Protocol):
    """What a factory needs. With the methods of ``Revocation`` and ``Presence`` it can do more."""
