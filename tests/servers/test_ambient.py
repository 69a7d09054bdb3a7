"""
One user's context variables and the next one's WebSocket, on a real server and one TCP connection.

uvicorn with the asyncio loop hands them on: what a large POST of Alice set is seen by the WebSocket of
Bob that follows on the same connection, as it does behind a proxy that keeps connections.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import Any, Final

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from tests.servers.raw import connected, text_frame, upgrade
from tests.servers.running import IMPLEMENTATIONS, by_token, legacy, running
from ws_isolation import Handshake, ManagerFactory, Session, UserExecutionContext, events
from ws_isolation.adapters.starlette import lifespan, serve

pytestmark = [legacy, pytest.mark.requirement("I5", "P1")]

user: ContextVar[str] = ContextVar("user")
trace: ContextVar[str] = ContextVar("trace", default="none")

BODY: Final = b"x" * 600_000
"""More than a server reads at once: it pauses and resumes, and what it registers then is Alice's."""
SAYS: Final = ["alice"] if sys.version_info < (3, 14) else ["alice", None]
"""What an endpoint by hand may see: CPython up to 3.13 hands it on (python/cpython#140947)."""


async def post(request: Request) -> Response:
    """
    Set a variable as middleware for logs or tenants does, then take the body.
    """
    user.set(request.headers["x-user"])
    await request.body()
    return Response()


async def by_hand(websocket: WebSocket) -> None:
    """
    Say what is seen, as an endpoint that trusts a variable would.
    """
    await websocket.accept()
    await websocket.send_json({"seen": user.get(None)})
    await websocket.receive()


async def traced(scope: Any, receive: Any, send: Any, app: Any) -> None:
    """
    Set the variable of a trace, as tracing middleware does for each request.
    """
    trace.set(f"trace of {scope['path']}")
    await app(scope, receive, send)


def application(factory: ManagerFactory) -> Any:
    """
    Return a service with an upload, a socket by hand and one of ours, under tracing middleware.
    """
    seen: list[str] = []

    async def authenticate(handshake: Handshake) -> UserExecutionContext:
        seen.append(f"{user.get('nobody')}, {trace.get()}")
        return await by_token(handshake)

    async def handler(session: Session) -> None:
        seen.append(f"{user.get('nobody')}, {trace.get()}")
        async for _message in session:
            seen.append(f"{user.get('nobody')}, {trace.get()}")
            await session.manager.send(events.Custom(name="test.seen", value=[*seen]))

    async def ours(websocket: WebSocket) -> None:
        await serve(websocket, factory, authenticate, handler)

    routes = [
        Route("/upload", post, methods=["POST"]),
        WebSocketRoute("/by-hand", by_hand),
        WebSocketRoute("/ws", ours),
    ]
    app = Starlette(routes=routes, lifespan=lifespan(factory))

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
        else:
            await traced(scope, receive, send, app)

    return middleware


def upload(address: str) -> bytes:
    """
    Return Alice's request, which keeps the connection.
    """
    head = f"POST /upload HTTP/1.1\r\nHost: {address}\r\nX-User: alice\r\nContent-Length: {len(BODY)}\r\n\r\n"
    return head.encode() + BODY


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_after_an_upload_on_the_same_connection(implementation: str) -> None:
    """
    Bob's socket by hand sees Alice's variable; ours sees none but the one that is carried, which is of its own request.
    """
    async with running(application(ManagerFactory(carry=[trace])), implementation=implementation) as address:
        async with connected(address) as naive:
            naive.writer.write(upload(address))
            assert 200 == (await naive.head())[0]
            naive.writer.write(upgrade(address, path="/by-hand"))
            assert 101 == (await naive.head())[0]
            leaked = (await naive.frame())["seen"]
        async with connected(address) as raw:
            raw.writer.write(upload(address))
            assert 200 == (await raw.head())[0]
            raw.writer.write(upgrade(address, "Authorization: Bearer bob", "Sec-WebSocket-Protocol: ws-isolation.v1"))
            assert 101 == (await raw.head())[0]
            raw.writer.write(text_frame('{"type":"say","data":{}}'))
            while (frame := await raw.frame())["type"] != "custom":
                pass

    assert leaked in SAYS
    assert ["nobody, trace of /ws"] * 3 == frame["data"]["value"]
