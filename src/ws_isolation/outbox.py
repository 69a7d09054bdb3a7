"""
What waits for one socket, bounded in events and bytes.

Rule 1: everything for a socket goes through here, pings and goodbye too, so
nothing overtakes. Rule 2: an event that does not fit is never dropped in
silence: ``add`` says no, and the session ends with 4213. Rule 3: bytes are
counted exactly, when they come in and when they go out.
"""

from __future__ import annotations

from collections import deque
from typing import TypeAlias, final

from .events.envelope import Envelope
from .frames import Frame

__all__ = ("Outbox", "Waiting")

Waiting: TypeAlias = Envelope | Frame
"""An envelope, whose owner is compared when it leaves, or a control frame of the session itself."""


@final
class Outbox:
    """
    The queue between a stream and one session. Lives as long as the session.

    Args:
        events: How many envelopes may wait.
        size: How many bytes of envelopes may wait.
    """

    __slots__ = ("_envelopes", "_max_bytes", "_max_events", "_waiting", "size")

    def __init__(self, *, events: int, size: int) -> None:
        self._waiting: deque[Waiting] = deque()
        self._max_events = events
        self._max_bytes = size
        self._envelopes = 0
        self.size: int = 0
        """Bytes of envelopes that wait."""

    def __len__(self) -> int:
        """Return how much waits, control frames included."""
        return len(self._waiting)

    @property
    def events(self) -> int:
        """How many envelopes wait."""
        return self._envelopes

    def add(self, envelope: Envelope, /) -> bool:
        """Queue *envelope*; False where it does not fit, and nothing changed."""
        if self._envelopes >= self._max_events or self.size + envelope.size > self._max_bytes:
            return False
        self._waiting.append(envelope)
        self._envelopes += 1
        self.size += envelope.size
        return True

    def add_frame(self, frame: Frame, /) -> None:
        """
        Queue a control frame. The session core bounds how many there can be.

        It sends one ping at a time, 20 errors a minute and one goodbye.
        """
        self._waiting.append(frame)

    def take(self) -> Waiting | None:
        """Return what goes out next, None where nothing waits."""
        if not self._waiting:
            return None
        item = self._waiting.popleft()
        if isinstance(item, Envelope):
            self._envelopes -= 1
            self.size -= item.size
        return item

    def clear(self) -> int:
        """Drop what waits, because the session is over; return how many envelopes that were."""
        dropped = self._envelopes
        self._waiting.clear()
        self._envelopes = 0
        self.size = 0
        return dropped
