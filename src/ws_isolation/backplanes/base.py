"""
What the engine behind the streams must be able to do: one protocol for each capability.

Rule 1: an engine allots ``seq``, swaps the last id, appends and announces in
one step; two nodes that publish at the same time get two places. Rule 2: an
engine is asked for one identity at a time; no call reaches more than one. Rule
3: what an engine hands back is checked, not believed: see
``ws_isolation.stream.answer`` and ``ws_isolation.chain``.

``ws_isolation.testing.check_backplane`` proves an implementation of one's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..events.envelope import Envelope
    from ..keys import Identity
    from ..stream import Draft, Page, Start

__all__ = ("Backplane", "Bus", "History", "Listener")


class Listener(Protocol):
    """One node's interest in one identity's stream."""

    def arrived(self, envelope: Envelope, /) -> None:
        """Take an event that was published; must not wait and must not raise."""
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


class Backplane(Bus, History, Protocol):
    """What a factory needs."""
