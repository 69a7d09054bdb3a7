"""
Two nodes on one engine: an event reaches its user's sockets wherever they are, and nobody else's.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.engines.nodes import nodes, until
from tests.engines.running import Engine
from tests.shell import note
from ws_isolation.events import AgentMessageDelta, AgentStarted
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

        await asyncio.gather(*(manager.send(_piece(index)) for index in range(40)))
        await manager.send(note("end"))
        await until(lambda: all("end" in client.values for client in clients))

        for client in clients:
            pieces = [frame["data"] for frame in client.transport.frames if frame["type"] == "agent_message_delta"]
            assert "".join(f"{index} " for index in range(40)) == "".join(piece["delta"] for piece in pieces)


def _piece(index: int) -> AgentMessageDelta:
    return AgentMessageDelta(run_id="r", thread_id="t", message_id="m", delta=f"{index} ", index=index)
