"""
Each source of a credential over a real server: a token's, a ticket's, and what stands in an address.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from websockets.exceptions import InvalidStatus

from tests.credentials.tokens import AUDIENCE, ISSUER, OTHER_RSA, RSA, SECRET, jwk, published, signed
from tests.servers.running import SUBPROTOCOL, client, running, websocket_app
from ws_isolation import ManagerFactory, Session, Settings
from ws_isolation.adapters.starlette import ticket
from ws_isolation.credentials.jwks import Jwks
from ws_isolation.credentials.jwt import JwtAuthenticate
from ws_isolation.credentials.starlette_sessions import SessionAuthenticate
from ws_isolation.credentials.tickets import TicketAuthenticate, Tickets
from ws_isolation.testing import FakeClock


def token_of(user: str, seconds: float = 60, **options: Any) -> str:
    """
    Return a token that counts for so long.
    """
    body = {"sub": user, "aud": AUDIENCE, "iss": ISSUER, "exp": time.time() + seconds}
    return signed(body, **options)


def by_jwt(keys: Any = SECRET, algorithm: str = "HS256", **options: Any) -> JwtAuthenticate:
    """
    Return the check of an application.
    """
    return JwtAuthenticate(keys, algorithms=[algorithm], audience=AUDIENCE, issuer=ISSUER, **options)


@pytest.mark.scenario("S53")
@pytest.mark.requirement("WS-04")
async def test_tokens() -> None:
    """
    A token in the header, the subprotocol or the first frame is welcomed; a forged one is 4001, an old one 4101.
    """
    factory = ManagerFactory(Settings(auth_frame=True))
    token, forged, old = token_of("alice"), token_of("alice", key=b"f" * 32), token_of("alice", -60)
    firsts: list[dict[str, Any]] = []
    async with running(websocket_app(factory, authenticate=by_jwt())) as address:
        for given in (token, forged, old):
            async with client(address, given) as by_header:
                firsts.append(await by_header.next())
        async with client(address, None, subprotocols=(SUBPROTOCOL, f"bearer.{token}")) as by_subprotocol:
            firsts.append(await by_subprotocol.next())
        async with client(address, None) as by_frame:
            await by_frame.send(type="ws.auth", credential=token)
            firsts.append(await by_frame.next())

    assert [None, 4001, 4101, None, None] == [frame.get("code") for frame in firsts]
    assert ["ws.welcome"] * 3 == [frame["type"] for frame in firsts if "code" not in frame]


@pytest.mark.scenario("S53")
async def test_keys_of_an_issuer() -> None:
    """
    Keys that an issuer publishes by HTTP are fetched when they are needed, and again for a key that is new.
    """
    keys = [jwk(RSA, "one")]
    asked: list[str] = []

    async def issue(request: Request) -> Response:
        asked.append(request.url.path)
        return Response(published(*keys))

    clock = FakeClock()
    codes: list[int | None] = []
    async with running(Starlette(routes=[Route("/keys", issue)])) as issuer:
        check = by_jwt(Jwks(f"http://{issuer}/keys", clock=clock), "RS256")
        async with running(websocket_app(ManagerFactory(), authenticate=check)) as address:

            async def come(key: Any, name: str) -> None:
                async with client(address, token_of("alice", algorithm="RS256", key=key, kid=name)) as alice:
                    codes.append((await alice.next()).get("code"))

            await come(RSA, "one")
            await come(RSA, "one")
            keys[:] = [jwk(OTHER_RSA, "two")]
            await come(OTHER_RSA, "two")
            await clock.advance(30)
            await come(OTHER_RSA, "two")
            await come(RSA, "one")

    assert [None, None, 4001, None, 4001] == codes
    assert ["/keys"] * 2 == asked


@pytest.mark.scenario("S53")
@pytest.mark.requirement("WS-06")
async def test_tickets() -> None:
    """
    A ticket opens one socket, by subprotocol, frame or query, and no second one.
    """
    factory, tickets = ManagerFactory(Settings(auth_frame=True)), Tickets()
    route = Route("/ticket", ticket(factory, by_jwt(), tickets), methods=["POST"])
    app = websocket_app(factory, authenticate=TicketAuthenticate(tickets), routes=(route,))
    seen: list[tuple[str, int | None]] = []
    async with running(app) as address, httpx.AsyncClient(base_url=f"http://{address}") as http:

        async def fresh() -> str:
            answer = await http.post("/ticket", headers={"Authorization": f"Bearer {token_of('alice')}"})
            assert "no-store" == answer.headers["cache-control"]
            return str(answer.json()["ticket"])

        async def first(**how: Any) -> None:
            async with client(address, None, **how) as alice:
                frame = await alice.next()
                seen.append((frame["type"], frame.get("code")))

        value = await fresh()
        await first(query=f"?ticket={value}")
        await first(query=f"?ticket={value}")
        await first(subprotocols=(SUBPROTOCOL, f"ticket.{value}"))
        await first(subprotocols=(SUBPROTOCOL, f"ticket.{await fresh()}"))
        async with client(address, None) as alice:
            await alice.send(type="ws.auth", scheme="ticket", credential=await fresh())
            frame = await alice.next()
            seen.append((frame["type"], frame.get("code")))
        refused = await http.post("/ticket")
        got = await http.get("/ticket")

    welcome, goodbye = ("ws.welcome", None), ("ws.goodbye", 4001)
    assert [welcome, goodbye, goodbye, welcome, welcome] == seen
    assert (401, b"{}", 405) == (refused.status_code, refused.content, got.status_code)


@pytest.mark.scenario("S53")
@pytest.mark.requirement("WS-01", "WS-02", "WS-04")
async def test_session_cookies() -> None:
    """
    The cookie that Starlette's own middleware has set opens a socket of the user who logged in, from its own page only.
    """

    async def login(request: Request) -> Response:
        request.session["user_id"] = "alice"
        return Response()

    users: list[str] = []

    async def handler(session: Session) -> None:
        users.append(session.context.user_id)

    inner = websocket_app(ManagerFactory(), handler, SessionAuthenticate("key"), routes=(Route("/login", login),))
    app = SessionMiddleware(inner, secret_key="key")
    codes: list[int | None] = []
    async with running(app) as address, httpx.AsyncClient(base_url=f"http://{address}") as http:
        cookie = f"session={(await http.get('/login')).cookies['session']}"
        own = f"http://{address}"
        for given in (cookie, cookie[:-3] + "abc", "theme=dark"):
            async with client(address, None, headers={"Cookie": given, "Origin": own}) as somebody:
                codes.append((await somebody.next()).get("code"))
        for foreign in ({"Cookie": cookie, "Origin": "https://evil.example"}, {"Cookie": cookie}):
            with pytest.raises(InvalidStatus, match="403"):
                async with client(address, None, headers=foreign):
                    pass

    assert [None, 4001, 4001] == codes
    assert ["alice"] == users


@pytest.mark.requirement("WS-07", "WS-28")
async def test_token_in_the_address(caplog: pytest.LogCaptureFixture) -> None:
    """
    A token in the query is refused, over HTTP too, unless that is opted in; our log says where it was, and not what.
    """
    caplog.set_level(logging.INFO, logger="ws_isolation")
    token, codes = token_of("alice"), list[int | None]()
    for settings in (Settings(), Settings(query_tokens=True), Settings(auth_frame=True)):
        app = websocket_app(ManagerFactory(settings), authenticate=by_jwt())
        async with running(app) as address, client(address, None, query=f"?access_token={token}") as alice:
            codes.append((await alice.next()).get("code"))

    assert [4001, None, 4001] == codes
    # What uvicorn logs of an address is its own, see the page on credentials.
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name == "ws_isolation")
    assert "sources=query" in ours
    assert token not in ours
