"""
What the page about production says about shutting down and about the kernel, tried.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import websockets

from tests.docs.blocks import ROOT, blocks
from tests.docs.walking import LIMIT, Output, page, server

DEPLOY = ROOT / "docs" / "howto" / "deploy.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"


@asynccontextmanager
async def serving(folder: Path, *command: str) -> AsyncGenerator[tuple[websockets.ClientConnection, Output]]:
    """
    Serve the tutorial's application with *command*, connect Alice, and let the server be told to stop.
    """
    for name in (TUTORIAL, DEPLOY):
        for block in blocks(name):
            if block.file:
                with (folder / block.file).open("a", encoding="utf-8") as file:
                    file.write(block.text.replace("port=8000", "port=0").replace(":8000", ":0"))
    async with server(folder, *command) as (port, log, process), page(port, "alice-token") as client:
        assert '"ws.welcome"' in str(await asyncio.wait_for(client.recv(), LIMIT))
        process.terminate()
        yield client, log


@pytest.mark.scenario("S26")
@pytest.mark.requirement("P2")
async def test_script_says_goodbye(tmp_path: Path) -> None:
    """
    On SIGTERM the script of the page says goodbye and closes with 4200, and the process ends.
    """
    async with serving(tmp_path, "serve.py") as (client, _):
        goodbye = json.loads(await asyncio.wait_for(client.recv(), LIMIT))
        await asyncio.wait_for(client.wait_closed(), LIMIT)

    assert ("ws.goodbye", 4200, "resume") == (goodbye["type"], goodbye["code"], goodbye["action"])
    assert (4200, "drain") == (client.close_code, client.close_reason)


async def test_plain_uvicorn_says_goodbye(tmp_path: Path) -> None:
    """
    So does the command line of uvicorn, since it is the application's lifespan that listens to signals.
    """
    async with serving(tmp_path, "-m", "uvicorn", "app:app", "--port", "0") as (client, _):
        await asyncio.wait_for(client.wait_closed(), LIMIT)

    assert (4200, "drain") == (client.close_code, client.close_reason)


async def test_workers_of_uvicorn_say_goodbye(tmp_path: Path) -> None:
    """
    So do the worker processes of uvicorn's own supervisor.
    """
    async with serving(tmp_path, "-m", "uvicorn", "app:app", "--port", "0", "--workers", "2") as (client, _):
        await asyncio.wait_for(client.wait_closed(), LIMIT)

    assert (4200, "drain") == (client.close_code, client.close_reason)


async def test_command_line_of_hypercorn(tmp_path: Path) -> None:
    """
    Hypercorn without worker processes leaves the drain its grace period.
    """
    command = ("-m", "hypercorn", "--bind", "127.0.0.1:0", "--workers", "0", "app:app")
    async with serving(tmp_path, *command) as (client, _):
        await asyncio.wait_for(client.wait_closed(), LIMIT)

    assert (4200, "drain") == (client.close_code, client.close_reason)


async def test_hypercorn_with_its_trigger_says_goodbye(tmp_path: Path) -> None:
    """
    So does hypercorn with the trigger of the page.
    """
    async with serving(tmp_path, "serve_hypercorn.py") as (client, _):
        await asyncio.wait_for(client.wait_closed(), LIMIT)

    assert (4200, "drain") == (client.close_code, client.close_reason)


async def test_without_the_lifespan_uvicorn_closes_first(tmp_path: Path) -> None:
    """
    The control: an application that is not told of the signal has its sockets closed with 1012.
    """
    (tmp_path / "by_hand.py").write_text(
        "from app import app, factory\nfrom starlette.routing import _DefaultLifespan\n"
        "app.router.lifespan_context = _DefaultLifespan(app.router)\n"
    )
    async with serving(tmp_path, "-m", "uvicorn", "by_hand:app", "--port", "0") as (client, _):
        await asyncio.wait_for(client.wait_closed(), LIMIT)

    assert 1012 == client.close_code


def test_time_out_is_inherited() -> None:
    """
    Where the kernel knows TCP_USER_TIMEOUT, an accepted socket has what was set on the listening one.
    """
    option: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
    inherited: list[int] = []
    if option is not None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setsockopt(socket.IPPROTO_TCP, option, 15_000)
            with socket.create_connection(listening.getsockname()):
                accepted, _ = listening.accept()
                with accepted:
                    inherited.append(accepted.getsockopt(socket.IPPROTO_TCP, option))

    assert ([] if option is None else [15_000]) == inherited
