"""
The Starlette adapter, against an ASGI server in memory that says what real ones say.
"""

from __future__ import annotations

import asyncio
import builtins
import importlib
import sys
from collections.abc import MutableMapping
from types import ModuleType
from typing import Any

import attrs
import httpx
import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.websockets import WebSocket

from tests.backplanes.shared import nodes
from tests.shell import until_over
from ws_isolation import Handshake, ManagerFactory, Session, Settings, UserExecutionContext, errors
from ws_isolation.adapters import _asgi, starlette
from ws_isolation.credentials.tickets import Tickets
from ws_isolation.testing import make_context
from ws_isolation.testing.clock import settle

Message = MutableMapping[str, Any]


@attrs.define
class Server:
    """
    An ASGI server with one connection: what it was told, and what it tells.
    """

    headers: tuple[tuple[bytes, bytes], ...] = ((b"host", b"chat.example.com"), (b"authorization", b"Bearer alice"))
    extensions: dict[str, Any] | None = attrs.field(factory=lambda: {"websocket.http.response": {}})
    error: BaseException | None = None
    """What sends raise once ``fails_from`` messages were sent."""
    fails_from: int = 0
    sent: list[Message] = attrs.field(factory=list[Message])
    events: asyncio.Queue[Message] = attrs.field(factory=asyncio.Queue[Message])

    def websocket(self, **more: Any) -> WebSocket:
        """
        Return the connection as Starlette hands it to an endpoint.
        """
        self.events.put_nowait({"type": "websocket.connect"})
        scope: dict[str, Any] = {
            "type": "websocket",
            "path": "/ws",
            "query_string": b"thread=t1",
            "headers": list(self.headers),
            "subprotocols": ["ws-isolation.v1"],
            "scheme": "wss",
            "client": ("192.0.2.7", 1234),
            **more,
        }
        if self.extensions is not None:
            scope["extensions"] = self.extensions
        return WebSocket(scope, self.events.get, self.send)

    async def send(self, message: Message) -> None:
        """
        Take a message, or raise.
        """
        if self.error is not None and len(self.sent) >= self.fails_from:
            raise self.error
        self.sent.append(message)

    def types(self) -> list[str]:
        """
        Return the types of what was sent, without their prefix.
        """
        return [message["type"].removeprefix("websocket.") for message in self.sent]


async def authenticate(handshake: Handshake) -> UserExecutionContext:
    """
    Admit who has a token.
    """
    match handshake.bearer_token:
        case None:
            raise errors.UnauthenticatedError
        case "eve":
            raise errors.ForbiddenError
        case "defect":
            raise LookupError
        case user:
            return make_context(user, thread_id=handshake.query.get("thread"))


async def serve(server: Server, handler: Any = until_over, **scope: Any) -> asyncio.Task[None]:
    """
    Serve the connection until it is over or waits.
    """
    factory = ManagerFactory()
    task = asyncio.create_task(starlette.serve(server.websocket(**scope), factory, authenticate, handler))
    await settle()
    return task


@pytest.mark.scenario("S58", "S61")
async def test_serves_a_session() -> None:
    """
    Accept with the subprotocol, welcome, messages in and events out, goodbye, close; then nothing more.
    """
    seen: list[object] = []

    async def handler(session: Session) -> None:
        async for message in session:
            seen.append((message.type, session.context.user_id, session.context.thread_id))
            return

    server = Server()
    task = await serve(server, handler)
    server.events.put_nowait({"type": "websocket.receive", "text": '{"type":"hello"}'})
    await settle()

    assert task.done()
    assert [("hello", "alice", "t1")] == seen
    assert ["accept", "send", "send", "close"] == server.types()
    assert "ws-isolation.v1" == server.sent[0]["subprotocol"]
    assert (1000, "normal") == (server.sent[-1]["code"], server.sent[-1]["reason"])


@pytest.mark.scenario("S41")
@pytest.mark.parametrize(
    "event",
    [
        {"type": "websocket.receive", "bytes": b"{}"},
        {"type": "websocket.receive", "text": None, "bytes": b""},
        {"type": "websocket.receive"},
    ],
)
async def test_binary_message(event: Message) -> None:
    """
    A binary message, also an empty one, ends the session with 4000.
    """
    server = Server()
    await serve(server)
    server.events.put_nowait(event)
    await settle()

    assert 4000 == server.sent[-1]["code"]


@pytest.mark.parametrize("event", [{"type": "websocket.disconnect", "code": 1001}, {"type": "websocket.disconnect"}])
async def test_disconnect(event: Message) -> None:
    """
    When the server says that the client left, the endpoint returns and sends nothing more.
    """
    server = Server()
    task = await serve(server)
    server.events.put_nowait(event)
    await settle()

    assert task.done()
    assert task.exception() is None
    assert ["accept", "send"] == server.types()


@pytest.mark.requirement("P2")
@pytest.mark.parametrize("error", [RuntimeError("out of turn"), OSError(), ConnectionResetError()])
@pytest.mark.parametrize("fails_from", [0, 1, 2, 3])
async def test_send_finds_the_client_gone(error: Exception, fails_from: int) -> None:
    """
    Whatever servers raise once the client is gone, and whenever: the endpoint returns, as for any client that left.
    """

    async def handler(_session: Session) -> None:
        pass

    server = Server(error=error, fails_from=fails_from)
    task = await serve(server, handler)

    assert task.done()
    assert task.exception() is None
    assert fails_from == len(server.sent)


@pytest.mark.scenario("S26", "S32")
@pytest.mark.requirement("P2")
async def test_cancelled_endpoint() -> None:
    """
    A cancelled endpoint says goodbye, closes with 4300, and lets the cancellation go on.
    """
    server = Server()
    task = await serve(server)
    task.cancel()
    await settle()

    assert task.cancelled()
    assert 4300 == server.sent[-1]["code"]


async def test_cancelled_send() -> None:
    """
    A cancellation inside a send is no client that left.
    """

    async def cancelled(*_: object) -> Any:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await _asgi.AsgiTransport(cancelled, cancelled, _asgi.gone).send("text")


async def test_error_of_the_server() -> None:
    """
    What a server raises that does not say that the client left is its defect, and goes on as it is.
    """

    async def broken(*_: object) -> Any:
        raise LookupError

    transport = _asgi.AsgiTransport(broken, broken, _asgi.gone)
    with pytest.raises(LookupError):
        await transport.send("text")
    with pytest.raises(LookupError):
        await transport.close(1000, "")


@pytest.mark.scenario("S59")
@pytest.mark.requirement("WS-01")
@pytest.mark.parametrize(
    ("headers", "extensions", "expected"),
    [
        ((), {"websocket.http.response": {}}, 400),
        ((), None, None),
        ((), {}, None),
        (((b"host", b"a"), (b"origin", b"https://b")), {"websocket.http.response": {}}, None),
    ],
)
async def test_refusal(
    headers: tuple[tuple[bytes, bytes], ...], extensions: dict[str, Any] | None, expected: int | None
) -> None:
    """
    A status where the server can answer one; else, and for 403, a close before accept, which is a 403 everywhere.
    """
    server = Server(headers, extensions)
    task = await serve(server)

    assert task.done()
    if expected is None:
        assert ["close"] == server.types()
    else:
        assert ["http.response.start", "http.response.body"] == server.types()
        assert expected == server.sent[0]["status"]


@pytest.mark.scenario("S59")
async def test_retry_after() -> None:
    """
    503 comes with Retry-After.
    """
    factory = ManagerFactory()
    async with factory:
        pass
    server = Server()
    await starlette.serve(server.websocket(), factory, authenticate)

    assert 503 == server.sent[0]["status"]
    assert (b"retry-after", b"1") in server.sent[0]["headers"]


@pytest.mark.parametrize("accepts", [False, True])
async def test_client_that_left_before_the_answer(*, accepts: bool) -> None:
    """
    A connection that ends before it was answered is neither accepted nor refused, and raises nothing.
    """
    server = Server() if accepts else Server(headers=())
    websocket = server.websocket()
    server.events.get_nowait()
    server.events.put_nowait({"type": "websocket.disconnect", "code": 1006})
    await starlette.serve(websocket, ManagerFactory(), authenticate)

    assert [] == server.sent


async def test_socket_that_was_accepted_before() -> None:
    """
    An endpoint that accepted first gets no session: the mistake is reported, and nothing hangs.
    """
    server = Server()
    websocket = server.websocket()
    await websocket.accept()
    server.events.put_nowait({"type": "websocket.receive", "text": "{}"})
    await starlette.serve(websocket, ManagerFactory(), authenticate)

    assert ["accept"] == server.types()


def test_handshake_of_a_bare_scope() -> None:
    """
    What a scope leaves out is absent in the handshake.
    """
    assert Handshake() == _asgi.handshake_of({})


def test_handshake_of_a_full_scope() -> None:
    """
    Headers, path, query, subprotocols, scheme and peer are taken over as they are.
    """
    scope = {
        "headers": [(b"Host", b"h"), (b"x-latin", b"\xe4")],
        "path": "/chat",
        "query_string": b"a=1",
        "subprotocols": ["one", "two"],
        "scheme": "wss",
        "client": ("192.0.2.7", 99),
    }
    shaken = _asgi.handshake_of(scope)

    assert ("h", "ä") == (shaken.host, shaken.headers["x-latin"])
    assert ("/chat", "a=1", ("one", "two"), "wss", "192.0.2.7") == (
        shaken.path,
        shaken.query_string,
        shaken.subprotocols,
        shaken.scheme,
        shaken.client,
    )


# HTTP endpoints.


def request_of(token: str | None) -> Request:
    """
    Return a request with a bearer token.
    """
    headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
    return Request({"type": "http", "method": "POST", "path": "/push", "query_string": b"", "headers": headers})


@pytest.mark.requirement("P1")
async def test_manager_of_the_request() -> None:
    """
    The dependency gives the manager of the request's own user.
    """
    factory = ManagerFactory()
    manager = await starlette.manager(factory, authenticate)(request_of("alice"))

    assert "alice" == manager.context.user_id


@pytest.mark.scenario("S63")
@pytest.mark.parametrize(
    ("token", "status", "headers"), [(None, 401, {"WWW-Authenticate": "Bearer"}), ("eve", 403, None)]
)
async def test_manager_refused(token: str | None, status: int, headers: dict[str, str] | None) -> None:
    """
    Without a credential 401, without a right 403, and no more is said.
    """
    with pytest.raises(HTTPException) as refused:
        await starlette.manager(ManagerFactory(), authenticate)(request_of(token))

    assert (status, headers) == (refused.value.status_code, refused.value.headers)
    assert refused.value.__cause__ is None


@pytest.mark.requirement("WS-30")
async def test_manager_while_the_engine_is_down() -> None:
    """
    Where the backplane does not say whether the user is revoked, 503, and no manager.
    """
    engine, (node,) = nodes(1)
    engine.failing = {"bars"}
    with pytest.raises(HTTPException) as refused:
        await starlette.manager(node.factory, authenticate)(request_of("alice"))

    assert (503, {"Retry-After": "1"}) == (refused.value.status_code, refused.value.headers)
    assert "canary" not in str(refused.value.detail)


async def test_manager_with_a_defect() -> None:
    """
    What else ``authenticate`` raises goes on to the framework; so does a context that is none.
    """

    async def wrong(_handshake: Handshake) -> Any:
        return {"user_id": "alice"}

    with pytest.raises(LookupError):
        await starlette.manager(ManagerFactory(), authenticate)(request_of("defect"))
    with pytest.raises(errors.ContextTypeError, match=r"manager\(\) needs"):
        await starlette.manager(ManagerFactory(), wrong)(request_of("alice"))


@pytest.mark.scenario("S26")
async def test_lifespan() -> None:
    """
    Inside, the factory runs; afterwards it has stopped, its sockets were told 4200; it can start again.
    """
    factory = ManagerFactory()
    server = Server()
    context = starlette.lifespan(factory)
    async with context(object()):
        task = asyncio.create_task(starlette.serve(server.websocket(), factory, authenticate))
        await settle()
    assert task.done()
    assert 4200 == server.sent[-1]["code"]
    with pytest.raises(errors.InvalidStateError):
        factory.require_running("here()")
    async with context(object()):
        factory.require_running("here()")


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without Starlette the import says which command installs it.
    """
    real = builtins.__import__

    def without_starlette(name: str, *arguments: Any, **options: Any) -> ModuleType:
        if name.startswith("starlette"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "ws_isolation.adapters.starlette")
    monkeypatch.setattr(builtins, "__import__", without_starlette)
    with pytest.raises(errors.MissingExtraError, match=r"pip install 'ws-isolation\[starlette\]'"):
        importlib.import_module("ws_isolation.adapters.starlette")


@pytest.mark.requirement("WS-06", "WS-25")
async def test_ticket_behind_a_proxy() -> None:
    """
    A page of the host that a trusted proxy names gets one; what the proxy garbles is refused with 400.
    """
    endpoint = starlette.ticket(ManagerFactory(Settings(trusted_proxies=("127.0.0.1",))), authenticate, Tickets())
    app = FastAPI()
    app.post("/ticket")(endpoint)
    said = {"Authorization": "Bearer alice", "Origin": "https://app.example", "X-Forwarded-For": "198.51.100.7"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://10.0.0.5") as http:
        given = await http.post("/ticket", headers={**said, "X-Forwarded-Host": "app.example"})
        other = await http.post("/ticket", headers={**said, "X-Forwarded-Host": "other.example"})
        garbled = await http.post("/ticket", headers={**said, "X-Forwarded-For": "nonsense"})

    assert (200, 403, 400) == (given.status_code, other.status_code, garbled.status_code)


@pytest.mark.requirement("WS-06")
async def test_ticket_endpoint() -> None:
    """
    The endpoint, in FastAPI too, answers a POST of whoever is known with a ticket, and nothing else.
    """
    tickets = Tickets()
    endpoint = starlette.ticket(ManagerFactory(), authenticate, tickets)
    app = FastAPI()
    app.post("/ticket")(endpoint)
    app.get("/ticket")(endpoint)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://chat.example.com") as http:
        bearer = {"Authorization": "Bearer alice"}
        given = await http.post("/ticket?thread=t", headers=bearer)
        got = await http.get("/ticket", headers=bearer)
        refused = await http.post("/ticket")
        made = await tickets.redeem(given.json()["ticket"])

    assert (200, "no-store", "application/json") == (
        given.status_code, given.headers["cache-control"], given.headers["content-type"],
    )  # fmt: skip
    assert ("alice", "t") == (made.user_id, made.thread_id)
    assert (405, "POST") == (got.status_code, got.headers["allow"])
    assert (401, "Bearer") == (refused.status_code, refused.headers["www-authenticate"])


async def test_endpoint_class() -> None:
    """
    A class serves its sockets, with an instance for each.
    """
    seen: list[starlette.SessionEndpoint] = []

    class Chat(starlette.SessionEndpoint):
        """
        One socket.
        """

        factory = ManagerFactory()

        async def authenticate(self, handshake: Handshake, /) -> UserExecutionContext | None:
            """
            Admit who has a token.
            """
            return await authenticate(handshake)

        async def handle(self, session: Session, /) -> None:
            """
            Note whose socket it is.
            """
            assert ("alice", "/ws") == (session.context.user_id, self.websocket.url.path)
            seen.append(self)

    for _ in range(2):
        server = Server()
        websocket = server.websocket()
        await Chat(websocket.scope, server.events.get, server.send)
        assert (1000, "normal") == (server.sent[-1]["code"], server.sent[-1]["reason"])

    assert seen[0] is not seen[1]
