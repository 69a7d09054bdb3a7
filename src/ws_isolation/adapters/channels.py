"""
The adapter for Django Channels.

``consumer`` makes what a ``URLRouter`` routes to, ``serve`` is what to call in an ASGI application of your own;
``lifespan`` goes around the whole application and gives the factory an orderly end, ``manager`` gives an async
view the manager of its own user. ``user_of`` and ``scope_of`` are how ``authenticate`` reads what Django knows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar

import attrs

from ..errors import MissingExtraError
from ..serving import Authenticate, serve_opening
from ..signals import drain_first
from ..wire import DEFAULT_WIRE, Wire
from ._asgi import AsgiOpening, Receive, Scope, Send, handshake_of, scope_of
from ._requests import Refused, manager_of, running

try:
    import channels  # noqa: F401  # pyright: ignore[reportUnusedImport]  # what puts user and session into the scope
    from django.http import HttpResponse  # pyright: ignore[reportMissingTypeStubs]  # Django has no types of its own
except ImportError as _error:
    _MESSAGE = "the Channels adapter needs channels and django. Install them with: pip install 'ws-isolation[channels]'"
    raise MissingExtraError(_MESSAGE) from _error

if TYPE_CHECKING:
    from ..factory import ManagerFactory
    from ..handshake import Handshake
    from ..manager import IsolatedManager
    from ..session import Handler

__all__ = ("consumer", "lifespan", "manager", "scope_of", "serve", "user_of")

Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
"""What Channels calls an application: ``ProtocolTypeRouter``, ``URLRouter``, a consumer, or a function."""

_P = ParamSpec("_P")
_R = TypeVar("_R")
_U = TypeVar("_U")


async def serve(  # noqa: PLR0917  # an ASGI application's three, and those of every serve()
    scope: Scope,
    receive: Receive,
    send: Send,
    factory: ManagerFactory,
    authenticate: Authenticate,
    handler: Handler | None = None,
    /,
    *,
    wire: Wire = DEFAULT_WIRE,
) -> None:
    """
    Serve one WebSocket from its handshake to goodbye; the whole ASGI application is this call.

    Returns when it is closed, whatever happened; what went wrong is in the log of ``ws_isolation``.

    Args:
        scope: Channels', with what its middleware put there.
        receive: Of the same connection.
        send: Of the same connection.
        factory: The application's factory.
        authenticate: Returns the context of the handshake, or refuses.
        handler: Run for the session; without one, clients only receive.
        wire: How the client is spoken to.

    Cancelling it closes the socket with 4200 during a drain, else 4300.
    """
    await serve_opening(AsgiOpening(scope, receive, send), factory, authenticate, handler, wire)


def consumer(
    factory: ManagerFactory,
    authenticate: Authenticate,
    handler: Handler | None = None,
    /,
    *,
    wire: Wire = DEFAULT_WIRE,
) -> Application:
    """
    Return what stands in a ``URLRouter`` where ``Consumer.as_asgi()`` would.

    ``path("ws", consumer(factory, authenticate, handler))``. Its arguments are those of ``serve()``.
    """

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await serve(scope, receive, send, factory, authenticate, handler, wire=wire)

    return application


def user_of(handshake: Handshake, model: type[_U], /) -> _U | None:
    """
    Return the user that Channels' ``AuthMiddlewareStack`` or Django's middleware has signed in.

    None where nobody is, after a ``ws.refresh``, and where the user is no *model*.

    Args:
        handshake: As ``authenticate`` has it.
        model: The project's user model: ``User``, or what ``get_user_model()`` returns.
    """
    user: object = scope_of(handshake).get("user")
    return user if isinstance(user, model) else None


def lifespan(factory: ManagerFactory, application: Application, /) -> Application:
    """
    Return *application* with an orderly end for *factory*: put it around the whole ``ProtocolTypeRouter``.

    Servers that send ASGI's lifespan (uvicorn, hypercorn) start and stop the
    factory with it. Daphne sends none: the first request then makes SIGINT and
    SIGTERM drain the factory before the server hears of them, see ``signals.drain_first()``.
    An application with a lifespan of its own writes ``async with factory, drain_first(factory):`` there instead.
    """
    state = _State(factory)

    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await state.run(receive, send)
        else:
            await state.begin()
            await application(scope, receive, send)

    return whole


@attrs.define
class _State:
    """What has been begun: by a server's lifespan, or by the first request where there is none."""

    factory: ManagerFactory
    begun: bool = False
    stack: AsyncExitStack[bool | None] = attrs.field(factory=AsyncExitStack[bool | None])

    async def run(self, receive: Receive, send: Send) -> None:
        """Take the server's lifespan, which says startup first and shutdown at the end."""
        await receive()
        self.begun = True
        phase = "startup"
        try:
            async with running(self.factory):
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
        except Exception as error:
            await send({"type": f"lifespan.{phase}.failed", "message": str(error)})
            raise
        finally:
            self.begun = False
        await send({"type": "lifespan.shutdown.complete"})

    async def begin(self) -> None:
        """Listen to the signals where nobody has begun: as long as the process runs, for nobody says when it ends."""
        if not self.begun:
            self.begun = True
            await self.stack.enter_async_context(drain_first(self.factory))


def manager(
    factory: ManagerFactory, authenticate: Authenticate, /
) -> Callable[
    [Callable[Concatenate[Any, IsolatedManager, _P], Awaitable[_R]]],
    Callable[Concatenate[Any, _P], Awaitable[_R | HttpResponse]],
]:
    """
    Return a decorator that gives an async view the manager of its own user, after the request.

    ``authenticate`` finds the user of Django's middleware with ``user_of()``, and the session in
    ``scope_of()``. Answers 401 or 403, and 503 where the backplane does not say whether the user is
    revoked, instead of calling the view; anything else that ``authenticate`` raises goes on to Django.
    """

    def decorate(
        view: Callable[Concatenate[Any, IsolatedManager, _P], Awaitable[_R]],
    ) -> Callable[Concatenate[Any, _P], Awaitable[_R | HttpResponse]]:
        async def managed(request: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> _R | HttpResponse:  # noqa: ANN401  # Django is not typed
            known = {"user": await request.auser(), "session": request.session}
            try:
                own = await manager_of(handshake_of({**request.scope, **known}), factory, authenticate)
            except Refused as refused:
                headers = {"Content-Type": "text/plain; charset=utf-8", **(refused.headers or {})}
                return HttpResponse(refused.text.encode(), status=refused.status, headers=headers)
            return await view(request, own, *args, **kwargs)

        update_wrapper(managed, view)
        return managed

    return decorate
