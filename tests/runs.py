"""
A run without a server: one user, one socket in memory, everything that was written to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs

from ws_isolation import IsolatedManager, ManagerFactory, Session
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.testing.clock import settle


@attrs.define
class Desk:
    """
    Where a test runs its agents.
    """

    session: Session
    transport: RecordingTransport
    clock: FakeClock
    factory: ManagerFactory

    @property
    def manager(self) -> IsolatedManager:
        """
        The user's manager.
        """
        return self.session.manager

    async def events(self) -> list[dict[str, Any]]:
        """
        Let what waits be written, and return all events so far.
        """
        await settle()
        return self.transport.events

    async def types(self) -> list[str]:
        """
        Same as ``events()``, but their types only.
        """
        return [str(event["type"]) for event in await self.events()]

    async def last(self) -> dict[str, Any]:
        """
        Same as ``events()``, but the last one only.
        """
        return (await self.events())[-1]

    async def stop_factory(self) -> None:
        """
        Stop the factory under the agent's feet; the clock moves, so that the drain does not wait for the agent.
        """
        stopping = asyncio.create_task(self.factory.stop())
        await self.clock.advance(60)
        await stopping


@asynccontextmanager
async def desk(thread_id: str | None = "thread-1") -> AsyncGenerator[Desk]:
    """
    Yield a desk; everything is closed afterwards.
    """
    clock = FakeClock()
    factory = ManagerFactory(clock=clock)
    transport = RecordingTransport()
    async with factory.attach(make_context(thread_id=thread_id), transport) as session:
        yield Desk(session, transport, clock, factory)


def ends(events: list[dict[str, Any]], run_id: str) -> list[str]:
    """
    Return the ends of a run, in order.
    """
    return [event["type"] for event in events if event.get("final") and event["run_id"] == run_id]


def check_pairs(events: list[dict[str, Any]]) -> None:
    """
    See that each run that began has one end as its last event, and each tool call one completion.
    """
    for started in events:
        if started["type"] != "agent_started":
            continue
        own = [event for event in events if event["run_id"] == started["run_id"]]
        assert 1 == len(ends(own, started["run_id"]))
        assert own[-1].get("final")
        executing = [event["data"]["tool_call_id"] for event in own if event["type"] == "tool_executing"]
        completed = [event["data"]["tool_call_id"] for event in own if event["type"] == "tool_completed"]
        assert sorted(executing) == sorted(completed)


def check_nothing_left(here: Desk) -> None:
    """
    See that no run is open and no task goes on but the session's and this test's.
    """
    assert 0 == here.manager.stats().open_runs
    names = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert [] == [name for name in names if not name.startswith("ws-")]
