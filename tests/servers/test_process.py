"""
A server process ends when it is told to, whoever is still connected.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.servers.running import client

ROOT = Path(__file__).parents[2]


@pytest.mark.scenario("S26")
@pytest.mark.requirement("P2")
async def test_sigterm_ends_the_process() -> None:
    """
    SIGTERM with sockets open: every client is told goodbye, the process ends in time and prints no error.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.servers.program",
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30), AsyncExitStack() as stack:
            address = f"127.0.0.1:{int(await process.stdout.readline())}"
            tabs = [await stack.enter_async_context(client(address, user)) for user in ("alice", "alice", "bob")]
            for tab in tabs:
                await tab.until("ws.welcome")
            process.send_signal(signal.SIGTERM)
            rests = [await tab.rest() for tab in tabs]
            _, printed = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert all(rest.ended_with(4200, "drain") for rest in rests)
    assert process.returncode in {0, -signal.SIGTERM}
    assert b"" == printed
