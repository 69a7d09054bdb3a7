"""
An application on a real server, in this process, on a port of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from typing_extensions import override


class _Server(uvicorn.Server):
    """
    Says when it listens.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @override
    async def startup(self, sockets: object = None) -> None:
        await super().startup()
        port: int = self.servers[0].sockets[0].getsockname()[1]
        self.listening.set_result(port)


@asynccontextmanager
async def running(app: FastAPI) -> AsyncGenerator[int]:
    """
    Serve *app* while the block runs; gives its port.
    """
    server = _Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    serving = asyncio.create_task(server._serve())
    try:
        first: set[asyncio.Future[None] | asyncio.Future[int]] = {serving, server.listening}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        assert server.listening.done(), serving
        yield server.listening.result()
    finally:
        server.should_exit = True
        await serving
