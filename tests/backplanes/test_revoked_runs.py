"""
A revocation reaches a run on a node where no session of its identity is.
"""

from __future__ import annotations

import asyncio

import attrs
import pytest

from tests.backplanes.shared import Node, SharedEngine, nodes
from ws_isolation import Settings
from ws_isolation.events import AgentCancelled
from ws_isolation.keys import Identity
from ws_isolation.runtime import Runtime
from ws_isolation.streams import LiveStream
from ws_isolation.testing import make_context
from ws_isolation.testing.clock import settle

ALICE = Identity(None, "alice")


@attrs.define
class Work:
    """
    A run that waits for what never comes.
    """

    task: asyncio.Task[None]
    end: asyncio.Event

    @classmethod
    async def begin(cls, node: Node, user: str = "alice") -> Work:
        """
        Open it on *node*.
        """
        end = asyncio.Event()

        async def run() -> None:
            async with node.factory.create_manager(make_context(user)).run("assistant"):
                await end.wait()

        task = asyncio.create_task(run())
        await settle()
        return cls(task, end)

    async def over(self) -> bool:
        """
        Let it end by itself, unless it has ended; tell whether it had.
        """
        was_over = self.task.done()
        self.end.set()
        await self.task
        await settle()
        return was_over


async def ends(engine: SharedEngine) -> list[str]:
    """
    Return why runs of Alice were cancelled.
    """
    page = await engine.inner.read(ALICE, "window")
    return [entry.event.reason for entry in page.entries if isinstance(entry.event, AgentCancelled)]


async def stop(*nodes: Node) -> None:
    """
    End everything.
    """
    for node in nodes:
        await node.stop()


@pytest.mark.requirement("WS-10", "I13")
async def test_a_run_without_a_session_is_ended() -> None:
    """Revoked on one node, the user's run on another, where it has no session, ends; another user's goes on."""
    engine, (a, b) = nodes()
    mine, others = await Work.begin(b), await Work.begin(b, "bob")

    await a.factory.revoke(ALICE)
    await settle()

    assert (True, False) == (await mine.over(), await others.over())
    assert ["revoked"] == await ends(engine)
    await stop(a, b)


@pytest.mark.requirement("WS-10", "I13")
async def test_a_run_that_begins_after_the_revocation() -> None:
    """A run that is opened for a user who is revoked already ends as well, the second one of a node too."""
    engine, (a, b) = nodes()
    first = await Work.begin(b)
    engine.deaf = True
    await a.factory.revoke(ALICE)
    await settle()
    assert not first.task.done()

    second = await Work.begin(b)

    assert [True, True] == [await work.over() for work in (first, second)]
    assert ["revoked", "revoked"] == await ends(engine)
    await stop(a, b)


@pytest.mark.requirement("WS-10", "I13")
@pytest.mark.parametrize("call", ["subscribe", "bars"])
async def test_an_engine_that_did_not_answer_is_asked_again(call: str) -> None:
    """Where the node could not listen, or not read the record, the next look at the tip does; until then it goes on."""
    engine, (a, b) = nodes()
    engine.failing = {call}
    work = await Work.begin(b)
    engine.failing = set()
    engine.deaf = True
    await a.factory.revoke(ALICE)
    await settle()
    assert not work.task.done()

    await engine.clock.advance(Settings().tip_seconds * 1.25)

    assert await work.over()
    await stop(a, b)


@pytest.mark.requirement("WS-10", "I16")
async def test_nobody_listens_after_the_last_run() -> None:
    """A node listens as long as a run of the user is open there, and not for the next ones' sake."""
    engine, (a, b) = nodes()
    for _ in range(2):
        works = [await Work.begin(b) for _ in range(2)]
        listening = [len(engine.relays)]
        for work in works:
            assert not await work.over()
            listening.append(len(engine.relays))
        assert [1, 1, 0] == listening
    held = engine.hold("subscribe")
    short = await Work.begin(b)
    assert not await short.over()
    held.set()
    await settle()

    assert 0 == len(engine.relays), "it began to listen when the run was over"
    await stop(a, b)


@pytest.mark.requirement("WS-10", "P3")
async def test_a_session_that_comes_meanwhile_stays_on_the_stream() -> None:
    """A session that joins while a run is open goes on listening when the run is over, and misses nothing."""
    engine, (a, b) = nodes()
    work = await Work.begin(b)
    visit = await b.visit()
    assert not await work.over()
    other = await Work.begin(a)
    assert not await other.over()
    await settle()

    types = [event["type"] for event in visit.socket.events]
    assert ["agent_completed", "agent_started", "agent_completed"] == types
    assert 1 == len(engine.relays)
    await stop(a, b)


@pytest.mark.requirement("P3")
async def test_a_history_that_comes_when_all_have_left_is_nobodys() -> None:
    """What was being read for a run that is over sets nothing up: who comes next is put on the stream as the first."""
    engine, (a, b) = nodes()
    work = await Work.begin(b)
    held = engine.hold("read")
    engine.interrupt()
    await settle()
    assert not await work.over()
    held.set()
    await settle()
    visit = await b.visit()
    later = await Work.begin(a)
    assert not await later.over()
    await settle()

    assert ["agent_started", "agent_completed"] == [event["type"] for event in visit.socket.events]
    assert 1 == len(engine.relays)
    await stop(a, b)


@pytest.mark.scenario("S65")
@pytest.mark.requirement("WS-10")
async def test_a_node_that_listens_for_sessions_alone_lets_the_run_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken variant: where nobody listens for runs, the revocation does not reach one."""

    def nothing(_runtime: Runtime, _live: LiveStream, /) -> None:
        """Listen to nothing."""

    monkeypatch.setattr(Runtime, "_attend_soon", nothing)
    _, (a, b) = nodes()
    work = await Work.begin(b)
    await a.factory.revoke(ALICE)
    await settle()

    assert not await work.over()
    await stop(a, b)


@pytest.mark.requirement("WS-10", "I13")
async def test_two_runs_that_open_together() -> None:
    """Two runs of a user that open in one turn listen once; the revocation ends both."""
    engine, (a, b) = nodes()
    works = await asyncio.gather(Work.begin(b), Work.begin(b))

    await a.factory.revoke(ALICE)
    await settle()

    assert [True, True] == [await work.over() for work in works]
    assert ["revoked", "revoked"] == await ends(engine)
    await stop(a, b)
