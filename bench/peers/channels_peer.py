"""Django Channels with its in-memory layer: a group per user, a JSON consumer per socket."""

from __future__ import annotations

import socket
from typing import Any

import django
from django.conf import settings

if not settings.configured:
    settings.configure(
        SECRET_KEY="for measurements only",  # noqa: S106  # it protects nothing
        INSTALLED_APPS=["channels"],
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    )
    django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import URLRouter
from django.urls import path

from ..work import as_dict, identify
from .asgi import serve_asgi


def _consumer(*, token: bool) -> type[AsyncJsonWebsocketConsumer]:
    class Consumer(AsyncJsonWebsocketConsumer):
        """One socket."""

        async def connect(self) -> None:
            """Join the group of the user."""
            headers = dict(self.scope["headers"])
            self.user = identify(headers[b"authorization"].decode(), token=token)
            await self.channel_layer.group_add(self.user, self.channel_name)
            await self.accept()

        async def disconnect(self, code: int) -> None:
            """Leave it."""
            await self.channel_layer.group_discard(self.user, self.channel_name)

        async def agent_event(self, message: dict[str, Any]) -> None:
            """Write one event."""
            await self.send_json(message["event"])

    return Consumer


class Channels:
    """``group_send`` to a group of one."""

    def __init__(self, *, token: bool) -> None:
        self.app = URLRouter([path("ws", _consumer(token=token).as_asgi())])
        self.layer = get_channel_layer()

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve until cancelled."""
        await serve_asgi(self.app, listener)

    async def emit(self, user: str, n: int, size: int, /) -> None:
        """Send one event to the group."""
        await self.layer.group_send(user, {"type": "agent.event", "event": as_dict(user, n, size)})


make = Channels
