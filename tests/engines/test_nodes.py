"""
Two nodes on one engine: an event reaches its user's sockets wherever they are, and nobody else's.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.engines.nodes import nodes, until
from tests.engines.running import Engine
from tests.engines.test_parts import Ear
from tests.shell import note
from ws_isolation import Settings, errors
from ws_isolation.backplanes.base import Lease
from ws_isolation.events import AgentCancelled, AgentMessageDelta, AgentStarted, ToolExecuting
from ws_isolation.ids import new_uuid7
from ws_isolation.keys import Identity
from ws_isolation.stream import Cursor


@pytest.mark.requirement("P3")
async def test_an_event_reaches_a_socket_on_another_node(shared_engine: Engine) -> None:
    """
    What is sent on one node arrives on another, once and in order, and for nobody else.
    """
    async with nodes(shared_engine.url) as (one, two):
        alice = await two.connect("alice-across")
        bob = await two.connect("bob-across")

        for number in range(50):
            await one.send(number, "alice-across")
        await until(lambda: len(alice.values) >= 50)

        assert list(range(50)) == alice.values
        assert [] == bob.values == alice.gaps


@pytest.mark.requirement("P3")
async def test_all_nodes_see_one_order(shared_engine: Engine) -> None:
    """
    Two nodes send at the same time to a user with sockets on both: all sockets get the same order, without a gap.
    """
    async with nodes(shared_engine.url) as both:
        clients = [await node.connect("alice-order") for node in both]

        await asyncio.gather(*(node.send(f"{n}-{i}", "alice-order") for n, node in enumerate(both) for i in range(100)))
        await until(lambda: all(len(client.values) >= 200 for client in clients))

        assert clients[0].values == clients[1].values
        assert 200 == len(set(clients[0].values))
        assert [[], []] == [client.gaps for client in clients]


@pytest.mark.scenario("S22")
@pytest.mark.requirement("P3")
async def test_resume_on_another_node(shared_engine: Engine) -> None:
    """
    A client that comes back on another node gets what it has missed, and goes on from there.
    """
    async with nodes(shared_engine.url) as (one, two):
        before = await one.connect("alice-resume")
        cursor = before.transport.frames[0]["cursor"]
        for number in range(10):
            await two.send(number, "alice-resume")

        after = await two.connect("alice-resume", Cursor(**cursor))
        await one.send(10, "alice-resume")
        await until(lambda: len(after.values) >= 11)

        assert list(range(11)) == after.values
        assert [] == after.gaps


async def test_a_delivery_counts_local_sessions(shared_engine: Engine) -> None:
    """
    One send at a time says how many sessions of its own node have queued the event.
    """
    async with nodes(shared_engine.url) as (one, two):
        await one.connect("alice-counts")

        here = await one.manager("alice-counts").send(note())
        there = await two.manager("alice-counts").send(note())

        assert (1, 0) == (here.sessions, there.sessions)


async def test_pieces_arrive_once(shared_engine: Engine) -> None:
    """
    Pieces of a text that are sent in one turn of the loop reach sockets of both nodes once each, and in order.
    """
    async with nodes(shared_engine.url) as (one, two):
        clients = [await node.connect("alice-pieces") for node in (one, two)]
        manager = one.manager("alice-pieces")
        await manager.send(AgentStarted(agent_name="a", run_id="r", thread_id="t"))

        await asyncio.gather(*(manager.send(piece(index)) for index in range(40)))
        await manager.send(note("end"))
        await until(lambda: all("end" in client.values for client in clients))

        for client in clients:
            pieces = [frame["data"] for frame in client.transport.frames if frame["type"] == "agent_message_delta"]
            assert "".join(f"{index} " for index in range(40)) == "".join(piece["delta"] for piece in pieces)


def piece(index: int) -> AgentMessageDelta:
    """
    Return a piece of a text.
    """
    return AgentMessageDelta(run_id="r", thread_id="t", message_id="m", delta=f"{index} ", index=index)


@pytest.mark.requirement("WS-10")
async def test_revoked_on_all_nodes(shared_engine: Engine) -> None:
    """
    Revoked on one node, the user's sessions end on all of them, and it may not come back anywhere until it is lifted.
    """
    user = f"alice-{new_uuid7()}"
    async with nodes(shared_engine.url) as (one, two):
        clients = [await node.connect(user) for node in (one, two)]
        other = await two.connect(f"bob-{new_uuid7()}")

        await one.factory.revoke(Identity(None, user))
        await until(lambda: all(client.transport.closed for client in clients))

        assert [4010, 4010] == [client.transport.closed[0] for client in clients if client.transport.closed]
        assert other.session.is_open
        assert await two.factory.bars(Identity(None, user))
        assert await two.factory.lift(Identity(None, user))
        assert not await one.factory.bars(Identity(None, user))


@pytest.mark.requirement("WS-10", "I13")
async def test_revoked_where_only_a_run_is(shared_engine: Engine) -> None:
    """
    Revoked on one node, the user's run on another, which has no session of the user, ends; nobody listens there then.
    """
    user = f"alice-{new_uuid7()}"
    async with nodes(shared_engine.url) as (one, two):
        client = await one.connect(user)
        ended = asyncio.Event()

        async def work() -> None:
            async with two.manager(user).run("assistant"):
                await asyncio.Event().wait()
            ended.set()

        task = asyncio.create_task(work())
        await until(lambda: "agent_started" in client.transport.types() and two.plane.health().listening)
        await one.factory.revoke(Identity(None, user))
        await asyncio.wait_for(ended.wait(), 5)
        await task
        page = await one.plane.read(Identity(None, user), "window")

        assert ["revoked"] == [e.event.reason for e in page.entries if isinstance(e.event, AgentCancelled)]
        assert 0 == two.plane.health().listening


async def test_the_oldest_gives_way_on_another_node(shared_engine: Engine) -> None:
    """
    The limit holds for all nodes: with ``replace_oldest`` a new session ends the oldest one, wherever it is.
    """
    user = f"alice-{new_uuid7()}"
    settings = Settings(sessions_per_identity=1, session_limit="replace_oldest", drain_seconds=2.0, close_seconds=1.0)
    async with nodes(shared_engine.url, settings=settings) as (one, two):
        plane_one, plane_two = one.plane, two.plane
        whose = Identity(None, user)
        ear = Ear()
        await plane_one.subscribe(whose, ear)
        assert () == await plane_one.enter(Lease(whose, "first", 1.0), most=1, replace=True, seconds=60)
        assert ("first",) == await plane_two.enter(Lease(whose, "second", 2.0), most=1, replace=True, seconds=60)
        await until(lambda: ear.gone)
        plane_one.release(whose, ear)

        assert ["first"] == ear.gone
        assert ["second"] == [lease.connection_id for lease in await plane_one.present(whose)]


async def test_forced_writes_wait_for_a_slow_engine(engine: Engine) -> None:
    """
    An engine that reads nothing for a while holds nobody up but those who ask it, and gets all when it reads again.
    """
    async with nodes(engine.url, 1, answer_seconds=10.0, send_seconds=10.0) as (node,):
        await node.send("first")
        engine.freeze()
        sending = asyncio.gather(*(node.manager(f"u{n}").send(note("x" * 50_000)) for n in range(200)))
        await asyncio.sleep(0.2)
        engine.thaw()

        assert [1] * 200 == [delivery.seq for delivery in await sending]
        assert 1 == node.plane.health().connections


async def test_an_engine_that_falls_back(engine: Engine) -> None:
    """
    Back with older data, as a lagging replica that is promoted: places are given twice, and the client is told.
    """
    async with nodes(engine.url) as (one, two):
        client = await two.connect()
        for number in range(5):
            await one.send(number)
        assert engine.ask(b"SAVE").startswith(b"+OK")
        for number in range(5, 8):
            await one.send(number)
        await until(lambda: len(client.values) == 8)
        engine.kill()
        engine.start()
        await until(lambda: client.gaps)
        await one.send("new")
        await until(lambda: "new" in client.values)

        assert [*range(8), "new"] == client.values
        assert ["divergence"] == client.gaps


@pytest.mark.requirement("P3")
async def test_a_run_keeps_its_rules_while_the_engine_is_waited_for(shared_engine: Engine) -> None:
    """
    Sent at the same time, events of a run get different places in it, and of two ends one is refused.
    """
    user = f"alice-{new_uuid7()}"
    async with nodes(shared_engine.url) as (one, two):
        client = await two.connect(user)
        manager = one.manager(user)
        await manager.send(AgentStarted(agent_name="a", run_id="r", thread_id="t"))
        tools = [ToolExecuting(run_id="r", thread_id="t", tool_call_id=f"c{n}", tool_name="x") for n in range(5)]
        await asyncio.gather(*(manager.send(tool) for tool in tools))
        end = AgentCancelled(run_id="r", thread_id="t", reason="user")
        results = await asyncio.gather(manager.send(end), manager.send(end), return_exceptions=True)
        await manager.send(note("end"))
        await until(lambda: "end" in client.values)

        frames = [frame for frame in client.transport.frames if "run_seq" in frame]
        assert list(range(1, 8)) == [frame["run_seq"] for frame in frames]
        assert [False, True] == [isinstance(result, errors.LifecycleError) for result in results]
