"""
The Litestar adapter, where no server is needed: HTTP routes, the plugin, and what a send finds.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from litestar import Litestar, Request, post
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException, WebSocketDisconnect

from tests.adapters.shared import authenticate, check_missing_extra, http_scope
from tests.backplanes.shared import nodes
from tests.servers.running import client, running, until
from ws_isolation import IsolatedManager, ManagerFactory, Message, Session, errors
from ws_isolation.adapters import litestar


@post("/push")
async def push(manager: NamedDependency[IsolatedManager]) -> str:
    """
    Say whose manager came in.
    """
    return manager.context.user_id


@asynccontextmanager
async def client_of(app: Litestar) -> AsyncGenerator[httpx.AsyncClient]:
    """
    Run *app* in the test's own loop, and give a client of it.
    """
    transport: Any = httpx.ASGITransport(app)  # type: ignore[arg-type]  # Litestar's types name each message
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.mark.requirement("P1")
@pytest.mark.scenario("S63")
@pytest.mark.parametrize(
    ("token", "status", "body"), [("alice", 201, "alice"), (None, 401, "unauthenticated"), ("eve", 403, "forbidden")]
)
async def test_manager_of_the_request(token: str | None, status: int, body: str) -> None:
    """
    The plugin's dependency gives a route the manager of its own user, or a status.
    """
    factory = ManagerFactory()
    app = Litestar(
        [push], plugins=[litestar.IsolationPlugin(factory, authenticate)], openapi_config=None, logging_config=None
    )
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with client_of(app) as client:
        factory.require_running("here()")  # the plugin's lifespan has begun
        answer = await client.post("/push", headers=headers)

    assert status == answer.status_code
    assert body in answer.text
    assert ("Bearer" if status == 401 else None) == answer.headers.get("www-authenticate")
    with pytest.raises(errors.InvalidStateError):
        factory.require_running("here()")


async def test_a_dependency_of_the_same_name() -> None:
    """
    What the application calls ``manager`` itself stays.
    """

    async def own() -> str:
        return "its own"

    @post("/own")
    async def say(manager: NamedDependency[str]) -> str:
        return manager

    plugin = litestar.IsolationPlugin(ManagerFactory(), authenticate)
    app = Litestar(
        [say], plugins=[plugin], dependencies={"manager": Provide(own)}, openapi_config=None, logging_config=None
    )
    async with client_of(app) as client:
        answer = await client.post("/own")

    assert "its own" == answer.text


@pytest.mark.requirement("WS-30")
async def test_manager_while_the_engine_is_down() -> None:
    """
    Where the backplane does not say whether the user is revoked, 503, and no manager.
    """
    engine, (node,) = nodes(1)
    engine.failing = {"bars"}
    request: Request[Any, Any, Any] = Request(http_scope("alice"))  # type: ignore[arg-type]
    with pytest.raises(HTTPException) as refused:
        await litestar.manager(node.factory, authenticate)(request)

    assert (503, {"Retry-After": "1"}) == (refused.value.status_code, refused.value.headers)


def test_what_a_send_finds() -> None:
    """
    Litestar's disconnect and a server's errors mean a client that is gone; anything else is a defect.
    """
    gone = litestar._gone

    assert 1006 == getattr(gone(WebSocketDisconnect(detail="")), "code", None)
    assert 1006 == getattr(gone(RuntimeError()), "code", None)
    assert gone(LookupError()) is None


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without Litestar the import says which command installs it.
    """
    check_missing_extra(monkeypatch, "litestar", "litestar")


@pytest.mark.requirement("P1")
async def test_listener() -> None:
    """
    A function hears each message of its socket, in order; it ends the session by raising, its client by leaving.
    """
    heard: list[tuple[str, str]] = []

    factory = ManagerFactory()

    @litestar.listener("/ws", factory, authenticate)
    async def listen(session: Session, message: Message) -> None:
        heard.append((session.context.user_id, message.type))
        if "bad" == message.type:
            raise LookupError

    app: Any = Litestar([listen], openapi_config=None, logging_config=None)
    async with running(app) as address, client(address) as alice:
        for kind in ("one", "two", "bad", "never"):
            await alice.send(type=kind)
        goodbye = await alice.until("ws.goodbye")
        async with client(address, "bob") as bob:
            await bob.until("ws.welcome")
        await until(lambda: 0 == factory.stats().sessions)

    assert [("alice", "one"), ("alice", "two"), ("alice", "bad")] == heard
    assert 4300 == goodbye["code"]
