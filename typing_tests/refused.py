"""
What must fail in the type checker, before anything runs: each line below needs its ignore.

mypy reads ``type: ignore``, pyright ``pyright: ignore``; each reports one that it does not need, so
this module fails as soon as a mistake is no longer seen by both.
"""

from __future__ import annotations

from types import SimpleNamespace

from fastapi import WebSocket

from ws_isolation import (
    Handshake,
    IsolatedManager,
    ManagerFactory,
    Message,
    Session,
    Settings,
    UserExecutionContext,
    events,
)
from ws_isolation.adapters.starlette import serve
from ws_isolation.backplanes.memory import MemoryBackplane
from ws_isolation.blocking_publisher import BlockingPublisher
from ws_isolation.closing import CloseCode
from ws_isolation.context_tokens import ContextTokens
from ws_isolation.publisher import Publisher
from ws_isolation.router import Router
from ws_isolation.testing import RecordingTransport
from ws_isolation.typing import Clock, Transport


class LegacyContext:
    """
    Another context type: what an application had before.
    """

    user_id: str = "alice"
    thread_id: str | None = None


# --- the gate ---------------------------------------------------------------------------------


def gate(factory: ManagerFactory, context: UserExecutionContext, maybe: UserExecutionContext | None) -> None:
    """
    Only a context makes a manager.
    """
    factory.create_manager(LegacyContext())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    factory.create_manager({"user_id": "alice"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    factory.create_manager(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    factory.create_manager(maybe)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    factory.create_manager("alice")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    factory.create_manager(SimpleNamespace(user_id="a"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    factory.create_manager(UserExecutionContext)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    factory.create_manager()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    factory.create_manager(context=context)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    factory.create_manager(context, "bob")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    factory.create_manager(context, user_id="bob")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def attach(factory: ManagerFactory, context: UserExecutionContext) -> None:
    """
    Only a context and a transport make a session.
    """
    async with factory.attach(LegacyContext(), RecordingTransport()):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        pass
    async with factory.attach(context, object()):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        pass


async def legacy_authenticate(_handshake: Handshake) -> LegacyContext:
    """
    Return what an application had before.
    """
    return LegacyContext()


async def endpoint(websocket: WebSocket, factory: ManagerFactory) -> None:
    """
    ``authenticate`` returns a context and nothing else.
    """
    await serve(websocket, factory, legacy_authenticate)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# --- the context ------------------------------------------------------------------------------


def build() -> None:
    """
    A context is built with the right keywords and types.
    """
    UserExecutionContext()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    UserExecutionContext("alice")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    UserExecutionContext(user_id=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    UserExecutionContext(user_id=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    UserExecutionContext(user_id="a", userid="b")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    UserExecutionContext(user_id="a", websocket=object())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    UserExecutionContext(user_id="a", expires_at=3600)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    UserExecutionContext(user_id="a", claims=["admin"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    UserExecutionContext(user_id="a", claims={"x": object()})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    UserExecutionContext(user_id="a", claims={1: "x"})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    UserExecutionContext(user_id="a", policy=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def change(context: UserExecutionContext) -> None:
    """
    A context never changes, and a child has its identity.
    """
    context.claims["role"] = "admin"  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
    context.user_id = "bob"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    context.tenant_id = None  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    context.claims = {}  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    context.extra = 1  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    context.child(user_id="bob")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    context.child(claims={})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    context.claims_as("Claims")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# --- the manager ------------------------------------------------------------------------------


async def manage(manager: IsolatedManager) -> None:
    """
    A manager takes events, and no user.
    """
    await manager.send("hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await manager.send({"type": "agent_started"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await manager.send(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    event = events.Custom(name="shop.x", value=1)
    await manager.send(event, user_id="bob")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await manager.send("bob", event)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
    manager.send_to_user("bob", event)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    manager.broadcast(event)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    manager.run("assistant", user_id="bob")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    manager.run()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    manager.stats("bob")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    manager.context = object()  # type: ignore[assignment, misc]  # pyright: ignore[reportAttributeAccessIssue]


def emit() -> None:
    """
    Events are built with the right fields.
    """
    events.Custom(value=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    events.Custom(name="shop.x", user_id="bob")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    events.AgentThinking(run_id="r", thread_id="t", thought_id="x", mode="loud", text="")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# --- sessions, settings, codes ----------------------------------------------------------------


async def end(session: Session) -> None:
    """
    A session ends with a registered code.
    """
    session.close(4300)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    session.close(closing_reason="done")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    session.spawn(end)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    session.context = UserExecutionContext(user_id="bob")  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


class SomeSession(Session):  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    """
    A subclass.
    """


CODE = CloseCode(4900, "mine", "retry")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
SETTINGS = Settings(heartbeat="25")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ORIGINS = Settings(origins="https://a.example")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
FACTORY = ManagerFactory({"heartbeat_seconds": 25})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
CLOCK: Clock = object()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
TRANSPORT: Transport = object()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
MANAGER: IsolatedManager = object()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


# --- the router -------------------------------------------------------------------------------


async def plain(_session: Session, _message: Message) -> None:
    """
    Take no data.
    """


async def with_data(_session: Session, _message: Message, _data: LegacyContext) -> None:
    """
    Take data of one class.
    """


def blocking(_session: Session, _message: Message) -> None:
    """
    Be no coroutine function.
    """


async def truthy(_session: Session, _thread_id: str) -> str:
    """
    Return what is no bool.
    """
    return "yes"


def route(router: Router) -> None:
    """
    A handler takes what its registration says, and is awaited.
    """
    router.on("ask")(with_data)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    router.on("ask")(blocking)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    router.on("ask", LegacyContext)(plain)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    router.on("ask", SimpleNamespace)(with_data)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    router.on("ask", LegacyContext())  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    router.on("ask", concurrent="yes")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    router.on(7)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    Router(authorize_thread=truthy)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Router(authorize_thread=lambda _session, _thread_id: True)  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType]


# --- workers ----------------------------------------------------------------------------------


def workers(publisher: BlockingPublisher, tokens: ContextTokens, context: UserExecutionContext) -> None:
    """
    A publisher without an engine, one engine for all forks, and what is no context or no token.
    """
    Publisher()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    BlockingPublisher(MemoryBackplane())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    publisher.create_manager(LegacyContext())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    publisher.create_manager(tokens.export_context(context))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tokens.export_context({"user_id": "alice"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tokens.import_context(context)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ContextTokens({"k": "a str"})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]


# Last: what follows it cannot be reached, says mypy, since subclassing never returns.
class Extended(UserExecutionContext):  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    """
    A subclass.
    """
