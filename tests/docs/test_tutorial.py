"""
The tutorial, walked as a new user walks it: real server, real clients, block by block.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import websockets

from tests.docs.blocks import ROOT, Block, blocks
from tests.docs.walking import LIMIT, Output, Walk, page, pattern, server, shown_by_page

TUTORIAL = ROOT / "docs" / "tutorial.md"
QUESTION = "Which invoices are open?"


class Reader:
    """
    Somebody who does what the page says, and starts the server again when a file has changed.
    """

    def __init__(self, folder: Path) -> None:
        self._walk = Walk(folder)
        self._folder = folder
        self._running: AsyncExitStack | None = None
        self._windows: dict[str, list[websockets.ClientConnection]] = {}
        self.port = 0
        self.log: Output | None = None
        self.done: list[str] = []

    async def read(self, block: Block, /) -> None:
        """
        Do what *block* says.
        """
        if block.file:
            await self.stop()
            self._walk.write(block)
            self.done.append(block.file)
        elif block.language == "console" and "uvicorn app:app" in block.text:
            self.done.append("start")
        elif block.language == "console" and "pip install" not in block.text:
            await self.start(windows="curl" in block.text)
            await self._walk.type(block, self.port)
            self.done.append("curl" if "curl" in block.text else "client")
        elif block.language == "text" and block.text.startswith("- ws.welcome"):
            await self.start(windows=True)
            await self.ask(block.text.splitlines())
            self.done.append("page")
        elif block.language == "text":
            assert self.log
            for line in block.text.splitlines():
                await self.log.wait_for(pattern(line))
            self.done.append("log")

    async def start(self, *, windows: bool) -> None:
        """
        Start the server if it does not run, and open two windows as Alice and one as Bob.
        """
        if self._running is None:
            self._running = AsyncExitStack()
            self.port, self.log, _ = await self._running.enter_async_context(
                server(self._folder, "-m", "uvicorn", "app:app", "--port", "0")
            )
        if windows:
            for name in ("alice", "alice", "bob"):
                window = await self._running.enter_async_context(page(self.port, f"{name}-token"))
                self._windows.setdefault(name, []).append(window)

    async def ask(self, shown: list[str], /) -> None:
        """
        Ask as Alice; both of her windows must show *shown*, and Bob's only its greeting.
        """
        await self._windows["alice"][0].send(json.dumps({"type": "ask", "data": {"text": QUESTION}}))
        for window in self._windows["alice"]:
            for line in shown:
                text = await asyncio.wait_for(window.recv(), LIMIT)
                assert pattern(line).fullmatch(shown_by_page(str(text))), (line, text)
        bob = self._windows["bob"][0]
        assert '"ws.welcome"' in str(await asyncio.wait_for(bob.recv(), LIMIT))
        # Whatever was meant for Bob stands before the answer to a message of his own.
        await bob.send(json.dumps({"type": "ask", "data": {"text": "mine"}}))
        assert '"agent_started"' in (first := str(await asyncio.wait_for(bob.recv(), LIMIT)))
        assert 1 == json.loads(first)["seq"]

    async def stop(self) -> None:
        """
        Close the windows and stop the server.
        """
        self._windows.clear()
        if self._running is not None:
            running, self._running = self._running, None
            await running.aclose()


@pytest.mark.requirement("P1", "P2", "P6")
@pytest.mark.timeout(120)  # five starts of a real server, one after the other
async def test_walk(tmp_path: Path) -> None:
    """
    Each file, command and output of the tutorial is as the page says, in its order.
    """
    reader = Reader(tmp_path)
    try:
        for block in blocks(TUTORIAL):
            await reader.read(block)
    finally:
        await reader.stop()

    assert ["app.py", "page.html", "app.py", "start", "page", "app.py", "curl"] == reader.done[:7]
    assert [
        "client",
        "client",
        "client",
        "log",
        "client",
        "log",
        "legacy.py",
        "app.py",
        "client",
        "log",
    ] == reader.done[7:]


@pytest.mark.requirement("WS-01")
async def test_page_is_served(tmp_path: Path) -> None:
    """
    The page is served as it stands in the tutorial, its script has at most 15 lines, and it holds no secret.
    """
    walk = Walk(tmp_path)
    for block in blocks(TUTORIAL):
        if block.file:
            walk.write(block)
    async with (
        server(tmp_path, "-m", "uvicorn", "app:app", "--port", "0") as (port, _, _process),
        httpx.AsyncClient() as client,
    ):
        html = (await client.get(f"http://127.0.0.1:{port}/")).text

    assert (tmp_path / "page.html").read_text("utf-8") == html
    script = re.search(r"<script>\n(.*?)</script>", html, re.DOTALL)
    assert script
    assert len(script[1].splitlines()) <= 15
    assert "alice" not in html


def test_differences_are_seen() -> None:
    """
    What a page shows matches with anything for ``…``, and with nothing else that differs.
    """
    shown = pattern('closed 4001 i=…;r=1000 {"a": …}')

    assert shown.fullmatch('closed 4001 i=7f3a;r=1000 {"a": [1]}')
    assert not shown.fullmatch('closed 4003 i=7f3a;r=1000 {"a": [1]}')
    assert not shown.fullmatch('closed 4001 i=7f3a;r=1000 {"b": [1]}')
