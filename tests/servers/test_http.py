"""
A POST handler that pushes to its own user, through ``Depends``, behind a real server.
"""

# No postponed annotations: FastAPI reads those of the local functions, and they name local values.

from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.websockets import WebSocket

from tests.servers.running import by_token, client, running, until_gone
from ws_isolation import Handshake, IsolatedManager, ManagerFactory, UserExecutionContext, errors, events
from ws_isolation.adapters import starlette


async def authenticate(handshake: Handshake) -> UserExecutionContext:
    """
    Same as ``by_token``, but Eve may not.
    """
    context = await by_token(handshake)
    if context.user_id == "eve":
        raise errors.ForbiddenError
    return context


def make_app(factory: ManagerFactory) -> FastAPI:
    """
    Return the application of the tutorial: a socket, and a POST that pushes.
    """
    app = FastAPI(lifespan=starlette.lifespan(factory))
    own_manager = Depends(starlette.manager(factory, authenticate))

    @app.websocket("/ws")
    async def chat(websocket: WebSocket) -> None:
        await starlette.serve(websocket, factory, authenticate, until_gone)

    @app.post("/push")
    async def push(text: str, manager: Annotated[IsolatedManager, own_manager]) -> dict[str, Any]:
        delivery = await manager.send(events.Custom(name="shop.pushed", value=text))
        return {"sessions": delivery.sessions}

    return app


def bearer(user: str) -> dict[str, str]:
    """
    Return the header that authenticates *user*.
    """
    return {"Authorization": f"Bearer {user}"}


@pytest.mark.scenario("S27", "S33")
@pytest.mark.requirement("P1")
async def test_push_reaches_its_own_user() -> None:
    """
    What Alice posts arrives in both of Alice's tabs and not in Bob's; without a credential 401, without a right 403.
    """
    factory = ManagerFactory()
    async with (
        running(make_app(factory)) as address,
        client(address, "alice") as one,
        client(address, "alice") as two,
        client(address, "bob") as bobs,
        httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as http,
    ):
        done = await http.post("/push", params={"text": "hers"}, headers=bearer("alice"))
        mine = await http.post("/push", params={"text": "his"}, headers=bearer("bob"))
        assert [{"sessions": 2}, {"sessions": 1}] == [done.json(), mine.json()]
        nobody = await http.post("/push", params={"text": "nobody's"})
        forbidden = await http.post("/push", params={"text": "eve's"}, headers=bearer("eve"))
        got = [(await tab.until("custom"))["data"]["value"] for tab in (one, two, bobs)]

    assert ["hers", "hers", "his"] == got
    assert [401, 403] == [nobody.status_code, forbidden.status_code]
    assert "Bearer" == nobody.headers["www-authenticate"]
    assert {"detail": "unauthenticated"} == nobody.json()
