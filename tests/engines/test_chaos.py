"""
A network that misbehaves between a node and its engine: sends end in time, order holds, every loss is told.

The node behind the proxy shares its users with one that is not: what happens to the one is no business of the other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import attrs
import pytest

from tests.chaos.proxy import WAYS, Fault, Link, Proxy, chaos, dead, no_faults, random_faults
from tests.engines.nodes import Client, Node, nodes, until
from tests.engines.running import Engine
from tests.engines.test_failures import Load, settled, unsignalled
from ws_isolation import Settings
from ws_isolation.backplanes.redis import link
from ws_isolation.ids import new_uuid7

SEND_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 0.4
BEAT_SECONDS: Final = 0.3
SMALL: Final = Settings(drain_seconds=2.0, close_seconds=1.0)
LONG: Final = Settings(window_events=4_096, window_bytes=4_194_304, drain_seconds=2.0, close_seconds=1.0)
"""A window that outlasts a send: what was sent again is recognised while it is kept."""
LATE: Final = 1.5
"""What a busy machine may add."""


@attrs.frozen
class Two:
    """
    A node behind a proxy, one beside it, and a client of the same user on each; another user beside.
    """

    proxy: Proxy
    behind: Node
    beside: Node
    user: str
    clients: tuple[Client, Client]
    other: Client

    @property
    def others_name(self) -> str:
        """
        The user who has nothing to do with it.
        """
        return f"other-{self.user}"


@asynccontextmanager
async def two(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, beat_seconds: float = BEAT_SECONDS, **options: Any
) -> AsyncGenerator[Two]:
    """
    Run both nodes, with clients.
    """
    monkeypatch.setattr(link, "_BEAT_SECONDS", beat_seconds)
    options = {"settings": LONG, "send_seconds": SEND_SECONDS, "answer_seconds": ANSWER_SECONDS, **options}
    user = f"user-{new_uuid7()}"
    async with (
        chaos(f"127.0.0.1:{engine.port}") as proxy,
        nodes(f"redis://{proxy.address}/0", 1, **options) as (behind,),
        nodes(engine.url, 1, **options) as (beside,),
    ):
        clients = await behind.connect(user), await beside.connect(user)
        yield Two(proxy, behind, beside, user, clients, await beside.connect(f"other-{user}"))


async def nothing_is_lost(run: Two, load: Load) -> None:
    """
    Check that each client got what was accepted, once and in order, or was told of a gap.
    """
    for client in run.clients:
        await settled(run.beside, client, run.user)
        assert client.session.is_open
        assert [] == await unsignalled(run.beside, client, run.user, load.sent[run.user])
        assert len(set(client.values)) == len(client.values), "something came twice"
        for name in ("behind-", "beside-"):
            numbers = [int(value.removeprefix(name)) for value in client.values if value.startswith(name)]
            assert sorted(numbers) == numbers


def refused(_number: int) -> tuple[Fault, ...]:
    """
    Reset each connection.
    """
    return (Fault("reset"),)


async def gone(connection: Link) -> None:
    """
    Wait until the connection has ended.
    """
    await until(lambda: connection.ending is not None)


FAULTS: Final = {
    **{
        f"{kind}, {way}": (Fault(kind, way, seconds=0.02),)
        for kind in ("delay", "split", "truncate", "reset", "blackhole", "stall", "half_close")
        for way in WAYS
    },
    "half-open": dead(),
}


@pytest.mark.scenario("S22")
@pytest.mark.requirement("P3", "P5")
@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_under_load(name: str, shared_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Whatever becomes of a connection, each send ends in time, nothing is lost unsaid, and nobody else notices.
    """
    async with two(shared_engine, monkeypatch) as run:
        load, others = Load((run.behind, run.beside)), Load((run.beside,))
        tasks = [
            asyncio.create_task(load.run(run.user, run.behind, "behind")),
            asyncio.create_task(load.run(run.user, run.beside, "beside")),
            asyncio.create_task(others.run(run.others_name, run.beside, "other")),
        ]
        await until(lambda: len(run.clients[0].values) > 20)
        struck = run.proxy.links[-1]
        sent, seen = len(load.sent[run.user]), len(run.other.values)
        struck.strike(*FAULTS[name])
        if name.startswith(("delay", "split")):
            await until(lambda: len(load.sent[run.user]) > sent + 40)
        else:
            await until(lambda: run.behind.plane.health().connections == 2, "it did not come back")
        accepted = len(load.sent[run.user])
        await until(lambda: len(load.sent[run.user]) > accepted + 20)
        await until(lambda: len(run.other.values) > seen + 20)
        load.stopped = others.stopped = True
        await asyncio.gather(*tasks)
        await nothing_is_lost(run, load)

        assert load.slowest < SEND_SECONDS + LATE
        assert others.slowest < LATE
        assert (0, 1) == (others.failed, run.beside.plane.health().connections)
        assert [] == run.other.gaps
        assert others.sent[run.others_name][: len(run.other.values)] == run.other.values


@pytest.mark.requirement("P3")
@pytest.mark.parametrize("seed", [2, 3])
async def test_faults_drawn_from_a_seed(seed: int, shared_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Connection after connection goes wrong at some byte, also while it is made: still nothing is lost unsaid.
    """
    async with two(shared_engine, monkeypatch) as run:
        load = Load((run.behind, run.beside))
        tasks = [
            asyncio.create_task(load.run(run.user, node, name))
            for node, name in ((run.behind, "behind"), (run.beside, "beside"))
        ]

        def plan(number: int) -> tuple[Fault, ...]:
            return random_faults(seed, number, most=6_000) if number < 6 else ()

        run.proxy.plan = plan
        while len(run.proxy.links) <= 6:
            made = len(run.proxy.links)
            run.proxy.links[-1].cut("reset")
            await until(lambda: len(run.proxy.links) > made, "it did not try again")  # noqa: B023  # at once
            with suppress(TimeoutError):
                await asyncio.wait_for(gone(run.proxy.links[-1]), 0.5)  # some faults do no more than slow it down
        await until(lambda: run.behind.plane.health().is_up, "it did not come back")
        accepted = len(load.sent[run.user])
        await until(lambda: len(load.sent[run.user]) > accepted + 20)
        load.stopped = True
        await asyncio.gather(*tasks)
        await nothing_is_lost(run, load)

        assert load.slowest < SEND_SECONDS + LATE


@pytest.mark.requirement("P3")
@pytest.mark.parametrize("faults", [(Fault("blackhole", "up"),), (Fault("blackhole", "down"),), dead()])
async def test_an_idle_node_finds_out_that_it_is_deaf(
    faults: tuple[Fault, ...], shared_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A node that asks for nothing finds out by its heartbeat that one direction is dead, and catches up.
    """
    async with two(shared_engine, monkeypatch) as run:
        run.proxy.links[-1].strike(*faults)
        begin = time.monotonic()
        await run.beside.send("while it was deaf", run.user)
        await until(lambda: run.behind.plane.health().connections == 2, "it stayed deaf")
        await until(lambda: run.clients[0].values)

        assert time.monotonic() - begin < BEAT_SECONDS + ANSWER_SECONDS + 2 * LATE
        assert ["while it was deaf"] == run.clients[0].values
        assert [] == run.clients[0].gaps


@pytest.mark.requirement("P3", "P5")
async def test_an_engine_that_stays_away(shared_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    While every connection is refused, sends fail in time, attempts are spread over time, and sessions stay.
    """
    async with two(shared_engine, monkeypatch, send_seconds=0.6) as run:
        before = len(run.proxy.links)
        run.proxy.plan = refused
        run.proxy.links[-1].cut("reset")
        load = Load((run.behind,))
        task = asyncio.create_task(load.run(run.user, run.behind, "behind"))
        await until(lambda: load.failed >= 2)
        attempts = len(run.proxy.links) - before
        run.proxy.plan = no_faults
        await until(lambda: load.sent)
        load.stopped = True
        await task
        await nothing_is_lost(run, load)

        assert load.slowest < 0.6 + LATE
        assert 1 < attempts < 40


@pytest.mark.requirement("P3")
async def test_the_engine_cuts_a_node_that_does_not_read(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A node whose output buffer on the engine is full is cut; it comes back, and every loss in between is told.
    """
    assert engine.ask(b'CONFIG SET client-output-buffer-limit "pubsub 2mb 0 0"').startswith(b"+OK")
    slow = {"send_seconds": 20.0, "answer_seconds": 20.0, "settings": SMALL}
    async with two(engine, monkeypatch, beat_seconds=20.0, **slow) as run:
        made = run.behind.plane._link
        assert isinstance(made, link.Link)
        assert made._sending.line is not None
        transport = made._sending.line._transport
        assert transport is not None
        sent: list[str] = []
        transport.pause_reading()  # as a process does that has no time
        while b"client_output_buffer_limit_disconnections:0\r" in engine.ask(b"INFO stats"):
            assert len(sent) < 3_000, "the engine keeps it all"
            for _ in range(100):
                sent.append(f"{len(sent)}" + "." * 10_000)
                await run.beside.send(sent[-1], run.user)
        transport.resume_reading()
        await until(lambda: run.clients[0].gaps, "it was not told")
        sent.append("end")
        await run.beside.send("end", run.user)
        await until(lambda: "end" in run.clients[0].values)

        assert [] == await unsignalled(run.beside, run.clients[0], run.user, sent)
        assert sent == run.clients[1].values
        assert ["trimmed"] == run.clients[0].gaps
        assert 2 == run.behind.plane.health().connections
