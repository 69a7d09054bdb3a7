"""
Whether what arrives is what comes next: the chain, as one node follows it.

Rule 1: right place and right ``prev`` is the next event, and nothing else is.
Rule 2: a place that was given twice is told from a repetition by its id, so an
engine that fell back to older data cannot pass for a duplicate. Rule 3: it
decides and remembers; what to do about it is the caller's.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING, Final, final

from .stream import Cursor

if TYPE_CHECKING:
    from .events.envelope import Envelope

__all__ = ("NEXT", "Arrival", "Chain")

RECENT_IDS: Final = 512
"""Delivered ids that are remembered: as many as a window holds, so that whatever can be repeated is known."""


class Arrival(enum.Enum):
    """What an arriving event is."""

    NEXT = "next"
    DUPLICATE = "duplicate"
    HOLE = "hole"
    """Something before it is missing: read the history again."""
    DIVERGENCE = "divergence"
    """Another history than the one that was delivered: no replay can heal it."""


NEXT: Final = Arrival.NEXT
"""For what is asked with each event: to read a member from its class takes three times as long."""


@final
class Chain:
    """
    Where one identity's sessions on this node have got to. Lives as long as they do.

    Args:
        top: Where the stream stands.
    """

    __slots__ = ("_epoch", "_last_id", "_recent", "_seq")

    def __init__(self, top: Cursor) -> None:
        # Searched only where something is wrong, appended to for each event: a list is smaller and faster than a set.
        self._recent: deque[str] | None = None
        """None until there is more than the last one: an empty one would hold 760 bytes."""
        self._epoch: str = top.epoch
        self._seq: int = top.seq
        self._last_id: str = top.id

    @property
    def cursor(self) -> Cursor:
        """The last durable event that was delivered."""
        return Cursor(self._epoch, self._seq, self._last_id)

    def move_to(self, top: Cursor, /) -> None:
        """Go on from *top*: after a gap, nothing before it is expected any more."""
        self._epoch = top.epoch
        self._seq = top.seq
        self._delivered(top.id)

    def _delivered(self, event_id: str) -> None:
        if self._recent is None:
            self._recent = deque((self._last_id,), maxlen=RECENT_IDS)
        self._recent.append(event_id)
        self._last_id = event_id

    def follow(self, envelope: Envelope, /) -> Arrival:
        """
        Say what *envelope* is, and take the next one as delivered.

        A delta has no place of its own: it is next where it was stamped after
        what was delivered, old ones included, and a hole where something
        durable before it has not arrived.
        """
        seq = envelope.seq
        if envelope.epoch != self._epoch:
            return Arrival.DIVERGENCE
        if not envelope.durable:
            return Arrival.HOLE if seq > self._seq else NEXT
        following = self._seq + 1
        if seq > following:
            return Arrival.HOLE
        if seq == following:
            if envelope.prev != self._last_id:
                return Arrival.DIVERGENCE
            self._seq = seq
            if self._recent is None:
                self._delivered(envelope.id)
            else:  # the same, without a call for each event
                self._recent.append(envelope.id)
                self._last_id = envelope.id
            return NEXT
        known = (self._last_id,) if self._recent is None else self._recent
        return Arrival.DUPLICATE if envelope.id in known else Arrival.DIVERGENCE
