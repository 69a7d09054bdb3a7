"""
What the public API returns, as type checkers see it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Annotated, Any, TypedDict, assert_type

import attrs
from fastapi import Depends, FastAPI, Request, WebSocket

from ws_isolation import (
    Delivery,
    Handshake,
    IdPolicy,
    IsolatedManager,
    ManagerFactory,
    Message,
    PlainWire,
    Report,
    Run,
    Session,
    Settings,
    UserExecutionContext,
    closing,
    errors,
    events,
)
from ws_isolation.adapters.starlette import lifespan, manager, serve
from ws_isolation.after_commit import AfterCommit
from ws_isolation.backplanes.memory import MemoryBackplane
from ws_isolation.blocking import BlockingManager
from ws_isolation.blocking_publisher import BlockingPublisher
from ws_isolation.closing import CloseCode
from ws_isolation.context_tokens import ContextTokens
from ws_isolation.delivery import ManagerStats
from ws_isolation.errors import ContextTypeError, IsolationError
from ws_isolation.parts import Tool
from ws_isolation.publisher import Publisher
from ws_isolation.reports import FactoryStats
from ws_isolation.router import Router
from ws_isolation.testing import FakeClock, RecordingTransport, check_backplane, check_manager, make_context
from ws_isolation.texts import MessageText, Thought
from ws_isolation.threads import Portal


@attrs.frozen
class Claims:
    """
    An application's own claims.
    """

    roles: list[str]


def contexts() -> None:
    """
    A context's fields, and what is derived from it.
    """
    context = UserExecutionContext(
        user_id="alice",
        tenant_id="acme",
        thread_id=None,
        run_id=None,
        request_id="r1",
        expires_at=datetime.now(UTC),
        claims={"roles": ["admin"], "nested": {"a": (1, 2.5, None, True)}},
        policy=IdPolicy(unicode_letters=True),
    )

    assert_type(context.user_id, str)
    assert_type(context.tenant_id, str | None)
    assert_type(context.thread_id, str | None)
    assert_type(context.run_id, str | None)
    assert_type(context.request_id, str)
    assert_type(context.expires_at, datetime | None)
    assert_type(context.parent_request_id, str | None)
    assert_type(context.depth, int)
    assert_type(context.claims, Mapping[str, Any])
    assert_type(context.claims_as(Claims), Claims)
    assert_type(context.claims_as(Claims).roles, list[str])
    assert_type(context.child(thread_id="t"), UserExecutionContext)
    assert_type(context.is_expired(), bool)
    assert_type(context.log_form(), dict[str, str | int | None])
    assert_type({context: 1}, dict[UserExecutionContext, int])
    assert_type(make_context("bob", claims={"a": 1}), UserExecutionContext)


def factories(context: UserExecutionContext) -> None:
    """
    What a factory makes and says.
    """
    factory = ManagerFactory(Settings(origins=("https://app.example.com",)), clock=FakeClock())

    assert_type(factory.create_manager(context), IsolatedManager)
    assert_type(factory.self_check(), Report)
    assert_type(factory.self_check().ok, bool)
    assert_type(factory.self_check().problems, tuple[str, ...])
    assert_type(factory.stats(), FactoryStats)
    assert_type(factory.stats().closes, dict[int, int])
    assert_type(factory.settings.heartbeat_seconds, float)
    assert_type(factory.is_draining, bool)


async def attached(factory: ManagerFactory, context: UserExecutionContext) -> None:
    """
    A factory's own life, and a socket that an application accepted itself.
    """
    transport = RecordingTransport()
    async with factory as started:
        assert_type(started, ManagerFactory)
        async with factory.attach(context, transport, wire=PlainWire(as_text)) as session:
            assert_type(session, Session)
    assert_type(transport.sent, list[str])
    assert_type(transport.closed, tuple[int, str] | None)
    assert_type(transport.frames, list[dict[str, Any]])


def as_text(envelope: events.Envelope) -> str:
    """
    Write an event as a front end expects that exists already.
    """
    return envelope.text


def as_json(envelope: events.Envelope) -> dict[str, str | int] | None:
    """
    Write an event as JSON of one's own, or leave it out.
    """
    return {"id": envelope.id, "place": envelope.seq} if envelope.durable else None


WIRES = (PlainWire(as_text), PlainWire(as_json, subprotocol="my-app.v1"), PlainWire(lambda _envelope: None))


async def managers(manager_: IsolatedManager) -> None:
    """
    Sending, and an agent's run with all that it can do.
    """
    assert_type(manager_.context, UserExecutionContext)
    assert_type(manager_.stats(), ManagerStats)
    delivery = await manager_.send(events.Custom(name="shop.cart_changed", value={"items": 3}))
    assert_type(delivery, Delivery)
    assert_type((delivery.event_id, delivery.seq, delivery.sessions), tuple[str, int, int])
    assert_type(manager_.run("assistant", run_id="r1", model="large-1"), Run)

    async with manager_.run("assistant") as run:
        assert_type(run, Run)
        assert_type(run.id, str)
        assert_type(run.thread_id, str)
        assert_type(await run.thinking("looking it up", visibility="debug"), Delivery)
        async with run.thought() as thought:
            assert_type(thought, Thought)
            await thought.write("a piece")
        async with run.message() as message:
            assert_type(message, MessageText)
            await message.write("a piece")
        async with run.tool("search", {"q": "x", "when": datetime.now(UTC)}, title="Searching") as tool:
            assert_type(tool, Tool)
            tool.result = {"rows": [1, 2]}
        async with run.child("helper") as child:
            assert_type(child, Run)
        assert_type(await run.custom("shop.looked", 3), Delivery)
        assert_type(await run.complete("done", result={"any": "thing"}), Delivery)


async def sessions(session: Session) -> None:
    """
    What a handler gets.
    """
    assert_type(session.context, UserExecutionContext)
    assert_type(session.manager, IsolatedManager)
    assert_type(session.handshake, Handshake | None)
    assert_type(session.connection_id, str)
    assert_type(session.is_open, bool)
    assert_type(session.code, CloseCode | None)
    iterator: AsyncIterator[Message] = aiter(session)
    assert_type(await anext(iterator), Message)
    async for message in session:
        assert_type(message, Message)
        assert_type(message.type, str)
        assert_type(message.data, Mapping[str, Any])
        assert_type(message.run_id, str | None)
        session.reject(message, "invalid_data", path="$.text", problem="must not be empty")
    assert_type(session.spawn(asyncio.sleep(0, "done")), asyncio.Task[str])
    session.on_end(lambda: None)
    session.on_end(session.wait_closed)
    session.close(closing.DRAIN, retry_after_ms=500)
    session.close(CloseCode(4900, "quota_used_up", "stop", "The quota is used up."))


def handshakes(handshake: Handshake) -> None:
    """
    What ``authenticate`` gets.
    """
    assert_type(handshake.bearer_token, str | None)
    assert_type(handshake.query, Mapping[str, str])
    assert_type(handshake.cookies, Mapping[str, str])
    assert_type(handshake.headers["host"], str)
    assert_type(handshake.origin, str | None)
    assert_type(handshake.subprotocols, tuple[str, ...])


async def authenticate(handshake: Handshake) -> UserExecutionContext | None:
    """
    Return the context, or None to refuse.
    """
    if handshake.bearer_token is None:
        raise errors.UnauthenticatedError
    return UserExecutionContext(user_id=handshake.bearer_token)


factory = ManagerFactory()
current_manager = manager(factory, authenticate)
assert_type(current_manager, Callable[[Request], Awaitable[IsolatedManager]])
assert_type(lifespan(factory), Callable[[Any], AbstractAsyncContextManager[None]])
app = FastAPI(lifespan=lifespan(factory))


@app.websocket("/listen")
async def listen(websocket: WebSocket) -> None:
    """
    Serve clients that only listen: no handler.
    """
    await serve(websocket, factory, authenticate, wire=PlainWire(as_json))


@app.post("/orders")
async def order(mine: Annotated[IsolatedManager, Depends(current_manager)]) -> dict[str, int]:
    """
    Push to the user who posts.
    """
    delivery = await mine.send(events.Custom(name="shop.ordered", value={"n": 1}))
    return {"sessions": delivery.sessions}


async def own_tests() -> None:
    """
    Proving a manager of one's own.
    """
    assert_type(await check_manager(factory.create_manager), None)


async def proven_engine() -> None:
    """
    Proving an engine of one's own.
    """
    assert_type(await check_backplane(MemoryBackplane), None)


def failures(error: IsolationError) -> None:
    """
    Errors are typed, with their fields.
    """
    assert_type(error.close_code, int)
    if isinstance(error, ContextTypeError):
        assert_type((error.caller, error.expected, error.actual, error.hint), tuple[str, str, str, str])
    builtins: tuple[type[TypeError], type[ValueError], type[RuntimeError]] = (
        errors.ContextTypeError,
        errors.InvalidContextError,
        errors.ImportTimeError,
    )
    del builtins


def threads(factory: ManagerFactory, user: IsolatedManager, event: events.Custom) -> None:
    """
    Sync code gets what async code gets.
    """
    portal = Portal(factory)
    assert_type(portal.send_threadsafe(user, event), concurrent.futures.Future[Delivery])
    blocking = BlockingManager(portal, user, timeout=1)
    assert_type(blocking.send(event), Delivery)
    with blocking.run("assistant") as run, run.tool("t") as tool:
        assert_type(tool, Tool)
        assert_type(run.complete("done"), Delivery)


async def transactions(user: IsolatedManager, event: events.Custom) -> None:
    """
    Collected, then sent.
    """
    async with AfterCommit(user) as later:
        later.send(event)
    assert_type(later.deliveries, tuple[Delivery, ...])


# --- the router -------------------------------------------------------------------------------


@attrs.frozen
class Ask:
    """
    What a client asks.
    """

    text: str


class Search(TypedDict):
    """
    What a client looks for.
    """

    q: str


async def owns(session: Session, thread_id: str) -> bool:
    """
    Decide about a thread.
    """
    return bool(session.context.user_id) and bool(thread_id)


def route(
    application: FastAPI, factory: ManagerFactory
) -> tuple[Callable[[Session, Message], Awaitable[None]], Callable[[WebSocket], Awaitable[None]]]:
    """
    Handlers know the class of their data, and keep their own types.
    """
    router = Router(in_flight=4, authorize_thread=owns)

    @router.on("ask", Ask)
    async def ask(session: Session, message: Message, data: Ask) -> None:
        assert_type(data.text, str)
        assert_type(session.manager_for(message), IsolatedManager)
        assert_type(session.report_failure(message, ValueError()), str)
        assert_type(session.acknowledged, int)

    @router.on("search", Search, concurrent=True)
    async def search(session: Session, message: Message, data: Search) -> None:
        assert_type(data["q"], str)
        session.forget(message)

    @router.on("wave", concurrent=True)
    async def wave(session: Session, message: Message) -> None:
        session.reject(message, "not_allowed")

    @application.websocket("/routed")
    async def routed(websocket: WebSocket) -> None:
        await serve(websocket, factory, authenticate, router)

    assert_type(ask, Callable[[Session, Message, Ask], Awaitable[None]])
    assert_type(search, Callable[[Session, Message, Search], Awaitable[None]])
    return wave, routed


def in_a_worker(token: str, tokens: ContextTokens) -> BlockingManager:
    """
    What a task that is not async writes.
    """
    publisher = BlockingPublisher(MemoryBackplane, timeout=5)
    context = tokens.import_context(token)
    assert_type(context, UserExecutionContext)
    assert_type(tokens.export_context(context, claims=["role"]), str)
    with publisher as same:
        assert_type(same, BlockingPublisher)
        return publisher.create_manager(context)


async def in_an_async_worker(context: UserExecutionContext) -> None:
    """
    What a task that is async writes.
    """
    async with Publisher(Settings(), backplane=MemoryBackplane()) as publisher:
        assert_type(publisher.create_manager(context), IsolatedManager)
