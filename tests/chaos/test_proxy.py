"""
The proxy does what it says, to the byte: else what is proved with it is worth nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from tests.chaos.proxy import Fault, Proxy, chaos, dead, random_faults
from tests.servers.running import until

GREETING = b"0123456789"


@asynccontextmanager
async def greeter(
    *faults: Fault,
) -> AsyncGenerator[tuple[Proxy, asyncio.StreamReader, asyncio.StreamWriter, bytearray]]:
    """
    Connect through a proxy to a server that says ten bytes and collects what it hears; b"RST" for a reset.
    """
    heard = bytearray()
    held: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        writer.write(GREETING)
        try:
            while data := await reader.read(100):
                heard.extend(data)
            heard.extend(b"FIN")
        except ConnectionResetError:
            heard.extend(b"RST")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with chaos(f"{host}:{port}", lambda _number: faults) as proxy:
        near, place = proxy.address.split(":")
        reader, writer = await asyncio.open_connection(near, int(place))
        try:
            yield proxy, reader, writer, heard
        finally:
            writer.close()
            for end in held:
                end.close()
    server.close()


async def heard_by_client(reader: asyncio.StreamReader) -> bytes:
    """
    Read to the end; what did not come within half a second does not come.
    """
    got = b""
    try:
        while data := await asyncio.wait_for(reader.read(100), 0.5):
            got += data
    except TimeoutError:
        return got
    except ConnectionResetError:
        return got + b"RST"
    return got + b"FIN"


@pytest.mark.parametrize(
    ("fault", "client_hears", "server_hears"),
    [
        (Fault("truncate", "down", 4), b"0123FIN", b"FIN"),
        (Fault("reset", "down", 4), b"0123RST", b"RST"),
        (Fault("blackhole", "down", 4), b"0123", b""),
        (Fault("stall", "down", 0), b"", b""),
        (Fault("half_close", "down", 4), b"0123FIN", b""),
        (Fault("half_close", "up", 0), b"0123456789", b"FIN"),
        (Fault("split", "down", 4), b"0123456789", b""),
        (Fault("delay", "down", 4), b"0123456789", b""),
    ],
)
async def test_faults(fault: Fault, client_hears: bytes, server_hears: bytes) -> None:
    """
    Each fault begins at its byte and shows at both ends as it does in a network.
    """
    async with greeter(fault) as (_proxy, reader, _writer, heard):
        got = await heard_by_client(reader)
        await until(lambda: len(heard) >= len(server_hears))

    # RST overtakes what the client has not read yet.
    assert got == client_hears or (fault.kind == "reset" and got == b"RST")
    assert bytes(heard[: len(server_hears)]) == server_hears
    assert bytes(heard[len(server_hears) :]) in (b"", b"FIN", b"RST")


async def test_dead_peer_says_nothing() -> None:
    """
    Where both directions lead nowhere neither end hears of the other again, not even that it is gone.
    """
    async with greeter(*dead(10)) as (proxy, reader, writer, heard):
        assert GREETING == await reader.readexactly(10)
        writer.write(b"x" * 10 + b"lost")
        await until(lambda: b"x" * 10 == bytes(heard))
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()
        await asyncio.sleep(0.05)  # the time in which a FIN or RST would come

        assert b"x" * 10 == bytes(heard)
        assert [None] == [link.ending for link in proxy.links]


async def test_cut_on_demand() -> None:
    """
    A connection can be cut at any moment; a server that speaks no WebSocket has closed with no code.
    """
    async with greeter() as (proxy, reader, _writer, heard):
        assert GREETING == await reader.readexactly(10)
        link = proxy.links[0]
        assert link.server_close is None
        link.cut("reset")
        link.cut("truncate")
        await until(lambda: b"RST" == bytes(heard))
        assert ([], "reset") == (proxy.open, link.ending)


def test_seeded() -> None:
    """
    The same seed draws the same faults, another seed others.
    """
    first, again, other = ([random_faults(seed, number) for number in range(50)] for seed in (1, 1, 2))

    assert first == again != other
    assert 7 == len({fault.kind for faults in first for fault in faults})
