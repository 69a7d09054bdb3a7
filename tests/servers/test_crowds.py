"""
Many sockets of one user: tabs, storms of connects at the limit, and hours in which nothing is sent.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.chaos.proxy import chaos, dead
from tests.servers.running import Client, Rest, client, legacy, running, until, until_gone, websocket_app
from ws_isolation import ManagerFactory, Session, Settings, events
from ws_isolation.testing import FakeClock, make_context

pytestmark = legacy


async def admitted(stack: AsyncExitStack, address: str, user: str) -> Client | Rest:
    """
    Connect; the open client where it was welcomed, how it ended where it was refused.
    """
    tab = await stack.enter_async_context(client(address, user, compression=None))
    first = await tab.next()
    return tab if first["type"] == "ws.welcome" else Rest([first, *(rest := await tab.rest()).frames], rest.code, "")


@pytest.mark.scenario("S22", "S24", "S20")
@pytest.mark.requirement("P5", "WS-12")
@pytest.mark.parametrize(("limit", "connects"), [(8, 25), (10, 50)])
async def test_burst_at_the_limit(limit: int, connects: int) -> None:
    """
    A burst of connects: exactly as many as allowed get in, the rest 4029, soon; Bob's events are not late.
    """
    factory = ManagerFactory(Settings(sessions_per_identity=limit))
    loop = asyncio.get_running_loop()
    async with running(websocket_app(factory, until_gone)) as address, AsyncExitStack() as stack:
        bob = await stack.enter_async_context(client(address, "bob"))
        await bob.until("ws.welcome")
        begun = loop.time()
        burst = asyncio.gather(*(admitted(stack, address, "alice") for _ in range(connects)))
        late = 0.0
        while not burst.done():
            sent = loop.time()
            await factory.create_manager(make_context("bob")).send(events.Custom(name="crowd.tick", value=1))
            await bob.until("custom")
            late = max(late, loop.time() - sent)
        outcomes = await burst
        took = loop.time() - begun
        inside = [one for one in outcomes if isinstance(one, Client)]
        refused = [one for one in outcomes if isinstance(one, Rest)]
        delivery = await factory.create_manager(make_context("alice")).send(events.Custom(name="crowd.all", value=2))
        got = [(await tab.until("custom"))["data"]["value"] for tab in inside]

        # One that ends frees exactly one place.
        await inside[0].connection.close()
        await until(lambda: factory.stats().sessions == limit)
        again = [await admitted(stack, address, "alice") for _ in range(2)]

    assert (limit, connects - limit) == (len(inside), len(refused))
    assert {(4029, 4029)} == {(rest.code, rest.frames[-1]["code"]) for rest in refused}
    assert (limit, [2] * limit) == (delivery.sessions, got)
    assert [True, False] == [isinstance(one, Client) for one in again]
    assert took < 5  # a second on an idle machine, of which most is the clients' own
    assert late < 1
    assert factory.stats().closes.keys() <= {1000, 4029, 4200}


@pytest.mark.scenario("S22")
@pytest.mark.requirement("P5")
async def test_quick_reconnects() -> None:
    """
    A tab that connects again and again, abruptly, takes no place for good and does not disturb the seven others.
    """
    factory = ManagerFactory(Settings(sessions_per_identity=8))
    async with running(websocket_app(factory, until_gone)) as address, AsyncExitStack() as stack:
        tabs = [await admitted(stack, address, "alice") for _ in range(7)]
        for number in range(20):
            async with client(address, "alice", compression=None) as restless:
                await restless.until("ws.welcome")
                await factory.create_manager(make_context("alice")).send(events.Custom(name="crowd.n", value=number))
                restless.connection.transport.abort()
            await until(lambda: factory.stats().sessions == 7)
        got = [
            [(await tab.until("custom"))["data"]["value"] for _ in range(20)] for tab in tabs if isinstance(tab, Client)
        ]

    assert [list(range(20))] * 7 == got


@pytest.mark.scenario("S64")
@pytest.mark.requirement("P2", "P5")
async def test_quiet_for_hours() -> None:
    """
    Hours on heartbeats alone: who answers pings stays; who vanished without a word gets 4208 after 25 s and 8 s.
    """

    async def handler(session: Session) -> None:
        async for _message in session:
            await session.manager.send(events.Custom(name="crowd.heard", value=1))

    async def heard(tab: Client) -> bool:
        """
        See that the server has read all that was sent before; whether a ping came meanwhile, and was answered.
        """
        await tab.send(type="say")
        pinged = False
        while (frame := await tab.next())["type"] != "custom":
            await tab.send(type="ws.pong", n=frame["n"])
            pinged = True
        return pinged

    async def passes(tab: Client, seconds: float) -> None:
        """
        Let time pass for a client that answers what it hears.
        """
        await clock.advance(seconds)
        if await heard(tab):
            assert not await heard(tab)

    clock = FakeClock()
    factory = ManagerFactory(clock=clock)
    async with (
        running(websocket_app(factory, handler)) as address,
        chaos(address) as proxy,
        client(address, "alice") as alive,
        client(proxy.address, "bob") as vanished,
    ):
        for tab in (alive, vanished):
            await tab.until("ws.welcome")
        proxy.links[0].strike(*dead())
        for seconds in (20.0, 5.5, 5.0):
            await passes(alive, seconds)
        before = factory.stats().sessions
        await passes(alive, 4.0)
        await until(lambda: factory.stats().sessions == 1)
        for _ in range(2 * 3_600 // 5):
            await passes(alive, 5.0)
        await factory.create_manager(make_context("alice")).send(events.Custom(name="crowd.still", value="here"))
        last = await alive.until("custom")
        closes = dict(factory.stats().closes)
        vanished.connection.transport.abort()

    assert 2 == before
    assert {4208: 1} == closes
    assert "here" == last["data"]["value"]
