"""
Four workers under one port and their clients, through kills of workers and of the engine.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.running import free_port
from tests.servers.running import client
from tests.soak.driver import Plan, soak
from tests.soak.fleet import ROOT, fleet

pytestmark = [pytest.mark.load, pytest.mark.timeout(600)]


@pytest.mark.scenario("S26")
@pytest.mark.requirement("P1", "P2", "P3")
async def test_soak(tmp_path: Path) -> None:
    """
    Through all of it nothing is foreign, nothing is lost in silence, every close and every gap is explained.
    """
    outcome = await soak(Plan(sessions=200, seconds=1, rate=50, pause=3, crowds=1), tmp_path)

    assert [] == outcome.bad, outcome.lines()
    assert (0, 0) == (outcome.verdict.foreign, outcome.verdict.silent)
    assert outcome.verdict.sessions == 200
    assert outcome.verdict.events > 400
    assert outcome.verdict.resumed > 200, "the rolling restart sends everybody elsewhere at least once"
    assert outcome.verdict.gaps["epoch_changed"] > 0, "the engine was restarted empty"
    assert outcome.verdict.gaps["divergence"] > 0, "the replica had missed something"
    assert outcome.verdict.announced > 0


@pytest.mark.requirement("P3")
async def test_kills_and_drains_lose_nothing(tmp_path: Path) -> None:
    """
    While the engine stays, kills and a rolling restart lose nothing at all: there is no gap either.
    """
    plan = Plan(sessions=60, seconds=1, rate=60, pause=1, crowds=1, faults=("kill", "roll"))
    outcome = await soak(plan, tmp_path)

    assert [] == outcome.bad, outcome.lines()
    assert {} == outcome.verdict.gaps
    assert 0 == outcome.verdict.announced


@pytest.mark.requirement("P3")
@pytest.mark.parametrize(("broken", "fault"), [("silent", "empty"), ("counting", "failover")])
async def test_broken_applications_are_noticed(tmp_path: Path, broken: str, fault: str) -> None:
    """
    Negative control: where gaps are swallowed, or a counter is followed instead of the chain, losses are silent.
    """
    plan = Plan(sessions=40, seconds=1, rate=80, pause=2, crowds=1, faults=(fault,), broken=broken)
    outcome = await soak(plan, tmp_path)

    assert outcome.verdict.silent > 0, outcome.lines()


@pytest.mark.requirement("P3")
async def test_uvicorn_workers(tmp_path: Path) -> None:
    """
    ``uvicorn --workers 4`` as it is: what any of the four sends reaches sockets wherever they are; all end on SIGTERM.
    """
    async with fleet(tmp_path, workers=0) as made:
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "--factory", "tests.soak.app:create", "--workers", "4"]
        environment = made.environment("")
        del environment["SOAK_NAME"]
        parent = await asyncio.to_thread(
            subprocess.Popen,
            [*command, "--port", str(port), "--log-level", "warning", "--timeout-graceful-shutdown", "5"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        try:
            await made.hub.reached(5)
            async with client(f"127.0.0.1:{port}", "alice") as one, client(f"127.0.0.1:{port}", "bob") as two:
                await one.until("ws.welcome")
                await two.until("ws.welcome")
                posts = list(made.hub.posts)
                for post in posts:
                    await post.ask(user="alice", value=["alice", post.name])
                got = [(await one.until("custom"))["data"]["value"] for _ in posts]
        finally:
            parent.send_signal(signal.SIGTERM)
            await asyncio.to_thread(parent.wait, 60)

    assert 5 == len({post.pid for post in posts})
    assert [["alice", post.name] for post in posts] == got
