"""
The endpoint that gives connect tickets, in each framework that has one: the same answers everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs
import httpx
import pytest
from aiohttp import ClientSession, web
from litestar import Litestar
from quart import Quart
from starlette.applications import Starlette
from starlette.routing import Route

from tests.adapters.own_servers import address_of, listening
from tests.adapters.shared import authenticate, http_scope
from ws_isolation import ManagerFactory
from ws_isolation.adapters import aiohttp, channels, litestar, quart, starlette
from ws_isolation.credentials.tickets import Tickets

Given: TypeAlias = tuple[int, Mapping[str, str], bytes]
Ask: TypeAlias = Callable[[Tickets, dict[str, str], str], Awaitable[Given]]
"""Asks an endpoint for a ticket, with headers and a method."""

HOST: Final = "chat.example.com"


async def _asgi(app: Any, headers: dict[str, str], method: str) -> Given:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=f"http://{HOST}") as http:
        answer = await http.request(method, "/ticket", headers=headers)
    return answer.status_code, answer.headers, answer.content


async def by_starlette(tickets: Tickets, headers: dict[str, str], method: str) -> Given:
    """
    Ask in Starlette.
    """
    endpoint = starlette.ticket(ManagerFactory(), authenticate, tickets)
    return await _asgi(Starlette(routes=[Route("/ticket", endpoint, methods=["POST"])]), headers, method)


async def by_litestar(tickets: Tickets, headers: dict[str, str], method: str) -> Given:
    """
    Ask in Litestar.
    """
    route = litestar.ticket("/ticket", ManagerFactory(), authenticate, tickets)
    return await _asgi(Litestar([route], openapi_config=None, logging_config=None), headers, method)


async def by_quart(tickets: Tickets, headers: dict[str, str], method: str) -> Given:
    """
    Ask in Quart.
    """
    app = Quart(__name__)
    app.post("/ticket")(quart.ticket(ManagerFactory(), authenticate, tickets))
    return await _asgi(app, headers, method)


@attrs.frozen
class Request:
    """
    A request as Django's middleware leaves it.
    """

    method: str
    scope: dict[str, Any]
    session: object = None

    async def auser(self) -> object:
        """
        Return nobody: the token says who it is.
        """
        return None


async def by_channels(tickets: Tickets, headers: dict[str, str], method: str) -> Given:
    """
    Ask in a view of Django.
    """
    raw = [(name.lower().encode(), value.encode()) for name, value in {"Host": HOST, **headers}.items()]
    view = channels.ticket(ManagerFactory(), authenticate, tickets)
    answer: Any = await view(Request(method, {**http_scope(None), "headers": raw}))
    return answer.status_code, {name.lower(): value for name, value in answer.items()}, answer.content


async def by_aiohttp(tickets: Tickets, headers: dict[str, str], method: str) -> Given:
    """
    Ask in aiohttp.
    """
    app = web.Application()
    app.router.add_post("/ticket", aiohttp.ticket(ManagerFactory(), authenticate, tickets))
    runner, listener = web.AppRunner(app), listening()
    await runner.setup()
    await web.SockSite(runner, listener).start()
    try:
        async with (
            ClientSession() as http,
            http.request(method, f"http://{address_of(listener)}/ticket", headers={"Host": HOST, **headers}) as answer,
        ):
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, await answer.read()
    finally:
        await runner.cleanup()
        listener.close()


FRAMEWORKS: Final[dict[str, Ask]] = {
    "starlette": by_starlette,
    "litestar": by_litestar,
    "quart": by_quart,
    "channels": by_channels,
    "aiohttp": by_aiohttp,
}


@pytest.mark.requirement("WS-06")
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_ticket(framework: str) -> None:
    """
    Whoever is known gets a ticket that lets this user in, once, stored nowhere on its way.
    """
    tickets = Tickets()
    bearer = {"Authorization": "Bearer alice", "Origin": f"https://{HOST}"}
    status, headers, body = await FRAMEWORKS[framework](tickets, bearer, "POST")
    given = json.loads(body)
    made = await tickets.redeem(given["ticket"], origin=f"https://{HOST}")

    assert (200, "no-store") == (status, headers["cache-control"])
    assert headers["content-type"].startswith("application/json")
    assert ("alice", 30) == (made.user_id, given["seconds"])


@pytest.mark.scenario("S63")
@pytest.mark.requirement("WS-06", "WS-01")
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("headers", "status", "more"),
    [
        ({}, 401, ("www-authenticate", "Bearer")),
        ({"Authorization": "Bearer eve"}, 403, ("cache-control", "no-store")),
        ({"Authorization": "Bearer alice", "Origin": "https://evil.example"}, 403, ("cache-control", "no-store")),
    ],
)
async def test_refused(framework: str, headers: dict[str, str], status: int, more: tuple[str, str]) -> None:
    """
    Nobody, somebody who may not, and another site's page get a status, and nothing else.
    """
    found, answered, body = await FRAMEWORKS[framework](Tickets(), headers, "POST")

    assert (status, b"{}") == (found, body)
    assert more[1] == answered[more[0]]


@pytest.mark.requirement("WS-06")
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_only_a_post(framework: str) -> None:
    """
    A GET, which a page can be made to send, gets none.
    """
    status, _, body = await FRAMEWORKS[framework](Tickets(), {"Authorization": "Bearer alice"}, "GET")

    assert 405 == status
    assert b"ticket" not in body
