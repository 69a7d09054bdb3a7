"""
What a client that comes back gets: all that it missed, once and in order, or a gap before anything later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest

from tests.chaos.client import ResumingClient
from tests.chaos.proxy import Fault, Proxy, chaos
from tests.chaos.soak import soak
from tests.servers.running import running, until, websocket_app
from ws_isolation import IsolatedManager, ManagerFactory, Settings, events
from ws_isolation.testing import make_context


@attrs.frozen
class Scene:
    """
    Alice, her client behind a proxy, and what was sent to her.
    """

    factory: ManagerFactory
    proxy: Proxy
    client: ResumingClient
    alice: IsolatedManager
    sent: dict[int, str] = attrs.field(factory=dict[int, str])

    async def send(self, count: int, *, size: int = 0) -> None:
        """
        Send numbered events.
        """
        for _ in range(count):
            delivery = await self.alice.send(events.Custom(name="resume.event", value=[len(self.sent), "x" * size]))
            self.sent[delivery.seq] = delivery.event_id

    async def connect(self) -> asyncio.Task[None]:
        """
        Begin a connection and wait for its welcome.
        """
        before = self.client.history.welcomes
        once = asyncio.create_task(self.client.once())
        await until(lambda: self.client.history.welcomes > before or once.done())
        return once

    async def leave(self, once: asyncio.Task[None]) -> None:
        """
        Cut the connection, and see that the server noticed.
        """
        for link in self.proxy.open:
            link.cut("reset")
        await once
        await until(lambda: self.factory.stats().sessions == 0)

    async def miss(self, missed: int, *, then: int) -> None:
        """
        Let the client see three events, miss some, come back, and see some more.
        """
        once = await self.connect()
        await self.send(3)
        await self.client.reach(3)
        await self.leave(once)
        await self.send(missed)
        once = await self.connect()
        await self.send(then)
        await self.client.reach(3 + missed + then)
        await self.leave(once)


@asynccontextmanager
async def scene(
    settings: Settings | None = None, *, start: str | None = None, send_buffer: int | None = None
) -> AsyncGenerator[Scene]:
    """
    Set it up; nobody is connected yet.
    """
    factory = ManagerFactory(settings)
    async with (
        running(websocket_app(factory), send_buffer=send_buffer) as address,
        chaos(address) as proxy,
    ):
        client = ResumingClient(proxy.address, "alice", start=start)
        yield Scene(factory, proxy, client, factory.create_manager(make_context("alice")))


@pytest.mark.scenario("S52")
@pytest.mark.requirement("P1", "P3")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [1, 2])
async def test_random_cuts(seed: int) -> None:
    """
    Within the window every cut is healed by replay: 0 lost, 0 repeated, 0 gaps, 0 foreign.
    """
    result = await soak(300, seed=seed)

    assert (0, 0, 0, 0, []) == (result.lost, result.repeated, result.gaps, result.foreign, result.wrong)
    assert result.cuts >= 300
    assert result.replayed > 0


@pytest.mark.scenario("S52")
@pytest.mark.requirement("P3")
@pytest.mark.parametrize("missed", [0, 1, 299, 300])
async def test_exactly_what_was_missed(missed: int) -> None:
    """
    Up to the replay limit the client gets the missing tail and nothing else, then goes on live.
    """
    async with scene() as stage:
        await stage.miss(missed, then=1)
    history = stage.client.history

    assert stage.sent == history.got
    assert (1, missed, 0, [], []) == (
        history.resumed,
        history.replayed,
        history.repeated,
        history.gaps,
        history.wrong,
    )


@pytest.mark.scenario("S52")
@pytest.mark.requirement("P3")
@pytest.mark.parametrize(("missed", "reason"), [(301, "replay_limit"), (513, "trimmed")])
async def test_gap_before_anything_later(missed: int, reason: str) -> None:
    """
    One event more than is replayed, or than is kept: a gap with its reason, no part of a replay, then live.
    """
    async with scene() as stage:
        await stage.miss(missed, then=2)
    history = stage.client.history

    assert [reason] == [gap.reason for gap in history.gaps]
    assert ([], []) == (history.wrong, history.lost(stage.sent))
    assert [1, 2, 3, missed + 4, missed + 5] == list(history.got)


@pytest.mark.scenario("S50", "S52")
@pytest.mark.requirement("P3")
@pytest.mark.parametrize("published", [0, 1, 200, 600])
async def test_window(published: int) -> None:
    """
    ``cursor=window`` brings all that is still there and may be replayed, the newest ones, then goes on live.
    """
    async with scene(start="window") as stage:
        await stage.send(published)
        once = await stage.connect()
        await stage.send(5)
        await stage.client.reach(published + 5)
        await stage.leave(once)
    history = stage.client.history
    first = max(1, published - 300 + 1)

    assert ([], []) == (history.wrong, history.gaps)
    assert list(range(first, published + 6)) == list(history.got)
    assert history.got.items() <= stage.sent.items()


@pytest.mark.scenario("S51")
@pytest.mark.requirement("P3", "P5", "WS-16")
async def test_stalled_client_resumes() -> None:
    """
    A client that stops reading is cut with 4213 within its bounds; what it missed comes when it is back.
    """
    settings = Settings(write_seconds=0.5, close_seconds=0.2, outbox_events=64)
    async with scene(settings, send_buffer=4_096) as stage:
        once = await stage.connect()
        await stage.send(3)
        await stage.client.reach(3)
        stage.proxy.links[0].strike(Fault("stall", "down"))
        for _ in range(60):
            await stage.send(1, size=16_000)
            await asyncio.sleep(0)
        await until(lambda: stage.factory.stats().sessions == 0)
        closes = dict(stage.factory.stats().closes)
        await stage.leave(once)
        once = await stage.connect()
        await stage.client.reach(63)
        await stage.leave(once)
    history = stage.client.history

    assert {4213: 1} == closes
    assert stage.sent == history.got
    assert (0, [], []) == (history.repeated, history.gaps, history.wrong)


@pytest.mark.requirement("P3")
async def test_restart_is_another_history() -> None:
    """
    A process that lost its streams answers with ``epoch_changed``, also a client that had seen nothing yet.
    """
    async with scene() as old:
        once = await old.connect()
        await old.leave(once)
        await old.send(2)
    async with scene() as new:
        await new.send(2)
        old.client.address = new.proxy.address
        once = asyncio.create_task(old.client.once())
        await until(lambda: bool(old.client.history.gaps))
        await new.leave(once)
    history = old.client.history

    assert ["epoch_changed"] == [gap.reason for gap in history.gaps]
    assert ([], {}) == (history.wrong, history.got)
