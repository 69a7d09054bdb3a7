"""
What the page about gunicorn says about shutting down, tried with two worker processes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import websockets

from tests.docs.blocks import ROOT, blocks
from tests.docs.walking import LIMIT, page, server

GUNICORN = ROOT / "docs" / "howto" / "gunicorn.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"

# After the page's own settings: a port of the test's own, and no socket in the home directory.
CHANGED = '\nbind = "127.0.0.1:0"\nworkers = 2\ncontrol_socket_disable = True\nforwarded_allow_ips = ""\n'


@asynccontextmanager
async def serving(folder: Path, *options: str) -> AsyncGenerator[websockets.ClientConnection]:
    """
    Serve the tutorial's application as the page says, connect Alice, and tell gunicorn to stop.
    """
    for name in (TUTORIAL, GUNICORN):
        for block in blocks(name):
            if block.file:
                with (folder / block.file).open("a", encoding="utf-8") as file:
                    file.write(block.text)
    with (folder / "gunicorn.conf.py").open("a", encoding="utf-8") as file:
        file.write(CHANGED)
    command = ("-m", "gunicorn", *options, "app:app")
    async with server(folder, *command) as (port, _, process), page(port, "alice-token") as client:
        assert '"ws.welcome"' in str(await asyncio.wait_for(client.recv(), LIMIT))
        process.terminate()
        yield client


@pytest.mark.scenario("S26")
@pytest.mark.requirement("P2")
async def test_worker_says_goodbye(tmp_path: Path) -> None:
    """
    On SIGTERM the worker of the page says goodbye and closes with 4200, and the processes end.
    """
    async with serving(tmp_path) as client:
        goodbye = json.loads(await asyncio.wait_for(client.recv(), LIMIT))
        await asyncio.wait_for(client.wait_closed(), LIMIT)

    assert ("ws.goodbye", 4200, "resume") == (goodbye["type"], goodbye["code"], goodbye["action"])
    assert (4200, "drain") == (client.close_code, client.close_reason)


async def test_plain_worker_says_goodbye(tmp_path: Path) -> None:
    """
    So does the worker as it is installed.
    """
    async with serving(tmp_path, "--worker-class", "uvicorn_worker.UvicornWorker") as client:
        await asyncio.wait_for(client.wait_closed(), LIMIT)

    assert (4200, "drain") == (client.close_code, client.close_reason)


async def test_gunicorns_own_worker_gives_time(tmp_path: Path) -> None:
    """
    Gunicorn's own ASGI worker hears of the signal at the same time, and leaves the drain its grace period.
    """
    async with serving(tmp_path, "--worker-class", "asgi", "--graceful-timeout", "10") as client:
        await asyncio.wait_for(client.wait_closed(), LIMIT)

    assert (4200, "drain") == (client.close_code, client.close_reason)
