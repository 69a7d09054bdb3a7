"""
A uvicorn of the demo's own: where it listens, when it is ready, and how it ends.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, closing, contextmanager
from types import FrameType
from typing import Final, final

import uvicorn
from typing_extensions import override

from .app import Demo

__all__ = ("Server", "address_of", "listen", "running")

_TRIES: Final = 20
"""Ports that are tried, from the wanted one upwards."""
_END_SECONDS: Final = 3
"""Seconds that uvicorn waits for connections once everybody was told goodbye."""
_STALLED_MS: Final = 15_000
"""Milliseconds after which the kernel drops a peer that takes nothing (TCP_USER_TIMEOUT); ASGI itself cannot."""


def listen(host: str, port: int, /) -> socket.socket:
    """
    Return a socket that is bound to *port* of *host*, or to the next one that is free.

    Raises:
        OSError: The address is not ours, the port not allowed, or none is free.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    last = port if port == 0 else min(port + _TRIES - 1, 65_535)
    while True:
        try:
            bound = socket.create_server((host, port), family=family)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port >= last:
                raise
            port += 1
        else:
            option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux; accepted sockets inherit it
            if option is not None:
                bound.setsockopt(socket.IPPROTO_TCP, option, _STALLED_MS)
            return bound


def address_of(bound: socket.socket, /) -> str:
    """Return where a client on this machine reaches *bound*: ``127.0.0.1:8765``."""
    name: str = bound.getsockname()[0]
    port: int = bound.getsockname()[1]
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)  # noqa: S104  # recognised, not bound
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


@final
class Server(uvicorn.Server):
    """
    Serves a demo. Lives as long as the process, or a test.

    What it adds to uvicorn is the order of the end: the factory says goodbye to
    every socket before uvicorn closes them with a bare 1012.

    Args:
        demo: What is served.
        signals: Whether Ctrl-C and SIGTERM end it.
    """

    def __init__(self, demo: Demo, /, *, signals: bool) -> None:
        super().__init__(
            uvicorn.Config(
                demo.app, lifespan="on", access_log=False, log_config=None, timeout_graceful_shutdown=_END_SECONDS
            )
        )
        self._demo = demo
        self._signals = signals
        self.ready: asyncio.Event = asyncio.Event()
        """Set when it listens, and when it has ended."""

    @contextmanager
    @override
    def capture_signals(self) -> Generator[None]:
        """Listen to signals, or leave them to whoever embeds the server."""
        if not self._signals:
            yield
            return
        with super().capture_signals():
            yield

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop in order. Unlike uvicorn's own, the signal is not raised again afterwards: it has done its work."""
        self.should_exit = True

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self.ready.set()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nobody new, say goodbye to everybody, then end."""
        for server in self.servers:
            server.close()
        await self._demo.factory.stop()
        await super().shutdown(sockets)


@asynccontextmanager
async def running(demo: Demo, /) -> AsyncGenerator[str]:
    """
    Serve *demo* on a free port of the loopback interface as long as the block runs; give its address.
    """
    with closing(listen("127.0.0.1", 0)) as bound:
        server = Server(demo, signals=False)
        serving = asyncio.create_task(server.serve(sockets=[bound]), name="demo-server")
        serving.add_done_callback(lambda _: server.ready.set())
        try:
            await server.ready.wait()
            yield address_of(bound)
        finally:
            server.should_exit = True
            await serving
