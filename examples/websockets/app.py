"""
Long calculations for many users on the websockets library alone, with progress, and a stop that stops.

    $ python app.py 8765

Alice's token is ``alice-token``, Bob's ``bob-token``. A client that comes back with its cursor finds its
calculation still going, and what it missed.
"""

from __future__ import annotations

import asyncio
import sys

import attrs
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from ws_isolation import Handshake, IsolatedManager, ManagerFactory, Message, Session, UserExecutionContext, errors
from ws_isolation.adapters.websockets import endpoint
from ws_isolation.router import Router
from ws_isolation.signals import drained

TOKENS = {"alice-token": "alice", "bob-token": "bob"}  # in a service: what your identity provider signs
MOST = 100_000
"""The largest number that is taken."""
STEP = 10_000

factory = ManagerFactory()
router = Router()


async def authenticate(handshake: Handshake) -> UserExecutionContext:
    """Say who it is: by the header of a program, or by the subprotocol ``bearer.…`` of a browser."""
    user = TOKENS.get(handshake.bearer_token or "")
    if user is None:
        raise errors.UnauthenticatedError
    return UserExecutionContext(user_id=user)


@attrs.frozen
class Sum:
    """Up to where is to be counted."""

    up_to: int


@router.on("sum", Sum)
async def sum_up(session: Session, message: Message, data: Sum) -> None:
    """Begin a calculation; ``{"type": "stop", "run_id": …}`` ends it, without a handler of ours."""
    if 0 < data.up_to <= MOST:
        session.spawn(calculate(session.manager, data.up_to))
    else:
        session.reject(message, "invalid_data", path="$.up_to", problem=f"1 to {MOST}")


async def calculate(mine: IsolatedManager, up_to: int) -> None:
    """Add the numbers up, a part at a time, and say how far it is."""
    async with mine.run("calculator") as run:
        total = 0
        for begin in range(1, up_to + 1, STEP):
            total += sum(range(begin, min(begin + STEP, up_to + 1)))
            await run.thinking(f"{min(begin + STEP - 1, up_to)} of {up_to}")
            await asyncio.sleep(0.01)  # others have their turn
        await run.complete(str(total))


options = endpoint(factory, authenticate, router)
decide = options["process_request"]


async def process_request(connection: ServerConnection, request: Request) -> Response | None:
    """Answer the health check, and leave everything else to the endpoint."""
    if request.path == "/healthz":
        return connection.respond(200, "fine\n")
    return await decide(connection, request)


options["process_request"] = process_request


async def main(port: int) -> None:
    """Serve until SIGINT or SIGTERM: then every client is told to come back, and the server closes."""
    async with factory, serve(**options, host="127.0.0.1", port=port) as server:
        print(f"Running on ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await drained(factory)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8765))
