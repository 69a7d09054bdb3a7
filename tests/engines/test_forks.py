"""
Processes that were forked from one application, as servers with preloading do.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

from tests.engines.running import Engine

PROGRAM: Final = """
import asyncio, os, sys
from ws_isolation import ManagerFactory
from ws_isolation.backplanes.redis import RedisBackplane
from ws_isolation.events import Custom
from ws_isolation.testing import RecordingTransport, make_context

factory = ManagerFactory(backplane=RedisBackplane(sys.argv[1], keys=(b"k" * 32,)))
ready, go = os.pipe()


async def send():
    await asyncio.to_thread(os.read, ready, 1)
    async with factory:
        await factory.create_manager(make_context("forked")).send(Custom(name="a.b", value="across"))


async def listen():
    transport = RecordingTransport()
    async with factory, factory.attach(make_context("forked"), transport):
        os.write(go, b"x")
        for _ in range(500):
            if "custom" in transport.types():
                print("heard")
                return
            await asyncio.sleep(0.01)


child = os.fork()
if child == 0:
    asyncio.run(send())
    os._exit(0)
asyncio.run(listen())
os.waitpid(child, 0)
"""


@pytest.mark.requirement("P3")
def test_forked_processes_hear_each_other(shared_engine: Engine) -> None:
    """
    A factory that was made before the fork works in both processes, and each hears the other.
    """
    command = [sys.executable, "-c", PROGRAM, shared_engine.url]

    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert ("heard\n", 0) == (run.stdout, run.returncode), run.stderr
