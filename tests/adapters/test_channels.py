"""
The Channels adapter, where no server is needed: what Django knows, views, and the two kinds of servers.
"""

# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from django.http import HttpResponse
from django.utils.functional import SimpleLazyObject

from tests.adapters.shared import Message, Wire, authenticate, check_missing_extra, http_scope, websocket_scope
from tests.backplanes.shared import nodes
from tests.shell import until_over
from ws_isolation import Handshake, IsolatedManager, ManagerFactory, Session, UserExecutionContext, errors
from ws_isolation.adapters import channels
from ws_isolation.testing.clock import settle


class User:
    """
    A user model.
    """

    pk = 7


class Guest:
    """
    Whom Django takes for nobody.
    """


async def by_user(handshake: Handshake) -> UserExecutionContext | None:
    """
    Admit whom Django has signed in.
    """
    user = channels.user_of(handshake, User)
    return None if user is None else UserExecutionContext(user_id=str(user.pk))


@attrs.define
class Request:
    """
    A request as Django's middleware leaves it.
    """

    user: object
    scope: dict[str, Any] = attrs.field(factory=lambda: http_scope(None))
    session: object = None

    async def auser(self) -> object:
        """
        Return the user.
        """
        return self.user


@pytest.mark.requirement("P1")
@pytest.mark.parametrize("user", [User(), SimpleLazyObject(User)])
async def test_user_of_the_scope(user: object) -> None:
    """
    A socket belongs to the user whom Channels has signed in, which it hands over as a lazy object.
    """
    seen: list[str] = []

    async def handler(session: Session) -> None:
        seen.append(session.context.user_id)

    wire = Wire()
    wire.tell("websocket.connect")
    application: Any = channels.consumer(ManagerFactory(), by_user, handler)
    await application(websocket_scope(None, user=user), wire.told.get, wire.send)

    assert ["7"] == seen
    assert 1000 == wire.sent[-1]["code"]


@pytest.mark.parametrize("scope", [{}, {"user": Guest()}])
async def test_nobody_is_signed_in(scope: dict[str, object]) -> None:
    """
    Without a user, or with Django's anonymous one, there is none.
    """
    wire = Wire()
    wire.tell("websocket.connect")
    await channels.serve(websocket_scope(None, **scope), wire.told.get, wire.send, ManagerFactory(), by_user)

    assert 4001 == wire.sent[-1]["code"]


@pytest.mark.requirement("P1")
@pytest.mark.scenario("S63")
async def test_manager_of_the_request() -> None:
    """
    An async view gets the manager of its own user after the request, then its own arguments; else a status.
    """

    @channels.manager(ManagerFactory(), by_user)
    async def push(request: Any, manager: IsolatedManager, item: str, *, count: int) -> HttpResponse:
        """
        Say whose manager came in.
        """
        return HttpResponse(
            f"{type(request).__name__} {manager.context.user_id} {item} {count}".encode(),
            content_type="text/plain; charset=utf-8",
        )

    good = await push(Request(User()), "tea", count=2)
    refused = await push(Request(Guest()), "tea", count=2)

    assert b"Request 7 tea 2" == good.content
    assert (401, b"unauthenticated", "Bearer") == (refused.status_code, refused.content, refused["WWW-Authenticate"])
    assert ("push", "Say whose") == (push.__name__, (push.__doc__ or "").strip()[:9])


async def test_manager_refused() -> None:
    """
    403 without a right; 503 where the backplane does not say whether the user is revoked; a defect goes on.
    """

    async def view(_request: Any, _manager: IsolatedManager) -> str:
        return "called"

    engine, (node,) = nodes(1)
    engine.failing = {"bars"}
    forbidden = await channels.manager(ManagerFactory(), authenticate)(view)(Request(None, http_scope("eve")))
    down = await channels.manager(node.factory, authenticate)(view)(Request(None, http_scope("alice")))
    called = await channels.manager(ManagerFactory(), authenticate)(view)(Request(None, http_scope("alice")))

    assert 403 == forbidden.status_code  # type: ignore[union-attr]
    assert (503, "1") == (down.status_code, down["Retry-After"])  # type: ignore[union-attr,index]
    assert "called" == called
    with pytest.raises(LookupError):
        await channels.manager(ManagerFactory(), authenticate)(view)(Request(None, http_scope("defect")))


async def nothing(_scope: Any, _receive: Any, _send: Any) -> None:
    """
    Do nothing: the application.
    """


@pytest.fixture(name="python_signals")
def _python_signals() -> Iterator[Any]:
    """
    Handle SIGTERM in Python, as servers do, and put back what was there.
    """

    def handler(_number: int, _frame: object) -> None:
        pass

    before = signal.signal(signal.SIGTERM, handler)
    yield handler
    signal.signal(signal.SIGTERM, before)


@pytest.mark.scenario("S26")
async def test_server_that_sends_lifespan(python_signals: Any) -> None:
    """
    The factory runs from startup to shutdown, hears the signals first, and can start again.
    """
    factory = ManagerFactory()
    application = channels.lifespan(factory, nothing)
    for _ in range(2):
        wire = Wire()
        task = asyncio.ensure_future(application({"type": "lifespan"}, wire.told.get, wire.send))
        wire.tell("lifespan.startup")
        await settle()
        factory.require_running("here()")
        taken = signal.getsignal(signal.SIGTERM)
        await application(http_scope(None), wire.told.get, wire.send)
        assert taken is signal.getsignal(signal.SIGTERM)
        assert taken is not python_signals
        wire.tell("lifespan.shutdown")
        await task
        assert ["lifespan.startup.complete", "lifespan.shutdown.complete"] == wire.types()
        assert python_signals is signal.getsignal(signal.SIGTERM)
    with pytest.raises(errors.InvalidStateError):
        factory.require_running("here()")


@pytest.mark.scenario("S26")
@pytest.mark.requirement("P2")
async def test_server_that_sends_none(python_signals: Any) -> None:
    """
    With Daphne, the first request makes SIGTERM drain the factory before the server hears of it.
    """
    factory = ManagerFactory()
    application = channels.lifespan(factory, channels.consumer(factory, authenticate, until_over))
    wire = Wire()
    wire.tell("websocket.connect")
    task = asyncio.ensure_future(application(websocket_scope(), wire.told.get, wire.send))
    await settle()
    assert python_signals is not signal.getsignal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        await task

    assert 4200 == wire.sent[-1]["code"]
    await factory.stop()


async def test_failures_of_the_lifespan() -> None:
    """
    A server is told of a start and of a stop that failed, with why.
    """

    class BrokenFactory:
        """
        Fails when it is entered, or when it is left.
        """

        def __init__(self, *, starts: bool) -> None:
            self._starts = starts

        async def __aenter__(self) -> None:
            """
            Start, or fail.
            """
            if not self._starts:
                raise LookupError("no start")

        async def __aexit__(self, *_: object) -> None:
            """
            Fail.
            """
            raise LookupError("no stop")

    said: list[list[Message]] = []
    for starts in (False, True):
        factory: Any = BrokenFactory(starts=starts)
        wire = Wire()
        wire.tell("lifespan.startup")
        wire.tell("lifespan.shutdown")
        with pytest.raises(LookupError):
            await channels.lifespan(factory, nothing)({"type": "lifespan"}, wire.told.get, wire.send)
        said.append(wire.sent)

    assert {"type": "lifespan.startup.failed", "message": "no start"} == said[0][-1]
    assert {"type": "lifespan.shutdown.failed", "message": "no stop"} == said[1][-1]


@pytest.mark.parametrize("missing", ["channels", "django"])
def test_missing_extra(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without Channels or Django the import says which command installs them.
    """
    check_missing_extra(monkeypatch, "channels", missing)
