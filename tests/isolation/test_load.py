"""
Many users at once over real sockets: everybody gets all of their own events, in order, and nothing else.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import pytest

from tests.isolation.stalled import stalled_reader
from tests.servers.running import Client, client, running, websocket_app
from ws_isolation import IsolatedManager, ManagerFactory, Settings, events
from ws_isolation.testing import make_context

EVENTS = 100


async def publish(managers: dict[str, IsolatedManager], stalled: IsolatedManager | None) -> None:
    """
    Send each user's events in turns; the stalled reader gets most of the bytes.
    """
    padding = "x" * 16_000
    for number in range(EVENTS):
        for user, manager in managers.items():
            await manager.send(events.Custom(name="load.event", value={"user": user, "n": number}))
        if stalled is not None:
            for _ in range(5):
                await stalled.send(events.Custom(name="load.padding", value=padding))
        await asyncio.sleep(0)  # as an agent that waits for its model


async def received(tab: Client) -> list[tuple[str, int]]:
    """
    Read as many events as a user gets; what was read is (user, number).
    """
    got: list[tuple[str, int]] = []
    async with asyncio.timeout(150):
        while len(got) < EVENTS:
            frame = json.loads(await tab.connection.recv())
            if frame["type"] == "custom":
                got.append((frame["data"]["value"]["user"], frame["data"]["value"]["n"]))
    return got


@pytest.mark.scenario("S28", "S29")
@pytest.mark.requirement("P1", "P3", "P5", "WS-16")
@pytest.mark.timeout(180)  # 60,000 frames take 15 seconds on an idle machine
@pytest.mark.parametrize(
    ("users", "tabs", "stalls"), [(10, 1, False), (50, 1, False), pytest.param(200, 3, True, marks=pytest.mark.load)]
)
async def test_each_gets_their_own(users: int, tabs: int, *, stalls: bool) -> None:
    """
    0 foreign, 0 missing, order kept, also beside a reader that stalls: that one is cut with 4213.
    """
    # A tab that has got everything reads no more, and so answers no ping.
    factory = ManagerFactory(
        Settings(close_seconds=0.5, heartbeat_seconds=600, proxy_idle_seconds=3_600, server_ping_seconds=None)
    )
    names = [f"user-{number}" for number in range(users)]
    async with running(websocket_app(factory), send_buffer=4_096) as address, AsyncExitStack() as stack:
        sockets: dict[str, list[Client]] = {name: [] for name in names}
        for name in names:
            for _ in range(tabs):
                sockets[name].append(await stack.enter_async_context(client(address, name, compression=None)))
        managers = {name: factory.create_manager(make_context(name)) for name in names}
        stalled = None
        if stalls:
            await stack.enter_async_context(stalled_reader(address, "stalled"))
            stalled = factory.create_manager(make_context("stalled"))
        _, *got = await asyncio.gather(
            publish(managers, stalled), *(received(tab) for name in names for tab in sockets[name])
        )
        stats = factory.stats()

    expected = [[(name, number) for number in range(EVENTS)] for name in names for _ in range(tabs)]
    assert expected == got
    assert 0 == stats.foreign
    assert ({4213: 1} if stalls else {}) == stats.closes
    assert users * tabs == stats.sessions
