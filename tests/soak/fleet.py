"""
The processes of a soak: engines, workers under one port, a publisher, and crowds. All end with the block.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs

from tests.engines.running import Engine
from tests.soak.checker import AFTER_AWAY, Fault
from tests.soak.control import Hub
from tests.soak.forwarder import Forwarder

ROOT: Final = Path(__file__).parents[2]
_OF_AN_ENGINE_AWAY: Final = (
    "ws_isolation.errors.EngineTimeoutError",
    "ws_isolation.errors.EngineUnavailableError",
    "asyncio.exceptions.CancelledError",  # what these two were made of
    "TimeoutError",
)
"""What a worker rightly reports of an engine that was taken away."""
_GRACE: Final = 30.0
_KEEPS: Final = ("--appendonly", "yes", "--appendfsync", "everysec", "--repl-diskless-sync-delay", "0")


@attrs.define
class Fleet:
    """
    What runs, and what can be done to it.
    """

    folder: Path
    hub: Hub
    forwarder: Forwarder
    master: Engine
    replica: Engine
    listener: socket.socket
    broken: str = ""
    workers: dict[str, subprocess.Popen[bytes]] = attrs.field(factory=dict[str, "subprocess.Popen[bytes]"])
    others: list[subprocess.Popen[bytes]] = attrs.field(factory=list["subprocess.Popen[bytes]"])
    faults: list[Fault] = attrs.field(factory=list[Fault])
    drains: list[float] = attrs.field(factory=list[float])
    """Seconds that each drain took, as the worker itself saw it."""
    _count: int = 0

    @property
    def address(self) -> str:
        """
        Where clients connect.
        """
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def environment(self, name: str) -> dict[str, str]:
        """
        Return what a process of ours is told.
        """
        return {
            **os.environ,
            "SOAK_ENGINE": f"redis://127.0.0.1:{self.forwarder.port}/0",
            "SOAK_PORT": str(self.hub.port),
            "SOAK_NAME": name,
            "SOAK_BROKEN": self.broken,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        }

    def add_worker(self) -> str:
        """
        Start one more worker on the shared socket; return its name.
        """
        self._count += 1
        name = f"worker-{self._count}"
        fd = self.listener.fileno()
        command = [sys.executable, "-m", "uvicorn", "--factory", "tests.soak.app:create", "--fd", str(fd)]
        command += ["--log-level", "warning", "--timeout-graceful-shutdown", "10", "--ws", "websockets-sansio"]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.workers[name] = subprocess.Popen(
                command, cwd=ROOT, env=self.environment(name), pass_fds=[fd], stdin=subprocess.DEVNULL, stderr=log
            )
        return name

    def add(self, *module: str) -> subprocess.Popen[bytes]:
        """
        Start another process of ours.
        """
        process = subprocess.Popen(
            [sys.executable, "-m", *module],
            cwd=ROOT,
            env=self.environment(module[0]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.others.append(process)
        return process

    async def kill_worker(self) -> None:
        """
        End a worker as a crash does, and start another.
        """
        began = time.monotonic()
        name = next(iter(self.workers))
        process = self.workers.pop(name)
        process.kill()
        await asyncio.to_thread(process.wait, _GRACE)
        await self._joined(self.add_worker())
        self._did("kill", began)

    async def roll(self) -> None:
        """
        Replace all workers one by one: the new one serves before the old one is told to go.
        """
        began = time.monotonic()
        for name in list(self.workers):
            await self._joined(self.add_worker())
            post = self.hub.named(name)
            assert post is not None
            post.is_leaving = True
            self.drains += await post.ask(drain=True)
            process = self.workers.pop(name)
            process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(process.wait, _GRACE)
            assert code in {0, -signal.SIGTERM}, f"{name} ended with {code}"
        self._did("roll", began)

    async def restart_engine(self, *, empty: bool = False, seconds: float = 1.5) -> None:
        """
        Kill the engine, and start it again after a while with what it had written down, or with nothing.
        """
        began = time.monotonic()
        self.master.kill()
        await asyncio.sleep(seconds)
        if empty:
            for path in sorted(self.master.folder.rglob("*.aof*")):
                path.unlink()
        await asyncio.to_thread(self.master.start)
        self._did("empty" if empty else "engine", began)

    async def follow(self) -> None:
        """
        Make the other engine a replica, and wait until it has all.
        """
        await asyncio.to_thread(self.replica.ask, b"REPLICAOF 127.0.0.1 %d" % self.master.port)
        async with asyncio.timeout(_GRACE):
            while b"master_link_status:up" not in await asyncio.to_thread(self.replica.ask, b"INFO replication"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def fail_over(self, *, lag: float = 1.5, seconds: float = 0.5) -> None:
        """
        Lose the engine, and go on with a replica that has missed the last *lag* seconds.
        """
        await asyncio.to_thread(self.replica.ask, b"REPLICAOF NO ONE")
        await asyncio.sleep(lag)
        began = time.monotonic()
        self.master.kill()
        await asyncio.sleep(seconds)
        self.forwarder.target = self.replica.port
        self.master, self.replica = self.replica, self.master
        self._did("failover", began)
        for path in sorted(self.replica.folder.rglob("*.aof*")):
            path.unlink()
        await asyncio.to_thread(self.replica.start)
        await self.follow()

    async def _joined(self, name: str) -> None:
        async with asyncio.timeout(60):
            while self.hub.named(name) is None:  # another process
                assert self.workers[name].poll() is None, (self.folder / f"{name}.log").read_text()
                await asyncio.sleep(0.02)

    def _did(self, kind: str, began: float) -> None:
        self.faults.append(Fault(kind, began, time.monotonic()))

    def complaints(self) -> list[str]:
        """
        Return what the workers wrote about themselves that is no consequence of what was done.
        """
        return [
            f"{path.stem}: {line}"
            for path in sorted(self.folder.glob("worker-*.log"))
            for line in complaints(path.read_text("utf-8", "replace").splitlines(), self.faults)
        ]

    async def end(self) -> None:
        """
        End every process by its own handle.
        """
        processes = [*self.others, *self.workers.values()]
        for process in processes:
            if process.stdin is not None:
                process.stdin.close()
            if process.poll() is None:
                process.terminate()
        for process in processes:
            try:
                await asyncio.to_thread(process.wait, _GRACE / 2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self.master.stop()
        self.replica.stop()


def complaints(lines: list[str], faults: list[Fault]) -> list[str]:
    """
    Return what in a worker's log is of security, and how each traceback ends that no engine's absence explains.
    """
    found = [line for line in lines if "security" in line]
    inside, when = False, float("-inf")
    for line in lines:  # what ends a traceback is the first line after it that is not indented
        if inside and line and not line.startswith((" ", "Traceback")):
            away = any(fault.is_engine and fault.began <= when <= fault.ended + AFTER_AWAY for fault in faults)
            if not (away and line.startswith(_OF_AN_ENGINE_AWAY)):
                found.append(line)
        if stamped := re.match(r"@(\d+\.\d+) ", line):
            when = float(stamped[1])
        inside = line.startswith("Traceback") or (inside and line.startswith(" "))
    return found


@asynccontextmanager
async def fleet(folder: Path, *, workers: int = 4, broken: str = "") -> AsyncGenerator[Fleet]:
    """
    Run engines, workers and a publisher.
    """
    engines: list[Engine] = []
    for name in ("one", "two"):
        (folder / name).mkdir()
        engines.append(Engine(folder / name, options=_KEEPS))
    hub, forwarder = Hub(), Forwarder(engines[0].port)
    with socket.create_server(("127.0.0.1", 0), backlog=1_024) as listener:
        made = Fleet(folder, hub, forwarder, engines[0], engines[1], listener, broken)
        try:
            await hub.start()
            await forwarder.start()
            for engine in engines:
                await asyncio.to_thread(engine.start)
            await made.follow()
            for _ in range(workers):
                made.add_worker()
            made.add("tests.soak.publisher")
            await hub.reached(workers + 1)
            yield made
        finally:
            await made.end()
            await forwarder.stop()
            await hub.stop()
