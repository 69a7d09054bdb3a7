"""
The adapters whose frameworks are typed, as applications use them, and mistakes that must not pass.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias, assert_type

from litestar import Litestar, Request, WebSocket, post
from litestar.di import NamedDependency, Provide
from litestar.handlers import WebsocketRouteHandler
from quart import Quart

from ws_isolation import Handshake, IsolatedManager, ManagerFactory, Session, UserExecutionContext
from ws_isolation.adapters import channels, litestar, quart
from ws_isolation.adapters.starlette import SessionEndpoint


async def authenticate(handshake: Handshake) -> UserExecutionContext | None:
    """
    Return the context of whom a framework has signed in.
    """
    assert_type(channels.user_of(handshake, Account), Account | None)
    name: str = channels.scope_of(handshake)["user"]
    return UserExecutionContext(user_id=name)


async def by_name(handshake: Handshake) -> str:
    """
    Return no context: what must be refused.
    """
    return handshake.path


class Account:
    """
    A user model.
    """


async def handler(session: Session) -> None:
    """
    Do nothing.
    """


factory = ManagerFactory()
LitestarSocket: TypeAlias = WebSocket[Any, Any, Any]  # type: ignore[explicit-any]  # generic in what others put there


@post("/push")
async def push(manager: NamedDependency[IsolatedManager]) -> str:
    """
    Take the plugin's dependency.
    """
    return manager.context.user_id


async def socket_of_litestar(socket: LitestarSocket) -> None:
    """
    Serve, with and without a handler.
    """
    await litestar.serve(socket, factory, authenticate)
    await litestar.serve(socket, factory, authenticate, handler)


assert_type(litestar.endpoint("/ws", factory, authenticate, handler), WebsocketRouteHandler)
assert_type(litestar.lifespan(factory), Callable[[Litestar], AbstractAsyncContextManager[None]])
assert_type(litestar.manager(factory, authenticate), Callable[[Request[Any, Any, Any]], Awaitable[IsolatedManager]])
app = Litestar(
    [push, litestar.endpoint("/ws", factory, authenticate)],
    plugins=[litestar.IsolationPlugin(factory, authenticate)],
    dependencies={"own": Provide(litestar.manager(factory, authenticate))},
    lifespan=[litestar.lifespan(factory)],
)
litestar.endpoint("/ws", factory, by_name)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

quarts = Quart("app")
quarts.while_serving(quart.lifespan(factory))
assert_type(quart.lifespan(factory), Callable[[], AsyncGenerator[None, None]])
assert_type(quart.manager(factory, authenticate), Callable[[], Awaitable[IsolatedManager]])


async def socket_of_quart() -> None:
    """
    Serve, and refuse what returns no context.
    """
    await quart.serve(factory, authenticate, handler)
    await quart.serve(factory, by_name)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@channels.manager(factory, authenticate)
async def view(_request: object, _own: IsolatedManager, item: str) -> int:  # type: ignore[misc]  # Django is untyped
    """
    Take the manager after the request, and the rest as the route gives it.
    """
    return len(item)


async def view_is_called() -> None:
    """
    The decorated view is called without the manager.
    """
    await view(object(), "tea")
    await view(object(), 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Chat(SessionEndpoint):
    """
    A socket as a class.
    """

    factory = factory

    async def authenticate(self, handshake: Handshake, /) -> UserExecutionContext | None:
        """
        Refuse.
        """
        return None

    async def handle(self, session: Session, /) -> None:
        """
        Do nothing.
        """
