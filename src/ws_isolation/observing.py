"""
What the engine tells whoever watches it: counts, durations, and how things ended.

Rule 1: no hook gets an id, a name, a claim or a payload; every label is from a
small fixed set, so it fits a metric. Rule 2: a hook is synchronous and short,
since it runs in the event loop; what it raises disturbs nothing.
"""

# A protocol's method without a statement counts as abstract, and whoever inherits would have to write it: so each
# hook returns. What it does not use is for those who do.
# ruff: noqa: ARG002

from __future__ import annotations

from typing import Final, Literal, Protocol, TypeAlias

__all__ = ("HOOKS", "Observer", "Outcome", "SpanName")

SpanName: TypeAlias = Literal["authenticate", "handler", "run", "drain"]
"""What is timed: the check of a credential, a session's handler, an agent's run, the wait for all sessions to end."""

Outcome: TypeAlias = Literal["ok", "refused", "failed", "cancelled"]
"""How it ended; ``refused`` where it raised an ``AccessError``: a credential or a right is missing."""


class Observer(Protocol):
    """
    Watches one factory. Lives as long as the factory: ``ManagerFactory(observer=...)``.

    Inherit from it and override what you need: the other hooks do nothing,
    those of later versions included. Every hook is called in the factory's event loop and
    must not block. What a hook raises is caught, counted in
    ``FactoryStats.hook_failures`` and logged once per hook.
    """

    __slots__ = ()

    def session_opened(self) -> None:
        """Note that a session was put on its stream."""
        return

    def session_closed(self, code: int | None, /) -> None:
        """
        Note that a session has begun to end; comes once for each ``session_opened``.

        Args:
            code: The close code; None where the peer left.
        """
        return

    def handshake_refused(self, code: int, /) -> None:
        """
        Note that a client got no session.

        Args:
            code: A close code from 4000 on, or an HTTP status below 1000.
        """
        return

    def event_published(self, event_type: str, /, *, durable: bool) -> None:
        """
        Note that an event was appended to a stream.

        Args:
            event_type: A type of the library; the application's own are all ``custom``.
            durable: Whether it has a place in the stream; else it is a delta.
        """
        return

    def coalesced(self, event_type: str, /) -> None:
        """
        Note that a delta was merged with one that already waited for a slow reader.

        Args:
            event_type: As in ``event_published``.
        """
        return

    def gap(self, reason: str, sessions: int, /) -> None:
        """
        Note that something was missed and cannot be replayed.

        Args:
            reason: ``epoch_changed``, ``trimmed``, ``divergence`` or ``replay_limit``.
            sessions: How many sessions are told; may be 0.
        """
        return

    def replayed(self, count: int, /) -> None:
        """
        Note that a client that came back gets what it missed.

        Args:
            count: Events, at most ``Settings.replay_events``; may be 0.
        """
        return

    def write_time(self, seconds: float, /) -> None:
        """
        Note how long the transport took to take one frame that it did not take at once.

        Args:
            seconds: By the factory's clock, at most about ``Settings.write_seconds``.
        """
        return

    def foreign(self) -> None:
        """Note that the last hop held back an event of somebody else: a defect, call somebody."""
        return

    def loop_lag(self, seconds: float, /) -> None:
        """
        Note how late the event loop called the factory's timer. Comes with each deadline, so only while there are some.

        Args:
            seconds: 0 or more, by the factory's clock.
        """
        return

    def span_ended(self, name: SpanName, seconds: float, outcome: Outcome, /) -> None:
        """
        Note that something that takes time is over.

        Args:
            name: What it was.
            seconds: How long it took, by the factory's clock.
            outcome: How it ended. A drain that had to leave a session open has ``failed``.
        """
        return


HOOKS: Final = tuple(name for name in vars(Observer) if not name.startswith("_"))
"""The names of all hooks."""
