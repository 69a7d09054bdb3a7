"""
Who may not come back: records of revoked identities.

A record, not a message: it is read when a client connects, resumes and
refreshes, and announced to open sessions only after it was written. So a client
that was away meanwhile, or comes back in that very moment, finds it too.
"""

from __future__ import annotations

from typing import Final, Protocol, final

from .errors import InvalidStateError
from .keys import Identity

__all__ = ("MemoryRevocations", "Revocations")

_FOR_GOOD: Final = float("inf")


class Revocations(Protocol):
    """
    Where the records are kept. One that several processes share has these three steps as well.

    Times are seconds since 1970 UTC.
    """

    def add(self, identity: Identity, until: float | None, now: float, /) -> None:
        """
        Bar *identity* until then, for good where None; the later of two records holds.

        Raises:
            InvalidStateError: There is no room; nothing was recorded.
        """
        ...

    def lift(self, identity: Identity, /) -> bool:
        """Let *identity* come back; False where it was not barred."""
        ...

    def bars(self, identity: Identity, now: float, /) -> bool:
        """Tell whether *identity* is barred now."""
        ...


@final
class MemoryRevocations:
    """
    Records of one process. Lives as long as its factory, across stop and start.

    Args:
        most: How many records there may be. None is ever dropped to make room
            before its time: that would let somebody back in.
    """

    __slots__ = ("_most", "_until")

    def __init__(self, most: int) -> None:
        self._most = most
        self._until: dict[str, float] = {}

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._until)

    def add(self, identity: Identity, until: float | None, now: float, /) -> None:
        """Do the same as ``Revocations.add()``."""
        key = identity.key
        if key not in self._until and len(self._until) >= self._most:
            self._until = {other: end for other, end in self._until.items() if end > now}
            if len(self._until) >= self._most:
                msg = f"there are {self._most} revocations already: give them an end with until=, or lift some"
                raise InvalidStateError(msg)
        end = _FOR_GOOD if until is None else until
        self._until[key] = max(end, self._until.get(key, end))

    def lift(self, identity: Identity, /) -> bool:
        """Do the same as ``Revocations.lift()``."""
        return self._until.pop(identity.key, None) is not None

    def settle(self, identity: Identity, until: float | None, /) -> None:
        """Forget the record of *identity* if it ends then or sooner: it is kept elsewhere."""
        if self._until.get(identity.key, _FOR_GOOD) <= (_FOR_GOOD if until is None else until):
            self._until.pop(identity.key, None)

    def bars(self, identity: Identity, now: float, /) -> bool:
        """Do the same as ``Revocations.bars()``."""
        end = self._until.get(identity.key)
        if end is None:
            return False
        if end > now:
            return True
        del self._until[identity.key]
        return False
