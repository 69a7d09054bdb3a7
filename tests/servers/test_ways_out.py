"""
Whatever happens, a real client of a real server reads goodbye and a code of ours.
"""

from __future__ import annotations

import logging

import attrs
import pytest

from tests.servers.running import IMPLEMENTATIONS, Rest, client, legacy, running, websocket_app
from tests.servers.ways_out import CANARY, CASES, Case, Stage
from ws_isolation import ManagerFactory
from ws_isolation.testing import FakeClock


async def way_out(case: Case, implementation: str) -> tuple[Rest, ManagerFactory]:
    """
    Bring the case about on a real server; return what the client got and the factory.
    """
    clock = FakeClock()
    settings = attrs.evolve(case.settings, origins=(f"https://{CANARY}.example",), hosts=())
    factory = ManagerFactory(settings, manager=case.manager, clock=clock)
    app = websocket_app(factory, case.handler, case.authenticate)
    async with (
        running(app, implementation=implementation) as address,
        client(address, case.user, query=case.query, subprotocols=case.subprotocols) as alice,
    ):
        await case.act(Stage(alice, factory, clock))
        rest = await alice.rest()
    return rest, factory


@legacy
@pytest.mark.scenario("S14", "S26", "S27", "S35", "S41", "S47", "S55", "S56", "S57", "S63")
@pytest.mark.requirement("P2", "WS-09", "WS-17", "WS-29", "WS-31", "I1")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", CASES)
async def test_each_way_out_has_its_code(name: str, implementation: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    Goodbye with code, slug and action, then a close with the same code; nothing secret; nothing left behind.
    """
    case = CASES[name]
    rest, factory = await way_out(case, implementation)

    assert rest.ended_with(case.code, case.slug), rest
    # No text of an exception, no other user's id, no setting, class or file.
    assert not [secret for secret in (CANARY, "UserExecutionContext", "Error", ".py", "/") if secret in repr(rest)]
    assert ["ws.goodbye"] == [frame["type"] for frame in rest.frames if frame["type"] == "ws.goodbye"]
    assert 0 == factory.stats().sessions == factory.stats().pending
    # The server itself saw an endpoint that returned, not one that failed.
    assert [] == [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("uvicorn.error") and record.levelno >= logging.ERROR
    ]
