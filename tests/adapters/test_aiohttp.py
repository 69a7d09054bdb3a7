"""
What is aiohttp's alone: HTTP handlers, the application's end, what its socket does by itself.
"""

from __future__ import annotations

import asyncio
import builtins
import importlib
import signal
import ssl
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import make_mocked_request

from tests.adapters.own_servers import Served, application, by_aiohttp
from tests.backplanes.shared import nodes
from tests.servers.raw import answer_to, connected, upgrade
from tests.servers.running import by_token, client, until_gone
from ws_isolation import Handshake, ManagerFactory, Session, Settings, UserExecutionContext, errors, events
from ws_isolation.adapters import _aiohttp, aiohttp
from ws_isolation.adapters.aiohttp import manager


async def authenticate(handshake: Handshake) -> UserExecutionContext:
    """
    Same as ``by_token``, but Eve may not, and Mallory finds a defect.
    """
    context = await by_token(handshake)
    if context.user_id == "eve":
        raise errors.ForbiddenError
    if context.user_id == "mallory":
        raise LookupError
    return context


@asynccontextmanager
async def running(app: web.Application, *, handler_cancellation: bool = False) -> AsyncGenerator[str]:
    """
    Serve *app* until the block is left; give ``host:port``.
    """
    runner = web.AppRunner(app, handler_cancellation=handler_cancellation)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield "{}:{}".format(*runner.addresses[0])
    finally:
        await runner.cleanup()


def routed(route: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    """
    Return an application with *route* at ``/ws``.
    """
    app = web.Application()
    app.router.add_get("/ws", route)
    return app


def test_handshake_of_a_request() -> None:
    """
    Headers, path, query, subprotocols, scheme and peer are taken over as they are; two lines of names are one list.
    """
    request = make_mocked_request(
        "GET",
        "/a%20b?x=%41+1&cursor=a",
        headers=[("Host", "h"), ("Sec-WebSocket-Protocol", "one, two"), ("Sec-WebSocket-Protocol", ",three")],
    )
    shaken = _aiohttp.handshake_of(request)

    assert ("/a b", "x=%41+1&cursor=a", "http") == (shaken.path, shaken.query_string, shaken.scheme)
    assert ("one", "two", "three") == shaken.subprotocols
    assert {"x": "A 1", "cursor": "a"} == shaken.query
    assert (
        "https"
        == _aiohttp.handshake_of(make_mocked_request("GET", "/", sslcontext=ssl.create_default_context())).scheme
    )


async def test_handshake_on_a_server() -> None:
    """
    The peer's address is known, and plain is plain.
    """
    seen: list[Handshake] = []

    async def looking(handshake: Handshake) -> UserExecutionContext:
        seen.append(handshake)
        return await by_token(handshake)

    async with by_aiohttp(Served(ManagerFactory(), None, looking)) as address, client(address, query="?thread=t%201"):
        pass

    assert ("127.0.0.1", "ws", "/ws", "thread=t%201") == (
        seen[0].client,
        seen[0].scheme,
        seen[0].path,
        seen[0].query_string,
    )


# HTTP handlers.


def pushing(factory: ManagerFactory) -> web.Application:
    """
    Return an application with a socket and a POST that pushes.
    """
    own_manager = manager(factory, authenticate)

    async def push(request: web.Request) -> web.Response:
        mine = await own_manager(request)
        delivery = await mine.send(events.Custom(name="shop.pushed", value=await request.text()))
        return web.json_response({"user": mine.context.user_id, "sessions": delivery.sessions})

    app = application(Served(factory))
    app.router.add_post("/push", push)
    return app


@pytest.fixture(name="pushed")
async def pushed_fixture() -> Any:
    """
    Give what POSTs to a server of :func:`pushing` and returns status, headers and body; and its address.
    """

    async def push(user: str | None) -> tuple[int, dict[str, str], str]:
        headers = {} if user is None else {"Authorization": f"Bearer {user}"}
        async with (
            ClientSession() as session,
            session.post(f"http://{address}/push", data="hi", headers=headers) as answer,
        ):
            return answer.status, {**answer.headers}, await answer.text()

    async with running(pushing(ManagerFactory())) as address:
        yield push, address


@pytest.mark.scenario("S27", "S33")
@pytest.mark.requirement("P1")
async def test_push_reaches_its_own_user(pushed: Any) -> None:
    """
    What Alice posts arrives in Alice's tab and not in Bob's.
    """
    push, address = pushed
    async with client(address) as alices, client(address, "bob") as bobs:
        await bobs.until("ws.welcome")
        await alices.until("ws.welcome")
        status, _, body = await push("alice")
        got = await alices.until("custom")
        await push("bob")
        first_of_bob = await bobs.until("custom")

    assert (200, '{"user": "alice", "sessions": 1}') == (status, body)
    assert "hi" == got["data"]["value"]
    assert 1 == first_of_bob["seq"]


@pytest.mark.scenario("S63")
@pytest.mark.parametrize(
    ("user", "status", "header", "text"),
    [(None, 401, "Bearer", "unauthenticated"), ("eve", 403, None, "forbidden"), ("mallory", 500, None, None)],
)
async def test_manager_refused(pushed: Any, user: str, status: int, header: str | None, text: str | None) -> None:
    """
    Without a credential 401, without a right 403, and no more is said; a defect is the framework's 500.
    """
    push, _ = pushed
    got, headers, body = await push(user)

    assert (status, header) == (got, headers.get("WWW-Authenticate"))
    assert text is None or text == body


@pytest.mark.requirement("WS-30")
async def test_manager_while_the_engine_is_down() -> None:
    """
    Where the backplane does not say whether the user is revoked, 503, and no manager.
    """
    engine, (node,) = nodes(1)
    engine.failing = {"bars"}
    request = make_mocked_request("POST", "/push", headers={"Authorization": "Bearer alice"})
    with pytest.raises(web.HTTPServiceUnavailable) as refused:
        await manager(node.factory, authenticate)(request)

    assert "1" == refused.value.headers["Retry-After"]
    assert "canary" not in str(refused.value.text)


@pytest.mark.requirement("I5", "P1")
async def test_variables_of_middleware() -> None:
    """
    What middleware put into context variables is seen by no code of the application that runs for a session.
    """
    user: ContextVar[str] = ContextVar("user", default="nobody")
    seen: list[str] = []

    @web.middleware
    async def setting(request: web.Request, handler: Any) -> web.StreamResponse:
        user.set("mallory")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def looking(handshake: Handshake) -> UserExecutionContext:
        seen.append(user.get())
        return await by_token(handshake)

    async def handler(_session: Session) -> None:
        seen.append(user.get())

    app = application(Served(ManagerFactory(), handler, looking))
    app.middlewares.append(setting)
    async with running(app) as address, client(address) as tab:
        await tab.rest()

    assert ["nobody"] * 2 == seen


# The end.


@pytest.mark.scenario("S26")
@pytest.mark.requirement("P2")
async def test_handler_that_is_cancelled() -> None:
    """
    With aiohttp's ``handler_cancellation`` and a client that is gone, the session ends as for any that left.
    """
    ended = asyncio.Event()

    async def handler(session: Session) -> None:
        session.on_end(ended.set)
        await until_gone(session)

    factory = ManagerFactory()
    app = application(Served(factory, handler))
    async with running(app, handler_cancellation=True) as address, client(address) as tab:
        await tab.until("ws.welcome")
        tab.connection.transport.abort()
        async with asyncio.timeout(10):
            await ended.wait()

    assert 0 == factory.stats().sessions


@pytest.mark.scenario("S26")
def test_signals_that_nobody_handles() -> None:
    """
    SIGTERM that nobody handles ends the application as aiohttp does; what was taken is given back, or left to others.
    """

    class Loop:
        """
        A loop that calls at once.
        """

        def call_soon_threadsafe(self, callback: Callable[[], None]) -> None:
            """
            Call *callback*.
            """
            callback()

    def somebody_else(_number: int, _frame: object) -> None:
        pass

    loop: Any = Loop()
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with aiohttp._ended_by_signals(loop):
            taken: Any = signal.getsignal(signal.SIGTERM)
            with pytest.raises(web.GracefulExit):
                taken(signal.SIGTERM, None)
        given_back = signal.getsignal(signal.SIGTERM)
        with aiohttp._ended_by_signals(loop):
            signal.signal(signal.SIGTERM, somebody_else)
        left = signal.getsignal(signal.SIGTERM)
        with aiohttp._ended_by_signals(loop):
            assert somebody_else is signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert (signal.SIG_DFL, somebody_else) == (given_back, left)


@pytest.mark.scenario("S26", "S32")
@pytest.mark.requirement("P2")
async def test_cancelled_during_authentication() -> None:
    """
    A route that is cancelled before the socket was accepted still answers: 503, come back.
    """
    begun = asyncio.Event()
    routes: list[asyncio.Task[Any]] = []
    factory = ManagerFactory()

    async def waiting(_handshake: Handshake) -> UserExecutionContext | None:
        begun.set()
        return await asyncio.Event().wait() and None

    async def route(request: web.Request) -> web.StreamResponse:
        routes.extend(filter(None, [asyncio.current_task()]))
        return await aiohttp.serve(request, factory, waiting)

    app = routed(route)
    aiohttp.lifespan(app, factory)
    async with running(app) as address, connected(address) as raw:
        raw.writer.write(upgrade("127.0.0.1"))
        await begun.wait()
        routes[0].cancel()
        status, headers = await raw.head()

    assert (503, "1") == (status, headers["retry-after"])


async def test_peer_that_is_gone() -> None:
    """
    Whatever is done with a socket whose connection is gone: the transport says so, or nothing.
    """
    done: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

    async def route(request: web.Request) -> web.StreamResponse:
        opening = _aiohttp.AiohttpOpening(request, Settings(), compress=False)
        transport = await opening.accept(None)
        seen: list[Any] = [await transport.receive()]
        transport.abort()
        with pytest.raises(errors.TransportClosedError) as gone:
            await transport.receive()
        seen.append(gone.value.code)
        with pytest.raises(errors.TransportClosedError):
            await transport.send("text")
        await transport.close(1000, "")
        await transport.close(1000, "")
        transport.abort()
        done.set_result(seen)
        return await opening.leave()

    async with running(routed(route)) as address, client(address, subprotocols=()) as tab:
        await tab.connection.send("hello")
        async with asyncio.timeout(10):
            seen = await done

    assert ["hello", 1006] == seen


async def test_long_reason() -> None:
    """
    A reason of 123 bytes, as many as a close frame takes, arrives whole.
    """

    async def route(request: web.Request) -> web.StreamResponse:
        opening = _aiohttp.AiohttpOpening(request, Settings(), compress=False)
        await (await opening.accept("one")).close(4999, "r" * 123)
        return await opening.leave()

    async with running(routed(route)) as address, client(address, subprotocols=("one",)) as tab:
        rest = await tab.rest()

    assert (4999, "r" * 123) == (rest.code, rest.reason)


async def test_refused_connections_go_on() -> None:
    """
    A refusal is a whole answer: the same connection takes the next request.
    """
    factory = ManagerFactory(Settings(hosts=("chat.example.com",)))
    async with by_aiohttp(Served(factory)) as address, connected(address) as raw:
        raw.writer.write(upgrade(address, "Authorization: Bearer alice"))
        first, headers = await raw.head()
        raw.writer.write(upgrade(address, "Authorization: Bearer alice", host="chat.example.com"))
        second, _ = await raw.head()
        refused, _ = await answer_to(address, upgrade(address, "Origin: https://evil.com", host="chat.example.com"))

    assert (403, "0", 101, 403) == (first, headers["content-length"], second, refused)


async def test_nobody_answered() -> None:
    """
    A socket whose client left before it was accepted has an answer all the same, which nobody reads.
    """
    request = make_mocked_request("GET", "/ws")
    opening = _aiohttp.AiohttpOpening(request, Settings(), compress=False)

    assert 500 == (await opening.leave()).status


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without aiohttp the import says which command installs it.
    """
    real = builtins.__import__

    def without_aiohttp(name: str, *arguments: Any, **options: Any) -> ModuleType:
        if name.split(".", maxsplit=1)[0] == "aiohttp":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "ws_isolation.adapters.aiohttp")
    monkeypatch.setattr(builtins, "__import__", without_aiohttp)
    with pytest.raises(errors.MissingExtraError, match=r"pip install 'ws-isolation\[aiohttp\]'"):
        importlib.import_module("ws_isolation.adapters.aiohttp")
