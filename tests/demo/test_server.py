"""
The demo's server: where it listens, and that it ends with a goodbye.
"""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import cast

import pytest

from ws_isolation.demo.app import create_demo
from ws_isolation.demo.client import connected
from ws_isolation.demo.server import address_of, listen, running


def test_next_free_port() -> None:
    """
    Where the port is taken, the next free one is used.
    """
    with listen("127.0.0.1", 0) as first:
        wanted = first.getsockname()[1]
        with listen("127.0.0.1", wanted) as second:
            assert second.getsockname()[1] > wanted


def test_no_port_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where no port of the range is free, the system's error goes on.
    """
    monkeypatch.setattr("ws_isolation.demo.server._TRIES", 1)
    with listen("127.0.0.1", 0) as first, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", first.getsockname()[1])


def test_address_that_is_not_ours() -> None:
    """
    An address of another machine is refused at once, not tried port by port.
    """
    with pytest.raises(OSError, match="assign"):
        listen("203.0.113.1", 8765)


def test_without_the_kernels_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A system that knows no TCP_USER_TIMEOUT can listen all the same.
    """
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)
    with listen("127.0.0.1", 0) as bound:
        assert address_of(bound).startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("127.0.0.1", "127.0.0.1:80"), ("0.0.0.0", "127.0.0.1:80"), ("::", "[::1]:80"), ("192.0.2.7", "192.0.2.7:80")],  # noqa: S104
)
def test_address_for_people(name: str, expected: str) -> None:
    """
    The address is one that a browser on this machine can open.
    """
    bound = cast("socket.socket", SimpleNamespace(getsockname=lambda: (name, 80)))

    assert expected == address_of(bound)


@pytest.mark.scenario("S26")
@pytest.mark.requirement("P2")
async def test_end_says_goodbye() -> None:
    """
    When the server ends, each open socket gets a goodbye and 4200, never uvicorn's bare 1012.
    """
    demo = create_demo(["alice"])
    token = demo.accounts.of("alice").token
    async with AsyncExitStack() as sockets:
        async with running(demo) as address:
            client = await sockets.enter_async_context(connected(address, token))
            await client.until(lambda it: it.raw)
        assert await client.closed()
    goodbye = client.control("ws.goodbye")

    assert goodbye is not None
    assert 4200 == client.close_code == goodbye["code"]
