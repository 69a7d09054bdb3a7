"""
The backplane behind Sentinels: it goes where the master is, and says what the new one does not have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.engines.many import Watched, told, wait_until, watched
from tests.engines.nodes import nodes, until
from tests.engines.running import found
from ws_isolation import errors
from ws_isolation.backplanes.redis import RedisBackplane
from ws_isolation.testing.check_backplane import check_backplane


@pytest.fixture(params=found())
def fragile(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """
    Run a master, a replica and Sentinels of each kind that the test may break.
    """
    with watched(tmp_path_factory.mktemp("watched"), request.param) as it:
        yield it


@pytest.mark.scenario("S51", "S52")
@pytest.mark.requirement("P3")
async def test_a_lagging_replica_takes_over(fragile: Watched) -> None:
    """
    The master dies, and its replica has not got the last events: what is missing there is a gap, what follows comes.
    """
    async with nodes(fragile.url) as (one, two):
        client = await two.connect()
        for n in range(5):
            await one.send(n)
        await until(lambda: client.values == [*range(5)])
        await asyncio.to_thread(wait_until, fragile.replica, b"DBSIZE", fragile.master.ask(b"DBSIZE"))
        told(fragile.replica, b"REPLICAOF 127.0.0.1 1")  # cut off; it keeps what it has
        for n in (5, 6):
            await one.send(n)
        await until(lambda: client.values[-1] == 6)
        fragile.master.kill()
        told(fragile.replica, b"REPLICAOF NO ONE")
        for sentinel in fragile.sentinels:
            told(sentinel, b"SENTINEL REMOVE main")
            told(sentinel, b"SENTINEL MONITOR main 127.0.0.1 %d 2" % fragile.replica.port)
        await one.send("within the gap, or after it")
        await until(lambda: client.gaps)
        await one.send("after")
        await until(lambda: client.values[-1] == "after")

        assert ["divergence"] == client.gaps
        assert [*range(7), "after"] == [value for value in client.values if value != "within the gap, or after it"]
        assert not client.task.done()
        assert one.plane.health().is_up


@pytest.mark.scenario("S51")
@pytest.mark.requirement("P3")
async def test_sentinels_promote(fragile: Watched) -> None:
    """
    Where the Sentinels themselves make the replica the master, both processes follow, with one Sentinel away.
    """
    fragile.sentinels[0].kill()
    async with nodes(fragile.url, send_seconds=15.0) as (one, two):
        client = await two.connect()
        await one.send(1)
        await until(lambda: client.values == [1])
        await asyncio.to_thread(wait_until, fragile.replica, b"DBSIZE", fragile.master.ask(b"DBSIZE"))
        fragile.master.kill()
        await one.send(2)
        await until(lambda: client.values == [1, 2])

        assert [] == client.gaps
        assert not client.task.done()


async def test_a_master_that_was_cut_off_is_left(fragile: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A former master that still answers is left within a beat of the Sentinels' word: nothing more is written to it.
    """
    monkeypatch.setattr("ws_isolation.backplanes.redis.link._BEAT_SECONDS", 0.2)
    async with nodes(fragile.url) as (one, two):
        client = await two.connect()
        await one.send(1)
        await until(lambda: client.values == [1])
        told(fragile.replica, b"REPLICAOF NO ONE")
        for sentinel in fragile.sentinels:
            told(sentinel, b"SENTINEL REMOVE main")
            told(sentinel, b"SENTINEL MONITOR main 127.0.0.1 %d 2" % fragile.replica.port)
        await until(lambda: one.plane.health().connections > 1 and two.plane.health().connections > 1)
        await until(lambda: one.plane.health().is_up and two.plane.health().is_up)
        await one.send(2)
        await until(lambda: client.values == [1, 2])

        assert not client.task.done()


async def test_nobody_knows_the_master(fragile: Watched) -> None:
    """
    Sentinels that know no master of this name are said to be the problem.
    """
    async with nodes(fragile.url.replace("/main/", "/other/"), 1, send_seconds=0.5) as (one,):
        with pytest.raises(errors.EngineTimeoutError, match="it was not asked"):
            await one.send(1)
        assert "no Sentinel knows a master of this name" == one.plane.health().problem


async def test_all_sentinels_are_away(fragile: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nobody says where the master is: what works stays.
    """
    monkeypatch.setattr("ws_isolation.backplanes.redis.link._BEAT_SECONDS", 0.05)
    async with nodes(fragile.url, 1) as (one,):
        client = await one.connect()
        for sentinel in fragile.sentinels:
            sentinel.kill()
        await asyncio.sleep(0.2)
        await one.send(1)
        await until(lambda: client.values == [1])

        assert 1 == one.plane.health().connections


async def test_conformance(fragile: Watched) -> None:
    """
    A master behind Sentinels does what every engine must do.
    """
    made: list[RedisBackplane] = []

    def make() -> RedisBackplane:
        made.append(RedisBackplane(fragile.url))
        return made[-1]

    try:
        await check_backplane(make)
    finally:
        for plane in made:
            await plane.close()
