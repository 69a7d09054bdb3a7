"""
Applications under ``UvicornFrames``, down to the connection of the server.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import attrs
import uvicorn

from ws_isolation.adapters._asgi import AsgiOpening
from ws_isolation.adapters.uvicorn import UvicornFrames
from ws_isolation.typing import Transport

Talk: TypeAlias = Callable[[Transport, Any], Awaitable[None]]
"""Called with the transport of an accepted socket and the server's protocol object."""


@attrs.define
class Writes:
    """
    Counts what goes through the server's own ``send``.
    """

    texts: int = 0


def talking(talk: Talk, writes: Writes | None = None) -> Any:
    """
    Return an application that accepts each socket and calls *talk*.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return

        async def counted(message: Any) -> None:
            if writes is not None and message["type"] == "websocket.send":
                writes.texts += 1
            await send(message)

        transport = await AsgiOpening(scope, receive, counted).accept(None)
        await talk(transport, send.__self__)

    return app


async def _lifespan(receive: Any, send: Any) -> None:
    for word in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{word}.complete"})


@asynccontextmanager
async def serving(
    app: Any, *, deflate: bool = False, ws: Any = "websockets-sansio", **more: Any
) -> AsyncGenerator[tuple[str, UvicornFrames]]:
    """
    Serve *app* under ``UvicornFrames`` until the block is left; give ``host:port`` and the middleware.
    """
    frames = UvicornFrames(app)
    config = uvicorn.Config(
        frames, port=0, ws=ws, ws_per_message_deflate=deflate, lifespan="on", log_config=None, proxy_headers=False,
        timeout_graceful_shutdown=5, **more,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # uvicorn's implementation "websockets" is deprecated
        config.load()
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.01)
    address = f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield address, frames
    finally:
        server.should_exit = True
        async with asyncio.timeout(20):
            await task
