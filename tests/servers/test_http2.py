"""
Two users on one HTTP/2 connection: what a session is hangs on the stream, never on the TCP peer.
"""

from __future__ import annotations

import pytest

from tests.servers.http2 import http2, running_hypercorn
from tests.servers.running import until, websocket_app
from ws_isolation import ManagerFactory, Session, Settings, events

pytestmark = pytest.mark.requirement("WS-34", "P1")


async def echo(session: Session) -> None:
    """
    Answer each message to its own user.
    """
    async for message in session:
        await session.manager.send(events.Custom(name="test.echo", value=message.data["text"]))


async def test_two_users_on_one_connection() -> None:
    """
    Alice and Bob share a TCP connection; each gets their own events, and the one who breaks off ends nobody else.
    """
    factory = ManagerFactory()
    async with running_hypercorn(websocket_app(factory, echo)) as address, http2(address) as connection:
        alice, answer = await connection.open("alice")
        bob, _ = await connection.open("bob")
        for stream in (alice, bob):
            await stream.until("ws.welcome")
        for number in range(3):
            connection.send(alice, type="say", data={"text": f"alice {number}"})
            connection.send(bob, type="say", data={"text": f"bob {number}"})
        heard = [[(await stream.until("custom"))["data"]["value"] for _ in range(3)] for stream in (alice, bob)]
        connection.reset(alice)
        await until(lambda: factory.stats().sessions == 1)
        connection.send(bob, type="say", data={"text": "bob is still here"})
        last = (await bob.until("custom"))["data"]["value"]

    # An extended CONNECT is answered with 200 and without a key (RFC 8441, section 5).
    assert ("200", "ws-isolation.v1") == (answer[":status"], answer["sec-websocket-protocol"])
    assert "sec-websocket-accept" not in answer
    assert [[f"{user} {number}" for number in range(3)] for user in ("alice", "bob")] == heard
    assert "bob is still here" == last
    assert 0 == factory.stats().foreign


async def test_each_stream_is_asked_at_the_door() -> None:
    """
    What holds for a handshake holds for each stream: no credential, another origin; and nobody else hears of it.
    """
    factory = ManagerFactory(Settings(origins=("https://chat.example.com",)))
    async with running_hypercorn(websocket_app(factory, echo)) as address, http2(address) as connection:
        alice, _ = await connection.open("alice", ("origin", "https://chat.example.com"))
        await alice.until("ws.welcome")
        _, foreign = await connection.open("bob", ("origin", "https://evil.example.com"))
        stranger, _ = await connection.open(None, ("origin", "https://chat.example.com"))
        goodbye = await stranger.until("ws.goodbye")
        closed = await stranger.next()
        connection.send(alice, type="say", data={"text": "undisturbed"})
        heard = (await alice.until("custom"))["data"]["value"]

    assert "403" == foreign[":status"]
    assert (4001, 4001) == (goodbye["code"], closed)
    assert "undisturbed" == heard
