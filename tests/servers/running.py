"""
A uvicorn of its own for each test, in the test's loop, on a free port of loopback.
"""

from __future__ import annotations

import asyncio
import json
import socket
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import attrs
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from ws_isolation import Handshake, ManagerFactory, Session, UserExecutionContext, errors
from ws_isolation.adapters.starlette import lifespan, serve
from ws_isolation.wire import DEFAULT_WIRE, Wire

IMPLEMENTATIONS: Final = ("websockets-sansio", "websockets", "wsproto")
"""What uvicorn can speak WebSocket with."""

legacy: Final = pytest.mark.filterwarnings(
    "ignore:remove second argument of ws_handler:DeprecationWarning",
    "ignore:.*websockets.*:DeprecationWarning",
)
"""For tests of every implementation: "websockets" is deprecated, and still what many run."""

SUBPROTOCOL: Final = "ws-isolation.v1"

Authenticate: TypeAlias = Callable[[Handshake], Awaitable[UserExecutionContext | None]]
Handler: TypeAlias = Callable[[Session], Awaitable[None]]


async def by_token(handshake: Handshake) -> UserExecutionContext:
    """
    Take the bearer token for the user id: ``tenant/user`` or ``user``.
    """
    if handshake.bearer_token is None:
        raise errors.UnauthenticatedError
    tenant, _, user = handshake.bearer_token.rpartition("/")
    return UserExecutionContext(user_id=user, tenant_id=tenant or None, thread_id=handshake.query.get("thread"))


async def until_gone(session: Session) -> None:
    """
    Serve until the client leaves.
    """
    async for _message in session:
        pass


def websocket_app(
    factory: ManagerFactory,
    handler: Handler | None = until_gone,
    authenticate: Authenticate = by_token,
    *,
    wire: Wire = DEFAULT_WIRE,
    routes: tuple[BaseRoute, ...] = (),
) -> Starlette:
    """
    Return an application with one WebSocket endpoint, ``/ws``.
    """

    async def endpoint(websocket: WebSocket) -> None:
        await serve(websocket, factory, authenticate, handler, wire=wire)

    return Starlette(routes=[WebSocketRoute("/ws", endpoint), *routes], lifespan=lifespan(factory))


async def until(holds: Callable[[], bool]) -> None:
    """
    Wait for what nobody announces: for 10 seconds at most.
    """
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  # a condition on a server, not an event of ours
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(
    app: Any,
    *,
    implementation: str = IMPLEMENTATIONS[0],
    send_buffer: int | None = None,
    proxy_headers: bool = True,
) -> AsyncGenerator[str]:
    """
    Serve *app* until the block is left; give ``host:port``.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=1_024)
    if send_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)  # inherited by what it accepts
    config = uvicorn.Config(
        app,
        ws=implementation,
        lifespan="on",
        log_config=None,
        timeout_graceful_shutdown=10,
        proxy_headers=proxy_headers,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # uvicorn's implementation "websockets" is deprecated, and still in use
        config.load()
    server = uvicorn.Server(config)
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield address
    finally:
        server.should_exit = True
        async with asyncio.timeout(20):
            await task
        listener.close()


@asynccontextmanager
async def client(
    address: str,
    user: str | None = "alice",
    *,
    query: str = "",
    subprotocols: tuple[str, ...] = (SUBPROTOCOL,),
    headers: dict[str, str] | None = None,
    compression: str | None = "deflate",
) -> AsyncGenerator[Client]:
    """
    Connect as *user*, and leave with the block.
    """
    bearer = {} if user is None else {"Authorization": f"Bearer {user}"}
    async with connect(
        f"ws://{address}/ws{query}",
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        additional_headers={**bearer, **(headers or {})},
        proxy=None,
        max_queue=None,
        compression=compression,
    ) as connection:
        yield Client(connection)


@attrs.frozen
class Client:
    """
    A real client, which reads frames and remembers how it was closed.
    """

    connection: ClientConnection

    async def next(self) -> dict[str, Any]:
        """
        Return the next frame.
        """
        async with asyncio.timeout(15):
            frame: dict[str, Any] = json.loads(await self.connection.recv())
        return frame

    async def until(self, kind: str) -> dict[str, Any]:
        """
        Return the next frame of a type, and pass over others.
        """
        while (frame := await self.next())["type"] != kind:
            pass
        return frame

    async def send(self, **message: Any) -> None:
        """
        Send a message.
        """
        await self.connection.send(json.dumps(message))

    async def rest(self) -> Rest:
        """
        Read to the end of the connection.
        """
        frames: list[dict[str, Any]] = []
        try:
            while True:
                frames.append(await self.next())
        except ConnectionClosed as closed:
            frame = closed.rcvd
            return Rest(frames, 1006 if frame is None else frame.code, "" if frame is None else frame.reason)


@attrs.frozen
class Rest:
    """
    What a client got until it was closed, and how.
    """

    frames: list[dict[str, Any]]
    code: int
    reason: str

    def ended_with(self, code: int, slug: str) -> bool:
        """
        Tell whether goodbye and close agree and say what was expected.
        """
        last = self.frames[-1]
        said = (last["type"], last["code"], last["slug"])
        return said == ("ws.goodbye", code, slug) and (self.code, self.reason.split(";")[0]) == (code, slug)
