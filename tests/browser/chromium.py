"""
The system's Chromium, driven by Playwright; its own downloads are not used.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Final, Literal

import attrs
from playwright.async_api import Browser, Page, async_playwright, expect

from ws_isolation.demo.app import Demo, create_demo
from ws_isolation.demo.server import running

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
FLAGS: Final = (
    "--no-sandbox",  # tests run as root in containers, where Chromium's sandbox cannot
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

Scheme = Literal["light", "dark"]


def find_chromium() -> str:
    """
    Return the path of the system's Chromium.

    Raises:
        RuntimeError: There is none; says how to install it.
    """
    for name in NAMES:
        if path := shutil.which(name):
            return path
    message = f"none of {', '.join(NAMES)} is installed; on Debian: apt-get install chromium"
    raise RuntimeError(message)


@cache
def screenshots() -> Path:
    """
    Return the folder of this run's screenshots: a temporary one, whose path is printed at the end.
    """
    return Path(tempfile.mkdtemp(prefix="ws-isolation-screenshots-"))


@attrs.frozen
class Opened:
    """
    The demo's page in a browser, with everything that the browser complained about.
    """

    page: Page
    demo: Demo
    complaints: list[str]


@asynccontextmanager
async def browser() -> AsyncGenerator[Browser]:
    """
    Run a Chromium of its own.
    """
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=find_chromium(), headless=True, args=list(FLAGS))
        try:
            yield chromium
        finally:
            await chromium.close()


@asynccontextmanager
async def opened(
    *, scheme: Scheme = "light", width: int = 1440, height: int = 900, pace: float = 0.3, calm: bool = False
) -> AsyncGenerator[Opened]:
    """
    Serve a demo, open its page, and wait until all four sockets are connected.

    Args:
        scheme: What the viewer prefers.
        width: Of the window, in pixels.
        height: Of the window, in pixels.
        pace: Of the agents.
        calm: Whether the viewer prefers less motion.
    """
    demo = create_demo(pace=pace)
    complaints: list[str] = []
    async with running(demo) as address, browser() as chromium:
        page = await chromium.new_page(
            color_scheme=scheme,
            viewport={"width": width, "height": height},
            reduced_motion="reduce" if calm else "no-preference",
        )
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        await page.goto(f"http://{address}/")
        await expect(page.locator('[data-score="open"]')).to_have_text("4 of 4")
        yield Opened(page, demo, complaints)
