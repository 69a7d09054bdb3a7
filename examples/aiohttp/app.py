"""
A shop's support chat on aiohttp: a socket for each tab, and an HTTP hook for what other services have to say.

    $ python app.py 8080

Alice's token is ``alice-token``, Bob's ``bob-token``. Each gets answers to their own questions, and word of
their own parcels, in all of their tabs.
"""

from __future__ import annotations

import asyncio
import socket
import sys

import attrs
from aiohttp import web

from ws_isolation import (
    Handshake,
    IsolatedManager,
    ManagerFactory,
    Message,
    Session,
    UserExecutionContext,
    errors,
    events,
)
from ws_isolation.adapters.aiohttp import lifespan, manager, serve
from ws_isolation.router import Router

TOKENS = {"alice-token": "alice", "bob-token": "bob"}  # in a service: what your identity provider signs
PARCELS = {"alice": "on its way", "bob": "packed"}
MOST = 1_000
"""Characters of a push; the rest is left out."""

factory = ManagerFactory()
router = Router()


async def authenticate(handshake: Handshake) -> UserExecutionContext:
    """Say who it is: by the header of a program, or by the subprotocol ``bearer.…`` of a browser."""
    user = TOKENS.get(handshake.bearer_token or "")
    if user is None:
        raise errors.UnauthenticatedError
    return UserExecutionContext(user_id=user, thread_id=handshake.query.get("thread"))


@attrs.frozen
class Ask:
    """What a tab asks."""

    text: str


@router.on("ask", Ask)
async def ask(session: Session, _message: Message, data: Ask) -> None:
    """Begin an answer; it goes on, and to all tabs, also when this one is closed."""
    session.spawn(answer(session.manager, data.text))


async def answer(mine: IsolatedManager, question: str) -> None:
    """Look the caller's parcel up, and say so word by word. Whose parcel, says the manager alone."""
    async with mine.run("support") as run:
        await run.thinking("looking for your parcel")
        async with run.tool("parcel", {"question": question}) as tool:
            await asyncio.sleep(0.05)  # the warehouse is slow
            tool.result = state = PARCELS[mine.context.user_id]
        await run.complete(f"Your parcel is {state}.")


async def chat(request: web.Request) -> web.StreamResponse:
    """Serve the sockets."""
    return await serve(request, factory, authenticate, router)


own_manager = manager(factory, authenticate)


async def push(request: web.Request) -> web.Response:
    """Tell all tabs of the caller, and nobody else's, what the body says."""
    mine = await own_manager(request)
    delivery = await mine.send(events.Custom(name="shop.news", value=(await request.text())[:MOST]))
    return web.json_response({"tabs": delivery.sessions})


def application() -> web.Application:
    """Return the application; ``lifespan`` lets the factory begin and end with it."""
    app = web.Application()
    app.add_routes([web.get("/ws", chat), web.post("/push", push)])
    lifespan(app, factory)
    return app


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    listening = socket.create_server(("127.0.0.1", port))
    web.run_app(application(), sock=listening, handle_signals=False)  # lifespan() does, and drains first
