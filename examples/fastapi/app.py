"""
FastAPI with a login: a JSON Web Token for HTTP and for the WebSocket.

    pip install 'ws-isolation[starlette]' fastapi pyjwt uvicorn websockets
    uvicorn app:app

    curl -d '{"name": "alice", "password": "tea"}' -H 'Content-Type: application/json' 127.0.0.1:8000/login

A browser hands the token over as a subprotocol: new WebSocket(url, ["ws-isolation.v1", "bearer." + token]).
Before it expires, log in again and send {"type": "ws.refresh", "credential": token, "scheme": "bearer"}.
"""

import hashlib
import hmac
import os
import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, HTTPException, WebSocket
from pydantic import BaseModel

from ws_isolation import Handshake, IsolatedManager, ManagerFactory, Session, UserExecutionContext, errors
from ws_isolation.adapters.starlette import lifespan, manager, serve
from ws_isolation.events import Custom

KEY = os.environ.get("JWT_KEY") or secrets.token_urlsafe(32)
ISSUER = "https://chat.example"
LIFETIME = timedelta(minutes=15)
SALT = secrets.token_bytes(16)


def digest(password: str) -> bytes:
    return hashlib.scrypt(password.encode(), salt=SALT, n=2**14, r=8, p=1)


USERS = {"alice": digest("tea"), "bob": digest("coffee")}  # yours are in a database, each with a salt of its own

factory = ManagerFactory()
app = FastAPI(lifespan=lifespan(factory))


async def authenticate(handshake: Handshake) -> UserExecutionContext:
    """Take the identity from a token that this service has signed, and from nothing else."""
    try:
        claims = jwt.decode(
            handshake.bearer_token or "",
            KEY,
            algorithms=["HS256"],
            issuer=ISSUER,
            options={"require": ["exp", "iss", "sub"]},
        )
    except jwt.ExpiredSignatureError as error:
        raise errors.ExpiredError from error  # the client logs in again, and resumes
    except jwt.InvalidTokenError as error:
        raise errors.UnauthenticatedError from error
    return UserExecutionContext(user_id=claims["sub"], expires_at=datetime.fromtimestamp(claims["exp"], UTC))


class Login(BaseModel):
    name: str
    password: str


@app.post("/login")
def login(who: Login) -> dict[str, str]:
    known = USERS.get(who.name, b"")
    if not hmac.compare_digest(known, digest(who.password)):
        raise HTTPException(401, "wrong name or password")
    claims = {"sub": who.name, "iss": ISSUER, "exp": datetime.now(UTC) + LIFETIME}
    return {"token": jwt.encode(claims, KEY, algorithm="HS256")}


@app.websocket("/ws")
async def chat(websocket: WebSocket) -> None:
    await serve(websocket, factory, authenticate, handler)


async def handler(session: Session) -> None:
    async for message in session:
        session.spawn(answer(session.manager, str(message.data)))


async def answer(own: IsolatedManager, question: str) -> None:
    async with own.run("assistant") as run:
        await run.thinking("counting the letters")
        await run.complete(f"{len(question)} letters")


@app.post("/notes")
async def note(text: str, own: Annotated[IsolatedManager, Depends(manager(factory, authenticate))]) -> dict[str, int]:
    """Show a note in all tabs of whoever sends it."""
    delivery = await own.send(Custom(name="notes.added", value=text))
    return {"sessions": delivery.sessions}
