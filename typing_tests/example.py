"""
The example of the design, word for word: what a new user copies must type-check under strict settings.
"""

from __future__ import annotations

from fastapi import FastAPI, WebSocket

from ws_isolation import Handshake, IsolatedManager, ManagerFactory, Session, UserExecutionContext, errors
from ws_isolation.adapters.starlette import lifespan, serve


async def verify(token: str | None) -> dict[str, str] | None:
    """
    Stand for the application's own check of a credential.
    """
    return None if token is None else {"sub": token}


async def search(question: str) -> list[str]:
    """
    Stand for the application's own tool.
    """
    return [question]


# fmt: off
factory = ManagerFactory()                             # configuration only: fine at import
app = FastAPI(lifespan=lifespan(factory))              # drains on shutdown

async def authenticate(handshake: Handshake) -> UserExecutionContext:
    claims = await verify(handshake.bearer_token)      # the application's own business
    if claims is None:
        raise errors.UnauthenticatedError
    return UserExecutionContext(user_id=claims["sub"], thread_id=handshake.query.get("thread"))

@app.websocket("/ws")
async def chat(websocket: WebSocket) -> None:
    await serve(websocket, factory, authenticate, handler)

async def handler(session: Session) -> None:
    async for message in session:                      # validated, size-limited, rate-limited
        session.spawn(answer(session.manager, message.data["text"]))

async def answer(manager: IsolatedManager, question: str) -> None:
    async with manager.run("assistant") as run:        # agent_started … exactly one end
        await run.thinking("looking it up")
        async with run.tool("search", {"q": question}) as tool:
            tool.result = await search(question)
        await run.complete("done")
# fmt: on
