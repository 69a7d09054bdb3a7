"""
Servers that speak WebSocket themselves: how sessions end, whatever ends them.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import AsyncExitStack
from typing import Final

import attrs
import pytest

from tests.adapters.own_frames import frame
from tests.adapters.own_servers import SERVERS, Served
from tests.servers.raw import connected, upgrade
from tests.servers.running import by_token, client, until, until_gone
from tests.servers.ways_out import CANARY, CASES, Stage
from ws_isolation import Handshake, ManagerFactory, Session, Settings, UserExecutionContext, events
from ws_isolation.testing import FakeClock, make_context

each_server: Final = pytest.mark.parametrize("server", SERVERS)


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
