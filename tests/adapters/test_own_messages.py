"""
Servers that speak WebSocket themselves: what clients send, how much of it, and what they get.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import zlib
from typing import Final

import pytest
from websockets.asyncio.client import connect

from tests.adapters.own_frames import Broken, frame
from tests.adapters.own_servers import SERVERS, Served
from tests.servers.raw import connected, text_frame, upgrade
from tests.servers.running import Client, client, until, until_gone
from ws_isolation import ManagerFactory, PlainWire, Session, Settings, events
from ws_isolation.adapters import aiohttp, websockets
from ws_isolation.testing import make_context
from ws_isolation.wire import SUBPROTOCOL

each_server: Final = pytest.mark.parametrize("server", SERVERS)
BEARER: Final = {"Authorization": "Bearer alice"}
LIMIT: Final = 2_048
"""Bytes of a message in these tests."""


@each_server
@pytest.mark.scenario("S58", "S61")
@pytest.mark.requirement("P3")
async def test_message_right_after_connecting(server: str) -> None:
    """
    What a client sends as soon as it is accepted, before it saw any welcome, is handled once, in order.
    """

    async def handler(session: Session) -> None:
        async for message in session:
            await session.manager.send(events.Custom(name="test.echo", value=message.data["n"]))

    async with SERVERS[server](Served(ManagerFactory(), handler)) as address, connected(address) as raw:
        # With the handshake in one piece: no client may, and nothing is lost even so.
        early = b"".join(text_frame(f'{{"type":"early","data":{{"n":{n}}}}}') for n in range(3))
        raw.writer.write(upgrade(address, "Authorization: Bearer alice") + early)
        await raw.head()
        frames = [await raw.frame() for _ in range(4)]

    assert ["ws.welcome", "custom", "custom", "custom"] == [frame["type"] for frame in frames]
    assert [0, 1, 2] == [frame["data"]["value"] for frame in frames[1:]]


def message_of(size: int) -> str:
    """
    Return a message of *size* bytes that cannot be compressed well.
    """
    head, tail = '{"type":"say","data":{"t":"', '"}}'
    drawn = random.Random(7)
    return head + "".join(chr(drawn.randrange(0x30, 0x5B)) for _ in range(size - len(head) - len(tail))) + tail


@each_server
@pytest.mark.scenario("S41")
@pytest.mark.requirement("WS-14", "P2", "P5")
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("size", "fragments", "expected"),
    [
        (LIMIT - 1, 1, 1000),
        (LIMIT, 1, 1000),
        (LIMIT, 3, 1000),
        (LIMIT + 1, 1, 4013),
        (LIMIT + 1, 3, 4013),
    ],
)
async def test_size_of_a_message(server: str, size: int, fragments: int, expected: int, *, compress: bool) -> None:
    """
    What counts is decoded bytes, to the byte, compressed or not, in one piece or in several.
    """

    async def handler(session: Session) -> None:
        async for _message in session:
            return

    factory = ManagerFactory(Settings(message_bytes=LIMIT))
    text = message_of(size)
    pieces = [text[n * size // fragments : (n + 1) * size // fragments] for n in range(fragments)]
    async with (
        SERVERS[server](Served(factory, handler, compress=compress)) as address,
        client(address, compression="deflate") as alice,
    ):
        assert compress == bool(alice.connection.protocol.extensions)
        await alice.connection.send(pieces if fragments > 1 else text)
        rest = await alice.rest()

    assert (expected, expected) == (rest.code, rest.frames[-1]["code"])


@pytest.mark.requirement("WS-14", "P5")
@pytest.mark.parametrize(("server", "code"), [("aiohttp", 4013), ("websockets", 1009)])
async def test_far_too_big_a_message(server: str, code: int) -> None:
    """
    What is announced larger than the server takes is not waited for: goodbye first, but with the websockets library.
    """
    factory = ManagerFactory(Settings(message_bytes=LIMIT, close_seconds=0.2))
    async with SERVERS[server](Served(factory)) as address, connected(address) as raw:
        raw.writer.write(upgrade(address, "Authorization: Bearer alice"))
        await raw.head()
        assert "ws.welcome" == (await raw.frame())["type"]
        raw.writer.write(b"\x81\xff" + (9_000_000).to_bytes(8) + bytes(4) + b"x" * 100_000)
        if code == 4013:
            assert ("ws.goodbye", code) == ((said := await raw.frame())["type"], said["code"])
        async with asyncio.timeout(10):
            opcode, size = await raw.reader.readexactly(2)
            payload = await raw.reader.readexactly(size)
            if code == 4013:
                assert b"" == await raw.reader.read()  # closed in time, although the client says nothing
        raw.writer.close()
        await until(lambda: factory.stats().sessions == 0)

    assert (0x88, code) == (opcode, int.from_bytes(payload[:2]))


@pytest.mark.scenario("S41")
@pytest.mark.requirement("P2")
@pytest.mark.parametrize(
    ("sent", "by_session", "by_library"),
    [
        (frame(1, b"\xff\xfe"), 4000, 1007),
        (frame(1, b'{"type":"\xed\xa0\x80"}'), 4000, 1007),
        (frame(1, b"{}", rsv=0x40), 4000, 1002),
        (frame(3, b""), 4000, 1002),
        (frame(0, b"{}"), 4000, 1002),
        (frame(1, b'{"type":"a","data":{"t":"\\ud800"}}'), 4000, 4000),
        (frame(2, b"\xff"), 4000, 4000),
        (frame(2, b""), 4000, 4000),
        (frame(1, b""), 4000, 4000),
    ],
)
@each_server
async def test_what_no_client_sends(server: str, sent: bytes, by_session: int, by_library: int) -> None:
    """
    Broken UTF-8, broken frames, a lone surrogate, binary: goodbye, then the close, with codes of ours.

    The websockets library closes by itself what is no frame or no text, as RFC 6455 §7.1.7 says.
    """
    factory = ManagerFactory()
    async with SERVERS[server](Served(factory)) as address, connected(address) as raw:
        raw.writer.write(upgrade(address, "Authorization: Bearer alice"))
        await raw.head()
        assert "ws.welcome" == (await raw.frame())["type"]
        raw.writer.write(sent)
        expected = by_session if server == "aiohttp" else by_library
        if expected >= 4000:
            assert ("ws.goodbye", expected) == ((said := await raw.frame())["type"], said["code"])
        async with asyncio.timeout(10):
            opcode, size = await raw.reader.readexactly(2)
            payload = await raw.reader.readexactly(size)
        raw.writer.close()  # a client that leaves without an answer to the close
        await until(lambda: factory.stats().sessions == 0)

    assert (0x88, expected) == (opcode, int.from_bytes(payload[:2]))


@each_server
@pytest.mark.requirement("P2")
async def test_deflate_bomb(server: str) -> None:
    """
    A few bytes that become very many are not unpacked: the connection ends, the server goes on.
    """
    factory = ManagerFactory(Settings(message_bytes=LIMIT))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = (packer.compress(b" " * 50_000_000) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
    async with (
        SERVERS[server](Served(factory, compress=True)) as address,
        connected(address) as raw,
        client(address, "bob") as bob,
    ):
        await bob.until("ws.welcome")
        offer = "Sec-WebSocket-Extensions: permessage-deflate"
        raw.writer.write(upgrade(address, "Authorization: Bearer alice", offer))
        await raw.head()
        raw.writer.write(b"\xc1\xfe" + len(bomb).to_bytes(2) + bytes(4) + bomb)
        await until(lambda: factory.stats().sessions == 1)
        await factory.create_manager(make_context("bob")).send(events.Custom(name="test.on", value=1))
        await bob.until("custom")


@each_server
async def test_wire_of_ones_own(server: str) -> None:
    """
    The wire is the application's choice, and its subprotocol is the one that is answered.
    """
    wire = PlainWire(lambda envelope: {"kind": envelope.event.type}, subprotocol="shop.v2")

    async def handler(session: Session) -> None:
        await session.manager.send(events.Custom(name="test.hello", value=1))
        await until_gone(session)

    async with (
        SERVERS[server](Served(ManagerFactory(), handler, wire=wire)) as address,
        client(address, subprotocols=(SUBPROTOCOL, "shop.v2")) as tab,
    ):
        assert "shop.v2" == tab.connection.subprotocol
        assert {"kind": "custom"} == await tab.next()


@each_server
@pytest.mark.requirement("P2")
async def test_lone_surrogate_from_a_wire(server: str) -> None:
    """
    A text that no UTF-8 can carry is the wire's defect: goodbye and 4300, not a connection that is gone.
    """

    async def handler(session: Session) -> None:
        await session.manager.send(events.Custom(name="test.broken", value=1))
        await until_gone(session)

    async with (
        SERVERS[server](Served(ManagerFactory(), handler, wire=Broken())) as address,
        client(address, compression=None) as tab,
    ):
        rest = await tab.rest()

    assert rest.ended_with(4300, "internal_error")


@each_server
@pytest.mark.parametrize("compress", [False, True])
async def test_large_events_in_order(server: str, *, compress: bool) -> None:
    """
    Events larger than every buffer arrive whole and in order, among small ones, while the client reads slowly.
    """

    async def handler(session: Session) -> None:
        for n in range(20):
            await session.manager.send(events.Custom(name="test.n", value=[n, "x" * (n % 5 * 12_000)]))
        await until_gone(session)

    async with (
        SERVERS[server](Served(ManagerFactory(), handler, compress=compress, send_buffer=4_096)) as address,
        connect(f"ws://{address}/ws", additional_headers=BEARER, proxy=None, max_queue=1) as connection,
    ):
        tab = Client(connection)
        got = [(await tab.until("custom"))["data"]["value"][0] for _ in range(20)]

    assert list(range(20)) == got


@each_server
@pytest.mark.requirement("WS-26")
async def test_compression_is_off(server: str) -> None:
    """
    A client that offers compression gets none, unless the application asks for it.
    """
    defaults = {inspect.signature(call).parameters["compress"].default for call in (aiohttp.serve, websockets.endpoint)}
    async with SERVERS[server](Served(ManagerFactory())) as address, connected(address) as raw:
        offer = "Sec-WebSocket-Extensions: permessage-deflate"
        raw.writer.write(upgrade(address, "Authorization: Bearer alice", offer))
        status, headers = await raw.head()

    assert {False} == defaults
    assert 101 == status
    assert "sec-websocket-extensions" not in headers
