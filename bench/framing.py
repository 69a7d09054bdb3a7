"""
The client's side of the check: WebSocket frames out of bytes, and what each session got.

Pure: bytes in, values out. The parser reads what servers send (RFC 6455 §5: never masked).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from .work import MARK

TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
_MARK: Final = MARK.encode("ascii")
_SHORT: Final = 126
_LONG: Final = 127


class Stamp(NamedTuple):
    """Whose event it is, the how-manieth of that user, and when it was emitted."""

    user: str
    n: int
    at_ns: int


class FrameParser:
    """Cuts a stream of bytes into frames, wherever it was split. One per connection."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes, /) -> Iterator[tuple[int, bytes]]:
        """
        Yield opcode and payload of each frame that is complete now.

        Raises:
            ValueError: A frame is masked or a fragment, which no measured server sends.
        """
        buffer = self._buffer + data if self._buffer else data
        at, end = 0, len(buffer)
        while end - at >= 2:  # noqa: PLR2004  # the shortest header
            first, length = buffer[at], buffer[at + 1]
            begin = at + 2
            if length >= _SHORT:
                if length > _LONG or not first & 0x80:
                    break
                begin += 2 if length == _SHORT else 8
                if end < begin:
                    break
                length = int.from_bytes(buffer[at + 2 : begin], "big")
            if not first & 0x80:
                break
            if end < begin + length:
                break
            yield first & 0x0F, buffer[begin : begin + length]
            at = begin + length
        self._buffer = buffer[at:]
        if len(self._buffer) > 1 and (not self._buffer[0] & 0x80 or self._buffer[1] & 0x80):
            msg = "a masked or fragmented frame: no measured server sends one"
            raise ValueError(msg)


def read_stamp(payload: bytes, /) -> Stamp | None:
    """Return the stamp in a frame's payload, None where it has none: welcome, the start of a run, a ping."""
    begin = payload.find(_MARK)
    if begin < 0:
        return None
    user, n, at_ns = payload[begin + 2 : payload.index(_MARK, begin + 2)].split(b"|")
    return Stamp(user.decode("ascii"), int(n), int(at_ns))


class Ledger:
    """
    What one run delivered, and what was wrong with it.

    Attributes:
        delivered: Events with a stamp.
        foreign: Events of somebody else.
        gaps: Events that were left out before a later one.
        duplicates: Events that came again, or after a later one.
        size: Bytes of their payloads.
    """

    __slots__ = ("_next", "delivered", "duplicates", "foreign", "gaps", "size")

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self.delivered = self.foreign = self.gaps = self.duplicates = self.size = 0

    def note(self, user: str, payload: bytes, /) -> Stamp | None:
        """Enter a payload that came to *user*'s session; return its stamp."""
        stamp = read_stamp(payload)
        if stamp is None:
            return None
        self.delivered += 1
        self.size += len(payload)
        if stamp.user != user:
            self.foreign += 1
            return stamp
        due = self._next.get(user, 0)
        if stamp.n < due:
            self.duplicates += 1
        else:
            self.gaps += stamp.n - due
            self._next[user] = stamp.n + 1
        return stamp

    def missing(self, emitted: dict[str, int], /) -> int:
        """Return how many events at the end of each user's sequence never came."""
        return sum(max(0, count - self._next.get(user, 0)) for user, count in emitted.items())
