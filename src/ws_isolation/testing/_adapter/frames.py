"""
WebSocket frames of a client as bytes: what is sent and read by hand, so that nothing corrects a mistake.

Source: RFC 6455 §5.2 (layout, masking), §5.5 (control frames), §7.1.5 (no code: 1005); RFC 7692 §7.2 (deflate).
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_MASK: Final = b"\x37\xfa\x21\x3d"
"""Any key does for a server: what it hides is between the client and proxies."""
_MEDIUM: Final = 126
_LONG: Final = 127
_TAIL: Final = b"\x00\x00\xff\xff"
_NO_CODE: Final = 1005


class Frame(NamedTuple):
    """One frame of a server: its opcode, what it holds, whether its message ends, and whether it is compressed."""

    opcode: int
    payload: bytes
    fin: bool
    compressed: bool


def encoded(opcode: int, payload: bytes, /, *, compressed: bool = False) -> bytes:
    """Return one masked frame that holds a whole message."""
    first = 0x80 | (0x40 if compressed else 0) | opcode
    size = len(payload)
    if size < _MEDIUM:
        head = bytes((first, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((first, 0x80 | _MEDIUM)) + size.to_bytes(2)
    else:
        head = bytes((first, 0x80 | _LONG)) + size.to_bytes(8)
    return head + _MASK + _masked(payload)


def _masked(payload: bytes) -> bytes:
    size = len(payload)
    key = (_MASK * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(size)


def parsed(data: bytes, /) -> tuple[Frame, int] | None:
    """Return the first frame of *data* and how many bytes it took; None where it is not there yet."""
    head = 2
    if len(data) < head:
        return None
    size = data[1] & 0x7F
    if size >= _MEDIUM:
        more = 2 if size == _MEDIUM else 8
        size = int.from_bytes(data[2 : 2 + more])
        head += more
    if len(data) < head + size:
        return None
    first = data[0]
    return Frame(first & 0x0F, data[head : head + size], bool(first & 0x80), bool(first & 0x40)), head + size


def said_by_close(payload: bytes, /) -> tuple[int, str]:
    """Return code and reason of a close frame; 1005 where it has none."""
    if not payload:
        return _NO_CODE, ""
    return int.from_bytes(payload[:2]), payload[2:].decode("utf-8", "backslashreplace")


def deflated(payload: bytes, /) -> bytes:
    """Return *payload* as permessage-deflate sends it, without anything of the messages before it."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_TAIL)


class Inflater:
    """Reads the compressed messages of one connection, in order."""

    __slots__ = ("_inflate",)

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)

    def inflated(self, payload: bytes, /) -> bytes:
        """Return what *payload* was."""
        return self._inflate.decompress(payload + _TAIL)
