"""
The Quart adapter, where no server is needed: HTTP routes, and clients that leave at awkward moments.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from quart import Quart, has_websocket_context

from tests.adapters.shared import Wire, authenticate, check_missing_extra, websocket_scope
from tests.backplanes.shared import nodes
from tests.shell import until_over
from ws_isolation import Handshake, ManagerFactory, PlainWire, Session, UserExecutionContext
from ws_isolation.adapters import quart
from ws_isolation.events import Custom
from ws_isolation.testing import FakeClock, make_context
from ws_isolation.testing.clock import settle


def app_of(factory: ManagerFactory, who: Any = authenticate, handler: Any = until_over, **options: Any) -> Quart:
    """
    Return an application with a socket, a socket under a time-out, and a route that says whose manager came in.
    """
    app = Quart(__name__)
    managed = quart.manager(factory, who)

    async def chat() -> None:
        await quart.serve(factory, who, handler, **options)

    async def hasty() -> None:
        async with asyncio.timeout(None) as limit:
            app.config["LIMIT"] = limit
            await quart.serve(factory, who, handler, **options)

    async def push() -> str:
        return (await managed()).context.user_id

    app.add_websocket("/ws", view_func=chat)
    app.add_websocket("/hasty", view_func=hasty)
    app.add_url_rule("/push", view_func=push, methods=["POST"])
    return app


def time_out(app: Quart) -> None:
    """
    Let the time-out around the route pass.
    """
    limit = cast("asyncio.Timeout", app.config["LIMIT"])
    limit.reschedule(asyncio.get_running_loop().time())


async def connected(app: Quart, **scope: Any) -> tuple[Wire, asyncio.Task[None]]:
    """
    Connect, and let the application do what it can.
    """
    wire = Wire()
    wire.tell("websocket.connect")
    serving: Any = app(websocket_scope(**scope), wire.told.get, wire.send)  # type: ignore[arg-type]
    task: asyncio.Task[None] = asyncio.create_task(serving)
    await settle()
    return wire, task


@pytest.mark.requirement("P1")
@pytest.mark.scenario("S63")
@pytest.mark.parametrize(
    ("token", "status", "body"), [("alice", 200, "alice"), (None, 401, "unauthenticated"), ("eve", 403, "forbidden")]
)
async def test_manager_of_the_request(token: str | None, status: int, body: str) -> None:
    """
    A route gets the manager of its own user, or a status.
    """
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    answer = await app_of(ManagerFactory()).test_client().post("/push", headers=headers)

    assert (status, body) == (answer.status_code, await answer.get_data(as_text=True))
    assert ("Bearer" if status == 401 else None) == answer.headers.get("www-authenticate")


@pytest.mark.requirement("WS-30")
async def test_manager_while_the_engine_is_down() -> None:
    """
    Where the backplane does not say whether the user is revoked, 503, and no manager.
    """
    engine, (node,) = nodes(1)
    engine.failing = {"bars"}
    answer = await app_of(node.factory).test_client().post("/push", headers={"Authorization": "Bearer alice"})

    assert (503, "1") == (answer.status_code, answer.headers["retry-after"])


async def test_an_error_handler_of_the_application() -> None:
    """
    The application's own page for a status is what a refused request gets.
    """
    app = app_of(ManagerFactory())

    async def sign_in(_error: object) -> tuple[str, int]:
        return "please sign in", 401

    app.register_error_handler(401, sign_in)
    answer = await app.test_client().post("/push")

    assert (401, b"please sign in") == (answer.status_code, await answer.get_data())


@pytest.mark.parametrize("message", [{"bytes": b"{}"}, {"bytes": b"", "text": None}])
async def test_binary_message(message: dict[str, Any]) -> None:
    """
    A binary message, also an empty one, ends the session with 4000.
    """
    wire, _task = await connected(app_of(ManagerFactory()))
    wire.tell("websocket.receive", **message)
    await settle()

    assert 4000 == wire.sent[-1]["code"]


@pytest.mark.requirement("P2")
async def test_client_that_leaves() -> None:
    """
    Quart cancels the route: the session ends as one whose client left, and its work goes on for whoever comes back.
    """
    working = asyncio.Event()

    async def handler(session: Session) -> None:
        session.spawn(working.wait())
        await until_over(session)

    factory = ManagerFactory()
    wire, task = await connected(app_of(factory, handler=handler))
    wire.tell("websocket.disconnect", code=1001)
    await settle()

    assert task.done()
    assert task.exception() is None
    assert (0, 1, {}) == (factory.stats().sessions, factory.stats().work, factory.stats().closes)
    working.set()
    await settle()


@pytest.mark.requirement("P2")
async def test_missing_shield_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    If Quart's cancellation reached the session, each client that left would count as an internal error.
    """

    class Unshielded:
        """
        asyncio, in which nothing is shielded.
        """

        def __getattr__(self, name: str) -> Any:
            return asyncio.ensure_future if name == "shield" else getattr(asyncio, name)

    monkeypatch.setattr(quart, "asyncio", Unshielded())
    factory = ManagerFactory()
    wire, task = await connected(app_of(factory))
    wire.tell("websocket.disconnect", code=1001)
    await settle()

    assert task.done()
    assert {4300: 1} == factory.stats().closes


@pytest.mark.requirement("P1")
async def test_no_proxy_of_quart_is_inherited() -> None:
    """
    Neither ``authenticate`` nor the handler sees a request of Quart's: none can be mistaken for another.
    """
    seen: list[bool] = []

    async def looking(handshake: Handshake) -> UserExecutionContext | None:
        seen.append(has_websocket_context())
        assert "/ws" == quart.scope_of(handshake)["path"]
        return await authenticate(handshake)

    async def handler(_session: Session) -> None:
        seen.append(has_websocket_context())

    wire, _task = await connected(app_of(ManagerFactory(), looking, handler))

    assert [False, False] == seen
    assert 1000 == wire.sent[-1]["code"]


async def test_client_that_leaves_while_it_is_authenticated() -> None:
    """
    Nothing is accepted any more, and nothing is left.
    """
    decided = asyncio.Event()

    async def slowly(handshake: Handshake) -> UserExecutionContext | None:
        await decided.wait()
        return await authenticate(handshake)

    factory = ManagerFactory()
    wire, task = await connected(app_of(factory, slowly))
    wire.tell("websocket.disconnect", code=1006)
    await settle()
    decided.set()
    await settle()

    assert task.done()
    assert [] == wire.sent
    assert (0, 0) == (factory.stats().sessions, factory.stats().pending)


@pytest.mark.requirement("P2")
@pytest.mark.parametrize("goodbye", [True, False])
async def test_time_out_around_the_route(*, goodbye: bool) -> None:
    """
    Whoever cancels the route although the client is there: it reads a code of ours, and goodbye where the wire has one.
    """
    factory = ManagerFactory()
    options = {} if goodbye else {"wire": PlainWire(lambda _envelope: None)}
    app = app_of(factory, **options)
    wire, task = await connected(app, path="/hasty", subprotocols=[])
    time_out(app)
    await settle()
    wire.tell("websocket.disconnect", code=4300)
    async with asyncio.timeout(5):
        await asyncio.wait({task})

    assert (4300, "internal_error") == (wire.sent[-1]["code"], wire.sent[-1]["reason"])
    assert goodbye is ("ws.goodbye" in wire.sent[-2].get("text", ""))
    assert 0 == factory.stats().sessions


@pytest.mark.requirement("P2")
async def test_cancelled_during_a_drain() -> None:
    """
    A route that is cancelled while its session cannot say so: the code says to come back.
    """
    clock = FakeClock()
    factory = ManagerFactory(clock=clock)
    async with factory:
        app = app_of(factory)
        wire, task = await connected(app, path="/hasty")
        wire.flows.clear()
        draining = asyncio.create_task(factory.drain())
        await settle()
        time_out(app)
        await settle()
        await clock.advance(10)  # nothing can be written: the session is cut
        wire.flows.set()
        await draining
        await settle()
        wire.tell("websocket.disconnect", code=4200)
        await asyncio.wait({task})

    assert 4200 == wire.sent[-1]["code"]


@pytest.mark.requirement("P2")
@pytest.mark.parametrize("error", [OSError(), RuntimeError(), LookupError()])
async def test_send_raises(error: Exception) -> None:
    """
    What a server raises once the client is gone ends the session quietly; a defect ends it as well.
    """
    factory = ManagerFactory()
    wire, task = await connected(app_of(factory))
    wire.error = error
    await factory.create_manager(make_context("alice")).send(Custom(name="test.event", value=1))
    await settle()

    assert 0 == factory.stats().sessions
    task.cancel()
    await asyncio.wait({task})


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without Quart the import says which command installs it.
    """
    check_missing_extra(monkeypatch, "quart", "quart")
