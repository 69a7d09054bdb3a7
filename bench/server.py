"""
The measured process: one peer's server on one core, told what to emit over a control connection.

Run by the orchestrator: ``python -m bench.server PEER --control PORT --listen FD``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import os
import resource
import socket
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from .peers import Peer, make_peer
from .work import TEXT_BYTES, user_name

CROWD: Final = 50
"""Users to whom is emitted at the same time, by ``crowd()``."""


def pin(core: int, /) -> None:
    """Keep this process on one core where the system can; else it stays where it is."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {core})


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open files to the hard one: 2,000 sockets pass the usual 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def resident_bytes() -> int:
    """Return the resident size of this process now; its highest one where the system does not tell."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def usage() -> dict[str, float]:
    """Return this process's CPU seconds, user and system apart, and its resident bytes."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return {"user": spent.ru_utime, "system": spent.ru_stime, "rss": float(resident_bytes())}


def run(main: Coroutine[Any, Any, None], /) -> None:
    """Run a coroutine in uvloop where it is installed, else in the standard loop."""
    try:
        # By name: only the group `bench` has it, and the types are checked without.
        uvloop: Any = importlib.import_module("uvloop")
    except ImportError:
        asyncio.run(main)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)


class Emitter:
    """Emits to users in turn, and counts for each."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.counts: dict[str, int] = {}

    async def emit(self, user: str, size: int) -> None:
        """Emit the next event of *user*."""
        n = self.counts.get(user, 0)
        self.counts[user] = n + 1
        await self._peer.emit(user, n, size)

    async def burst(self, users: int, events: int, seconds: float) -> None:
        """Emit whole passes over all users, as fast as it goes, until *events* are out or *seconds* over."""
        names = [user_name(number) for number in range(users)]
        begun, passes = time.monotonic(), 0
        while not passes or (passes * users < events and time.monotonic() - begun < seconds):
            for name in names:
                await self.emit(name, TEXT_BYTES)
            passes += 1
            await asyncio.sleep(0)

    async def absent(self, first: int, users: int) -> None:
        """Emit one event to each of *users* users who have no session."""
        for number in range(first, first + users):
            await self.emit(user_name(number), TEXT_BYTES)

    async def crowd(self, users: int, each: int) -> None:
        """Emit *each* events to every user; some users at a time, each of them one event after the other."""
        names = [user_name(number) for number in range(users)]

        async def one_after_the_other(some: list[str]) -> None:
            for name in some:
                for _ in range(each):
                    await self.emit(name, TEXT_BYTES)

        async with asyncio.TaskGroup() as group:
            for first in range(min(users, CROWD)):
                group.create_task(one_after_the_other(names[first::CROWD]))

    async def paced(self, users: int, rate: float, seconds: float, stalled_size: int) -> None:
        """
        Emit *rate* events per second to the users in turn.

        With *stalled_size*, the user behind the last one gets an event of that many bytes after each.
        """
        names = [user_name(number) for number in range(users)]
        stalled = user_name(users)
        begun, sent = time.monotonic(), 0
        while (now := time.monotonic()) - begun < seconds:
            while sent / rate <= now - begun:
                await self.emit(names[sent % users], TEXT_BYTES)
                if stalled_size:
                    await self.emit(stalled, stalled_size)
                sent += 1
            # Not less than the loops' own resolution: they would spin.
            await asyncio.sleep(max(0.001, begun + sent / rate - time.monotonic()))


async def obey(peer: Peer, control: int) -> None:
    """Do what the orchestrator asks until it hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", control)
    emitter = Emitter(peer)
    while line := await reader.readline():
        asked = json.loads(line)
        before = usage()
        finished = True
        match asked.pop("do"):
            case "burst":
                await emitter.burst(**asked)
            case "crowd":
                await emitter.crowd(**asked)
            case "absent":
                await emitter.absent(**asked)
            case "paced":
                try:
                    async with asyncio.timeout(asked["seconds"] + 1):
                        await emitter.paced(**asked)
                except TimeoutError:  # the emitter itself hangs: one reader stopped everybody
                    finished = False
            case "collect":
                gc.collect()
            case _:
                pass
        answer: dict[str, Any] = {"before": before, "counts": emitter.counts, "finished": finished, **usage()}
        writer.write(json.dumps(answer).encode() + b"\n")


async def serve(name: str, control: int, listener: socket.socket, *, token: bool, engine: str) -> None:
    """Serve *name* until the orchestrator hangs up."""
    peer = make_peer(name, token=token, engine=engine)
    serving = asyncio.create_task(peer.serve(listener))
    obeying = asyncio.create_task(obey(peer, control))
    done, _ = await asyncio.wait({serving, obeying}, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    os._exit(0)  # nothing to save, and thousands of sockets need no farewell


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--token", action="store_true")
    parser.add_argument("--engine", default="")
    wanted = parser.parse_args()
    pin(0)
    raise_descriptor_limit()
    listener = socket.socket(fileno=wanted.listen)
    run(serve(wanted.peer, wanted.control, listener, token=wanted.token, engine=wanted.engine))


if __name__ == "__main__":
    main()
