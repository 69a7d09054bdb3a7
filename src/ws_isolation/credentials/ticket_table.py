"""
Where connect tickets wait until somebody comes with one: a table by their hashes.

Rule 1: taking is one step, and what was taken is gone; of many who come at once with the same ticket, one gets it.
Rule 2: what is kept says who may come in, and never the ticket: whoever reads the table cannot use what is in it.
Rule 3: nothing is dropped to make room. Who has had as many tickets as an identity may have in their time gets none.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, final

from ..clockwork import SystemClock
from ..errors import SettingsError, shown

if TYPE_CHECKING:
    from ..keys import Identity
    from ..typing import Clock

__all__ = ("MemoryTickets", "TicketLedger", "TicketTable")

_MOST: Final = 10_000_000


class TicketTable(Protocol):
    """What ``Tickets`` keeps them in. ``MemoryTickets`` is one, and ``RedisBackplane`` for several processes."""

    async def put_ticket(self, key: str, identity: Identity, grant: bytes, /, *, seconds: float, most: int) -> bool:
        """
        Keep *grant* under *key* for that long.

        Args:
            key: The ticket's hash, 64 hexadecimal digits.
            identity: Whom it counts for.
            grant: Whom it lets in, as text; at most 16 KiB.
            seconds: How long it may be taken.
            most: How many the identity may have been given in that time, used or not.

        Returns:
            False where there were as many already; then nothing was kept.

        Raises:
            Exception: The engine did not answer. It may be kept; nobody knows the ticket.
        """
        ...

    async def take_ticket(self, key: str, /) -> bytes | None:
        """
        Return what is kept under *key*, and forget it in the same step; None where there is nothing.

        Raises:
            Exception: The engine did not answer; the ticket may be used up.

        Cancelled, it is used up or it is not.
        """
        ...


class TicketLedger:
    """
    The tickets of one process, with time as a value.

    Args:
        most: How many may wait at the same time, of all identities.
    """

    __slots__ = ("_ends", "_given", "_most", "_waiting")

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[str, tuple[float, bytes]] = {}
        self._ends: deque[tuple[float, str, str]] = deque()
        """When each that was given ends, its key and whose it was; in the order in which they were given."""
        self._given: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many wait, those included that have just ended."""
        return len(self._waiting)

    def put(self, key: str, identity: Identity, grant: bytes, /, *, ends: float, most: int, now: float) -> bool:
        """Do the same as ``TicketTable.put_ticket()``; *ends* of later ones must not be sooner."""
        self._forget(now)
        whose = identity.key
        if len(self._waiting) >= self._most or self._given.get(whose, 0) >= most:
            return False
        self._waiting[key] = (ends, grant)
        self._ends.append((ends, key, whose))
        self._given[whose] = self._given.get(whose, 0) + 1
        return True

    def take(self, key: str, now: float, /) -> bytes | None:
        """Do the same as ``TicketTable.take_ticket()``."""
        ends, grant = self._waiting.pop(key, (now, b""))
        return grant if now < ends else None

    def _forget(self, now: float) -> None:
        """Forget what has ended: each once, so putting costs the same however many there are."""
        while self._ends and self._ends[0][0] <= now:
            _, key, whose = self._ends.popleft()
            self._waiting.pop(key, None)
            left = self._given.pop(whose) - 1
            if left:
                self._given[whose] = left


@final
class MemoryTickets:
    """
    The tickets of one process, in its memory: for a service that is one process.

    Args:
        most: How many may wait at the same time, of all identities, 1 to 10,000,000; about 1 KiB each.
        clock: Where time comes from; the process's clocks where None.

    Raises:
        SettingsError: *most* is out of its bounds.
    """

    __slots__ = ("_clock", "_ledger")

    def __init__(self, most: int = 10_000, *, clock: Clock | None = None) -> None:
        if type(most) is not int or not 1 <= most <= _MOST:
            raise SettingsError(f"most={shown(most)} must be an int from 1 to {_MOST:,}")
        self._clock: Clock = SystemClock() if clock is None else clock
        self._ledger = TicketLedger(most)

    def __len__(self) -> int:
        """Return how many wait, those included that have just ended."""
        return len(self._ledger)

    async def put_ticket(self, key: str, identity: Identity, grant: bytes, /, *, seconds: float, most: int) -> bool:
        """Do the same as ``TicketTable.put_ticket()``; also False where there is no room for anybody's."""
        now = self._clock.monotonic()
        return self._ledger.put(key, identity, grant, ends=now + seconds, most=most, now=now)

    async def take_ticket(self, key: str, /) -> bytes | None:
        """Do the same as ``TicketTable.take_ticket()``."""
        return self._ledger.take(key, self._clock.monotonic())
