"""
What a server with an adapter on it is to the checks: how it starts, where it listens, in what it differs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Final, TypeAlias, final

import attrs

_START_SECONDS: Final = 20.0
_END_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.02


@final
@attrs.frozen
class Difference:
    """
    One thing that an adapter and its server do otherwise, and why nobody can help it.

    It is checked like everything else: where something else is seen than is named, and where the
    difference is gone, the check fails.

    Attributes:
        observed: What is seen instead, in the words of the report.
        reason: Why, for the readers of the matrix.
        others: What is seen as well where it depends on chance.
    """

    observed: str
    reason: str
    others: tuple[str, ...] = ()


@final
@attrs.frozen
class Served:
    """
    A server that listens.

    Attributes:
        host: Where.
        port: Where.
        process: Its process, to be sent SIGTERM; None where it runs in the process of the checks.
    """

    host: str
    port: int
    process: asyncio.subprocess.Process | None = None


StartServer: TypeAlias = Callable[[], AbstractAsyncContextManager[Served]]
"""Starts a server with an ``AdapterSubject`` at ``/ws``, and ends it with the block."""


@final
@attrs.frozen(kw_only=True)
class Adapter:
    """
    An adapter on a server, for ``check_adapter()``.

    Attributes:
        name: For the report: "starlette on uvicorn".
        start: Starts a server; called once for each run of the checks.
        differences: By the name of the check, what this pairing does otherwise.
    """

    name: str
    start: StartServer
    differences: Mapping[str, Difference] = attrs.field(factory=dict[str, Difference])


def command(*words: str, directory: str | None = None) -> StartServer:
    """
    Return what starts a server by a command: ``command("uvicorn", "app:app", "--port", "{port}")``.

    Args:
        words: The command, run in a process of its own; ``{port}`` stands for a free port of 127.0.0.1, on which
            the server must listen.
        directory: Where it runs; None for the current one.

    Entering raises RuntimeError where the process ends, or does not listen within 20 seconds. What it
    prints goes to the standard error of the checks. It is ended with the block, and all that it started.
    """

    @asynccontextmanager
    async def start() -> AsyncGenerator[Served]:
        port = _free_port()
        filled = [word.replace("{port}", str(port)) for word in words]
        process = await asyncio.create_subprocess_exec(*filled, cwd=directory, stdout=2, start_new_session=True)
        try:
            await _listens(process, port)
            yield Served("127.0.0.1", port, process)
        finally:
            await _ended(process)

    return start


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


async def _listens(process: asyncio.subprocess.Process, port: int) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + _START_SECONDS
    while process.returncode is None and loop.time() < until:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.transport.abort()
            return
        await asyncio.sleep(_LOOK_SECONDS)
    msg = f"the server does not listen on port {port} (exit code {process.returncode})"
    raise RuntimeError(msg)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """End the process in order, since it may have something to write at its end; then all of its group."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
