"""
The demo's application: what a service that uses ws_isolation looks like.

``create_demo`` is the part to read: a factory, an ``authenticate``, a handler,
one WebSocket endpoint. The rest is the page and the endpoints that attack it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias, cast, final

import attrs
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from starlette.websockets import WebSocket

from .. import Handshake, ManagerFactory, Session, Settings, UserExecutionContext
from ..adapters.starlette import manager, serve
from ..serving import Authenticate
from .accounts import THREAD, Accounts
from .agent import QUESTION, answer
from .attacks import ATTACKS, Target
from .forgeries import FORGERIES, Forge
from .operator import OperatorLog

__all__ = ("LOOPBACK", "MALLORY", "DeliberateError", "Demo", "create_demo")

LOOPBACK: Final = ("127.0.0.1", "localhost")
"""The Host headers of a page on this machine. Others are refused: a foreign name may point here (DNS rebinding)."""

MALLORY: Final = "mallory"
"""Who tries to break it. She has an account like everybody else."""

_PAGE: Final = Path(__file__).parent / "static"
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_QUESTION_LIMIT: Final = 200

Wrap: TypeAlias = Callable[[Authenticate], Authenticate]
"""Changes how the demo authenticates. Its tests break isolation with it, to see that the check notices."""


class DeliberateError(Exception):
    """What the handler raises when it is asked to fail."""


@final
@attrs.frozen(kw_only=True)
class Demo:
    """
    The application and what stands behind it. Lives as long as its server.

    Attributes:
        sent: Events that the managers of ended sessions have sent, by user.
    """

    app: Starlette
    factory: ManagerFactory
    accounts: Accounts
    log: OperatorLog
    sent: Counter[str]


def create_demo(  # noqa: C901  # one application in one place; each function in it is short
    user_ids: Iterable[str] = ("alice", "bob", MALLORY),
    /,
    *,
    pace: float = 1.0,
    hosts: Iterable[str] = LOOPBACK,
    log: OperatorLog | None = None,
    wrap: Wrap | None = None,
) -> Demo:
    """
    Return a demo that is ready to be served.

    Args:
        user_ids: Who has an account.
        pace: Of the agents; 1 for people, smaller is faster.
        hosts: Host headers that are answered; ``*`` for all.
        log: The operator's log.
        wrap: Changes ``authenticate``.
    """
    accounts, sent = Accounts(user_ids), Counter[str]()
    log = OperatorLog() if log is None else log
    authenticate = accounts.authenticate if wrap is None else wrap(accounts.authenticate)
    factory = ManagerFactory(Settings(close_seconds=5.0))
    own_manager = manager(factory, authenticate)

    async def chat(websocket: WebSocket) -> None:
        await serve(websocket, factory, authenticate, converse)

    async def converse(session: Session) -> None:
        session.on_end(lambda: sent.update({session.context.user_id: session.manager.stats().sent}))
        async for message in session:
            match message.type:
                case "ask":
                    question = message.data.get("text")
                    if type(question) is str and len(question) <= _QUESTION_LIMIT:
                        session.spawn(answer(session.manager, question, pace=pace))
                    else:
                        problem = f"must be a string of at most {_QUESTION_LIMIT} characters"
                        session.reject(message, "invalid_data", path="$.data.text", problem=problem)
                case "crash":
                    raise DeliberateError("the demo's handler fails because a client asked it to")
                case _:
                    session.reject(message)

    async def attack(request: Request) -> Response:
        attempt = ATTACKS.get(request.path_params["name"])
        if attempt is None:
            raise HTTPException(404)
        hers = await own_manager(request)
        target = Target(
            address=_own_address(request.scope),
            factory=factory,
            log=log,
            token=accounts.of(hers.context.user_id).token,
            manager=hers,
            canaries=accounts.canaries_but(hers.context.user_id),
        )
        return JSONResponse(attrs.asdict(await attempt.run(target)))

    async def setup(_request: Request) -> Response:
        return JSONResponse(_setup(accounts))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        with log:
            async with factory:
                yield

    app = Starlette(
        routes=[
            WebSocketRoute("/ws", chat),
            *(
                WebSocketRoute(f"/forged/{forgery.name}", _defective(factory, authenticate, forgery.forge))
                for forgery in FORGERIES
            ),
            Route("/setup", setup),
            Route("/attacks/{name}", attack, methods=["POST"]),
            Mount("/", _Page(directory=_PAGE, html=True)),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        lifespan=lifespan,
    )
    return Demo(app=app, factory=factory, accounts=accounts, log=log, sent=sent)


def _defective(factory: ManagerFactory, authenticate: Authenticate, forge: Forge) -> Callable[[WebSocket], Any]:
    """Return the endpoint of a service whose ``authenticate`` has a defect: it returns what *forge* makes."""

    async def forged(handshake: Handshake) -> UserExecutionContext | None:
        own = await authenticate(handshake)
        return own and cast("UserExecutionContext", forge(own))

    async def endpoint(websocket: WebSocket) -> None:
        await serve(websocket, factory, forged)

    return endpoint


def _setup(accounts: Accounts) -> dict[str, object]:
    """Return what the page needs. No real service would hand out tokens; this page plays all the users itself."""
    return {
        "thread_id": THREAD,
        "question": QUESTION,
        "users": [
            {
                "user_id": account.user_id,
                "name": account.profile.name,
                "token": account.token,
                "canary": account.canary,
            }
            for account in accounts
        ],
        "attacks": [
            {"name": attack.name, "title": attack.title, "about": attack.about, "kind": attack.kind}
            for attack in ATTACKS.values()
        ],
    }


def _own_address(scope: Scope) -> str:
    host, port = scope["server"]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@final
class _Page(StaticFiles):
    """The static files, with the headers that a page which needs nothing from elsewhere can afford."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_HEADERS)
        return response
