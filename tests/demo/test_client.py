"""
The demo's client: it sees what came over the socket, and says so when something did not.
"""

from __future__ import annotations

import pytest

from ws_isolation.demo.app import create_demo
from ws_isolation.demo.client import connected
from ws_isolation.demo.server import running


@pytest.mark.scenario("S61")
async def test_welcome_comes_first() -> None:
    """
    A connected client gets the greeting first, and no event where nothing happens.
    """
    demo = create_demo(["alice"])
    async with running(demo) as address, connected(address, demo.accounts.of("alice").token) as client:
        assert await client.until(lambda it: it.raw)

        assert "ws.welcome" == client.frames[0]["type"]
        assert [] == client.events
        assert client.close_code is None


async def test_patience_ends() -> None:
    """
    What does not become true within the time is reported as False, not awaited for ever.
    """
    demo = create_demo(["alice"])
    async with running(demo) as address, connected(address, demo.accounts.of("alice").token) as client:
        assert not await client.until(lambda it: it.events, 0.05)


async def test_sending_to_a_closed_socket_is_harmless() -> None:
    """
    A message after the end is lost, as with any peer that is gone; the code and reason stay readable.
    """
    demo = create_demo(["alice"])
    async with running(demo) as address, connected(address, demo.accounts.of("alice").token) as client:
        await client.send(type="crash")
        assert await client.closed()
        await client.send(type="ask")

        assert 4300 == client.close_code
        assert client.close_reason.startswith("internal_error;i=")


@pytest.mark.scenario("S52")
async def test_resume_with_a_cursor() -> None:
    """
    A client that comes back with the cursor it was given hears that nothing was missed.
    """
    demo = create_demo(["alice"])
    token = demo.accounts.of("alice").token
    async with running(demo) as address:
        async with connected(address, token) as first:
            await first.until(lambda it: it.raw)
        cursor = first.frames[0]["cursor"]
        text = f"{cursor['epoch']}.{cursor['seq']}.{cursor['id']}"
        async with connected(address, token, cursor=text) as second:
            assert await second.until(lambda it: it.control("ws.resumed"))


async def test_not_reading_reads_nothing() -> None:
    """
    A client that was asked not to read has nothing, until it listens.
    """
    demo = create_demo(["alice"])
    token = demo.accounts.of("alice").token
    async with running(demo) as address, connected(address, token, reads=False) as silent:
        async with connected(address, token) as other:
            await other.until(lambda it: it.raw)
            await other.send(type="ask", data={"text": "anything"})
            assert await other.until(lambda it: it.events)

        assert [] == silent.raw
