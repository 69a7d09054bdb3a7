"""
The same application, one WebSocket endpoint ``/ws``, in each framework of ASGI that has an adapter.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeAlias

from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path  # pyright: ignore[reportMissingTypeStubs]
from litestar import Litestar
from quart import Quart

from tests.servers.http2 import running_hypercorn
from tests.servers.running import Authenticate, Handler, by_token, running, until_gone
from ws_isolation import ManagerFactory
from ws_isolation.adapters import channels, litestar, quart

Make: TypeAlias = Callable[[ManagerFactory, Handler | None, Authenticate], Any]


def litestar_app(
    factory: ManagerFactory, handler: Handler | None = until_gone, authenticate: Authenticate = by_token
) -> Any:
    """
    Return it in Litestar.
    """
    endpoint = litestar.endpoint("/ws", factory, authenticate, handler)
    return Litestar([endpoint], lifespan=[litestar.lifespan(factory)], logging_config=None, openapi_config=None)


def quart_app(
    factory: ManagerFactory, handler: Handler | None = until_gone, authenticate: Authenticate = by_token
) -> Any:
    """
    Return it in Quart.
    """
    app = Quart(__name__)
    app.while_serving(quart.lifespan(factory))

    async def chat() -> None:
        await quart.serve(factory, authenticate, handler)

    app.add_websocket("/ws", view_func=chat)
    return app


def channels_app(
    factory: ManagerFactory, handler: Handler | None = until_gone, authenticate: Authenticate = by_token
) -> Any:
    """
    Return it in Django Channels.
    """
    consumer: Any = channels.consumer(factory, authenticate, handler)
    routes: Any = [path("ws", consumer)]
    router: Any = ProtocolTypeRouter({"websocket": URLRouter(routes)})
    return channels.lifespan(factory, router)


APPS: Final[dict[str, Make]] = {"litestar": litestar_app, "quart": quart_app, "channels": channels_app}
"""How to make it, by the name of the adapter."""

SERVERS: Final[dict[str, Callable[[Any], AbstractAsyncContextManager[str]]]] = {
    "uvicorn": running,
    "hypercorn": running_hypercorn,
}
"""How to serve it. Daphne wants a process of its own: see the test of the Django example."""
