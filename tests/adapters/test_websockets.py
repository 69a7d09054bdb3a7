"""
What is the websockets library's alone: the two calls around its answer, and a ``process_request`` beside ours.
"""

from __future__ import annotations

import asyncio
import builtins
import importlib
import sys
from types import ModuleType
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from tests.adapters.own_servers import Served, address_of, by_websockets, listening
from tests.servers.raw import answer_to, connected, upgrade
from tests.servers.running import by_token, client, until, until_gone
from ws_isolation import Handshake, ManagerFactory, Settings, UserExecutionContext, errors
from ws_isolation.adapters import _websockets
from ws_isolation.adapters.websockets import endpoint


def test_arguments() -> None:
    """
    The library's own pings are off, its deadlines come after the session's, its bounds above them.
    """
    factory = ManagerFactory(Settings(auth_seconds=3.0, close_seconds=1.0))
    options = endpoint(factory, by_token)

    assert (None, None, 1_048_576, 5.0, 1.0) == (
        options["compression"],
        options["ping_interval"],
        options["max_size"],
        options["open_timeout"],
        options["close_timeout"],
    )
    assert "deflate" == endpoint(factory, by_token, compress=True)["compression"]
    assert 4_000_000 == endpoint(ManagerFactory(Settings(message_bytes=2_000_000)), by_token)["max_size"]


async def test_handshake_on_a_server() -> None:
    """
    Path, query, names, scheme and peer are taken over as they are; two lines of names are one list.
    """
    seen: list[Handshake] = []

    async def looking(handshake: Handshake) -> UserExecutionContext:
        seen.append(handshake)
        return await by_token(handshake)

    lines = ("Authorization: Bearer alice", "Sec-WebSocket-Protocol: one, ws-isolation.v1", "Sec-WebSocket-Protocol: b")
    async with by_websockets(Served(ManagerFactory(), None, looking)) as address:
        status, _ = await answer_to(address, upgrade(address, *lines, path="/a%20b?x=%41+1"))

    assert 101 == status
    assert ("127.0.0.1", "ws", "/a b", "x=%41+1") == (
        seen[0].client,
        seen[0].scheme,
        seen[0].path,
        seen[0].query_string,
    )
    assert ("one", "ws-isolation.v1", "b") == seen[0].subprotocols


async def test_process_request_of_ones_own() -> None:
    """
    A health check answers first, and hands everything else on.
    """
    factory = ManagerFactory()
    options = endpoint(factory, by_token, until_gone)
    decide = options["process_request"]

    async def process_request(connection: ServerConnection, request: Request) -> Response | None:
        if request.path == "/healthz":
            return connection.respond(200, "fine\n")
        return await decide(connection, request)

    options["process_request"] = process_request
    listener = listening()
    async with serve(**options, sock=listener), factory:
        address = address_of(listener)
        healthy, _ = await answer_to(address, f"GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        async with client(address) as tab:
            await tab.until("ws.welcome")

    assert 200 == healthy


@pytest.mark.requirement("P2")
async def test_open_timeout_of_the_library() -> None:
    """
    A handshake that the library gives up takes what was begun for it with it.
    """
    ended = asyncio.Event()

    async def waiting(_handshake: Handshake) -> UserExecutionContext | None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return None

    factory = ManagerFactory()
    options = endpoint(factory, waiting)
    options["open_timeout"] = 0.1
    listener = listening()
    async with serve(**options, sock=listener), factory, connected(address_of(listener)) as raw:
        raw.writer.write(upgrade(address_of(listener)))
        async with asyncio.timeout(10):
            assert b"" == await raw.reader.read()
            await ended.wait()
        assert 0 == factory.stats().pending


async def test_defect_before_an_answer() -> None:
    """
    What fails before it has decided is answered with 500, and the library reports it; so is what decides nothing.
    """
    factory = ManagerFactory()
    options = endpoint(factory, by_token)

    async def failing() -> None:
        raise LookupError

    async def nothing() -> None:
        pass

    async def process_request(connection: ServerConnection, request: Request) -> Response | None:
        serving = failing() if request.path == "/fails" else nothing()
        return await _websockets.WebsocketsOpening(connection, request).decide(serving)

    options["process_request"] = process_request
    listener = listening()
    async with serve(**options, sock=listener):
        address = address_of(listener)
        statuses = [(await answer_to(address, upgrade(address, path=path)))[0] for path in ("/fails", "/nothing")]

    assert [500, 500] == statuses


@pytest.mark.requirement("P5")
async def test_nothing_kept_of_handshakes() -> None:
    """
    Whether a handshake was accepted, refused, broken or left, nothing of it is kept.
    """
    factory = ManagerFactory()
    options = endpoint(factory, by_token, until_gone)
    served: Any = options["handler"]
    listener = listening()
    address = address_of(listener)
    async with serve(**options, sock=listener), factory:
        async with client(address) as tab:
            await tab.until("ws.welcome")
            assert 1 == len(served.__self__._openings)
        await answer_to(address, upgrade(address, "Origin: https://evil.com"))
        await answer_to(address, upgrade(address).replace(b"AAAA==", b"AA=="))
        async with connected(address) as raw:
            raw.writer.write(upgrade(address, "Authorization: Bearer alice"))
        await until(lambda: not served.__self__._openings)


async def test_opened_too_late() -> None:
    """
    A connection that nobody waits for any more is dropped, and not served.
    """

    async def process_request(_connection: ServerConnection, _request: Request) -> None:
        return None

    options = endpoint(ManagerFactory(), by_token)
    options["process_request"] = process_request
    options["select_subprotocol"] = lambda _connection, _offered: None
    listener = listening()
    async with serve(**options, sock=listener), connected(address_of(listener)) as raw:
        raw.writer.write(upgrade(address_of(listener)))
        await raw.head()
        async with asyncio.timeout(10):
            assert b"" == await raw.reader.read()


async def test_process_request_that_forgets_ours(caplog: pytest.LogCaptureFixture) -> None:
    """
    One of the application's own that does not ask ours accepts nobody, and the log says what to change.
    """

    async def process_request(_connection: ServerConnection, _request: Request) -> None:
        return None

    options = endpoint(ManagerFactory(), by_token)
    options["process_request"] = process_request
    listener = listening()
    async with serve(**options, sock=listener):
        status, _ = await answer_to(address_of(listener), upgrade(address_of(listener)))

    assert 500 == status
    assert "call it in your own" in caplog.text


@pytest.mark.scenario("S26", "S32")
@pytest.mark.requirement("P2")
async def test_cancelled_handler() -> None:
    """
    A connection's handler that is cancelled says goodbye, closes with 4300 and lets the cancellation go on.
    """
    factory = ManagerFactory()
    options = endpoint(factory, by_token, until_gone)
    serving = options["handler"]
    tasks: list[asyncio.Task[None]] = []

    async def handler(connection: ServerConnection) -> None:
        tasks.append(asyncio.ensure_future(serving(connection)))
        await asyncio.wait(tasks)

    options["handler"] = handler
    listener = listening()
    async with serve(**options, sock=listener), factory, client(address_of(listener)) as tab:
        await tab.until("ws.welcome")
        tasks[0].cancel()
        rest = await tab.rest()
        await until(tasks[0].done)

    assert rest.ended_with(4300, "internal_error")
    assert tasks[0].cancelled()


async def test_transport_alone() -> None:
    """
    A reason of 123 bytes arrives whole; whatever follows says that the peer is gone, or nothing.
    """
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def handler(connection: ServerConnection) -> None:
        transport = _websockets.WebsocketsTransport(connection)
        await transport.close(4999, "r" * 123)
        await transport.wait_closed()
        with pytest.raises(errors.TransportClosedError) as gone:
            await transport.send("text")
        await transport.close(1000, "")
        transport.abort()
        await transport.wait_closed()
        done.set_result(gone.value.code)

    listener = listening()
    async with serve(handler, sock=listener), client(address_of(listener), subprotocols=()) as tab:
        rest = await tab.rest()
        async with asyncio.timeout(10):
            code = await done

    assert (4999, "r" * 123, 4999) == (rest.code, rest.reason, code)


async def test_peer_without_a_close_frame() -> None:
    """
    A connection that breaks has no code but 1006.
    """
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def handler(connection: ServerConnection) -> None:
        transport = _websockets.WebsocketsTransport(connection)
        with pytest.raises(errors.TransportClosedError) as gone:
            await transport.receive()
        await transport.wait_closed()
        done.set_result(gone.value.code)

    listener = listening()
    async with serve(handler, sock=listener), connected(address_of(listener)) as raw:
        raw.writer.write(upgrade(address_of(listener)))
        await raw.head()
        raw.writer.transport.abort()
        async with asyncio.timeout(10):
            assert 1006 == await done


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without the library the import says which command installs it.
    """
    real = builtins.__import__

    def without_websockets(name: str, *arguments: Any, **options: Any) -> ModuleType:
        if name.split(".", maxsplit=1)[0] == "websockets":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "ws_isolation.adapters.websockets")
    monkeypatch.setattr(builtins, "__import__", without_websockets)
    with pytest.raises(errors.MissingExtraError, match=r"pip install 'ws-isolation\[websockets\]'"):
        importlib.import_module("ws_isolation.adapters.websockets")
