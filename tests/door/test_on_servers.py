"""
The door of a real server, asked with raw handshakes: proxies, readiness, room, and credentials of no use.
"""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from tests.openings import hangs
from tests.servers.raw import answer_to, connected, upgrade
from tests.servers.running import IMPLEMENTATIONS, by_token, legacy, running, until, websocket_app
from ws_isolation import Handshake, ManagerFactory, Settings, UserExecutionContext, errors

pytestmark = legacy

TOKEN: Final = "Authorization: Bearer alice"

# Header lines, and the status that they get behind a proxy of loopback, with the client's address and scheme.
BEHIND_A_PROXY: Final[dict[str, tuple[tuple[str, ...], int, tuple[str | None, str]]]] = {
    "a proxy that says all": (
        ("X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https"),
        101,
        ("198.51.100.7", "wss"),
    ),
    "a stranger's word before the proxy's": (
        ("X-Forwarded-For: 127.0.0.1, 198.51.100.7", "X-Forwarded-Proto: https"),
        101,
        ("198.51.100.7", "wss"),
    ),
    "two lines": (
        ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https"),
        101,
        ("198.51.100.7", "wss"),
    ),
    "plain": (("X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: http"), 403, (None, "")),
    "no scheme": (("X-Forwarded-For: 198.51.100.7",), 403, (None, "")),
    "no address": (("X-Forwarded-For: nonsense", "X-Forwarded-Proto: https"), 400, (None, "")),
    "no scheme that there is": (("X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: gopher"), 400, (None, "")),
    "its page": (
        (
            "X-Forwarded-For: 198.51.100.7",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: app.example",
            "Origin: https://app.example",
        ),
        101,
        ("198.51.100.7", "wss"),
    ),
    "another page": (
        (
            "X-Forwarded-For: 198.51.100.7",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: app.example",
            "Origin: https://evil.example",
        ),
        403,
        (None, ""),
    ),
    "a page of the inner host": (
        (
            "X-Forwarded-For: 198.51.100.7",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: app.example",
            "Origin: http://{address}",
        ),
        403,
        (None, ""),
    ),
}


@pytest.mark.requirement("WS-25", "WS-24", "WS-01")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_behind_a_proxy(implementation: str) -> None:
    """
    Status, address and scheme as the table says; of those refused, none was authenticated.
    """
    seen: dict[str, tuple[str | None, str]] = {}

    async def authenticate(handshake: Handshake) -> UserExecutionContext:
        seen[handshake.query["case"]] = (handshake.client, handshake.scheme)
        return await by_token(handshake)

    # uvicorn's own middleware would have read the headers of a peer on loopback before: see the page on the door.
    factory = ManagerFactory(Settings(trusted_proxies=("127.0.0.1",), require_tls=True))
    got: dict[str, int] = {}
    app = websocket_app(factory, None, authenticate)
    async with running(app, implementation=implementation, proxy_headers=False) as address:
        for number, (name, (lines, *_)) in enumerate(BEHIND_A_PROXY.items()):
            asked = (line.format(address=address) for line in lines)
            got[name], _ = await answer_to(address, upgrade(address, TOKEN, *asked, path=f"/ws?case={number}"))

    assert {name: status for name, (_, status, _) in BEHIND_A_PROXY.items()} == got
    rows = enumerate(BEHIND_A_PROXY.values())
    assert {str(number): found for number, (_, status, found) in rows if status == 101} == seen


@pytest.mark.requirement("WS-25")
async def test_nobody_is_a_proxy() -> None:
    """
    Without a list of proxies their headers are anybody's: the address stays the peer's, a spoofed host is no help.
    """
    seen: list[tuple[str | None, str, str | None]] = []

    async def authenticate(handshake: Handshake) -> UserExecutionContext:
        seen.append((handshake.client, handshake.scheme, handshake.public_host))
        return await by_token(handshake)

    lines = ("X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example")
    async with running(websocket_app(ManagerFactory(), None, authenticate), proxy_headers=False) as address:
        open_to_all, _ = await answer_to(address, upgrade(address, TOKEN, *lines))
        page, _ = await answer_to(address, upgrade(address, TOKEN, *lines, "Origin: https://evil.example"))

    assert (101, 403) == (open_to_all, page)
    assert [("127.0.0.1", "ws", None)] == seen


@pytest.mark.scenario("S59")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_not_ready(implementation: str) -> None:
    """
    While the application is not ready: accepted, goodbye 4303 with a time to come back, within a second; then welcome.
    """
    up = False

    async def ready() -> bool:
        if not up:
            await hangs()
        return up

    factory = ManagerFactory(Settings(ready_seconds=0.1), ready=ready)
    loop = asyncio.get_running_loop()
    async with running(websocket_app(factory), implementation=implementation) as address:
        began = loop.time()
        async with connected(address) as raw:
            raw.writer.write(upgrade(address, TOKEN))
            status, _ = await raw.head()
            goodbye = await raw.frame()
        took = loop.time() - began
        up = True
        async with connected(address) as raw:
            raw.writer.write(upgrade(address, TOKEN))
            await raw.head()
            welcome = await raw.frame()

    assert (101, "ws.goodbye", 4303) == (status, goodbye["type"], goodbye["code"])
    assert goodbye["retry_after_ms"] > 0
    assert took < 5, "bounded by ready_seconds, and not by the time-out of a proxy"
    assert "ws.welcome" == welcome["type"]


@pytest.mark.scenario("S59")
@pytest.mark.requirement("WS-13", "WS-25")
async def test_one_source_does_not_take_everybodys_place() -> None:
    """
    A public address may have so many pending handshakes, 503 above it; behind the same proxy others are let in.
    """
    go = asyncio.Event()

    async def authenticate(handshake: Handshake) -> UserExecutionContext:
        await go.wait()
        return await by_token(handshake)

    factory = ManagerFactory(Settings(pending_per_source=2, trusted_proxies=("127.0.0.1",)))

    async with (
        running(websocket_app(factory, None, authenticate), proxy_headers=False) as address,
        connected(address) as one,
        connected(address) as two,
        connected(address) as other,
    ):
        greedy = upgrade(address, TOKEN, "X-Forwarded-For: 8.8.8.8")
        one.writer.write(greedy)
        two.writer.write(greedy)
        await until(lambda: factory.stats().pending >= 2)
        status, headers = await answer_to(address, greedy)
        other.writer.write(upgrade(address, TOKEN, "X-Forwarded-For: 1.1.1.1"))
        await until(lambda: factory.stats().pending >= 3)
        go.set()
        heads = [(await raw.head())[0] for raw in (one, two, other)]
        later, _ = await answer_to(address, greedy)

    assert (503, "1") == (status, headers["retry-after"])
    assert [101, 101, 101] == heads
    assert 101 == later, "a place that was given back is free"
    assert 0 == factory.stats().pending


@pytest.mark.requirement("WS-04", "WS-28", "P1")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_credentials_of_no_use(implementation: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    None, garbage, refused or expired: 4001 or 4101, and nothing of a user exists; no value of one is in the log.
    """

    async def authenticate(handshake: Handshake) -> UserExecutionContext | None:
        match handshake.bearer_token:
            case None | "canary-unknown":
                return None
            case "canary-expired":
                raise errors.ExpiredError
            case "canary-foreign":
                raise errors.ForbiddenError
            case _:
                raise errors.UnauthenticatedError

    factory = ManagerFactory()
    cases = {
        (): 4001,
        ("Authorization: Bearer canary-unknown",): 4001,
        ("Authorization: Bearer canary-garbage",): 4001,
        ("Authorization: Basic canary-basic",): 4001,
        ("Authorization: Bearer canary-expired",): 4101,
        ("Authorization: Bearer canary-foreign",): 4003,
        ("Authorization: Bearer canary-one", "Authorization: Bearer canary-two"): 4001,
        ("Sec-WebSocket-Protocol: ws-isolation.v1, bearer.canary-garbage",): 4001,
    }
    got: dict[tuple[str, ...], int] = {}
    async with running(websocket_app(factory, None, authenticate), implementation=implementation) as address:
        for lines in cases:
            async with connected(address) as raw:
                raw.writer.write(upgrade(address, *lines))
                status, headers = await raw.head()
                goodbye = await raw.frame()
            assert 101 == status
            assert "canary" not in repr(headers) + repr(goodbye)
            got[lines] = goodbye["code"]
        stats = factory.stats()

    assert cases == got
    assert (0, 0, 0) == (stats.sessions, stats.streams, stats.work)
    assert "canary" not in caplog.text
    assert "sources=authorization" in caplog.text
