"""
Each framework's adapter on real servers, with a real client: the same ways out, the same codes.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack

import attrs
import pytest
from websockets.exceptions import InvalidStatus

from tests.servers.frameworks import APPS, SERVERS
from tests.servers.running import by_token, client, until, until_gone
from tests.servers.ways_out import CANARY, CASES, Case, Stage
from ws_isolation import ManagerFactory, Session, Settings
from ws_isolation.events import Custom
from ws_isolation.testing import FakeClock, make_context

frameworks = pytest.mark.parametrize("framework", APPS)
servers = pytest.mark.parametrize("server", SERVERS)


@frameworks
@servers
@pytest.mark.requirement("P2", "WS-09", "WS-17", "WS-29", "WS-31", "I1")
@pytest.mark.parametrize("name", CASES)
async def test_each_way_out_has_its_code(
    name: str, framework: str, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Goodbye with code, slug and action, then a close with the same code; nothing secret; nothing left behind.
    """
    case: Case = CASES[name]
    clock = FakeClock()
    settings = attrs.evolve(case.settings, origins=(f"https://{CANARY}.example",), hosts=())
    factory = ManagerFactory(settings, manager=case.manager, clock=clock)
    app = APPS[framework](factory, case.handler, case.authenticate)
    async with (
        SERVERS[server](app) as address,
        client(address, case.user, query=case.query, subprotocols=case.subprotocols) as alice,
    ):
        await case.act(Stage(alice, factory, clock))
        rest = await alice.rest()

    assert case.code == rest.code
    assert (case.code, case.slug) == (rest.frames[-1]["code"], rest.frames[-1]["slug"])
    assert not [secret for secret in (CANARY, "UserExecutionContext", "Error", ".py", "/") if secret in repr(rest)]
    assert ["ws.goodbye"] == [frame["type"] for frame in rest.frames if frame["type"] == "ws.goodbye"]
    assert 0 == factory.stats().sessions == factory.stats().pending
    assert [] == [
        record.getMessage()
        for record in caplog.records
        if not record.name.startswith("ws_isolation") and record.levelno >= logging.ERROR
    ]


@frameworks
@servers
@pytest.mark.requirement("P1")
async def test_events_reach_their_user_only(framework: str, server: str) -> None:
    """
    What a client says is answered to its own sockets; what a manager sends, on all sockets of its user.
    """

    async def echo(session: Session) -> None:
        async for message in session:
            await session.manager.send(Custom(name="test.echo", value=message.data))

    factory = ManagerFactory()
    async with SERVERS[server](APPS[framework](factory, echo, by_token)) as address:
        async with client(address, "alice") as one, client(address, "alice") as two, client(address, "bob") as bob:
            for tab in (one, two, bob):
                await tab.until("ws.welcome")
            await one.send(type="say", data={"text": "ä"})
            assert {"text": "ä"} == (await one.until("custom"))["data"]["value"]
            assert {"text": "ä"} == (await two.until("custom"))["data"]["value"]
            await factory.create_manager(make_context("bob")).send(Custom(name="test.own", value="bob's"))
            assert "bob's" == (await bob.until("custom"))["data"]["value"]
        await until(lambda: 0 == factory.stats().sessions)

    assert {} == factory.stats().closes  # clients that left, and nothing of ours


@frameworks
@servers
@pytest.mark.scenario("S59")
@pytest.mark.requirement("WS-01")
async def test_refused_before_accept(framework: str, server: str) -> None:
    """
    A page of another origin gets 403; who comes during a drain 503 with Retry-After.
    """
    factory = ManagerFactory()
    async with SERVERS[server](APPS[framework](factory, until_gone, by_token)) as address:
        with pytest.raises(InvalidStatus) as foreign:
            async with client(address, headers={"Origin": "https://evil.example"}):
                pass
        await factory.drain()
        with pytest.raises(InvalidStatus) as late:
            async with client(address):
                pass

    assert 403 == foreign.value.response.status_code
    assert (503, "1") == (late.value.response.status_code, late.value.response.headers["retry-after"])


@frameworks
@pytest.mark.scenario("S26")
@pytest.mark.requirement("P2")
async def test_lifespan(framework: str) -> None:
    """
    A server that stops takes its sockets, sessions and spawned work with it, in order and in time.
    """
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("work")

    async def handler(session: Session) -> None:
        session.on_end(lambda: ended.append("session"))
        session.spawn(work())
        await until_gone(session)

    factory = ManagerFactory(Settings(close_seconds=0.5, drain_seconds=2.0))
    async with AsyncExitStack() as clients:
        async with SERVERS["uvicorn"](APPS[framework](factory, handler, by_token)) as address:
            tab = await clients.enter_async_context(client(address))
            await tab.until("ws.welcome")
        rest = await tab.rest()

    assert rest.code in {1012, 4200}  # uvicorn itself closes before it tells its application
    assert ["session", "work"] == ended
    assert (0, 0) == (factory.stats().sessions, factory.stats().work)
