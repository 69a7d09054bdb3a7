"""
Quart: a signed session cookie for pages and for the WebSocket, served by hypercorn.

    pip install 'ws-isolation[quart]'
    python app.py

    curl -c jar -d name=alice 127.0.0.1:8000/login
    curl -b jar -d text=milk 127.0.0.1:8000/notes
"""

import asyncio
import os
import secrets
from functools import partial

from hypercorn.asyncio import serve as serve_app
from hypercorn.config import Config
from itsdangerous import BadSignature
from quart import Quart, request, session
from quart.sessions import SecureCookieSessionInterface

from ws_isolation import Handshake, ManagerFactory, Session, UserExecutionContext
from ws_isolation.adapters.quart import lifespan, manager, serve
from ws_isolation.events import Custom
from ws_isolation.signals import drained

app = Quart(__name__)
app.secret_key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32)
app.config.update(SESSION_COOKIE_SAMESITE="Lax")  # and SESSION_COOKIE_SECURE=True behind TLS

factory = ManagerFactory()
app.while_serving(lifespan(factory))


async def authenticate(handshake: Handshake) -> UserExecutionContext | None:
    """Read Quart's own session cookie. Its proxies know nothing here: a session outlives the request that began it."""
    signer = SecureCookieSessionInterface().get_signing_serializer(app)
    cookie = handshake.cookies.get(app.config["SESSION_COOKIE_NAME"], "")
    lifetime = int(app.permanent_session_lifetime.total_seconds())
    try:
        user = signer.loads(cookie, max_age=lifetime).get("user") if signer else None
    except BadSignature:
        return None
    return UserExecutionContext(user_id=user) if user else None


own = manager(factory, authenticate)


@app.post("/login")
async def login() -> tuple[str, int]:
    name = (await request.form).get("name", "")
    if name not in {"alice", "bob"}:  # yours have passwords
        return "who?", 401
    session["user"] = name
    return "welcome", 200


@app.post("/notes")
async def note() -> dict[str, int]:
    sender = await own()
    text = (await request.form).get("text", "")
    delivery = await sender.send(Custom(name="notes.added", value=text))
    return {"sessions": delivery.sessions}


@app.websocket("/ws")
async def chat() -> None:
    await serve(factory, authenticate, handler)


async def handler(chat: Session) -> None:
    async for message in chat:
        await chat.manager.send(Custom(name="chat.said", value=message.data))


async def main() -> None:
    config = Config()
    config.bind = [os.environ.get("BIND", "127.0.0.1:8000")]
    config.graceful_timeout = 10
    # On SIGTERM the sockets are told to come back, and only then the server closes.
    await serve_app(app, config, shutdown_trigger=partial(drained, factory))


if __name__ == "__main__":
    asyncio.run(main())
