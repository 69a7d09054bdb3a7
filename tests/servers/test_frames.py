"""
Frames straight to uvicorn's transport: clients notice nothing, and only the exact server is taken.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import socket
import sys
from typing import Any

import pytest
import uvicorn
import websockets.version
from starlette.middleware import Middleware
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, ProtocolError
from websockets.frames import Close

from tests.isolation.stalled import stalled_reader
from tests.servers.frames import Writes, serving, talking
from tests.servers.running import client, legacy, running, until, websocket_app
from ws_isolation import ManagerFactory, Settings, errors, events
from ws_isolation.adapters.uvicorn import TESTED, UvicornFrames
from ws_isolation.testing import make_context
from ws_isolation.typing import Transport

pytestmark = legacy

TEXTS = (
    "",
    "x",
    "é" * 62 + "x",
    "x" * 125,
    "x" * 126,
    "€" * 21_845,
    "x" * 65_535,
    "x" * 65_536,
    "\U0001f600" * 50_000,
)


class Subclass(WebSocketsSansIOProtocol):
    """
    Behaves as its base, and is not it.
    """


async def say_all(transport: Transport, _protocol: Any) -> None:
    """
    Send each text, then close.
    """
    for text in TEXTS:
        await transport.send(text)
    await transport.close(4200, "drain")


async def heard(address: str, compression: str | None = "deflate") -> tuple[list[str | bytes], int, str]:
    """
    Return what a client receives until it is closed, and how that was.
    """
    got: list[str | bytes] = []
    async with connect(f"ws://{address}/", proxy=None, compression=compression, max_size=None) as connection:
        try:
            while True:
                got.append(await asyncio.wait_for(connection.recv(), 15))
        except ConnectionClosed as closed:
            frame = closed.rcvd or Close(1006, "")
            return got, frame.code, frame.reason


def test_releases_under_test() -> None:
    """
    The releases that this suite runs on are among those that are taken.
    """
    assert uvicorn.__version__ in TESTED["uvicorn"]
    assert websockets.version.version in TESTED["websockets"]


@pytest.mark.parametrize(
    ("deflate", "compression", "taken"),
    [(False, None, True), (False, "deflate", True), (True, None, True), (True, "deflate", False)],
)
@pytest.mark.requirement("WS-01")
async def test_same_messages(*, deflate: bool, compression: str | None, taken: bool) -> None:
    """
    Every size of frame arrives, and the close after it; with compression negotiated, the server sends them all.
    """
    writes = Writes()
    async with serving(talking(say_all, writes), deflate=deflate) as (address, frames):
        got = await heard(address, compression)

    assert got == (list(TEXTS), 4200, "drain")
    assert (frames.taken, frames.refused) == ((1, {}) if taken else (0, {"compression": 1}))
    assert writes.texts == (0 if taken else len(TEXTS))


@pytest.mark.parametrize("ws", ["websockets", "wsproto", Subclass])
async def test_other_servers(ws: Any, caplog: pytest.LogCaptureFixture) -> None:
    """
    Another implementation, or a subclass of the one, sends the plain way; the first time is logged, the second not.
    """
    caplog.set_level(logging.INFO, "ws_isolation")
    writes = Writes()
    async with serving(talking(say_all, writes), ws=ws) as (address, frames):
        for _ in range(2):
            assert await heard(address, None) == (list(TEXTS), 4200, "drain")

    assert (frames.taken, frames.refused, writes.texts) == (0, {"server": 2}, 2 * len(TEXTS))
    assert [r.getMessage() for r in caplog.records if "plain way" in r.getMessage()] != []
    assert len([r for r in caplog.records if "plain way" in r.getMessage()]) == 1


@pytest.mark.parametrize(
    ("module", "name", "version"),
    [(uvicorn, "__version__", "0.53.0"), (uvicorn, "__version__", "0.54.1"), (websockets.version, "version", "18.0")],
)
async def test_other_releases(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, version: str) -> None:
    """
    A release that was not tested, older or newer, of either package, sends the plain way.
    """
    monkeypatch.setattr(module, name, version)
    writes = Writes()
    async with serving(talking(say_all, writes)) as (address, frames):
        assert await heard(address, None) == (list(TEXTS), 4200, "drain")

    assert (frames.taken, frames.refused, writes.texts) == (0, {"version": 1}, len(TEXTS))


async def test_patched_send(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A ``send`` that somebody replaced on uvicorn's class is called, not passed by.
    """
    real, calls = WebSocketsSansIOProtocol.send, list[str]()

    async def traced(self: WebSocketsSansIOProtocol, message: Any) -> None:
        calls.append(message["type"])
        await real(self, message)

    monkeypatch.setattr(WebSocketsSansIOProtocol, "send", traced)
    async with serving(talking(say_all)) as (address, frames):
        await heard(address, None)

    assert calls.count("websocket.send") == len(TEXTS)
    assert frames.refused == {"server": 1}


async def test_server_that_logs_frames(caplog: pytest.LogCaptureFixture) -> None:
    """
    Where uvicorn logs each frame, its log stays complete.
    """
    caplog.set_level(logging.DEBUG, "uvicorn.error")
    async with serving(talking(say_all)) as (address, frames):
        await heard(address, None)

    assert frames.refused == {"logging": 1}


async def test_order_with_pings() -> None:
    """
    Pings of the server and of the client go between frames, never into one, and are answered.
    """

    async def talk(transport: Transport, protocol: Any) -> None:
        for n in range(60):
            await transport.send(f"{n} " + "x" * 70_000)
            protocol.send_keepalive_ping()
            protocol.pong_timer.cancel()
            protocol.pong_timer = None
            await asyncio.sleep(0)
        await transport.receive()
        await transport.close(1000, "")

    async with (
        serving(talking(talk)) as (address, frames),
        connect(f"ws://{address}/", proxy=None, compression=None) as connection,
    ):
        got: list[int] = []
        for n in range(60):
            got.append(int(str(await connection.recv()).split(" ")[0]))
            if n % 20 == 0:
                await asyncio.wait_for(await connection.ping(), 10)
        await connection.send("end")
        await connection.wait_closed()

    assert (got, frames.taken) == (list(range(60)), 1)


@pytest.mark.requirement("WS-01")
async def test_nothing_after_a_close() -> None:
    """
    After a close of either side, and after the connection is lost, a send is the server's, which says that it is over.
    """
    ends: list[str] = []

    async def talk(transport: Transport, protocol: Any) -> None:
        how = await transport.receive()
        if how == "server":
            await transport.close(4200, "drain")
        elif how == "abort":
            transport.abort()
            with pytest.raises(errors.TransportClosedError):
                await transport.receive()
        else:
            with pytest.raises(errors.TransportClosedError):
                await transport.receive()
        written: list[bytes] = []
        protocol.transport = Recorded(protocol.transport, written)
        with pytest.raises(errors.TransportClosedError):
            await transport.send("too late")
        assert written == []
        ends.append(str(how))

    async with serving(talking(talk)) as (address, _frames):
        for how in ("server", "client", "abort"):
            async with connect(f"ws://{address}/", proxy=None, compression=None) as connection:
                await connection.send(how)
                if how != "client":
                    with pytest.raises(ConnectionClosed):
                        await connection.recv()
        await until(lambda: len(ends) == 3)

    assert ends == ["server", "client", "abort"]


class Recorded:
    """
    A transport that keeps what is written, and passes on the rest.
    """

    def __init__(self, inner: Any, written: list[bytes]) -> None:
        self._inner = inner
        self._written = written

    def write(self, data: bytes) -> None:
        """
        Keep and write.
        """
        self._written.append(data)
        self._inner.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def test_not_inside_a_fragmented_message() -> None:
    """
    While the server is inside a fragmented message, no frame is written; afterwards again.
    """

    async def talk(transport: Transport, protocol: Any) -> None:
        protocol.conn.send_text(b"one, ", fin=False)
        protocol.transport.write(b"".join(protocol.conn.data_to_send()))
        with pytest.raises(ProtocolError):
            await transport.send("inside")
        protocol.conn.send_continuation(b"two", fin=True)
        protocol.transport.write(b"".join(protocol.conn.data_to_send()))
        await transport.send("after")
        await transport.close(1000, "")

    writes = Writes()
    async with serving(talking(talk, writes)) as (address, _frames):
        assert await heard(address, None) == (["one, two", "after"], 1000, "")
    assert writes.texts == 1


async def test_send_waits_for_the_reader() -> None:
    """
    A reader that stands still parks ``send`` within the server's high-water mark; when it reads, all comes in order.
    """
    sent, largest, waited = 0, 0, asyncio.Event()

    async def talk(transport: Transport, protocol: Any) -> None:
        nonlocal sent, largest
        protocol.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        for n in range(800):
            await transport.send(f"{n:04}" + "x" * 16_000)
            sent = n
            largest = max(largest, protocol.transport.get_write_buffer_size())
            if not protocol.writable.is_set():
                waited.set()
        await transport.close(1000, "")

    async with (
        serving(talking(talk)) as (address, frames),
        connect(f"ws://{address}/", proxy=None, compression=None, max_queue=1) as connection,
    ):
        await asyncio.wait_for(waited.wait(), 10)
        for _ in range(50):
            await asyncio.sleep(0)
        before = sent
        got = [int(str(await connection.recv())[:4]) for _ in range(800)]

    assert before < 799
    assert largest < 65_536 + 20_000
    assert (got, frames.taken) == (list(range(800)), 1)


@pytest.mark.scenario("S54")
@pytest.mark.requirement("P2")
async def test_stalled_session_is_cut_and_dropped() -> None:
    """
    A session that does not read is cut by its write deadline with its connection; Bob's goes on.
    """
    factory = ManagerFactory(Settings(write_seconds=0.3, close_seconds=0.2))
    lost: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await inner(scope, receive, send)
        finally:
            if scope["type"] == "websocket":
                lost.append(send.__self__)

    inner = websocket_app(factory)
    async with serving(app) as (address, frames), client(address, "bob") as bob, stalled_reader(address, "alice"):
        alice = factory.create_manager(make_context("alice"))
        deliveries = [await alice.send(events.Custom(name="test.big", value="x" * 60_000)) for _ in range(100)]
        await until(lambda: factory.stats().sessions == 1)
        await until(lambda: len(lost) == 1 and lost[0].disconnected)
        assert lost[0].transport.get_write_buffer_size() == 0
        await factory.create_manager(make_context("bob")).send(events.Custom(name="test.on", value=1))
        assert (await bob.until("custom"))["data"]["value"] == 1

    assert len(deliveries) == 100
    assert frames.taken == 2
    assert factory.stats().closes[4213] == 1


async def test_in_starlettes_list() -> None:
    """
    As the outermost middleware of Starlette it is reached; inside another that wraps ``send`` it is not.
    """
    writes = Writes()

    class Wraps:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def counted(message: Any) -> None:
                writes.texts += message["type"] == "websocket.send"
                await send(message)

            await self.app(scope, receive, counted)

    for outermost in (True, False):
        factory = ManagerFactory()
        app = websocket_app(factory)
        order = [Middleware(UvicornFrames), Middleware(Wraps)]
        app.user_middleware = order if outermost else order[::-1]
        async with running(app) as address, client(address, compression=None) as tab:
            await tab.until("ws.welcome")
        seen = writes.texts
        assert (seen == 0) is outermost


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without uvicorn the import says which command installs it.
    """
    monkeypatch.delitem(sys.modules, "ws_isolation.adapters.uvicorn")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(errors.MissingExtraError, match="pip install 'uvicorn"):
        importlib.import_module("ws_isolation.adapters.uvicorn")
