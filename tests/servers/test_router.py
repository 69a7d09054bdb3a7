"""
A router behind a real server: typed messages of many sessions, and what never waits behind a handler.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, Final

import attrs
import pytest

from tests.servers.running import IMPLEMENTATIONS, Client, client, legacy, running, until, websocket_app
from ws_isolation import ManagerFactory, Message, Session, events
from ws_isolation.router import Router
from ws_isolation.testing import FakeClock, make_context

pytestmark = legacy

USERS: Final = 6
MESSAGES: Final = 12


@attrs.frozen
class Say:
    """
    What a client says.
    """

    text: str


@attrs.frozen
class Ask:
    """
    What a client asks, and under which run.
    """

    run: str


def talk() -> Router:
    """
    Return a router that answers what was said, in order or concurrently, to whoever said it.
    """
    router = Router()

    async def say(session: Session, message: Message, data: Say) -> None:
        await asyncio.sleep(0)
        said = (session.context.user_id, message.type, data.text)
        await session.manager.send(events.Custom(name="test.said", value=said))

    router.on("say", Say)(say)
    router.on("shout", Say, concurrent=True)(say)
    return router


@attrs.define
class Agent:
    """
    A router with runs that wait in their handler (``ask``), or in spawned work (``spawn``), until they are stopped.
    """

    router: Router
    goes_on: asyncio.Event = attrs.field(factory=asyncio.Event)
    """Lets a spawned run think on."""
    went_on: asyncio.Event = attrs.field(factory=asyncio.Event)
    sessions: list[Session] = attrs.field(factory=list[Session])
    """Of those that ask."""
    left: list[str] = attrs.field(factory=list[str])
    """How each wait in a handler ended."""

    @classmethod
    def new(cls, *, in_flight: int = 1) -> Agent:
        """
        Return one with its own router.
        """
        self = cls(Router(in_flight=in_flight))
        self.router.on("ask", Ask)(self._ask)
        self.router.on("spawn", Ask)(self._spawn)
        return self

    async def _ask(self, session: Session, _message: Message, data: Ask) -> None:
        self.sessions.append(session)
        try:
            async with session.manager.run("assistant", run_id=data.run):
                await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            self.left.append(str(error))
            raise
        self.left.append("stopped")

    async def _spawn(self, session: Session, _message: Message, data: Ask) -> None:
        session.spawn(self._work(session, data.run))

    async def _work(self, session: Session, run_id: str) -> None:
        async with session.manager.run("assistant", run_id=run_id) as run:
            await run.thinking("begun")
            await self.goes_on.wait()
            await run.thinking("while you were away")
            self.went_on.set()
            await asyncio.Event().wait()


async def told(tab: Client, count: int) -> list[Any]:
    """
    Return the values of the next *count* events of the application.
    """
    return [(await tab.until("custom"))["data"]["value"] for _ in range(count)]


@pytest.mark.scenario("S54", "S41")
@pytest.mark.requirement("P1", "P5", "WS-17")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_each_message_to_its_handler(implementation: str) -> None:
    """
    Users who talk at once get their own answers only, in the order of their messages; what does not fit is answered.
    """

    async def one(address: str, user: str) -> tuple[list[Any], list[dict[str, Any]]]:
        async with client(address, user) as tab:
            await tab.until("ws.welcome")
            for number in range(MESSAGES):
                await tab.send(type="say" if number % 3 else "shout", data={"text": f"{user} {number}"})
            said = await told(tab, MESSAGES)
            await tab.send(type="say", data={"text": 7})
            await tab.send(type="sing")
            return said, [await tab.until("ws.error") for _ in range(2)]

    users = [f"user-{number}" for number in range(USERS)]
    async with running(websocket_app(ManagerFactory(), talk()), implementation=implementation) as address:
        answers = await asyncio.gather(*(one(address, user) for user in users))

    for user, (said, problems) in zip(users, answers, strict=True):
        assert {user} == {who for who, _, _ in said}
        ordered = [text for _, kind, text in said if "say" == kind]
        assert [f"{user} {number}" for number in range(MESSAGES) if number % 3] == ordered
        assert {f"{user} {number}" for number in range(0, MESSAGES, 3)} == {t for _, kind, t in said if "shout" == kind}
        invalid, unknown = sorted(problems, key=lambda problem: str(problem["slug"]))
        assert ("invalid_data", "$.text") == (invalid["slug"], invalid["path"])
        assert ("unknown_type", "sing") == (unknown["slug"], unknown["refused_type"])


@pytest.mark.scenario("S21")
@pytest.mark.requirement("P5")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_nothing_waits_behind_a_run(implementation: str) -> None:
    """
    While a handler holds the only place: pings are answered both ways, a stop ends its run, the disconnect is noticed.
    """
    clock, agent = FakeClock(), Agent.new()
    factory = ManagerFactory(clock=clock)
    async with running(websocket_app(factory, agent.router), implementation=implementation) as address:
        async with client(address) as tab:
            for name in ("r1", "r2"):  # the second waits behind the first
                await tab.send(type="ask", data={"run": name})
            started = await tab.until("agent_started")
            async with asyncio.timeout(10):
                await (await tab.connection.ping())
            await clock.advance(25)
            await tab.send(type="ws.pong", n=(await tab.until("ws.ping"))["n"])
            await tab.send(type="ws.ack", seq=started["seq"])
            await until(lambda: started["seq"] == agent.sessions[0].acknowledged)
            await clock.advance(9)  # without the pong, the session would end here
            await tab.send(type="stop", run_id="r1")
            stopped = await tab.until("agent_cancelled")
            second = await tab.until("agent_started")
            open_runs = factory.create_manager(make_context("alice")).stats().open_runs
            tab.connection.transport.abort()
            await until(lambda: 0 == factory.stats().sessions)
            await until(lambda: 2 == len(agent.left))

    assert ["r1", "r1", "r2"] == [event["run_id"] for event in (started, stopped, second)]
    assert "user" == stopped["data"]["reason"]
    assert 1 == open_runs
    assert ["stopped", "ws_isolation:disconnect_policy"] == agent.left


@pytest.mark.scenario("S34", "S52")
@pytest.mark.requirement("P3", "WS-27")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_work_is_found_again(implementation: str) -> None:
    """
    A client that was cut comes back to the run that its message spawned: it gets what it missed, and can stop it.

    The message that it sends again, not knowing whether it had arrived, starts no second run.
    """
    factory = ManagerFactory()
    agent = Agent.new()
    ask = {"type": "spawn", "id": str(uuid.UUID(int=7)), "data": {"run": "r1"}}
    async with running(websocket_app(factory, agent.router), implementation=implementation) as address:
        async with client(address) as tab:
            cursor = (await tab.until("ws.welcome"))["cursor"]
            await tab.send(**ask)
            started = await tab.until("agent_started")
            begun = await tab.until("agent_thinking")
            tab.connection.transport.abort()
        await until(lambda: 0 == factory.stats().sessions)
        agent.goes_on.set()
        await agent.went_on.wait()
        async with client(address, query=f"?cursor={cursor['epoch']}.{begun['seq']}.{begun['id']}") as again:
            missed = await again.until("agent_thinking")
            await again.send(**ask)
            duplicate = await again.until("ws.error")
            await again.send(type="stop", run_id="r1")
            end = await again.until("agent_cancelled")

    assert ("r1", "begun", begun["seq"] + 1) == (started["run_id"], begun["data"]["text"], missed["seq"])
    assert ("while you were away", "r1") == (missed["data"]["text"], missed["run_id"])
    assert ("duplicate", ask["id"]) == (duplicate["slug"], duplicate["causation_id"])
    assert ("r1", "user", missed["seq"] + 1) == (end["run_id"], end["data"]["reason"], end["seq"])
