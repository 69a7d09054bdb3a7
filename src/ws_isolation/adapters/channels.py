"""
The adapter for Django Channels.

``consumer`` makes what a ``URLRouter`` routes to, ``serve`` is what to call in an ASGI application of your own;
``lifespan`` goes around the whole application and gives the factory an orderly end, ``manager`` gives an async
view the manager of its own user, ``ticket`` is a view that gives connect tickets. ``user_of`` and ``scope_of``
are how ``authenticate`` reads what Django knows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from ..errors import MissingExtraError
from ..serving import Authenticate, serve_opening
from ..wire import DEFAULT_WIRE, Wire
from ._asgi import AsgiOpening, Receive, Scope, Send, handshake_of, scope_of
from ._channels import Running
from ._requests import Refused, manager_of
from ._tickets import issued

try:
    import channels  # noqa: F401  # pyright: ignore[reportUnusedImport]  # what puts user and session into the scope
    from django.http import HttpResponse  # pyright: ignore[reportMissingTypeStubs]  # Django has no types of its own
except ImportError as _error:
    _MESSAGE = "the Channels adapter needs channels and django. Install them with: pip install 'ws-isolation[channels]'"
    raise MissingExtraError(_MESSAGE) from _error

if TYPE_CHECKING:
    from ..credentials.tickets import Tickets
    from ..factory import ManagerFactory
    from ..handshake import Handshake
    from ..manager import IsolatedManager
    from ..session import Handler

__all__ = ("consumer", "lifespan", "manager", "scope_of", "serve", "ticket", "user_of")

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
    state = Running(factory)

    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await state.run(receive, send)
        else:
            await state.begin()
            await application(scope, receive, send)

    return whole


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
            try:
                own = await manager_of(await _handshake_of(request), factory, authenticate)
            except Refused as refused:
                headers = {"Content-Type": "text/plain; charset=utf-8", **(refused.headers or {})}
                return HttpResponse(refused.text.encode(), status=refused.status, headers=headers)
            return await view(request, own, *args, **kwargs)

        update_wrapper(managed, view)
        return managed

    return decorate


def ticket(
    factory: ManagerFactory, authenticate: Authenticate, tickets: Tickets, /
) -> Callable[[Any], Awaitable[HttpResponse]]:
    """
    Return an async view that gives a connect ticket to whoever *authenticate* knows.

    It answers a POST with ``{"ticket": …, "seconds": …}`` for the page that asked; 400, 401, 403, 405, 429 or 503
    otherwise. What the context has is what the socket gets: its thread is named in this request, and not when
    connecting. Django's own check of a form's token (CSRF) comes before it.
    """

    async def give(request: Any) -> HttpResponse:  # noqa: ANN401  # Django is not typed
        if request.method != "POST":
            return HttpResponse(status=405, headers={"Allow": "POST", "Content-Type": "text/plain; charset=utf-8"})
        given = await issued(await _handshake_of(request), factory, authenticate, tickets)
        return HttpResponse(given.body, status=given.status, headers=given.headers)

    return give


async def _handshake_of(request: Any) -> Handshake:  # noqa: ANN401  # Django is not typed
    return handshake_of({**request.scope, "user": await request.auser(), "session": request.session})
