"""
Who may knock, asked with raw handshakes of a real server: status, and that nobody was authenticated.
"""

from __future__ import annotations

from typing import Final

import pytest

from tests.servers.raw import answer_to, connected, text_frame, upgrade
from tests.servers.running import IMPLEMENTATIONS, by_token, legacy, running, websocket_app
from ws_isolation import Handshake, ManagerFactory, Message, Session, Settings, UserExecutionContext, events

pytestmark = legacy

# Origin header lines with {address} for the server's own host and port, and whether they may knock.
ORIGINS: Final[dict[str, tuple[tuple[str, ...], bool]]] = {
    "none": ((), True),
    "its own": (("Origin: http://{address}",), True),
    "its own, behind TLS": (("Origin: https://{address}",), True),
    "listed": (("Origin: https://app.example.com",), True),
    "null": (("Origin: null",), False),
    "empty": (("Origin: ",), False),
    "no scheme": (("Origin: {address}",), False),
    "another scheme of the listed": (("Origin: http://app.example.com",), False),
    "another port of the listed": (("Origin: https://app.example.com:8443",), False),
    "another port": (("Origin: http://127.0.0.1:1",), False),
    "no port": (("Origin: http://127.0.0.1",), False),
    "a suffix more": (("Origin: https://app.example.com.evil.com",), False),
    "a prefix more": (("Origin: https://evilapp.example.com",), False),
    "a sub-domain": (("Origin: https://a.app.example.com",), False),
    "the domain above": (("Origin: https://example.com",), False),
    "user information": (("Origin: https://app.example.com@evil.com",), False),
    "user information of its own": (("Origin: http://{address}@evil.com",), False),
    "upper case": (("Origin: https://APP.example.com",), False),
    "upper case scheme": (("Origin: HTTPS://app.example.com",), False),
    "a trailing dot": (("Origin: https://app.example.com.",), False),
    "a path": (("Origin: https://app.example.com/",), False),
    "its own with a path": (("Origin: http://{address}/",), False),
    "an IP literal": (("Origin: http://[::1]",), False),
    "the address as a number": (("Origin: http://2130706433",), False),
    "punycode": (("Origin: https://xn--pp-xia.example.com",), False),
    "a file": (("Origin: file://",), False),
    "an extension": (("Origin: chrome-extension://{address}",), False),
    "two": (("Origin: http://{address}", "Origin: https://evil.com"), False),
    "the same twice": (("Origin: http://{address}", "Origin: http://{address}"), False),
    "two in one": (("Origin: http://{address}, https://evil.com",), False),
    "two in one by blank": (("Origin: http://{address} https://evil.com",), False),
    "a cookie and none": (("Cookie: session=1",), False),
    "a cookie and its own": (("Cookie: session=1", "Origin: http://{address}"), True),
    "a cookie and another": (("Cookie: session=1", "Origin: https://evil.com"), False),
}


@pytest.mark.requirement("WS-01", "WS-02", "P1")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_origins(implementation: str) -> None:
    """
    101 or 403 as the table says (400 where the server itself refuses); of those refused, none was authenticated.
    """
    knocked: list[str | None] = []

    async def authenticate(handshake: Handshake) -> UserExecutionContext:
        knocked.append(handshake.query.get("case"))
        return await by_token(handshake)

    factory = ManagerFactory(Settings(origins=("https://app.example.com",)))
    got: dict[str, int] = {}
    async with running(websocket_app(factory, None, authenticate), implementation=implementation) as address:
        for number, (name, (lines, _)) in enumerate(ORIGINS.items()):
            request = upgrade(
                address,
                "Authorization: Bearer alice",
                *(line.format(address=address) for line in lines),
                path=f"/ws?case={number}",
            )
            got[name], _ = await answer_to(address, request)

    assert {name: allowed for name, (_, allowed) in ORIGINS.items()} == {name: got[name] == 101 for name in got}
    assert {101, 403} <= set(got.values()) <= {101, 400, 403}
    assert [str(number) for number, (_, allowed) in enumerate(ORIGINS.values()) if allowed] == knocked
    assert factory.stats().closes[403] == list(got.values()).count(403)
    assert 0 == factory.stats().pending


@pytest.mark.requirement("WS-03")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_hosts(implementation: str) -> None:
    """
    Another Host than the listed ones is refused, also with an Origin that fits it; so are none and two.
    """
    knocked: list[Handshake] = []

    async def authenticate(handshake: Handshake) -> UserExecutionContext:
        knocked.append(handshake)
        return await by_token(handshake)

    factory = ManagerFactory(Settings(hosts=("chat.example.com", "chat.example.com:8443")))
    async with running(websocket_app(factory, None, authenticate), implementation=implementation) as address:
        statuses = [
            (await answer_to(address, request))[0]
            for request in (
                upgrade(address, host="chat.example.com"),
                upgrade(address, "Origin: https://chat.example.com:8443", host="chat.example.com:8443"),
                upgrade(address, host="evil.com"),
                upgrade(address, "Origin: http://evil.com", host="evil.com"),
                upgrade(address, host="chat.example.com.evil.com"),
                upgrade(address, host="chat.example.com:1"),
            )
        ]
        malformed = [
            (await answer_to(address, request))[0]
            for request in (upgrade(address, host=""), upgrade(address, "Host: evil.com", host="chat.example.com"))
        ]

    assert [101, 101, 403, 403, 403, 403] == statuses
    assert {400} == set(malformed)
    assert 2 == len(knocked)


@pytest.mark.scenario("S55")
@pytest.mark.requirement("WS-08")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("offered", "answered", "first"),
    [
        (None, None, "ws.welcome"),
        ("ws-isolation.v1", "ws-isolation.v1", "ws.welcome"),
        ("bearer.alice, ws-isolation.v1", "ws-isolation.v1", "ws.welcome"),
        ("ws-isolation.v1, bearer.alice", "ws-isolation.v1", "ws.welcome"),
        ("graphql-ws, ws-isolation.v1", "ws-isolation.v1", "ws.welcome"),
        ("graphql-ws, mqtt", "graphql-ws", "ws.goodbye"),
        ("bearer.alice, mqtt", "mqtt", "ws.goodbye"),
        ("bearer.alice", None, "ws.goodbye"),
        ("BEARER.alice", None, "ws.goodbye"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2ln", None, "ws.goodbye"),
    ],
)
async def test_subprotocols(implementation: str, offered: str | None, answered: str | None, first: str) -> None:
    """
    At most one offered name is answered, never one that holds a token; with none spoken, 4006.
    """
    factory = ManagerFactory()
    lines = () if offered is None else (f"Sec-WebSocket-Protocol: {offered}",)
    app = websocket_app(factory)
    async with running(app, implementation=implementation) as address, connected(address) as raw:
        bearer = () if offered is not None and "bearer.alice" in offered else ("Authorization: Bearer alice",)
        raw.writer.write(upgrade(address, *lines, *bearer))
        status, headers = await raw.head()
        frame = await raw.frame()

    assert 101 == status
    assert answered == headers.get("sec-websocket-protocol")
    assert first == frame["type"]
    assert first == "ws.welcome" or 4006 == frame["code"]
    assert "alice" not in repr(headers)


@pytest.mark.scenario("S58", "S61")
@pytest.mark.requirement("P3")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_message_right_after_connecting(implementation: str) -> None:
    """
    What a client sends as soon as it is accepted, before it saw any welcome, is handled exactly once.
    """
    handled: list[Message] = []

    async def handler(session: Session) -> None:
        async for message in session:
            handled.append(message)
            await session.manager.send(events.Custom(name="test.echo", value=message.data["n"]))

    factory = ManagerFactory()
    app = websocket_app(factory, handler)
    async with running(app, implementation=implementation) as address, connected(address) as raw:
        frames = b"".join(text_frame(f'{{"type":"early","data":{{"n":{n}}}}}') for n in range(2))
        raw.writer.write(upgrade(address, "Authorization: Bearer alice"))
        await raw.head()
        raw.writer.write(frames)
        welcome, first, second = [await raw.frame() for _ in range(3)]

    assert "ws.welcome" == welcome["type"]
    assert [0, 1] == [first["data"]["value"], second["data"]["value"]]
    assert 2 == len(handled)


@pytest.mark.scenario("S59", "S23")
@pytest.mark.requirement("WS-13", "P5")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_no_room(implementation: str) -> None:
    """
    Above the limit of pending handshakes the answer is 503 with Retry-After; who is inside stays.
    """
    factory = ManagerFactory(Settings(pending_handshakes=1))
    app = websocket_app(factory)
    async with running(app, implementation=implementation) as address, connected(address) as inside:
        inside.writer.write(upgrade(address, "Authorization: Bearer alice"))
        await inside.head()
        await inside.frame()
        assert factory.begin_handshake(None) is None
        status, headers = await answer_to(address, upgrade(address, "Authorization: Bearer bob"))
        factory.end_handshake(None)
        again, _ = await answer_to(address, upgrade(address, "Authorization: Bearer bob"))
        await factory.create_manager(await by_token_of("alice")).send(events.Custom(name="test.here", value=1))
        still = await inside.frame()

    assert 503 == status
    assert "1" == headers["retry-after"]
    assert 101 == again
    assert "custom" == still["type"]


async def by_token_of(user: str) -> UserExecutionContext:
    """
    Return a context of *user*.
    """
    return UserExecutionContext(user_id=user)
