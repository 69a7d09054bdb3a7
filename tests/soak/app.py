"""
The application under soak: ``uvicorn --factory tests.soak.app:create``. What it is comes from its environment.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from tests.servers.running import by_token, until_gone
from tests.soak.broken import BROKEN
from tests.soak.control import obey
from ws_isolation import ManagerFactory, Settings
from ws_isolation.adapters.starlette import serve
from ws_isolation.backplanes.redis import RedisBackplane

KEY: Final = b"0123456789abcdef0123456789abcdef"
SETTINGS: Final = Settings(
    drain_seconds=10.0, drain_share=0.3, sessions_per_identity=100, pending_handshakes=5_000, window_seconds=3_600
)


class Stamped(logging.Formatter):
    """
    Puts before each record when it was made, by the clock that all processes share.
    """

    def format(self, record: logging.LogRecord) -> str:
        """
        Return ``@seconds`` and the record.
        """
        return f"@{time.monotonic():.3f} {super().format(record)}"


def backplane() -> RedisBackplane:
    """
    Return what connects this process to the others.
    """
    return RedisBackplane(os.environ["SOAK_ENGINE"], SETTINGS, keys=(KEY,))


def create() -> Any:
    """
    Return the application.
    """
    to_stderr = logging.StreamHandler()
    to_stderr.setFormatter(Stamped())
    logging.basicConfig(level=logging.WARNING, handlers=[to_stderr])
    factory = ManagerFactory(SETTINGS, backplane=backplane())
    name = os.environ.get("SOAK_NAME", f"worker-{os.getpid()}")

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncGenerator[None]:
        async with factory:
            obeying = asyncio.create_task(obey(int(os.environ["SOAK_PORT"]), name, factory.create_manager, drain))
            yield
        obeying.cancel()
        await asyncio.gather(obeying, return_exceptions=True)

    async def drain() -> None:
        await factory.drain(retry_after_ms=200)

    async def endpoint(websocket: WebSocket) -> None:
        await serve(websocket, factory, by_token, until_gone)

    app = Starlette(routes=[WebSocketRoute("/ws", endpoint)], lifespan=lifespan)
    return BROKEN[os.environ.get("SOAK_BROKEN", "")](app)
