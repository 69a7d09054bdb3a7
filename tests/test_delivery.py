"""
What a send tells, and what it does not: the three outcomes, at once, and no identity.
"""

from __future__ import annotations

import pickle
import time
from contextlib import AsyncExitStack

import msgspec
import pytest

from tests.shell import Bench, note
from ws_isolation import Delivery, ManagerFactory, Settings
from ws_isolation.delivery import ManagerStats
from ws_isolation.events import AgentMessageDelta, AgentStarted
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.testing.clock import settle


def test_values() -> None:
    """They are frozen, compare by value, travel between processes and hold no id of a person."""
    delivery, stats = Delivery("id", 7, 2), ManagerStats(sent=1, sessions=2, open_runs=3)

    assert Delivery("id", 7, 2, refused=0) == delivery
    assert {"event_id", "seq", "sessions", "refused"} == set(Delivery.__struct_fields__)
    assert {"sent", "sessions", "open_runs"} == set(ManagerStats.__struct_fields__)
    for value in (delivery, stats):
        assert isinstance(value, msgspec.Struct)
        assert pickle.loads(pickle.dumps(value)) == value
        with pytest.raises(AttributeError):
            value.seq = 1  # type: ignore[union-attr, misc]  # that it fails is the test


async def test_nobody_is_connected() -> None:
    """With nobody there the event has its place all the same, and that is no error."""
    manager = Bench.new().manager()
    deliveries = [await manager.send(note(n)) for n in range(3)]

    assert [(1, 0, 0), (2, 0, 0), (3, 0, 0)] == [(one.seq, one.sessions, one.refused) for one in deliveries]
    assert 3 == len({one.event_id for one in deliveries})


async def test_it_names_the_envelope() -> None:
    """The id and place in the delivery are those that every session of the user writes."""
    bench = Bench.new()
    served = [await bench.serve(), await bench.serve(), await bench.serve(user="bob")]
    delivery = await bench.manager().send(note())
    await settle()

    assert (1, 2, 0) == (delivery.seq, delivery.sessions, delivery.refused)
    for one in served[:2]:
        assert (delivery.event_id, delivery.seq) == (one.transport.events[0]["id"], one.transport.events[0]["seq"])
    assert [] == served[2].transport.events
    for one in served:
        one.transport.client_leaves()
        await one.over()


async def test_a_piece_of_text_has_no_place_of_its_own() -> None:
    """A delta's delivery names the last durable event's place."""
    manager = Bench.new().manager()
    await manager.send(AgentStarted(run_id="r", thread_id="r", agent_name="a"))
    delta = await manager.send(AgentMessageDelta(run_id="r", thread_id="r", message_id="m", delta="x", index=0))

    assert (1, 0) == (delta.seq, delta.sessions)


@pytest.mark.scenario("S29", "S30")
async def test_three_outcomes() -> None:
    """A dead session is not counted, a full one is counted as refused once, the others queue; none is waited for."""
    factory = ManagerFactory(Settings(outbox_events=8), clock=FakeClock())
    async with factory, AsyncExitStack() as stack:
        transports = {name: RecordingTransport() for name in ("well", "stalled", "gone", "also well")}
        for transport in transports.values():
            await stack.enter_async_context(factory.attach(make_context(), transport))
        await settle()
        transports["stalled"].client_stops_reading()
        transports["gone"].client_leaves()
        await settle()
        manager = factory.create_manager(make_context())

        began = time.perf_counter()
        deliveries: list[Delivery] = []
        for n in range(12):
            deliveries.append(await manager.send(note(n)))
            await settle()
        passed = time.perf_counter() - began

        # One is being written and eight wait for the client that does not read; the tenth does not fit.
        outcomes = [(one.sessions, one.refused) for one in deliveries]
        assert [(3, 0)] * 9 + [(2, 1)] + [(2, 0)] * 2 == outcomes
        assert passed < 1
        assert list(range(12)) == [event["data"]["value"] for event in transports["well"].events]
        assert transports["well"].sent[1:] == transports["also well"].sent[1:]
        transports["stalled"].client_reads_again()


@pytest.mark.scenario("S29", "S30")
async def test_a_session_that_is_ending() -> None:
    """A session that has begun to end takes nothing more: it is neither counted nor refused."""
    bench = Bench.new()
    served = await bench.serve()
    served.session.close()
    delivery = await bench.manager().send(note())
    await served.over()

    assert (0, 0) == (delivery.sessions, delivery.refused)
    assert [] == served.transport.events
