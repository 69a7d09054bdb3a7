"""
Adapters with one thing taken out: a real client notices each.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Final

import pytest
from aiohttp import web
from websockets.exceptions import ConnectionClosed

from tests.adapters import own_servers
from tests.adapters.own_frames import Broken, frame
from tests.servers.raw import connected, upgrade
from tests.servers.running import client, until_gone
from ws_isolation import ManagerFactory, Session, Settings, events
from ws_isolation.adapters import _aiohttp, _websockets
from ws_isolation.errors import TransportClosedError


def nothing_out(_patch: pytest.MonkeyPatch) -> None:
    """
    Leave the adapter as it is.
    """


def closes_by_itself(patch: pytest.MonkeyPatch) -> None:
    """
    Let aiohttp close on what it does not take.
    """
    patch.setattr(_aiohttp.Socket, "close", web.WebSocketResponse.close)


def shows_the_names(patch: pytest.MonkeyPatch) -> None:
    """
    Hand the client's names to aiohttp.
    """

    def same(request: web.Request, **_: object) -> web.Request:
        return request

    patch.setattr(web.Request, "clone", same)


def does_not_drain(patch: pytest.MonkeyPatch) -> None:
    """
    Let the factory begin and end with the application, and nothing more.
    """

    def lifespan(app: web.Application, factory: ManagerFactory) -> None:
        async def running(_app: web.Application) -> AsyncGenerator[None]:
            async with factory:
                yield

        app.cleanup_ctx.append(running)

    patch.setattr(own_servers, "lifespan", lifespan)


def encodes_there(patch: pytest.MonkeyPatch) -> None:
    """
    Let the websockets library encode.
    """

    async def send(transport: _websockets.WebsocketsTransport, text: str, /) -> None:
        try:
            await transport._connection.send(text)
        except ConnectionClosed as closed:
            raise TransportClosedError from closed

    patch.setattr(_websockets.WebsocketsTransport, "send", send)


async def says_goodbye_to_broken_text(server: str, _caplog: pytest.LogCaptureFixture) -> bool:
    """
    Tell whether a client that sends no UTF-8 reads goodbye.
    """
    async with own_servers.SERVERS[server](own_servers.Served(ManagerFactory())) as address, connected(address) as raw:
        raw.writer.write(upgrade(address, "Authorization: Bearer alice") + frame(1, b"\xff"))
        await raw.head()
        await raw.frame()
        return (await raw.reader.readexactly(1)) == b"\x81"


async def keeps_tokens_out_of_logs(server: str, caplog: pytest.LogCaptureFixture) -> bool:
    """
    Tell whether a token that is offered as a name stands in no log.
    """
    caplog.set_level(logging.DEBUG, "aiohttp")
    async with own_servers.SERVERS[server](own_servers.Served(ManagerFactory())) as address, connected(address) as raw:
        raw.writer.write(upgrade(address, "Sec-WebSocket-Protocol: bearer.alice"))
        await raw.head()
        await raw.frame()
    return "bearer.alice" not in caplog.text


async def drains(server: str, _caplog: pytest.LogCaptureFixture) -> bool:
    """
    Tell whether a server that stops says 4200 before it waits for its handlers.
    """
    served = own_servers.Served(ManagerFactory(Settings(close_seconds=0.2)))
    async with AsyncExitStack() as clients:
        async with own_servers.SERVERS[server](served) as address:
            tab = await clients.enter_async_context(client(address))
            await tab.until("ws.welcome")
        return 4200 == (await tab.rest()).code


async def survives_its_wire(server: str, _caplog: pytest.LogCaptureFixture) -> bool:
    """
    Tell whether a text that UTF-8 cannot carry is followed by goodbye.
    """

    async def handler(session: Session) -> None:
        await session.manager.send(events.Custom(name="test.broken", value=1))
        await until_gone(session)

    served = own_servers.Served(ManagerFactory(), handler, wire=Broken())
    async with own_servers.SERVERS[server](served) as address, client(address, compression=None) as tab:
        return 4300 == (await tab.rest()).code


CHECKS: Final = {
    "goodbye": ("aiohttp", says_goodbye_to_broken_text, closes_by_itself),
    "tokens": ("aiohttp", keeps_tokens_out_of_logs, shows_the_names),
    "drain": ("aiohttp", drains, does_not_drain),
    "encoding": ("websockets", survives_its_wire, encodes_there),
}


@pytest.mark.requirement("P2", "WS-08")
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("name", CHECKS)
async def test_variants(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, whole: bool
) -> None:
    """
    As it is, the adapter passes; with one thing taken out it does not.
    """
    server, check, take_out = CHECKS[name]
    (nothing_out if whole else take_out)(monkeypatch)

    assert whole == await check(server, caplog)
