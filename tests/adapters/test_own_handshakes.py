"""
Servers that speak WebSocket themselves: who may knock, and what is answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.adapters.own_servers import SERVERS, Served
from tests.servers.raw import answer_to, connected, upgrade
from tests.servers.running import by_token, client, until, until_gone
from tests.servers.test_handshakes import ORIGINS
from ws_isolation import Handshake, ManagerFactory, Session, Settings, UserExecutionContext, events
from ws_isolation.testing import make_context

each_server: Final = pytest.mark.parametrize("server", SERVERS)
BEARER: Final = {"Authorization": "Bearer alice"}


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
