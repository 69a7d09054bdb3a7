"""Django Channels: the consumer itself, without its layer."""

from __future__ import annotations

import socket
from typing import Any

import django
from django.conf import settings

if not settings.configured:
    settings.configure(SECRET_KEY="for measurements only", INSTALLED_APPS=["channels"])  # noqa: S106  # it protects nothing
    django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import URLRouter
from django.urls import path

from ws_isolation.adapters.channels import consumer, lifespan

from ...work import identify
from ..asgi import serve_asgi
from . import ByHand, Ours


class ChannelsByHand(ByHand):
    """``send_json`` of its consumer."""

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""
        sockets, token = self.sockets, self.token

        class Consumer(AsyncJsonWebsocketConsumer):
            """One socket."""

            async def connect(self) -> None:
                """Enter."""
                self.user = identify(dict(self.scope["headers"])[b"authorization"].decode(), token=token)
                await self.accept()
                sockets[self.user] = self.send_json

            async def disconnect(self, code: int) -> None:
                """Leave."""
                sockets.pop(self.user, None)

        routes: list[Any] = [path("ws", Consumer.as_asgi())]
        await serve_asgi(URLRouter(routes), listener)


class ChannelsOurs(Ours):
    """The adapter."""

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""
        routes: list[Any] = [path("ws", consumer(self.factory, self.authenticate))]
        await serve_asgi(lifespan(self.factory, URLRouter(routes)), listener)
