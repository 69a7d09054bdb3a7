"""
The servers that speak WebSocket themselves, with real clients: the same table, the same promises for each.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import zlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import attrs
import pytest
from websockets.asyncio.client import connect

from tests.adapters.own_servers import SERVERS, Served
from tests.servers.raw import answer_to, connected, text_frame, upgrade
from tests.servers.running import Client, by_token, client, until, until_gone
from tests.servers.test_handshakes import ORIGINS
from tests.servers.ways_out import CANARY, CASES, Stage
from ws_isolation import Handshake, ManagerFactory, PlainWire, Session, Settings, UserExecutionContext, events
from ws_isolation.events import Envelope
from ws_isolation.frames import Frame, Inbound
from ws_isolation.testing import FakeClock, make_context
from ws_isolation.wire import DEFAULT_WIRE, SUBPROTOCOL, Unservable

each_server: Final = pytest.mark.parametrize("server", SERVERS)
BEARER: Final = {"Authorization": "Bearer alice"}
LIMIT: Final = 2_048
"""Bytes of a message in these tests."""


@each_server
@pytest.mark.scenario("S14", "S26", "S27", "S35", "S41", "S47", "S55", "S56", "S57", "S63")
@pytest.mark.requirement("P2", "WS-09", "WS-17", "WS-29", "WS-31", "I1")
@pytest.mark.parametrize("name", CASES)
async def test_each_way_out_has_its_code(server: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    Goodbye with code, slug and action, then a close with the same code; one greeting at most; nothing left behind.
    """
    case, clock = CASES[name], FakeClock()
    settings = attrs.evolve(case.settings, origins=(f"https://{CANARY}.example",), hosts=())
    factory = ManagerFactory(settings, manager=case.manager, clock=clock)
    async with (
        SERVERS[server](Served(factory, case.handler, case.authenticate)) as address,
        client(address, case.user, query=case.query, subprotocols=case.subprotocols) as alice,
    ):
        await case.act(Stage(alice, factory, clock))
        rest = await alice.rest()

    assert rest.ended_with(case.code, case.slug), rest
    assert not [secret for secret in (CANARY, "UserExecutionContext", "Error", ".py", "/") if secret in repr(rest)]
    kinds = [frame["type"] for frame in rest.frames]
    assert 1 == kinds.count("ws.goodbye")
    assert kinds.count("ws.welcome") <= case.welcomed
    assert 0 == factory.stats().sessions == factory.stats().pending
    # The server itself saw a handler that returned, not one that failed.
    servers = ("aiohttp", "websockets.server", "asyncio")
    assert [] == [one.getMessage() for one in caplog.records if one.name in servers and one.levelno >= logging.ERROR]


@each_server
@pytest.mark.requirement("WS-01", "WS-02", "P1")
async def test_origins(server: str) -> None:
    """
    101 or 403 as the table says (400 where the server itself refuses); of those refused, none was authenticated.
    """
    knocked: list[str | None] = []

    async def authenticate(handshake: Handshake) -> UserExecutionContext:
        knocked.append(handshake.query.get("case"))
        return await by_token(handshake)

    factory = ManagerFactory(Settings(origins=("https://app.example.com",)))
    got: dict[str, int] = {}
    async with SERVERS[server](Served(factory, None, authenticate)) as address:
        for number, (name, (lines, _)) in enumerate(ORIGINS.items()):
            said = ("Authorization: Bearer alice", *(line.format(address=address) for line in lines))
            got[name], _ = await answer_to(address, upgrade(address, *said, path=f"/ws?case={number}"))

    assert {name: allowed for name, (_, allowed) in ORIGINS.items()} == {name: got[name] == 101 for name in got}
    assert {101, 403} <= set(got.values()) <= {101, 400, 403}
    assert [str(number) for number, (_, allowed) in enumerate(ORIGINS.values()) if allowed] == knocked
    assert 0 == factory.stats().pending


@each_server
@pytest.mark.scenario("S55")
@pytest.mark.requirement("WS-08")
@pytest.mark.parametrize(
    ("offered", "answered", "first"),
    [
        (None, None, "ws.welcome"),
        ("ws-isolation.v1", "ws-isolation.v1", "ws.welcome"),
        ("bearer.alice, ws-isolation.v1", "ws-isolation.v1", "ws.welcome"),
        ("graphql-ws, ws-isolation.v1", "ws-isolation.v1", "ws.welcome"),
        ("graphql-ws, mqtt", "graphql-ws", "ws.goodbye"),
        ("bearer.alice, mqtt", "mqtt", "ws.goodbye"),
        ("bearer.alice", None, "ws.goodbye"),
        ("BEARER.alice", None, "ws.goodbye"),
    ],
)
async def test_subprotocols(
    server: str, offered: str | None, answered: str | None, first: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    At most one offered name is answered, once, never one that holds a token, and no log holds it either.
    """
    caplog.set_level(logging.INFO)
    lines = () if offered is None else (f"Sec-WebSocket-Protocol: {offered}",)
    bearer = () if offered is not None and "bearer.alice" in offered else ("Authorization: Bearer alice",)
    async with SERVERS[server](Served(ManagerFactory())) as address, connected(address) as raw:
        raw.writer.write(upgrade(address, *lines, *bearer))
        async with asyncio.timeout(10):
            head = (await raw.reader.readuntil(b"\r\n\r\n")).decode().lower()
        frame = await raw.frame()

    found = [line.partition(": ")[2] for line in head.split("\r\n") if line.startswith("sec-websocket-protocol:")]
    assert ([] if answered is None else [answered]) == found
    assert head.startswith("http/1.1 101")
    assert first == frame["type"]
    assert first == "ws.welcome" or 4006 == frame["code"]
    assert "alice" not in head
    assert "bearer.alice" not in caplog.text.lower()


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


@each_server
@pytest.mark.scenario("S59", "S23")
@pytest.mark.requirement("WS-13", "P5")
async def test_no_room(server: str) -> None:
    """
    Above the limit of pending handshakes the answer is 503 with Retry-After; who is inside stays.
    """
    factory = ManagerFactory(Settings(pending_handshakes=1))
    async with SERVERS[server](Served(factory)) as address, client(address) as inside:
        await inside.until("ws.welcome")
        assert factory.begin_handshake(None) is None
        status, headers = await answer_to(address, upgrade(address, "Authorization: Bearer bob"))
        factory.end_handshake(None)
        again, _ = await answer_to(address, upgrade(address, "Authorization: Bearer bob"))
        await factory.create_manager(make_context("alice")).send(events.Custom(name="test.here", value=1))
        still = await inside.until("custom")

    assert (503, "1") == (status, headers["retry-after"])
    assert 101 == again
    assert 1 == still["data"]["value"]


def plain_get(address: str) -> bytes:
    """
    Return a request of a page.
    """
    return f"GET /ws HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()


def old_version(address: str) -> bytes:
    """
    Return a handshake of a version that nobody speaks.
    """
    return upgrade(address).replace(b"Version: 13", b"Version: 12")


def bad_key(address: str) -> bytes:
    """
    Return a handshake whose key is too short.
    """
    return upgrade(address).replace(b"AAAA==", b"AA==")


@each_server
@pytest.mark.parametrize(
    ("request_of", "statuses"), [(plain_get, {426}), (old_version, {400, 426}), (bad_key, {400, 426})]
)
async def test_no_websocket(server: str, request_of: Callable[[str], bytes], statuses: set[int]) -> None:
    """
    A request that asks for no socket, or not as the protocol wants, gets a status, and leaves nothing behind.
    """
    factory = ManagerFactory()
    async with SERVERS[server](Served(factory)) as address:
        status, _ = await answer_to(address, request_of(address))
        await until(lambda: factory.stats().pending == 0)

    assert status in statuses
    assert {} == factory.stats().closes


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
@pytest.mark.scenario("S29", "S30", "S23")
@pytest.mark.requirement("P5", "WS-16")
async def test_stalled_peer_is_dropped(server: str) -> None:
    """
    One of Alice's two tabs stops reading: no send waits, the other gets everything, it is cut and its connection gone.
    """
    factory = ManagerFactory(Settings(write_seconds=0.3, close_seconds=0.2))
    count = 30
    async with SERVERS[server](Served(factory, send_buffer=4_096)) as address, client(address) as tab:
        with socket.socket() as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            stalled.settimeout(0)
            loop = asyncio.get_running_loop()
            host, port = address.split(":")
            await loop.sock_connect(stalled, (host, int(port)))
            await loop.sock_sendall(stalled, upgrade(address, "Authorization: Bearer alice"))
            await until(lambda: factory.stats().sessions == 2)
            alice = factory.create_manager(make_context("alice"))
            begun = loop.time()
            for n in range(count):
                await alice.send(events.Custom(name="test.big", value=[n, "x" * 16_000]))
            took = loop.time() - begun
            got = [(await tab.until("custom"))["data"]["value"][0] for _ in range(count)]
            await until(lambda: factory.stats().sessions == 1)
            # Dropped, and not left to the kernel with what is buffered: the peer reads to an end.
            async with asyncio.timeout(10):
                try:
                    while await loop.sock_recv(stalled, 65_536):
                        pass
                except ConnectionResetError:
                    pass

    assert took < 1
    assert list(range(count)) == got
    assert 1 == factory.stats().closes[4213]


@each_server
@pytest.mark.scenario("S54", "S36")
@pytest.mark.requirement("P1", "I5", "I10")
async def test_handshakes_at_the_same_time(server: str) -> None:
    """
    Alice authenticates first and slowly, thirty others meanwhile: each session has its own context and messages.
    """
    alice_waits, go_on = asyncio.Event(), asyncio.Event()

    async def authenticate(handshake: Handshake) -> UserExecutionContext:
        context = await by_token(handshake)
        if context.user_id == "alice":
            alice_waits.set()
            await go_on.wait()
        return context

    async def handler(session: Session) -> None:
        async for message in session:
            said = [session.context.user_id, message.data["text"]]
            await session.manager.send(events.Custom(name="test.said", value=said))

    async def talk(user: str, address: str) -> list[Any]:
        async with client(address, user) as tab:
            await tab.send(type="say", data={"text": f"{user} speaks"})
            said: list[Any] = (await tab.until("custom"))["data"]["value"]
        return said

    users = [f"user-{n}" for n in range(30)]
    async with SERVERS[server](Served(ManagerFactory(), handler, authenticate)) as address:
        alice = asyncio.create_task(talk("alice", address))
        await alice_waits.wait()
        said = await asyncio.gather(*(talk(user, address) for user in users))
        go_on.set()
        said.append(await alice)

    assert [[user, f"{user} speaks"] for user in (*users, "alice")] == said


@each_server
@pytest.mark.scenario("S35", "S37", "S19")
@pytest.mark.requirement("P2", "P5")
async def test_nothing_left_after_many(server: str) -> None:
    """
    After many sessions, left in every way, there is no task more than before.
    """

    async def handler(session: Session) -> None:
        async for message in session:
            if message.type == "fail":
                raise LookupError

    async def cycle(n: int, address: str) -> None:
        async with client(address, f"user-{n % 3}") as tab:
            match n % 4:
                case 0:
                    await tab.send(type="fail")
                    await tab.rest()
                case 1:
                    await tab.until("ws.welcome")
                case 2:
                    tab.connection.transport.abort()
                case _:
                    pass

    factory = ManagerFactory()
    async with SERVERS[server](Served(factory, handler)) as address:
        await cycle(0, address)
        await until(lambda: factory.stats().sessions == 0)
        before = len(asyncio.all_tasks())
        for n in range(40):
            await cycle(n, address)
        await until(lambda: factory.stats().sessions == 0)
        await until(lambda: len(asyncio.all_tasks()) <= before)

    assert 0 == factory.stats().pending


@each_server
@pytest.mark.parametrize(("sent", "answered"), [(1000, 1000), (1001, 1001), (4900, 4900), (None, 1005)])
async def test_client_that_closes(server: str, sent: int | None, answered: int) -> None:
    """
    A client that closes gets its own code back, soon, and the session is over.
    """
    factory = ManagerFactory()
    payload = b"" if sent is None else sent.to_bytes(2)
    async with SERVERS[server](Served(factory)) as address, connected(address) as raw:
        raw.writer.write(upgrade(address, "Authorization: Bearer alice"))
        await raw.head()
        await raw.frame()
        raw.writer.write(frame(8, payload))
        async with asyncio.timeout(10):
            left = await raw.reader.read()

    assert b"\x88" == left[:1]
    assert left[1] + 2 == len(left)
    assert answered == (int.from_bytes(left[2:4]) if left[1] else 1005)
    assert 0 == factory.stats().sessions


@each_server
@pytest.mark.requirement("P5")
async def test_client_that_left_during_authentication(server: str) -> None:
    """
    Who leaves while it is authenticated is forgotten: no session, no handshake that counts for ever.
    """
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def authenticate(handshake: Handshake) -> UserExecutionContext:
        begun.set()
        await go_on.wait()
        return await by_token(handshake)

    factory = ManagerFactory()
    async with SERVERS[server](Served(factory, until_gone, authenticate)) as address:
        async with connected(address) as raw:
            raw.writer.write(upgrade(address, "Authorization: Bearer alice"))
            await begun.wait()
        go_on.set()
        await until(lambda: factory.stats().pending == 0 == factory.stats().sessions)

    assert {} == factory.stats().closes


@each_server
@pytest.mark.scenario("S26", "S32")
@pytest.mark.requirement("P2")
async def test_stop_of_the_server(server: str) -> None:
    """
    A server that stops drains first: goodbye and 4200 for who is inside; who is still on the way in holds nothing up.
    """
    begun = asyncio.Event()

    async def authenticate(handshake: Handshake) -> UserExecutionContext:
        if handshake.bearer_token == "slow":
            begun.set()
            await asyncio.Event().wait()
        return await by_token(handshake)

    factory = ManagerFactory(Settings(auth_seconds=0.3, close_seconds=0.3))
    async with AsyncExitStack() as clients:
        async with SERVERS[server](Served(factory, until_gone, authenticate)) as address:
            tabs = [await clients.enter_async_context(client(address, user)) for user in ("alice", "bob")]
            for tab in tabs:
                await tab.until("ws.welcome")
            raw = await clients.enter_async_context(connected(address))
            raw.writer.write(upgrade(address, "Authorization: Bearer slow"))
            await begun.wait()
        rests = [await tab.rest() for tab in tabs]

    assert all(rest.ended_with(4200, "drain") for rest in rests)
    assert (0, 0) == (factory.stats().sessions, factory.stats().pending)


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
