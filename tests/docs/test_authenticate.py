"""
The page about browsers without cookies: its program and its script get in, over a real server.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from tests.docs.blocks import ROOT, Namespace, blocks, run
from tests.docs.walking import LIMIT
from tests.servers.running import running

PAGE = ROOT / "docs" / "howto" / "authenticate.md"


async def _application() -> Namespace:
    """Run the Python blocks of the page and return what they define."""
    namespace: Namespace = {"__name__": PAGE.stem}
    for block in blocks(PAGE):
        if block.language == "python":
            await run(block, namespace)
    return namespace


@pytest.mark.scenario("S53")
@pytest.mark.requirement("WS-05")
async def test_the_program_gets_in() -> None:
    """The client of the page is welcomed with the right token and told 4001 with a wrong one."""
    page = await _application()
    async with running(page["app"]) as address, asyncio.timeout(LIMIT):
        welcome = await page["first_answer"](address, "alice-token")
        refused = await page["first_answer"](address, "another")

    assert "ws.welcome" == welcome["type"]
    assert ("ws.goodbye", 4001) == (refused["type"], refused["code"])


def _empty(_request: Request) -> HTMLResponse:
    return HTMLResponse("<p>")


@pytest.mark.browser
@pytest.mark.scenario("S53")
@pytest.mark.requirement("WS-05")
async def test_the_script_gets_in() -> None:
    """The script of the page, in a real browser, is welcomed with the right token and told 4001 with a wrong one."""
    # Inside: this module is collected where Playwright is not installed, too.
    from tests.browser.chromium import browser

    (script,) = [block.text for block in blocks(PAGE) if block.language == "javascript"]
    first = "async (token) => { " + script + "; return new Promise((done) => connect(token, done)); }"
    page = await _application()
    page["app"].router.routes.append(Route("/", _empty))
    async with running(page["app"]) as address, browser() as chromium:
        window = await chromium.new_page()
        await window.goto(f"http://{address}/")
        frames: list[dict[str, Any]] = [await window.evaluate(first, token) for token in ("alice-token", "another")]

    assert [("ws.welcome", None), ("ws.goodbye", 4001)] == [(frame["type"], frame.get("code")) for frame in frames]
