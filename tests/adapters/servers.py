"""
The servers under test: each serves an application on a port of loopback, in this process, until SIGTERM.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

HOST: Final = "127.0.0.1"

Serve: TypeAlias = Callable[[Any, int], None]
"""Serves an application on a port, and returns when the process was told to end."""


def _uvicorn(app: Any, port: int, *, ws: Any, loop: Any) -> None:
    import uvicorn

    uvicorn.run(app, host=HOST, port=port, ws=ws, loop=loop, log_level="critical", timeout_graceful_shutdown=5)


def _uvicorn_frames(app: Any, port: int) -> None:
    import uvicorn

    from ws_isolation.adapters.uvicorn import UvicornFrames

    uvicorn.run(
        UvicornFrames(app), host=HOST, port=port, ws="websockets-sansio", loop="asyncio", log_level="critical",
        ws_per_message_deflate=False, timeout_graceful_shutdown=5,
    )  # fmt: skip


def _hypercorn(app: Any, port: int) -> None:
    # Its command starts worker processes, which wait for their clients without end from Python 3.12 on.
    from hypercorn.asyncio import serve  # pyright: ignore[reportUnknownVariableType]  # its types are partial
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"{HOST}:{port}"]
    config.errorlog = None
    asyncio.run(serve(app, config))


def _daphne(app: Any, port: int) -> None:
    server: Any = importlib.import_module("daphne.server")  # it has no types
    server.Server(app, endpoints=[f"tcp:port={port}:interface={HOST}"], signal_handlers=True).run()


def _granian(_app: Any, port: int) -> None:
    from granian.constants import Interfaces
    from granian.log import LogLevels
    from granian.server import Server

    # It imports the application itself, in its worker.
    Server(
        "tests.adapters.program:app",
        address=HOST,
        port=port,
        interface=Interfaces.ASGI,
        factory=True,
        websockets=True,
        log_level=LogLevels.critical,
    ).serve()


def serve_aiohttp(app: Any, port: int) -> None:
    """
    Serve an aiohttp application; the factory hears of SIGTERM.
    """
    from aiohttp import web

    web.run_app(app, host=HOST, port=port, handle_signals=False, print=None)


def serve_websockets(app: Any, port: int) -> None:
    """
    Serve what the endpoint of the websockets library says.
    """
    from websockets.asyncio.server import serve

    from ws_isolation.signals import drained

    factory, options = app

    async def main() -> None:
        async with factory, serve(**options, host=HOST, port=port):
            await drained(factory)

    asyncio.run(main())


ASGI: Final[dict[str, Serve]] = {
    **{
        f"uvicorn {ws} {loop}": partial(_uvicorn, ws=ws, loop=loop)
        for ws in ("websockets-sansio", "websockets", "wsproto")
        for loop in ("asyncio", "uvloop")
    },
    "uvicorn UvicornFrames": _uvicorn_frames,
    "hypercorn": _hypercorn,
    "daphne": _daphne,
    "granian": _granian,
}
"""Every ASGI server, as it is commonly run: one process."""
