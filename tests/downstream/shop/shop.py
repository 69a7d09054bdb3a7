"""
A service that uses the library: chat over a socket, a push from a POST, a test double of its own.
"""

from __future__ import annotations

from typing import Annotated, TypedDict

from fastapi import Depends, FastAPI, WebSocket

from ws_isolation import (
    Delivery,
    Handshake,
    IsolatedManager,
    ManagerFactory,
    Session,
    Settings,
    UserExecutionContext,
    errors,
    events,
)
from ws_isolation.adapters.starlette import lifespan, manager, serve
from ws_isolation.delivery import ManagerStats
from ws_isolation.manager import RunMixin

TOKENS = {"alice-secret": "alice", "bob-secret": "bob"}

factory = ManagerFactory(Settings(origins=("https://shop.example",)))
app = FastAPI(lifespan=lifespan(factory))


class Claims(TypedDict):
    """What the service knows of its users."""

    roles: list[str]


async def authenticate(handshake: Handshake) -> UserExecutionContext:
    """Return whose socket it is, or refuse."""
    user_id = TOKENS.get(handshake.bearer_token or "")
    if user_id is None:
        raise errors.UnauthenticatedError
    return UserExecutionContext(
        user_id=user_id, thread_id=handshake.query.get("thread"), claims={"roles": ["customer"]}
    )


@app.websocket("/ws")
async def chat(websocket: WebSocket) -> None:
    """Serve one socket."""
    await serve(websocket, factory, authenticate, handler)


async def handler(session: Session) -> None:
    """Answer each message."""
    roles = session.context.claims_as(Claims)["roles"]
    async for message in session:
        if message.type != "question":
            session.reject(message)
            continue
        session.spawn(answer(session.manager, str(message.data["text"]), roles))


async def answer(own: IsolatedManager, question: str, roles: list[str]) -> None:
    """Run the agent for one question."""
    async with own.run("assistant") as run:
        await run.thinking("looking it up")
        async with run.tool("search", {"q": question, "roles": roles}) as tool:
            tool.result = await search(question)
        await run.complete("done")


async def search(question: str) -> list[str]:
    """Look something up."""
    return [question]


@app.post("/orders")
async def order(own: Annotated[IsolatedManager, Depends(manager(factory, authenticate))]) -> dict[str, int]:
    """Push to the user who orders."""
    delivery = await own.send(events.Custom(name="shop.ordered", value={"items": 1}))
    return {"sessions": delivery.sessions}


class FakeManager(RunMixin):
    """A test double: remembers what was sent."""

    def __init__(self, context: UserExecutionContext) -> None:
        self._context = context
        self.sent: list[events.Event] = []

    @property
    def context(self) -> UserExecutionContext:
        """The context that it was made from."""
        return self._context

    async def send(self, event: events.Event, /) -> Delivery:
        """Remember the event."""
        self.sent.append(event)
        return Delivery("0192f0c2-0a0b-7c0d-8e0f-101112131415", len(self.sent), 0)

    def stats(self) -> ManagerStats:
        """Count what was sent."""
        return ManagerStats(sent=len(self.sent), sessions=0, open_runs=0)


def fake(user_id: str) -> IsolatedManager:
    """Return a manager that reaches nobody."""
    return FakeManager(UserExecutionContext(user_id=user_id))
