"""aiohttp; its manager by hand is a peer of the other measurements too."""

from __future__ import annotations

import socket

from aiohttp import web

from ws_isolation.adapters.aiohttp import lifespan, serve

from ..waiting import for_ever
from . import Ours


class AiohttpOurs(Ours):
    """The adapter."""

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""

        async def chat(request: web.Request) -> web.StreamResponse:
            return await serve(request, self.factory, self.authenticate)

        app = web.Application()
        app.router.add_get("/ws", chat)
        lifespan(app, self.factory)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listener, backlog=4_096).start()
        await for_ever()
