"""
A server in a process of its own: ``python -m tests.servers.program``. Prints its port, then serves until SIGTERM.
"""

from __future__ import annotations

import socket
import sys

import uvicorn

from tests.servers.running import websocket_app
from ws_isolation import ManagerFactory

if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(websocket_app(ManagerFactory()), log_level="warning", timeout_graceful_shutdown=10)
    uvicorn.Server(config).run(sockets=[listener])
