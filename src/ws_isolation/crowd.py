"""
How many strangers there may be: sockets that have not said who they are, in all and from one source.

Rule: a place is taken before anything is awaited, and given back by whoever
took it. What is kept is a number for each source that has one now.

Source: SECURITY requirement WS-13.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ("Crowd",)


@final
class Crowd:
    """
    The strangers of one process. Lives as long as its factory runs.

    Args:
        settings: ``pending_handshakes``, ``pending_per_source`` and ``connections`` are its bounds.

    Attributes:
        pending: Handshakes that are not authenticated yet.
    """

    __slots__ = ("_by_source", "_settings", "pending")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._by_source: dict[str, int] = {}
        self.pending: int = 0

    def enter(self, source: str | None, sessions: int, /) -> str | None:
        """
        Take a place, or return why there is none.

        Args:
            source: As ``networks.source_of()`` says.
            sessions: Open ones.
        """
        bounds = self._settings
        if self.pending >= bounds.pending_handshakes:
            return f"{self.pending} handshakes are pending (Settings.pending_handshakes)"
        if self.pending + sessions >= bounds.connections:
            return f"{self.pending + sessions} sockets are open (Settings.connections)"
        if source is not None:
            here = self._by_source.get(source, 0)
            if here >= bounds.pending_per_source:
                return (
                    f"{here} handshakes of this source are pending (Settings.pending_per_source); "
                    "if it is your proxy, name it in Settings.trusted_proxies"
                )
            self._by_source[source] = here + 1
        self.pending += 1
        return None

    def leave(self, source: str | None, /) -> None:
        """Give the place of ``enter()`` back."""
        self.pending -= 1
        if source is not None:
            left = self._by_source.pop(source) - 1
            if left:
                self._by_source[source] = left
