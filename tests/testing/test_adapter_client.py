"""
The client of ``check_adapter()``, against servers that say what they are told to.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ws_isolation.testing import Adapter, check_adapter
from ws_isolation.testing._adapter.client import Client, Ending, connected
from ws_isolation.testing._adapter.frames import CLOSE, TEXT, Inflater, deflated, encoded, parsed, said_by_close
from ws_isolation.testing.check_adapter import AdapterCheckError, Served, command

SILENT = """
import socket
import sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    while True:
        listener.accept()[0].close()
"""


@asynccontextmanager
async def saying(*answers: bytes) -> AsyncGenerator[Client]:
    """
    Connect to a server that reads nothing, says *answers* and drops the connection.
    """

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            writer.write(answer)
            await asyncio.sleep(0)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with connected(host, port) as client:
            yield client


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """
    Return a frame of a server: short, not masked.
    """
    return bytes(((0x80 if fin else 0) | opcode, len(payload))) + payload


async def test_a_conversation_is_read() -> None:
    """
    Pings and pongs are no messages, fragments are one, and the close frame ends it with code and reason.
    """
    async with saying(
        frame(0x9, b"ping"),
        frame(0xA, b"pong"),
        frame(TEXT, b'{"type":', fin=False),
        frame(0x0, b'"x"}'),
        frame(CLOSE, b"\x0f\xa0why"),
    ) as client:
        ending = await client.ending()

    assert Ending(({"type": "x"},), 4000, "why") == ending
    assert (4000, "why") == client.closed


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ((), "1006 without goodbye"),
        ((frame(CLOSE, b""),), "1005 without goodbye"),
        ((frame(TEXT, b'{"type":"ws.goodbye","code":4000,"slug":"x"}'),), "goodbye 4000 x, then 1006"),
    ],
)
async def test_an_end_is_told(answers: tuple[bytes, ...], said: str) -> None:
    """
    What was missing at the end of a connection is said, also to who waited for an event.
    """
    async with saying(*answers) as client:
        with pytest.raises(ConnectionError, match=said):
            await client.until("check.user")


async def test_a_reset_is_an_end() -> None:
    """
    A connection that is reset ends with 1006, like one that is closed without a word.
    """

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _reader.readexactly(1)
        writer.transport.abort()  # with unread bytes: the kernel resets

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with connected(host, port) as client:
            client.writer.write(b"x" * 100_000)
            assert "1006 without goodbye" == str(await client.ending())


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 70_000])
def test_frames_have_their_lengths(size: int) -> None:
    """
    A masked frame of each size says its length in the fewest bytes, and hides its payload.
    """
    payload = bytes(byte % 251 for byte in range(size))
    data = encoded(TEXT, payload)
    head = 2 if size < 126 else 4 if size < 65_536 else 10

    assert len(data) == head + 4 + size
    assert 0x80 == data[1] & 0x80
    mask, hidden = data[head : head + 4], data[head + 4 :]
    assert payload == bytes(byte ^ mask[place % 4] for place, byte in enumerate(hidden))


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_are_read_once_they_are_whole(size: int) -> None:
    """
    A frame of a server is returned with its length, and none while a byte is missing.
    """
    long = (
        bytes((0xC1, size)) if size < 126
        else b"\xc1\x7e" + size.to_bytes(2) if size < 65_536
        else b"\xc1\x7f" + size.to_bytes(8)
    )  # fmt: skip
    data = long + b"x" * size

    assert ((TEXT, b"x" * size, True, True), len(data)) == parsed(data + b"more")
    assert [] == [end for end in (0, 1, len(data) - 1) if parsed(data[:end]) is not None]


def test_compression_is_undone() -> None:
    """
    What one side compresses the other reads, message by message; a close frame may be empty.
    """
    inflater = Inflater()

    assert [b"one", b"two"] == [inflater.inflated(deflated(text)) for text in (b"one", b"two")]
    assert (1005, "") == said_by_close(b"")


async def test_a_server_that_says_nothing_is_found(tmp_path: Path) -> None:
    """
    A server that drops each connection fails each check, and its process is ended.
    """
    program = tmp_path / "program.py"
    program.write_text(SILENT)
    adapter = Adapter(name="silent", start=command(sys.executable, str(program), "{port}"))

    with pytest.raises(AdapterCheckError) as failed:
        await check_adapter(adapter, only=("plain return",))

    assert "connection lost" == failed.value.report.failed[0].observed


async def test_a_server_that_closes_at_once_is_found() -> None:
    """
    A server that accepts and closes is told with what it said.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + frame(CLOSE, b"\x0f\xa0"))
        await reader.read()
        writer.close()

    @asynccontextmanager
    async def start() -> AsyncGenerator[Served]:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            yield Served(*server.sockets[0].getsockname())

    with pytest.raises(AdapterCheckError) as failed:
        await check_adapter(Adapter(name="closes", start=start), only=("plain return",))

    assert "4000 without goodbye" == failed.value.report.failed[0].observed
