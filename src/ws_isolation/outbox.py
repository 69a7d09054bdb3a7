"""
What waits for one socket, bounded in events and bytes.

Rule 1: everything for a socket goes through here, pings and goodbye too, so
nothing overtakes. Rule 2: an event that does not fit is never dropped in
silence: ``add`` says no, and the session ends with 4213. Rule 3: bytes are
counted exactly, when they come in and when they go out. Rule 4: pieces of one
text that wait are joined, as long as nothing else of their run and no control
frame came between them; so a slow client gets fewer frames, and all of the text.
"""

from __future__ import annotations

from collections import deque
from typing import TypeAlias, final

from msgspec import UnsetType

from .events.envelope import EVENT_BYTES, Envelope
from .events.joining import joined
from .frames import Frame

__all__ = ("Outbox", "Waiting")

Waiting: TypeAlias = Envelope | Frame
"""An envelope, whose owner is compared when it leaves, or a control frame of the session itself."""


@final
class _Piece:
    """A piece of a text that waits; what follows it may be joined to it."""

    __slots__ = ("envelope",)

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope


@final
class Outbox:
    """
    The queue between a stream and one session. Lives as long as the session.

    Args:
        events: How many envelopes may wait.
        size: How many bytes of envelopes may wait.
        event_bytes: Bytes that joined pieces may have in one frame.
    """

    __slots__ = (
        "_envelopes",
        "_event_bytes",
        "_last_pieces",
        "_max_bytes",
        "_max_events",
        "joined",
        "queue",
        "size",
    )

    def __init__(self, *, events: int, size: int, event_bytes: int = EVENT_BYTES) -> None:
        self.queue: deque[Waiting | _Piece] | None = None
        """What waits, for a look whether anything does; only this class changes it. An empty one holds 760 bytes."""
        self._last_pieces: dict[str | UnsetType, _Piece] = {}
        """By run: the piece that waits and is the last of its run."""
        self._event_bytes = event_bytes
        self._max_events = events
        self._max_bytes = size
        self._envelopes = 0
        self.size: int = 0
        """Bytes of envelopes that wait."""
        self.joined: int = 0
        """Pieces that were joined to one before them."""

    def __len__(self) -> int:
        """Return how much waits, control frames included."""
        return 0 if self.queue is None else len(self.queue)

    @property
    def events(self) -> int:
        """How many envelopes wait."""
        return self._envelopes

    def add(self, envelope: Envelope, /) -> bool:
        """Queue *envelope*, or join it to one that waits; False where it does not fit, and nothing changed."""
        run_id = envelope.event.run_id
        piece = self._last_pieces.get(run_id) if self._last_pieces else None
        if piece is not None:
            together = joined(piece.envelope, envelope, event_bytes=self._event_bytes)
            if together is not None:
                return self._grow(piece, together)
        if self._envelopes >= self._max_events or self.size + envelope.size > self._max_bytes:
            return False
        if envelope.durable:
            self._last_pieces.pop(run_id, None)
            self._put(envelope)
        else:
            piece = self._last_pieces[run_id] = _Piece(envelope)
            self._put(piece)
        self._envelopes += 1
        self.size += envelope.size
        return True

    def _grow(self, piece: _Piece, together: Envelope) -> bool:
        size = self.size + together.size - piece.envelope.size
        if size > self._max_bytes:
            return False
        piece.envelope, self.size = together, size
        self.joined += 1
        return True

    def add_frame(self, frame: Frame, /) -> None:
        """
        Queue a control frame. The session core bounds how many there can be.

        It sends one ping at a time, one goodbye, and errors at the rate of the client's messages and spawned work.
        """
        self._last_pieces.clear()
        self._put(frame)

    def _put(self, item: Waiting | _Piece) -> None:
        if self.queue is None:
            self.queue = deque()
        self.queue.append(item)

    def take(self) -> Waiting | None:
        """Return what goes out next, None where nothing waits."""
        if not self.queue:
            return None
        item = self.queue.popleft()
        if not self.queue:
            self.queue = None
        if isinstance(item, _Piece):
            piece, item = item, item.envelope
            if self._last_pieces.get(item.event.run_id) is piece:
                del self._last_pieces[item.event.run_id]
        if isinstance(item, Envelope):
            self._envelopes -= 1
            self.size -= item.size
        return item

    def clear(self) -> int:
        """Drop what waits, because the session is over; return how many envelopes that were."""
        dropped = self._envelopes
        self.queue = None
        self._last_pieces.clear()
        self._envelopes = 0
        self.size = 0
        return dropped
