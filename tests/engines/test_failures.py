"""
An engine that dies, comes back empty, hangs or says no: nothing is lost in silence, and nobody waits for ever.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import attrs
import pytest

from tests.engines.nodes import Client, Node, nodes, until
from tests.engines.running import Engine
from tests.shell import note
from ws_isolation import errors
from ws_isolation.events import Custom
from ws_isolation.keys import Identity

USERS: Final = 12


@attrs.define
class Load:
    """
    Sends numbers to users from both nodes, and notes what the library said of each.
    """

    nodes: tuple[Node, ...]
    sent: dict[str, list[str]] = attrs.field(factory=dict[str, list[str]])
    """What was accepted, in the order in which it was answered."""
    failed: int = 0
    slowest: float = 0.0
    stopped: bool = False

    async def run(self, user: str, node: Node, name: str) -> None:
        """
        Send until told to stop, one after the other.
        """
        number = 0
        while not self.stopped:
            value = f"{name}-{number}"
            number += 1
            begin = time.monotonic()
            try:
                await node.send(value, user)
            except errors.EngineUnavailableError:
                self.failed += 1
            else:
                self.sent.setdefault(user, []).append(value)
            self.slowest = max(self.slowest, time.monotonic() - begin)
            await asyncio.sleep(0.002)


async def settled(node: Node, client: Client, user: str) -> None:
    """
    Wait until the client stands where the history ends.
    """
    top = (await node.plane.read(Identity(None, user), None)).top
    await until(lambda: standing(client) == (top.epoch, top.seq), "it does not get to the end")


def standing(client: Client) -> tuple[str, int]:
    """
    Return the epoch and place of the last thing that the client was told.
    """
    epoch, seq = "", 0
    for frame in client.transport.frames:
        if "cursor" in frame and frame["type"] in ("ws.welcome", "ws.gap"):
            epoch, seq = frame["cursor"]["epoch"], frame["cursor"]["seq"]
        seq = frame.get("seq", seq)
    return epoch, seq


async def unsignalled(node: Node, client: Client, user: str, accepted: list[str]) -> list[str]:
    """
    Return what the client misses without having been told: the history checker.

    What is in the history has to have arrived, or to stand at or before the place that a gap named. What is not in
    it was lost by the engine: then there has to be a gap.
    """
    page = await node.plane.read(Identity(None, user), "window")
    places = {entry.event.value: (entry.epoch, entry.seq) for entry in page.entries if isinstance(entry.event, Custom)}
    gaps = [frame["cursor"] for frame in client.transport.frames if frame["type"] == "ws.gap"]
    got = set(client.values)
    missed: list[str] = []
    for value in accepted:
        if value in got:
            continue
        epoch, seq = places.get(value, ("", 0))
        if not any(epoch in ("", gap["epoch"]) and seq <= gap["seq"] for gap in gaps):
            missed.append(value)
    return missed


@pytest.mark.scenario("S22")
@pytest.mark.requirement("P3")
async def test_the_engine_is_killed_under_load(engine: Engine) -> None:
    """
    Killed and started again empty: every session is told of a gap, sends go on, and what comes later arrives in order.
    """
    async with nodes(engine.url) as both:
        users = [f"user-{number}" for number in range(USERS)]
        clients = {user: await both[at % 2].connect(user) for at, user in enumerate(users)}
        load = Load(both)
        tasks = [
            asyncio.create_task(load.run(user, node, f"{number}")) for user in users for number, node in enumerate(both)
        ]
        await until(lambda: all(len(client.values) > 20 for client in clients.values()))

        engine.kill()
        await asyncio.sleep(0.3)
        engine.start()
        back = time.monotonic()
        marks = {user: len(load.sent[user]) for user in users}
        await until(lambda: all(len(load.sent[user]) > marks[user] + 20 for user in users))
        took = time.monotonic() - back
        load.stopped = True
        await asyncio.gather(*tasks)
        for user in users:
            await settled(both[0], clients[user], user)

        assert took < 5.0
        assert load.slowest < 6.0
        for user, client in clients.items():
            assert client.session.is_open
            assert "epoch_changed" in client.gaps
            assert [] == await unsignalled(both[0], client, user, load.sent[user])
            assert len(set(client.values)) == len(client.values), "something came twice"
            for name in ("0-", "1-"):
                numbers = [int(value[2:]) for value in client.values if value.startswith(name)]
                assert sorted(numbers) == numbers


async def test_an_engine_that_is_down_at_start(engine: Engine) -> None:
    """
    Without an engine a send fails in time and says why; with it, the next one works and nothing was made twice.
    """
    engine.kill()
    async with nodes(engine.url, 1, send_seconds=0.5, answer_seconds=0.3) as (node,):
        begin = time.monotonic()
        with pytest.raises(errors.EngineTimeoutError, match="not asked"):
            await node.send(1)
        with pytest.raises(errors.EngineTimeoutError):
            await node.connect()
        assert time.monotonic() - begin < 5.0

        engine.start()
        await until(lambda: node.plane.health().is_up)
        client = await node.connect()
        await node.send(2)
        await until(lambda: 2 in client.values)

        assert [2] == client.values


async def test_what_waits_goes_out_in_order(engine: Engine) -> None:
    """
    What is sent while the engine is away waits for it, and arrives in its order, once.
    """
    async with nodes(engine.url, 2) as (one, two):
        client = await two.connect()
        engine.kill()
        await asyncio.sleep(0.05)
        sending = [asyncio.create_task(one.send(number)) for number in range(50)]
        await asyncio.sleep(0.05)
        engine.start()
        await asyncio.gather(*sending)
        await settled(one, client, "alice")
        page = await one.plane.read(Identity(None, "alice"), "window")

        assert list(range(50)) == [entry.event.value for entry in page.entries if isinstance(entry.event, Custom)]
        assert ["epoch_changed"] == client.gaps
        assert sorted(client.values) == client.values


@pytest.mark.requirement("P3")
async def test_an_engine_that_hangs(engine: Engine) -> None:
    """
    An engine that does not answer loses the connection; when it goes on, what was sent is there once.
    """
    async with nodes(engine.url, 2, answer_seconds=0.4, send_seconds=4.0) as (one, two):
        client = await two.connect()
        await one.send(0)
        engine.freeze()
        sending = asyncio.gather(*(one.send(number) for number in range(1, 20)))
        await until(lambda: not one.plane.health().is_up)
        engine.thaw()
        await sending
        await one.send("end")
        await until(lambda: "end" in client.values)

        assert [*range(20), "end"] == client.values
        assert [] == client.gaps


async def test_scripts_are_flushed(engine: Engine) -> None:
    """
    An engine that has forgotten its scripts is given them again; nothing is lost or repeated.
    """
    async with nodes(engine.url, 1) as (node,):
        client = await node.connect()
        await node.send(1)
        assert engine.ask(b"SCRIPT FLUSH").startswith(b"+OK")
        await asyncio.gather(*(node.send(number) for number in range(2, 10)))
        await until(lambda: 9 in client.values)

        assert list(range(1, 10)) == client.values
        assert [] == client.gaps


async def test_memory_is_full(engine: Engine) -> None:
    """
    An engine without memory refuses: the send says so, nothing is stored, and it works again later.
    """
    async with nodes(engine.url, 1) as (node,):
        client = await node.connect()
        assert engine.ask(b"CONFIG SET maxmemory 1").startswith(b"+OK")
        with pytest.raises(errors.EngineUnavailableError, match="OOM"):
            await node.send(1)
        assert engine.ask(b"CONFIG SET maxmemory 0").startswith(b"+OK")
        await node.send(2)
        await until(lambda: 2 in client.values)

        assert [2] == client.values


@pytest.mark.requirement("WS-30")
async def test_nobody_is_let_in_by_an_engine_without_memory(engine: Engine) -> None:
    """
    While the engine refuses to store, nobody new comes in and a revocation says that it failed; who is there stays.
    """
    async with nodes(engine.url) as (one, two):
        client = await two.connect()
        assert engine.ask(b"CONFIG SET maxmemory 1").startswith(b"+OK")
        with pytest.raises(errors.EngineUnavailableError, match="OOM"):
            await one.connect("bob")
        with pytest.raises(errors.EngineUnavailableError, match="OOM"):
            await one.factory.revoke(Identity(None, "alice"))
        assert client.session.is_open
        assert engine.ask(b"CONFIG SET maxmemory 0").startswith(b"+OK")
        await one.factory.revoke(Identity(None, "alice"))
        await until(lambda: client.transport.closed)
        bob = await one.connect("bob")

        assert bob.session.is_open
        assert [1, 1] == [node.plane.health().connections for node in (one, two)]


async def test_cancelled_callers_leave_the_answers_in_order(engine: Engine) -> None:
    """
    Callers who go away while the engine works change nothing for the others: each gets its own answer.
    """
    async with nodes(engine.url, 1) as (node,):
        client = await node.connect()
        tasks = [asyncio.create_task(node.send(number)) for number in range(60)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        delivery = await node.manager().send(note("end"))
        await until(lambda: "end" in client.values)

        kept = [value for value in client.values if value != "end"]
        assert sorted(kept) == kept
        assert {number for number in range(60) if number % 3} <= set(kept)
        assert delivery.seq == len(client.values)
