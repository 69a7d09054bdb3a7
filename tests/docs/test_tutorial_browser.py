"""
The tutorial's page in a real browser.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks
from tests.docs.walking import LIMIT, Walk, server

TUTORIAL = ROOT / "docs" / "tutorial.md"


@pytest.mark.browser
@pytest.mark.requirement("P1", "WS-08")
async def test_page_shows_what_the_tutorial_shows(tmp_path: Path) -> None:
    """
    Alice asks in one window and both of hers show her run as printed; Bob's shows its greeting only, a stranger's 4001.
    """
    # Inside: this module is collected where Playwright is not installed, too.
    from playwright.async_api import expect

    from tests.browser.chromium import browser

    text = next(block.text for block in blocks(TUTORIAL) if block.text.startswith("- ws.welcome"))
    wanted = re.compile(r"\s*".join(".*".join(re.escape(s) for s in line.split("…")) for line in text.splitlines()))
    walk = Walk(tmp_path)
    for block in blocks(TUTORIAL):
        if block.file:
            walk.write(block)

    async with (
        server(tmp_path, "-m", "uvicorn", "app:app", "--port", "0") as (port, _, _process),
        browser() as chromium,
    ):
        windows = {name: await chromium.new_page() for name in ("alice", "alice again", "bob", "nobody")}
        for name, window in windows.items():
            await window.goto(f"http://127.0.0.1:{port}/#{name.split()[0]}-token")
            greeting = "4001" if name == "nobody" else "ws.welcome"
            await expect(window.locator("pre")).to_contain_text(greeting, timeout=LIMIT * 1000)
        await windows["alice"].get_by_role("button").click()
        for name in ("alice", "alice again"):
            await expect(windows[name].locator("pre")).to_have_text(wanted, timeout=LIMIT * 1000)
        shown = {name: await window.locator("pre").inner_text() for name, window in windows.items()}

    assert 1 == len(shown["bob"].splitlines())
    assert "closed: 4001 unauthenticated" == shown["nobody"].splitlines()[-1]
