"""
``ws.auth`` over a real server: the same answers as over a socket in memory.
"""

from __future__ import annotations

import json

import pytest

from tests.servers.running import IMPLEMENTATIONS, client, legacy, running, until, websocket_app
from ws_isolation import ManagerFactory, Settings

pytestmark = legacy


@pytest.mark.scenario("S53")
@pytest.mark.requirement("WS-05")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
async def test_first_frame(implementation: str) -> None:
    """
    A credential in the first frame is welcomed, with a message right behind it; another frame is 4001, silence 4108.
    """
    factory = ManagerFactory(Settings(auth_frame=True, auth_seconds=0.5))
    app = websocket_app(factory, None)
    async with running(app, implementation=implementation) as address:
        async with client(address, None) as alice:
            await alice.send(type="ws.auth", credential="alice")
            await alice.send(type="hello")
            welcome, error = await alice.next(), await alice.next()
        async with client(address, None) as stranger:
            await stranger.send(type="hello")
            refused = await stranger.rest()
        async with client(address, None) as silent:
            timed_out = await silent.rest()
        async with client(address) as bob:
            await bob.send(type="ws.auth", credential="bob")
            twice = await bob.rest()
        async with client(address, None):
            pass
        await until(lambda: factory.stats().pending == 0)

    assert ("ws.welcome", "ws.error") == (welcome["type"], error["type"])
    assert refused.ended_with(4001, "unauthenticated")
    assert timed_out.ended_with(4108, "auth_timeout")
    assert twice.ended_with(4000, "bad_frame")
    assert "credential" not in json.dumps(refused.frames + timed_out.frames + twice.frames)


@pytest.mark.scenario("S26")
async def test_stop_tells_those_who_wait() -> None:
    """
    A stop of the factory says goodbye with 4200 to a socket that has not said who it is.
    """
    factory = ManagerFactory(Settings(auth_frame=True))
    async with running(websocket_app(factory)) as address, client(address, None) as waiting:
        await until(lambda: factory.stats().pending == 1)
        await factory.stop()
        rest = await waiting.rest()

    assert rest.ended_with(4200, "drain")
