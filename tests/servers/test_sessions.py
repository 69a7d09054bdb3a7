"""
Sessions of real clients: who gets what, beside slow authentications, stalled readers and failing handlers.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.isolation.stalled import stalled_reader
from tests.servers.running import (
    IMPLEMENTATIONS,
    Client,
    by_token,
    client,
    legacy,
    running,
    until,
    until_gone,
    websocket_app,
)
from ws_isolation import Handshake, ManagerFactory, PlainWire, Session, Settings, UserExecutionContext, events
from ws_isolation.events import Envelope
from ws_isolation.testing import make_context

pytestmark = legacy


@pytest.mark.scenario("S54", "S36")
@pytest.mark.requirement("P1", "I5", "I10")
async def test_slow_and_quick_authentication() -> None:
    """
    Alice authenticates first and slowly, Bob meanwhile: each session has its own context, each handler its messages.
    """
    alice_waits, go_on = asyncio.Event(), asyncio.Event()

    async def authenticate(handshake: Handshake) -> UserExecutionContext:
        context = await by_token(handshake)
        if context.user_id == "alice":
            alice_waits.set()
            await go_on.wait()
        return context

    async def handler(session: Session) -> None:
        async for message in session:
            said = [session.context.user_id, message.data["text"]]
            await session.manager.send(events.Custom(name="test.said", value=said))

    async def talk(user: str, address: str) -> list[Any]:
        async with client(address, user) as tab:
            await tab.send(type="say", data={"text": f"{user} speaks"})
            said: list[Any] = (await tab.until("custom"))["data"]["value"]
        return said

    factory = ManagerFactory()
    async with running(websocket_app(factory, handler, authenticate)) as address:
        alice = asyncio.create_task(talk("alice", address))
        await alice_waits.wait()
        bob = await talk("bob", address)
        go_on.set()
        said = [bob, await alice]

    assert [["bob", "bob speaks"], ["alice", "alice speaks"]] == said


@pytest.mark.scenario("S29", "S30", "S23")
@pytest.mark.requirement("P5", "WS-16")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_write_deadline_cuts_a_stalled_tab(implementation: str) -> None:
    """
    One of Alice's three tabs stops reading: no send waits, her other tabs and Bob get everything, it is cut with 4213.
    """
    factory = ManagerFactory(Settings(write_seconds=0.3, close_seconds=0.2))
    app = websocket_app(factory)
    count = 30
    async with (
        running(app, implementation=implementation, send_buffer=4_096) as address,
        client(address) as first,
        client(address) as second,
        client(address, "bob") as bobs,
        stalled_reader(address, "alice"),
    ):
        alice, bob = (factory.create_manager(make_context(user)) for user in ("alice", "bob"))
        begun = asyncio.get_running_loop().time()
        deliveries = [
            (await alice.send(events.Custom(name="test.big", value=[n, "x" * 16_000]))).sessions for n in range(count)
        ]
        await bob.send(events.Custom(name="test.big", value=[0, ""]))
        took = asyncio.get_running_loop().time() - begun
        got = [[(await tab.until("custom"))["data"]["value"][0] for _ in range(count)] for tab in (first, second)]
        await bobs.until("custom")
        await until(lambda: factory.stats().sessions == 3)
        after = await alice.send(events.Custom(name="test.after", value=1))

    assert [3] * count == deliveries
    assert took < 1
    assert [list(range(count))] * 2 == got
    assert (2, 0) == (after.sessions, after.refused)
    assert {4213: 1} == factory.stats().closes


@pytest.mark.scenario("S35", "S37", "S19")
@pytest.mark.requirement("P2", "P5")
async def test_others_go_on() -> None:
    """
    Ending all sessions of Alice, one by an exception, leaves Bob's sessions, stream and run where they were.
    """

    async def handler(session: Session) -> None:
        async for _message in session:
            raise LookupError

    factory = ManagerFactory()
    ends: list[int] = []
    reached = 0
    async with running(websocket_app(factory, handler)) as address, AsyncExitStack() as stack:
        alices = [await stack.enter_async_context(client(address, "alice")) for _ in range(2)]
        bobs = [await stack.enter_async_context(client(address, "bob")) for _ in range(2)]
        bob = factory.create_manager(make_context("bob"))
        run = bob.run("assistant")
        async with run:
            for tab in alices:
                await tab.send(type="break")
                ends.append((await tab.rest()).code)
            reached = (await run.thinking("still here")).sessions
        got = [[(await tab.next())["type"] for _ in range(4)] for tab in bobs]

    assert [4300, 4300] == ends
    assert 2 == reached
    assert [["ws.welcome", "agent_started", "agent_thinking", "agent_completed"]] * 2 == got


@pytest.mark.scenario("S23")
@pytest.mark.requirement("WS-12")
async def test_one_session_more_than_allowed() -> None:
    """
    At the limit the next session gets 4029; the open one stays, and its end permits exactly one.
    """
    factory = ManagerFactory(Settings(sessions_per_identity=1))
    async with running(websocket_app(factory)) as address:
        async with client(address) as inside:
            await inside.until("ws.welcome")
            async with client(address) as refused, client(address, "bob") as other:
                rest = await refused.rest()
                await other.until("ws.welcome")
            await factory.create_manager(make_context()).send(events.Custom(name="test.here", value=1))
            await inside.until("custom")
        await until(lambda: factory.stats().sessions == 0)
        async with client(address) as after:
            await after.until("ws.welcome")

    assert rest.ended_with(4029, "connection_limit")


@pytest.mark.requirement("WS-14")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("compression", ["deflate", None])
@pytest.mark.parametrize("pieces", [1, 7])
async def test_size_of_a_message(implementation: str, compression: str | None, pieces: int) -> None:
    """
    Decoded bytes count, however few or many travel: 64 KiB are read, one byte more ends with 4013.
    """

    async def handler(session: Session) -> None:
        async for message in session:
            await session.manager.send(events.Custom(name="test.size", value=len(message.data["t"])))

    async def send(tab: Client, size: int) -> None:
        frame = '{"type":"x","data":{"t":"%s"}}'
        text = frame % ("x" * (size - len(frame) + 2))
        step = len(text) // pieces + 1
        await tab.connection.send([text[place : place + step] for place in range(0, len(text), step)])

    factory = ManagerFactory()
    app = websocket_app(factory, handler)
    async with running(app, implementation=implementation) as address, client(address, compression=compression) as tab:
        got: list[int] = []
        for size in (65_535, 65_536):
            await send(tab, size)
            got.append((await tab.until("custom"))["data"]["value"] + len('{"type":"x","data":{"t":""}}'))
        await send(tab, 65_537)
        rest = await tab.rest()

    assert [65_535, 65_536] == got
    assert rest.ended_with(4013, "message_too_big")


@pytest.mark.requirement("P1")
async def test_plain_wire() -> None:
    """
    A front end that exists already gets its own JSON, no control frame, and the same close codes.
    """

    def encode(envelope: Envelope) -> dict[str, object] | None:
        event = envelope.event
        return {"kind": event.name, "value": event.value} if isinstance(event, events.Custom) else None

    async def handler(session: Session) -> None:
        async for message in session:
            async with session.manager.run("assistant") as run:
                await run.custom("test.echo", message.data["anything"])

    factory = ManagerFactory()
    app = websocket_app(factory, handler, wire=PlainWire(encode))  # type: ignore[arg-type]
    async with running(app) as address, client(address, subprotocols=()) as tab:
        await tab.connection.send('{"anything": 7}')
        first = await tab.next()
        await tab.connection.send("[]")
        rest = await tab.rest()

    assert {"kind": "test.echo", "value": 7} == first
    assert ([], 4000) == (rest.frames, rest.code)


@pytest.mark.scenario("S26")
@pytest.mark.requirement("P2")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_lifespan_shutdown(implementation: str) -> None:
    """
    A server that stops takes its sockets, sessions and spawned work with it, in order and in time.
    """
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("work")

    async def handler(session: Session) -> None:
        session.on_end(lambda: ended.append("session"))
        session.spawn(work())
        await until_gone(session)

    factory = ManagerFactory(Settings(close_seconds=0.5, drain_seconds=2.0))
    app = websocket_app(factory, handler)
    async with AsyncExitStack() as clients:
        async with running(app, implementation=implementation) as address:
            tab = await clients.enter_async_context(client(address))
            await tab.until("ws.welcome")
        rest = await tab.rest()

    assert rest.code in {1012, 4200}  # uvicorn itself closes before it tells its application
    assert ["session", "work"] == ended
    assert (0, 0) == (factory.stats().sessions, factory.stats().work)
