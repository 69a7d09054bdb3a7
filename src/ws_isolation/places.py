"""
The places of one node's sessions among all sessions of their identities.

Rule 1: the engine decides in one step who comes and who goes; nobody is chosen
here. Rule 2: one renewal for the whole node, not one for each session, and none
where nobody is. Rule 3: a renewal that fails or comes late ends no session.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import uniform
from typing import TYPE_CHECKING, Final, final

from .access import answered
from .backplanes.base import Lease
from .errors import InvalidStateError
from .oplog import report

if TYPE_CHECKING:
    from .backplanes.base import Presence
    from .keys import Identity
    from .settings import Settings
    from .typing import Clock

__all__ = ("Places",)

_AT_ONCE: Final = 1_000
"""Leases in one renewal: what ``Presence.renew()`` promises an engine."""
_NEVER: Final = float("inf")
_NOBODY: Final = "whether there is room is not known, and nobody is let in; try again"
_UNSAID: Final = "nothing was changed; ask again"
_LATER: Final = "the leases hold until their time; they are renewed again before, or taken again"


@final
class Places:
    """
    The leases that the sessions of one factory hold. Lives from start to stop.

    Args:
        engine: Who counts them, for all nodes.
        settings: The limit, and how long a lease holds.
        clock: Where time comes from.
        end: Ends the session of a lease that was taken for a newer one, if it is here.
        look: Has ``due()`` of this object called at that time at the latest.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_coming",
        "_due",
        "_end",
        "_engine",
        "_held",
        "_is_over",
        "_look",
        "_settings",
    )

    def __init__(
        self,
        engine: Presence,
        settings: Settings,
        clock: Clock,
        end: Callable[[Lease], None],
        look: Callable[[float, Places], None],
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._clock = clock
        self._end = end
        self._look = look
        self._held: dict[str, Lease] = {}
        """By connection id, those that are still to be put on their streams included."""
        self._coming: dict[str, Lease] = {}
        """Those that the engine has not answered yet: a renewal would let them in unasked."""
        self._due = _NEVER
        self._is_over = False

    def __len__(self) -> int:
        """Return how many places this node has."""
        return len(self._held)

    def holds(self, connection_id: str, /) -> bool:
        """Tell whether the connection has its place still."""
        return connection_id in self._held

    async def take(self, identity: Identity, connection_id: str, /, *, is_limited: bool) -> bool:
        """
        Take a place for a session that is to be opened; False where there is none.

        Raises:
            EngineUnavailableError: The engine failed. No place is held.
            InvalidStateError: The factory has stopped meanwhile. No place is held.

        Cancelled, no place is held. One that was taken for a newer session meanwhile is found out by ``holds()``.
        """
        settings = self._settings
        lease = Lease(identity, connection_id, self._clock.unix())
        self._coming[connection_id] = lease
        try:
            gone = await answered(
                self._engine.enter(
                    lease,
                    most=settings.sessions_per_identity if is_limited else None,
                    replace=settings.session_limit == "replace_oldest",
                    seconds=settings.lease_seconds,
                ),
                "enter()",
                _NOBODY,
                settings.engine_seconds,
            )
        except BaseException:
            self._coming.pop(connection_id, None)
            self._engine.leave(lease)
            raise
        was_lost = self._coming.pop(connection_id, None) is None
        if self._is_over:
            self._engine.leave(lease)
            raise InvalidStateError("the factory has stopped while the engine was asked for a place")
        if gone is None:
            return False
        if not was_lost:
            self._held[connection_id] = lease
        for other in gone:
            self.lose(identity, other)
        self._look_in_time()
        return True

    def give_back(self, connection_id: str, /) -> None:
        """Give the place of this very connection back; harmless when it has none."""
        lease = self._held.pop(connection_id, None)
        if lease is not None:
            self._engine.leave(lease)

    def lose(self, identity: Identity, connection_id: str, /) -> None:
        """End the session of this connection, if it is here and of this identity: a newer one has its place."""
        lease = self._held.get(connection_id)
        if lease is not None and lease.identity == identity:
            del self._held[connection_id]
            self._end(lease)
        coming = self._coming.get(connection_id)
        if coming is not None and coming.identity == identity:
            del self._coming[connection_id]

    async def present(self, identity: Identity, /) -> tuple[Lease, ...]:
        """
        Return who of *identity* is there, on all nodes, oldest first.

        Raises:
            EngineUnavailableError: The engine failed.
        """
        return await answered(self._engine.present(identity), "present()", _UNSAID, self._settings.engine_seconds)

    def stop(self) -> None:
        """Take no place any more, whatever the engine answers to those that are on their way in."""
        self._is_over = True

    def due(self) -> bool:
        """Have the next look made, and tell whether there is anything to renew."""
        self._due = _NEVER
        self._look_in_time()
        return bool(self._held)

    async def renew(self) -> None:
        """Let all leases hold on, and end the sessions that lost theirs."""
        held = tuple(self._held.values())
        for start in range(0, len(held), _AT_ONCE):
            some = [lease for lease in held[start : start + _AT_ONCE] if lease.connection_id in self._held]
            try:
                gone = await answered(
                    self._engine.renew(some, seconds=self._settings.lease_seconds),
                    "renew()",
                    _LATER,
                    self._settings.engine_seconds,
                )
            except Exception as error:  # noqa: BLE001  # an engine may raise anything; the next look asks again
                report(logging.ERROR, "leases could not be renewed", error=error)
                return
            for lease in some:
                if lease.connection_id in gone:
                    self.lose(lease.identity, lease.connection_id)
                elif lease.connection_id not in self._held:
                    self._engine.leave(lease)  # it left while it was being renewed

    def _look_in_time(self) -> None:
        if self._held and self._due == _NEVER:
            # Three times within a lease, so that one that fails ends none; spread, so that nodes do not ask together.
            self._due = self._clock.monotonic() + self._settings.lease_seconds / 3 * uniform(0.75, 1.0)  # noqa: S311
            self._look(self._due, self)
