"""The library behind Starlette, with the opt-in that writes frames on uvicorn's own transport."""

from __future__ import annotations

import socket

from ws_isolation.adapters.uvicorn import UvicornFrames

from .asgi import serve_asgi
from .ws_isolation_peer import WsIsolation


class WsIsolationFrames(WsIsolation):
    """The same, but for the middleware around the application."""

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""
        frames = UvicornFrames(self.app)
        try:
            await serve_asgi(frames, listener)
        finally:
            if frames.refused:
                msg = f"the plain way was measured: {dict(frames.refused)}"
                raise RuntimeError(msg)


make = WsIsolationFrames
