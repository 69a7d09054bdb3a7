"""
A process without sockets sends through the same gate and in the same runs; the sockets are elsewhere.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.nodes import Elsewhere, Web
from tests.runs import check_pairs
from tests.shell import note
from ws_isolation import ManagerFactory, errors
from ws_isolation.backplanes.memory import MemoryBackplane
from ws_isolation.context_tokens import ContextTokens
from ws_isolation.events import AgentError, AgentStarted, AgentThinking, Custom, Problem
from ws_isolation.manager import IsolatedManager
from ws_isolation.publisher import Publisher
from ws_isolation.testing import make_context
from ws_isolation.testing.clock import settle

RUN_TYPES = [
    "agent_started",
    "agent_thinking",
    "tool_executing",
    "tool_completed",
    "agent_message_delta",
    "agent_message_delta",
    "agent_completed",
]


async def work(manager: IsolatedManager) -> None:
    """Do what an agent does."""
    async with manager.run("reporter", run_id="r-1") as run:
        await run.thinking("adding it up")
        async with run.tool("sum", {"of": [1, 2]}) as tool:
            tool.result = 3
        async with run.message() as message:
            await message.write("3")
        await run.complete("3")


@pytest.mark.scenario("S34")
@pytest.mark.requirement("P1", "P3")
async def test_whole_run_reaches_the_sockets() -> None:
    """A worker's run arrives at its user's sockets in order and without a gap, and at nobody else's."""
    web = Web()
    async with web.client() as alice, web.client(make_context("bob")) as bob:
        async with Publisher(backplane=web.engine) as publisher:
            await work(publisher.create_manager(make_context()))

        events = await alice.events()
        assert RUN_TYPES == [event["type"] for event in events]
        assert list(range(1, 7)) == [event["seq"] for event in [*events[:4], *events[5:]]]  # a piece has no place
        check_pairs(events)
        assert [] == await bob.events()


@pytest.mark.requirement("P3")
async def test_both_send() -> None:
    """What web process and worker send at the same time gets one place each, and no session sees a gap."""
    web = Web()
    async with web.client() as alice, Publisher(backplane=web.engine) as publisher:
        there, here = publisher.create_manager(make_context()), web.factory.create_manager(make_context())

        async def send(manager: IsolatedManager, name: str) -> None:
            for number in range(20):
                await manager.send(note([name, number]))
                await asyncio.sleep(0)

        await asyncio.gather(send(there, "there"), send(here, "here"))
        events = await alice.events()
        assert list(range(1, 41)) == [event["seq"] for event in events]
        for name in ("there", "here"):
            assert list(range(20)) == [e["data"]["value"][1] for e in events if e["data"]["value"][0] == name]
        assert "ws.gap" not in alice.transport.types()


@pytest.mark.scenario("S34")
async def test_client_comes_later() -> None:
    """A run that is over before its user has a socket is replayed; the worker's send says that nobody was there."""
    web = Web()
    async with Publisher(backplane=web.engine) as publisher:
        manager = publisher.create_manager(make_context())
        delivery = await manager.send(note())
        assert (1, 0, 0) == (delivery.seq, delivery.sessions, delivery.refused)
        await work(manager)
        assert (8, 0, 0) == (manager.stats().sent, manager.stats().sessions, manager.stats().open_runs)
    async with web.client(start="window") as alice:
        assert "agent_completed" == (await alice.types())[-1]


async def test_subscribes_to_nothing() -> None:
    """A publisher neither subscribes nor reads, and has no way to a session."""
    web = Web()
    async with web.client() as alice:
        async with Publisher(backplane=Elsewhere(asyncio.get_running_loop(), web.engine)) as publisher:
            await work(publisher.create_manager(make_context()))
        assert "agent_completed" == (await alice.types())[-1]
        for name in ("attach", "open_session", "revoke", "drain", "stats"):
            assert hasattr(ManagerFactory, name)
            assert not hasattr(publisher, name)


@pytest.mark.requirement("P6")
async def test_same_gate() -> None:
    """What a factory refuses, a publisher refuses in the same words."""
    publisher, factory = Publisher(backplane=MemoryBackplane()), ManagerFactory()
    copied = object.__new__(type(make_context()))
    for value in (None, {"user_id": "alice"}, object(), copied):
        said: list[str] = []
        for maker in (publisher, factory):
            with pytest.raises(errors.ContextError) as caught:
                maker.create_manager(value)  # type: ignore[arg-type]
            said.append(f"{type(caught.value).__name__} {caught.value}")
        assert said[0] == said[1]


@pytest.mark.scenario("S10", "S34")
@pytest.mark.requirement("P1")
async def test_context_crosses() -> None:
    """A context that crossed as a token sends to its user's sockets, as the request that it came from."""
    web = Web()
    secret = {"k": bytes(range(32))}
    context = make_context("alice", tenant_id="acme", claims={"role": "user"})
    token = ContextTokens(secret).export_context(context, claims=["role"])

    async with web.client(context) as alice, web.client(make_context("alice")) as other_tenant:
        async with Publisher(backplane=web.engine) as publisher:
            imported = ContextTokens(secret).import_context(token)
            assert (context.request_id, "user") == (imported.request_id, imported.claims["role"])
            await work(publisher.create_manager(imported))
        assert RUN_TYPES == await alice.types()
        assert [] == await other_tenant.types()


async def test_run_belongs_to_its_process() -> None:
    """Events and children of a worker's run are refused elsewhere; nothing of it is stored, and the run goes on."""
    web = Web()
    async with web.client() as alice, Publisher(backplane=web.engine) as publisher:
        async with publisher.create_manager(make_context()).run("a", run_id="r-1") as run:
            here = web.factory.create_manager(make_context())
            for rule, event in (
                ("L01", Custom(run_id="r-1", thread_id="thread-1", name="test.x", value=1)),
                ("L01", AgentThinking(run_id="r-1", thread_id="thread-1", thought_id="t", mode="summary", text="x")),
                ("L20", AgentStarted(run_id="r-2", thread_id="thread-1", parent_run_id="r-1", agent_name="b")),
            ):
                with pytest.raises(errors.LifecycleError) as caught:
                    await here.send(event)
                assert rule == caught.value.rule
            await run.thinking("hm")  # the control: where the run was opened, it goes on
            async with run.child("b"):
                pass
        types = await alice.types()
        assert ["agent_started", "agent_thinking", "agent_started", "agent_completed", "agent_completed"] == types


async def test_run_of_a_dead_worker() -> None:
    """For a run whose process died, any other process may send the error that ends it."""
    web = Web()
    async with web.client() as alice:
        publisher = Publisher(backplane=web.engine)
        started = AgentStarted(run_id="r-1", thread_id="thread-1", agent_name="a")
        await publisher.create_manager(make_context()).send(started)
        await publisher.stop()  # as good as dead: it says nothing more

        lost = Problem(title="The worker is gone.", code="run_lost")
        here = web.factory.create_manager(make_context())
        await here.send(AgentError(run_id="r-1", thread_id="thread-1", error=lost))
        events = await alice.events()
        assert ["agent_started", "agent_error"] == [event["type"] for event in events]
        assert events[-1]["final"]


async def test_order_is_checked_in_each_process() -> None:
    """A run id that was used in one process is not known in the next: a queue's second try takes a new one."""
    web = Web()
    async with Publisher(backplane=web.engine) as one, Publisher(backplane=web.engine) as other:
        await work(one.create_manager(make_context()))
        with pytest.raises(errors.LifecycleError, match="L03"):
            await work(one.create_manager(make_context()))
        await work(other.create_manager(make_context()))


@pytest.mark.parametrize("is_local", [True, False])
async def test_stop_of_the_client(is_local: bool) -> None:  # noqa: FBT001
    """A client's stop for a worker's run comes to the handler, which knows the queue; for one's own run it does not."""
    web = Web()
    async with web.client() as alice, Publisher(backplane=web.engine) as publisher:
        maker = web.factory if is_local else publisher
        got: list[Any] = []

        async def read() -> None:
            got.extend([(message.type, message.run_id) async for message in alice.session])

        reading = asyncio.create_task(read())
        async with maker.create_manager(make_context()).run("a", run_id="r-1"):
            alice.transport.client_sends({"type": "stop", "run_id": "r-1"})
            await settle()
        alice.session.close()
        await reading
        assert ([] if is_local else [("stop", "r-1")]) == got
        assert ("agent_cancelled" if is_local else "agent_completed") == (await alice.types())[-1]


async def test_needs_a_backplane() -> None:
    """Without a backplane its events would reach nobody: it says so before there is a user."""
    for nothing in (None, MemoryBackplane, object()):
        with pytest.raises(errors.SettingsError, match="backplane"):
            Publisher(backplane=nothing)  # type: ignore[arg-type]


async def test_stops_and_starts() -> None:
    """After its stop its managers say so; it can start again, and what it was made with is what it has."""
    publisher = Publisher(backplane=MemoryBackplane())
    async with publisher:
        manager = publisher.create_manager(make_context())
        await manager.send(note())
    with pytest.raises(errors.InvalidStateError, match="has stopped"):
        await manager.send(note())
    async with publisher:
        assert 2 == (await manager.send(note())).seq
    assert ManagerFactory().settings.window_events == publisher.settings.window_events
