"""
Frames that RFC 6455 forbids, as bytes: the server below answers them, and nothing of them reaches a handler.
"""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from tests.servers.raw import connected, upgrade
from tests.servers.running import IMPLEMENTATIONS, legacy, running, until, websocket_app
from ws_isolation import ManagerFactory, Session

pytestmark = legacy

_MASK: Final = b"\x01\x02\x03\x04"
_SAID: Final = b'{"type":"hello"}'


def frame(first: int, payload: bytes, *, masked: bool = True) -> bytes:
    """
    Return a short frame whose first byte is *first*.
    """
    if not masked:
        return bytes([first, len(payload)]) + payload
    return bytes([first, 0x80 | len(payload)]) + _MASK + bytes(b ^ _MASK[at % 4] for at, b in enumerate(payload))


FORBIDDEN: Final = {
    "not masked": frame(0x81, _SAID, masked=False),
    "reserved bit 1": frame(0xC1, _SAID),
    "reserved bit 2": frame(0xA1, _SAID),
    "reserved bit 3": frame(0x91, _SAID),
    "reserved opcode": frame(0x83, _SAID),
    "reserved control opcode": frame(0x8B, _SAID),
    "a continuation of nothing": frame(0x80, _SAID),
    "a text within a text": frame(0x01, _SAID) + frame(0x81, _SAID),
    "a ping in pieces": frame(0x09, b""),
    "invalid UTF-8": frame(0x81, b'{"type":"\xff"}'),
    "half a character": frame(0x81, b'{"type":"\xc3"}'),
    "an encoded surrogate": frame(0x81, b'{"type":"\xed\xa0\x80"}'),
    "a longer form than needed": frame(0x81, b'{"type":"\xc0\xaf"}'),
}


@pytest.mark.scenario("S56")
@pytest.mark.requirement("WS-19", "P2")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_forbidden_frames(implementation: str) -> None:
    """
    The server closes, the handler has heard nothing, and no session is left; a good frame was heard before.
    """
    heard: list[str] = []

    async def handler(session: Session) -> None:
        async for message in session:
            heard.append(message.type)  # noqa: PERF401  # an async comprehension would tell all at the end

    factory = ManagerFactory()
    async with running(websocket_app(factory, handler), implementation=implementation) as address:
        for name, data in FORBIDDEN.items():
            async with connected(address) as raw:
                # No permessage-deflate is offered, so the first reserved bit has no meaning.
                raw.writer.write(upgrade(address, "Authorization: Bearer alice"))
                assert 101 == (await raw.head())[0]
                assert "ws.welcome" == (await raw.frame())["type"]
                raw.writer.write(frame(0x81, b'{"type":"good"}'))
                await until(lambda: heard == ["good"])
                raw.writer.write(data)
                async with asyncio.timeout(10):
                    answer = await raw.reader.read(2)
                assert answer[:1] in {b"", b"\x88"}, f"{name}: no close frame, and no end"
            await until(lambda: 0 == factory.stats().sessions)
            assert ["good"] == heard, name
            heard.clear()
