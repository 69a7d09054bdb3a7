"""
Litestar: notes that appear in all tabs of whoever writes them, behind tokens of an API.

    pip install 'ws-isolation[litestar]' uvicorn websockets
    uvicorn app:app

    export TOKEN='Authorization: Bearer alice-token' JSON='Content-Type: application/json'
    curl -d '{"text": "milk"}' -H "$TOKEN" -H "$JSON" 127.0.0.1:8000/notes
"""

from dataclasses import dataclass

from litestar import Litestar, get, post
from litestar.di import NamedDependency

from ws_isolation import Handshake, IsolatedManager, ManagerFactory, Session, UserExecutionContext
from ws_isolation.adapters.litestar import IsolationPlugin, endpoint
from ws_isolation.events import Custom

TOKENS = {"alice-token": "alice", "bob-token": "bob"}  # yours are verified, or looked up by their digest


@dataclass
class Note:
    text: str


notes: dict[str, list[Note]] = {}
factory = ManagerFactory()


async def authenticate(handshake: Handshake) -> UserExecutionContext | None:
    user = TOKENS.get(handshake.bearer_token or "")
    return None if user is None else UserExecutionContext(user_id=user)


@get("/notes")
async def listed(manager: NamedDependency[IsolatedManager]) -> list[Note]:
    return notes.get(manager.context.user_id, [])


@post("/notes")
async def add(data: Note, manager: NamedDependency[IsolatedManager]) -> Note:
    await keep(manager, data)
    return data


async def keep(manager: IsolatedManager, note: Note) -> None:
    notes.setdefault(manager.context.user_id, []).append(note)
    await manager.send(Custom(name="notes.added", value=note.text))


async def handler(session: Session) -> None:
    async for message in session:
        if message.type == "add":
            await keep(session.manager, Note(str(message.data.get("text", ""))))


# The plugin gives the lifespan and the dependency "manager"; the endpoint is a route handler like any other.
app = Litestar(
    [listed, add, endpoint("/ws", factory, authenticate, handler)], plugins=[IsolationPlugin(factory, authenticate)]
)
