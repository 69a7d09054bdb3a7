"""
How a process ends: what was asked before is answered, what is asked later opens nothing.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.engines.liar import liar
from tests.engines.nodes import KEY, Node, nodes, until
from tests.engines.running import Engine
from tests.shell import note
from ws_isolation import ManagerFactory, errors
from ws_isolation.backplanes.base import Lease
from ws_isolation.backplanes.redis import RedisBackplane, cluster, link
from ws_isolation.backplanes.redis.address import Address
from ws_isolation.backplanes.redis.bounds import Bounds
from ws_isolation.backplanes.redis.finding import Finder
from ws_isolation.backplanes.redis.jobs import Ask
from ws_isolation.backplanes.redis.where import Where
from ws_isolation.keys import Identity
from ws_isolation.testing import make_context

ALICE = Identity(None, "alice")


async def never(*_: object) -> None:
    """
    Wait for nothing: how it was before.
    """


@pytest.mark.requirement("P3")
@pytest.mark.parametrize("broken", [False, True])
async def test_what_is_under_way_when_it_stops_arrives(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, *, broken: bool
) -> None:
    """
    Events that are being published when ``stop()`` begins are answered and arrive; not waited for, nobody knows.
    """
    if broken:
        monkeypatch.setattr(link, "drained", never)
    async with nodes(engine.url) as (one, two):
        client = await two.connect()
        await one.send("first")
        await until(lambda: client.values)
        engine.freeze()
        sending = [asyncio.create_task(one.send(number)) for number in range(20)]
        await asyncio.sleep(0)
        stopping = asyncio.create_task(one.factory.stop())
        await asyncio.sleep(0.1)
        engine.thaw()
        results = await asyncio.gather(*sending, return_exceptions=True)
        await stopping
        if not broken:
            await until(lambda: len(client.values) == 21)
            assert ["first", *range(20)] == client.values
        assert [errors.EngineTimeoutError if broken else type(None)] * 20 == [type(result) for result in results]


async def connected(engine: Engine) -> int:
    """
    Return how many connections of ours the engine has.
    """
    answer = await asyncio.to_thread(engine.ask, b"CLIENT LIST")
    return answer.count(b" name=ws_isolation ")


async def asked(node: Node) -> list[type]:
    """
    Ask a factory for all that an engine is asked for, and return what it raised.
    """
    whose = make_context()
    calls = (
        node.send(1),
        node.factory.bars(whose),
        node.factory.lift(whose),
        node.factory.presence(whose),
        node.factory.revoke(whose),
        node.connect(),
    )
    return [type(result) for result in await asyncio.gather(*calls, return_exceptions=True) if result is not None]


async def test_who_has_stopped_asks_nothing(engine: Engine) -> None:
    """
    After ``stop()`` each call raises ``InvalidStateError``, and none of them connects again.
    """
    async with nodes(engine.url, 1) as (node,):
        await node.connect()
        assert 1 == await connected(engine)
        await node.factory.stop()
        assert 0 == await connected(engine)

        assert [errors.InvalidStateError] * 6 == await asked(node)
        await asyncio.sleep(0.05)
        assert 0 == await connected(engine)
        assert not node.plane.health().is_up


async def test_what_nobody_awaits_opens_nothing(engine: Engine) -> None:
    """
    A lease that is given back late, or a look at a record, opens no connection; a call that is awaited begins anew.
    """
    plane = RedisBackplane(engine.url, keys=(KEY,))
    await plane.revoke(ALICE, None)
    barred = asyncio.create_task(plane.bars(ALICE))
    await asyncio.sleep(0)
    await plane.close()
    assert await barred
    plane.leave(Lease(ALICE, "c", 1.0))
    assert plane._link is None
    assert 0 == await connected(engine)

    assert await plane.lift(ALICE)
    assert 1 == await connected(engine)
    await plane.close()


async def test_two_factories_of_one_backplane(engine: Engine) -> None:
    """
    One stops, the other goes on: whatever it asks next is answered.
    """
    plane = RedisBackplane(engine.url, keys=(KEY,))
    factories = [ManagerFactory(backplane=plane) for _ in range(2)]
    for factory in factories:
        await factory.create_manager(make_context()).send(note())
    await factories[0].stop()
    delivery = await factories[1].create_manager(make_context()).send(note())
    await factories[1].stop()

    assert 3 == delivery.seq
    assert 0 == await connected(engine)


async def test_an_engine_that_never_answers_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What is not answered within the time fails when the link is closed, and so does what is asked of it later.
    """
    monkeypatch.setattr(link, "DRAIN_SECONDS", 0.05)
    async with liar(EXISTS=b"", DEL=b":0\r\n") as engine:
        plane = RedisBackplane(f"redis://127.0.0.1:{engine.port}", keys=(KEY,), answer_seconds=30.0, send_seconds=60.0)
        await plane.lift(ALICE)
        waiting = asyncio.create_task(plane.bars(ALICE))
        await asyncio.sleep(0.01)
        made = plane._link
        assert isinstance(made, link.Link)
        begin = time.monotonic()
        await made.close(0.05)
        with pytest.raises(errors.EngineTimeoutError):
            await waiting
        with pytest.raises(errors.EngineTimeoutError):
            await plane.bars(ALICE)
        assert time.monotonic() - begin < 1.9


async def test_an_engine_that_goes_while_it_ends() -> None:
    """
    A connection that is lost in the last second is not made again.
    """
    async with liar(EXISTS=b"", DEL=b":0\r\n") as engine:
        plane = RedisBackplane(f"redis://127.0.0.1:{engine.port}", keys=(KEY,), answer_seconds=30.0, send_seconds=60.0)
        await plane.lift(ALICE)
        waiting = asyncio.create_task(plane.bars(ALICE))
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(plane.close())
        await asyncio.sleep(0.01)
        count = len(engine.writers)
        engine.writers[-1].transport.abort()
        begin = time.monotonic()
        await closing
        with pytest.raises(errors.EngineTimeoutError, match="may have been done"):
            await waiting
        assert time.monotonic() - begin < 0.5
        assert count == len(engine.writers)


async def test_cancelled_while_it_ends() -> None:
    """
    Whoever closes and is cancelled leaves nothing behind: no task, no connection, nobody who waits.
    """
    async with liar(EXISTS=b"", DEL=b":0\r\n") as engine:
        plane = RedisBackplane(f"redis://127.0.0.1:{engine.port}", keys=(KEY,), answer_seconds=30.0, send_seconds=60.0)
        await plane.lift(ALICE)
        waiting = asyncio.create_task(plane.bars(ALICE))
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(plane.close())
        await asyncio.sleep(0.01)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        with pytest.raises(errors.EngineTimeoutError):
            await waiting
        await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name().startswith("ws-redis")])


async def test_a_cluster_ends() -> None:
    """
    What has no node yet is looked for a node for until the second is over, and fails then.
    """
    where = Where.parse("redis+cluster://127.0.0.1:1")

    def make(address: Address, nodes: cluster.Cluster) -> link.Link:
        raise AssertionError((address, nodes))

    links = cluster.Cluster(Finder(where, lambda _address: None, 0.1), Bounds(), make)
    job: Ask[object] = Ask("x()", lambda _again: ("PING",), lambda reply: reply, links.due(), key="{tag}")
    links.add(job)
    begin = time.monotonic()
    await links.close()
    with pytest.raises(errors.EngineTimeoutError, match="not asked"):
        await job.answer

    assert time.monotonic() - begin < 1.5
