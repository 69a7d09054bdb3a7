"""
The example applications, each in a process of its own, used and stopped as a service is.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.docs.blocks import ROOT
from tests.layers import PACKAGE
from tests.servers.raw import answer_to
from tests.servers.running import Client, client

EXAMPLES = ROOT / "examples"


class Running:
    """
    A started example: its address, and its process.
    """

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self.process = process
        self.address = address

    async def stopped(self, *tabs: Client) -> list[tuple[int, str]]:
        """
        Send SIGTERM; return how each tab was closed, once the process has ended and showed no traceback.
        """
        self.process.send_signal(signal.SIGTERM)
        rests = [await tab.rest() for tab in tabs]
        async with asyncio.timeout(20):
            _, printed = await self.process.communicate()
        assert b"Traceback" not in printed
        assert self.process.returncode in {0, -signal.SIGTERM}
        assert all(rest.frames[-1]["type"] == "ws.goodbye" for rest in rests)
        return [(rest.code, rest.reason.split(";")[0]) for rest in rests]


@asynccontextmanager
async def started(name: str, *command: str) -> AsyncGenerator[Running]:
    """
    Start an example on a free port of loopback, or *command* in its folder.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(command or ("app.py", "0")),
        cwd=EXAMPLES / name,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(PACKAGE.parent)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    says = process.stderr if command else process.stdout
    assert says is not None
    try:
        async with asyncio.timeout(20):
            while not (
                found := re.search(rb"(?:Running on|Listening at:) \w+://(127\.0\.0\.1:\d+)", await says.readline())
            ):
                assert process.returncode is None
        yield Running(process, found[1].decode())
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.scenario("S26", "S27", "S33")
@pytest.mark.requirement("P1", "P2")
async def test_aiohttp() -> None:
    """
    Alice asks in one tab and reads the answer in both, a push reaches hers alone, SIGTERM says goodbye with 4200.
    """
    async with (
        started("aiohttp") as example,
        client(example.address, "alice-token") as first,
        client(example.address, "alice-token") as second,
        client(example.address, "bob-token") as bobs,
    ):
        for tab in (first, second, bobs):
            await tab.until("ws.welcome")
        await first.send(type="ask", data={"text": "where is it?"})
        answers = [(await tab.until("agent_completed"))["data"] for tab in (first, second)]
        async with httpx.AsyncClient(trust_env=False) as http:
            bearer = {"Authorization": "Bearer bob-token"}
            pushed = await http.post(f"http://{example.address}/push", content="hello", headers=bearer)
            refused = await http.post(f"http://{example.address}/push", content="hello")
        news = await bobs.until("custom")
        ends = await example.stopped(first, second, bobs)

    assert ["Your parcel is on its way."] * 2 == [answer["output_text"] for answer in answers]
    assert ({"tabs": 1}, 401) == (pushed.json(), refused.status_code)
    assert ("hello", 1) == (news["data"]["value"], news["seq"])
    assert [(4200, "drain")] * 3 == ends


@pytest.mark.scenario("S26")
@pytest.mark.requirement("P2")
async def test_aiohttp_under_gunicorn() -> None:
    """
    The worker of aiohttp for gunicorn drains first as well.
    """
    worker = ("--worker-class", "aiohttp.GunicornWebWorker", "--bind", "127.0.0.1:0", "--no-control-socket")
    async with started("aiohttp", "-m", "gunicorn", *worker, "app:application()") as example:
        async with client(example.address, "alice-token") as tab:  # the kernel keeps it until the worker is there
            await tab.until("ws.welcome")
            ends = await example.stopped(tab)

    assert [(4200, "drain")] == ends


@pytest.mark.scenario("S26", "S27")
@pytest.mark.requirement("P1", "P2")
async def test_websockets() -> None:
    """
    A calculation, one that is stopped, one that is refused, a health check; SIGTERM says goodbye with 4200.
    """
    async with (
        started("websockets") as example,
        client(example.address, "alice-token") as alices,
        client(example.address, "bob-token") as bobs,
    ):
        await bobs.until("ws.welcome")
        await alices.send(type="sum", data={"up_to": 20_000})
        total = await alices.until("agent_completed")
        await bobs.send(type="sum", data={"up_to": 100_000})
        begun = await bobs.until("agent_started")
        await bobs.send(type="stop", run_id=begun["run_id"])
        stopped = await bobs.until("agent_cancelled")
        await bobs.send(type="sum", data={"up_to": 0})
        refused = await bobs.until("ws.error")
        request = f"GET /healthz HTTP/1.1\r\nHost: {example.address}\r\n\r\n".encode()
        healthy, _ = await answer_to(example.address, request)
        ends = await example.stopped(alices, bobs)

    assert ("200010000", "user") == (total["data"]["output_text"], stopped["data"]["reason"])
    assert ("invalid_data", "$.up_to") == (refused["slug"], refused["path"])
    assert 200 == healthy
    assert [(4200, "drain")] * 2 == ends
