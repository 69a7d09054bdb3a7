"""How the peers that are ASGI applications are served: one uvicorn, the same options for all."""

from __future__ import annotations

import socket
from typing import Any

import uvicorn


async def serve_asgi(app: Any, listener: socket.socket, /) -> None:
    """Serve *app* in this loop. No compression: what it costs depends on the text, not on the peer."""
    config = uvicorn.Config(app, log_level="warning", access_log=False, ws_per_message_deflate=False, backlog=4_096)
    server = uvicorn.Server(config)
    await server.serve(sockets=[listener])
