"""
The close frame in what a WebSocket server sent, read frame by frame (RFC 6455, section 5.2).

Looking for its bytes at the end of the stream is not enough: compressed data holds any two bytes.
"""

from __future__ import annotations

from typing import Final

import attrs

CLOSE: Final = 0x88
"""FIN and opcode 8."""
NO_CODE: Final = 1005
_RESPONSE: Final = 65_536
"""Octets in which the answer to the handshake ends."""


@attrs.define
class ServerStream:
    """
    What a server has sent so far: its answer to the handshake, then unmasked frames.
    """

    close: int | None = None
    """The code of its close frame; 1005 where that had none, None without such a frame."""
    upgraded: bool = False
    """True once it answered with 101; without, no frame follows."""
    _unread: bytearray = attrs.field(factory=bytearray)
    _skip: int = 0
    _over: bool = False

    def feed(self, data: bytes) -> None:
        """
        Take the next bytes, however they were split.
        """
        if self._over:
            return
        self._unread += data
        if not self.upgraded and not self._read_response():
            return
        while not self._over and self._read_frame():
            pass

    def _read_response(self) -> bool:
        head, found, rest = self._unread.partition(b"\r\n\r\n")
        if found:
            self.upgraded = head.split(b"\r\n")[0].split()[1:2] == [b"101"]
            self._over = not self.upgraded
            self._unread = rest
        else:
            self._over = len(head) > _RESPONSE
        return self.upgraded

    def _read_frame(self) -> bool:
        """
        Read one frame, or what is there of a long one's payload; False while more has to come.
        """
        skipped = min(self._skip, len(self._unread))
        del self._unread[:skipped]
        self._skip -= skipped
        if self._skip or len(self._unread) < 2:
            return False
        first, size = self._unread[0], self._unread[1] & 0x7F
        extended = {126: 2, 127: 8}.get(size, 0)
        if len(self._unread) < 2 + extended:
            return False
        if extended:
            size = int.from_bytes(self._unread[2 : 2 + extended])
        if first == CLOSE:
            return self._read_close(size)
        self._skip = 2 + extended + size
        return True

    def _read_close(self, size: int) -> bool:
        if len(self._unread) < 2 + size:
            return False
        self.close = int.from_bytes(self._unread[2:4]) if size >= 2 else NO_CODE
        self._over = True
        return True
