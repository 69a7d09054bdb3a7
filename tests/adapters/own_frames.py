"""
What no well-behaved client sends, and no well-behaved wire writes.
"""

from __future__ import annotations

from ws_isolation.events import Envelope
from ws_isolation.frames import Frame, Inbound
from ws_isolation.wire import DEFAULT_WIRE, SUBPROTOCOL, Unservable


def frame(opcode: int, payload: bytes, *, rsv: int = 0) -> bytes:
    """
    Return a masked frame of at most 125 bytes, as no client would send it.
    """
    mask = b"\x01\x02\x03\x04"
    return (
        bytes([0x80 | rsv | opcode, 0x80 | len(payload)])
        + mask
        + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    )


class Broken:
    """
    A wire whose events hold what UTF-8 cannot carry.
    """

    subprotocol = SUBPROTOCOL

    def event(self, _envelope: Envelope, /) -> str | None:
        """
        Return a lone surrogate.
        """
        return "\ud800"

    def control(self, one: Frame, /) -> str | None:
        """
        Do the same as the default wire.
        """
        return DEFAULT_WIRE.control(one)

    def read(self, text: str | bytes, limit: int, /) -> Inbound | Unservable:
        """
        Do the same as the default wire.
        """
        return DEFAULT_WIRE.read(text, limit)
