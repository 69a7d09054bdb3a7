"""
The leases of one identity: who is there, who has to go, without any I/O.

Rule 1: a lease ends by its time, never by a guess. Rule 2: at the limit the
identity's own oldest goes, or nobody comes. Rule 3: whose lease was taken stays
known for a while, so that its node cannot take it again before it has heard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from .backplanes.base import Lease

__all__ = ("Leases",)


@final
class Leases:
    """What ``Presence`` says of one identity. Times are seconds by one clock that only goes forward."""

    __slots__ = ("_ends", "_gone", "_held")

    def __init__(self) -> None:
        self._held: dict[str, Lease] = {}
        """By connection id, in the order in which they came."""
        self._ends: dict[str, float] = {}
        """When each ends."""
        self._gone: dict[str, float] = {}
        """Those that were taken, and how long that is remembered."""

    def __len__(self) -> int:
        """Return how many connections are known."""
        return len(self._held) + len(self._gone)

    def enter(
        self, lease: Lease, *, most: int | None, replace: bool, now: float, seconds: float
    ) -> tuple[str, ...] | None:
        """Do the same as ``Presence.enter()``."""
        self._forget(now)
        gone: tuple[str, ...] = ()
        too_many = 0 if most is None else len(self._held) + 1 - most
        if too_many > 0:
            if not replace:
                return None
            gone = tuple(old.connection_id for old in self._oldest_first()[:too_many])
            for connection_id in gone:
                self._drop(connection_id)
                self._gone[connection_id] = now + seconds
        self._hold(lease, now + seconds)
        return gone

    def renew(self, lease: Lease, *, now: float, seconds: float) -> bool:
        """Let the lease hold on; False where it was taken for a newer session."""
        self._forget(now, but=lease.connection_id)
        if lease.connection_id in self._gone:
            return False
        self._hold(lease, now + seconds)
        return True

    def leave(self, connection_id: str, now: float) -> None:
        """Forget the connection."""
        self._forget(now)
        self._drop(connection_id)
        self._gone.pop(connection_id, None)

    def present(self, now: float) -> tuple[Lease, ...]:
        """Return the leases that have not ended, oldest first."""
        self._forget(now)
        return tuple(self._oldest_first())

    def _oldest_first(self) -> list[Lease]:
        return sorted(self._held.values(), key=lambda lease: lease.since)

    def _hold(self, lease: Lease, end: float) -> None:
        self._held[lease.connection_id] = lease
        self._ends[lease.connection_id] = end

    def _drop(self, connection_id: str) -> None:
        if self._held.pop(connection_id, None) is not None:
            del self._ends[connection_id]

    def _forget(self, now: float, but: str = "") -> None:
        """Forget what is over, but not the one that is just being renewed: it keeps its turn."""
        for connection_id in [one for one, end in self._ends.items() if end <= now and one != but]:
            self._drop(connection_id)
        for connection_id in [one for one, end in self._gone.items() if end <= now]:
            del self._gone[connection_id]
