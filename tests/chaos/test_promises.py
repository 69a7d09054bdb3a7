"""
Whatever a network does to one user's sockets, everybody else's events are untouched and nothing is left behind.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final

import attrs
import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.chaos.proxy import KINDS, WAYS, Fault, Proxy, chaos, dead, random_faults
from tests.servers.running import IMPLEMENTATIONS, SUBPROTOCOL, Client, client, legacy, running, until, websocket_app
from ws_isolation import ManagerFactory, Session, Settings, closing, events
from ws_isolation.session_core import SessionCore
from ws_isolation.testing import make_context

pytestmark = legacy

QUICK: Final = Settings(
    heartbeat_seconds=1.0,
    pong_timeout_seconds=1.0,
    proxy_idle_seconds=10.0,
    write_seconds=0.5,
    close_seconds=0.3,
    auth_seconds=2.0,
)
"""Every bound of a session is reached within a test."""

OFFSETS: Final = (0, 40, 250, 700)
"""Before anything; within the handshake; around its end and the welcome; among the events."""

FAULTS: Final = [
    *((Fault(kind, way, offset),) for kind in KINDS for way in WAYS for offset in OFFSETS),
    *(dead(offset) for offset in OFFSETS),
]
"""Every kind, in every direction, at every stage."""

EXPLAINED: Final = (
    "data transfer failed",  # uvicorn's "websockets", about a peer that broke off within a frame
    "opening handshake failed",  # the same, within the handshake
    "closing handshake failed",
    "Invalid HTTP request received.",  # half a handshake
    "ASGI callable returned without",  # uvicorn's answer to a peer that left before accept
)
"""What servers log about peers. Ours has to be explained by a code."""


async def echo(session: Session) -> None:
    """
    Answer each message with an event.
    """
    async for message in session:
        await session.manager.send(events.Custom(name="chaos.echo", value=len(str(message.data))))


async def visit(address: str, user: str) -> int | None:
    """
    Behave well for a while, whatever happens to the connection; the code of the server's close frame, None without one.
    """
    try:
        async with connect(
            f"ws://{address}/ws",
            subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]  # a NewType of str
            additional_headers={"Authorization": f"Bearer {user}"},
            proxy=None,
            open_timeout=2,
            close_timeout=0.5,
            ping_interval=None,
        ) as connection:
            await connection.send(json.dumps({"type": "say", "data": {"text": "x" * 300}}))
            # Left in order: an exception would make this client close with 1011, which the server would echo.
            with suppress(TimeoutError):
                async with asyncio.timeout(2):
                    while True:
                        frame = json.loads(await connection.recv())
                        if frame["type"] == "ws.ping":
                            await connection.send(json.dumps({"type": "ws.pong", "n": frame["n"]}))
    except ConnectionClosed as closed:
        return None if closed.rcvd is None else closed.rcvd.code
    except (OSError, EOFError, TimeoutError, WebSocketException):
        return None
    return connection.close_code


@attrs.define
class Witness:
    """
    Somebody whose connection is sound: numbered events are sent to them all the time.
    """

    tab: Client
    sent: int = 0
    got: list[int] = attrs.field(factory=list[int])

    async def publish(self, factory: ManagerFactory, over: asyncio.Event) -> None:
        """
        Send until *over*, then once more.
        """
        manager = factory.create_manager(make_context("bob"))
        while not over.is_set():
            await manager.send(events.Custom(name="chaos.own", value=self.sent))
            self.sent += 1
            await asyncio.sleep(0.01)
        await manager.send(events.Custom(name="chaos.own", value=-1))

    async def read(self) -> None:
        """
        Read to the event with -1.
        """
        while True:
            frame = await self.tab.next()
            if frame["type"] == "ws.ping":
                await self.tab.send(type="ws.pong", n=frame["n"])
            elif frame["type"] == "custom":
                assert "chaos.own" == frame["data"]["name"], "an event of somebody else"
                if frame["data"]["value"] == -1:
                    return
                self.got.append(frame["data"]["value"])


@asynccontextmanager
async def witnessed(address: str, factory: ManagerFactory) -> AsyncGenerator[Witness]:
    """
    Have Bob connected directly while the block runs; at its end he has read everything.
    """
    over = asyncio.Event()
    async with client(address, "bob") as tab:
        await tab.until("ws.welcome")
        witness = Witness(tab)
        tasks = [asyncio.create_task(witness.publish(factory, over)), asyncio.create_task(witness.read())]
        try:
            yield witness
        finally:
            over.set()
            await asyncio.gather(*tasks)


def unexplained(records: list[logging.LogRecord]) -> list[str]:
    """
    Return what was logged as an error and is not a server's remark about its peer.
    """
    errors = [record for record in records if record.levelno >= logging.ERROR]
    texts = [f"{record.name}: {record.getMessage()} {record.exc_info}" for record in errors]
    return [text for text in texts if not any(known in text for known in EXPLAINED)]


def undocumented(factory: ManagerFactory, proxy: Proxy) -> set[int]:
    """
    Return the codes that the library recorded, or the server sent, and that are none of the library's.
    """
    sent = {code for link in proxy.links if (code := link.server_close) is not None}
    # What the server's WebSocket library says to a peer that broke the protocol, before any application hears of it.
    return (set(factory.stats().closes) | sent) - set(closing.CODES) - {503, 1002, 1007, 1009}


@pytest.mark.scenario("S21", "S25", "S29", "S37", "S56")
@pytest.mark.requirement("P1", "P2", "P5")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_every_fault_at_every_stage(implementation: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    Each fault strikes somebody: Bob misses nothing, no 1011, no session, task or unexplained error remains.
    """
    factory = ManagerFactory(QUICK)
    async with running(websocket_app(factory, echo), implementation=implementation) as address:
        assert 1000 == await visit(address, "warm-up")  # what the server starts with its first connection stays
        await until(lambda: factory.stats().sessions == 0)
        before = len(asyncio.all_tasks())
        async with witnessed(address, factory) as bob:
            plan = dict(enumerate(FAULTS))
            async with chaos(address, lambda number: plan.get(number, ())) as proxy:
                codes = await asyncio.gather(*(visit(proxy.address, f"user-{n}") for n in range(len(FAULTS))))
            # The proxy is gone: whoever was left waiting for a dead peer hears it now, or by its own deadline.
            await until(lambda: factory.stats().sessions == 1)
        await until(lambda: len(asyncio.all_tasks()) <= before)
        stats = factory.stats()

    assert list(range(bob.sent)) == bob.got
    assert len(FAULTS) == len(proxy.links)
    assert 1011 not in codes
    assert set() == undocumented(factory, proxy)
    assert (0, 0, 0) == (stats.foreign, stats.work, stats.pending)
    assert [] == unexplained(caplog.records)


@pytest.mark.scenario("S64")
@pytest.mark.requirement("P2", "P5")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_dead_peer_is_noticed(implementation: str) -> None:
    """
    A peer that vanished without FIN or RST is noticed by its silence, 4208, while the network still says nothing.
    """
    factory = ManagerFactory(QUICK)
    async with (
        running(websocket_app(factory), implementation=implementation) as address,
        chaos(address) as proxy,
        AsyncExitStack() as stack,
    ):
        tab = await stack.enter_async_context(client(proxy.address))
        await tab.until("ws.welcome")
        proxy.links[0].strike(*dead())
        await until(lambda: factory.stats().sessions == 0)
        closes = factory.stats().closes
        assert [proxy.links[0]] == proxy.open
        tab.connection.transport.abort()

    assert {4208: 1} == closes
    assert 1011 != proxy.links[0].server_close


def alive() -> int:
    """
    Count what the library holds for sessions.
    """
    gc.collect()
    return sum(type(item) is Session or type(item) is SessionCore for item in gc.get_objects())


@pytest.mark.scenario("S21")
@pytest.mark.requirement("P5", "I11")
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_random_faults_leave_nothing(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """
    Rounds of random faults: sessions, tasks and objects are as many after the last round as before the first.
    """
    factory = ManagerFactory(QUICK)
    others = alive()  # what other tests of this process still hold
    async with running(websocket_app(factory, echo)) as address, witnessed(address, factory) as bob:

        async def rounds(number: int) -> None:
            async with chaos(address, lambda link: random_faults(seed, 100 * number + link, most=900)) as proxy:
                await asyncio.gather(*(visit(proxy.address, f"user-{n}") for n in range(30)))
            await until(lambda: factory.stats().sessions == 1)
            assert set() == undocumented(factory, proxy)

        await rounds(0)
        await until(lambda: alive() <= others + 2)
        before = (len(asyncio.all_tasks()), factory.stats().pending)
        await rounds(1)
        await until(lambda: alive() <= others + 2)
        await until(lambda: len(asyncio.all_tasks()) <= before[0])
        after = (len(asyncio.all_tasks()), factory.stats().pending)

    assert before == after
    assert list(range(bob.sent)) == bob.got
    assert [] == unexplained(caplog.records)


# Negative controls: what services write by hand, under the same proxy.


async def test_control_unguarded_handler_is_seen() -> None:
    """
    An endpoint without a guard closes with 1011, and the proxy sees it: the check above can fail.
    """

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(1011)

    app = Starlette(routes=[WebSocketRoute("/ws", endpoint)])
    async with running(app) as address, chaos(address) as proxy:
        assert 1011 == await visit(proxy.address, "alice")

    assert {1011} == undocumented(ManagerFactory(), proxy)


async def test_control_one_loop_for_all_is_stalled() -> None:
    """
    A manager that awaits each socket in turn stops for everybody once one peer reads no more.
    """
    sockets: list[WebSocket] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        sockets.append(websocket)
        await websocket.receive()

    async def broadcast() -> None:
        for number in range(10_000):
            for websocket in sockets:
                await websocket.send_text(json.dumps({"n": number, "padding": "x" * 10_000}))

    app = Starlette(routes=[WebSocketRoute("/ws", endpoint)])
    plan = (Fault("stall", "down", 5_000),)
    got: list[Any] = []
    async with running(app, send_buffer=4_096) as address, chaos(address, lambda _number: plan) as proxy:
        async with client(proxy.address, "alice", subprotocols=()), client(address, "bob", subprotocols=()) as bob:
            await until(lambda: len(sockets) == 2)
            sending = asyncio.create_task(broadcast())
            while (done := len(got)) == 0 or len(got) < 10_000:
                try:
                    # The first may take a while on a busy machine; afterwards a second without one is the stall.
                    async with asyncio.timeout(1 if got else 15):
                        got.append(json.loads(await bob.connection.recv())["n"])
                except TimeoutError:
                    break
            stuck = not sending.done()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            proxy.links[0].cut("reset")

    assert stuck
    assert 0 < done < 10_000
    assert list(range(done)) == got


def test_control_unexplained_errors_are_found() -> None:
    """
    An error of the library, or of a task that nobody awaited, is not explained away; a server's remark is.
    """

    def record(name: str, text: str) -> logging.LogRecord:
        return logging.LogRecord(name, logging.ERROR, __file__, 1, text, None, None)

    records = [
        record("ws_isolation", "the handler failed"),
        record("asyncio", "Task exception was never retrieved"),
        record("uvicorn.error", "data transfer failed"),
    ]

    assert ["ws_isolation", "asyncio"] == [text.partition(":")[0] for text in unexplained(records)]
