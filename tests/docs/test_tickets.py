"""
The page about connect tickets: its application gives them out, and its script gets in with one.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from tests.docs.blocks import ROOT, Namespace, blocks, run
from tests.servers.running import SUBPROTOCOL, client, running

PAGE = ROOT / "docs" / "howto" / "tickets.md"


async def _application() -> Namespace:
    """Run the first Python block of the page, which is a whole application, and return what it defines."""
    namespace: Namespace = {"__name__": PAGE.stem}
    await run(next(block for block in blocks(PAGE) if block.language == "python"), namespace)
    return namespace


@pytest.mark.scenario("S53")
@pytest.mark.requirement("WS-06")
async def test_the_application() -> None:
    """Who is known gets a ticket, and is welcomed with it once."""
    page = await _application()
    async with running(page["app"]) as address, httpx.AsyncClient(base_url=f"http://{address}") as http:
        answer = await http.post("/ticket?thread=t", headers={"Authorization": "Bearer alice-token"})
        offered = (SUBPROTOCOL, f"ticket.{answer.json()['ticket']}")
        codes: list[int | None] = []
        for _ in range(2):
            async with client(address, None, subprotocols=offered) as somebody:
                codes.append((await somebody.next()).get("code"))

    assert [None, 4001] == codes


def _empty(_request: Request) -> HTMLResponse:
    return HTMLResponse("<p>")


@pytest.mark.browser
@pytest.mark.scenario("S53")
@pytest.mark.requirement("WS-06")
async def test_the_script_gets_in() -> None:
    """The script of the page, in a real browser, is welcomed with a ticket that it gets for its token."""
    # Inside: this module is collected where Playwright is not installed, too.
    from tests.browser.chromium import browser

    (script,) = [block.text for block in blocks(PAGE) if block.language == "javascript"]
    first = "async (token) => { " + script + "; return new Promise((done) => connect(token, done)); }"
    page = await _application()
    page["app"].router.routes.append(Route("/", _empty))
    async with running(page["app"]) as address, browser() as chromium:
        window = await chromium.new_page()
        await window.goto(f"http://{address}/")
        frame: dict[str, Any] = await window.evaluate(first, {"Authorization": "Bearer alice-token"})

    assert "ws.welcome" == frame["type"]
