"""
The way in: who may knock, what is answered, and that nothing is swapped, lost or said twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

from .client import HOST, Client
from .report import Check
from .stage import SUBPROTOCOL, Stage
from .subject import PENDING

_PAIRS: Final = 3
_LOOK_SECONDS: Final = 0.05


def _knocks(*lines: str, host: str = HOST) -> Callable[[Stage], Awaitable[str]]:
    """Come with more header lines; say the status."""

    async def observe(stage: Stage) -> str:
        async with stage.client(None, *lines, host=host) as client:
            return f"HTTP {client.status}"

    return observe


async def _overload(stage: Stage) -> str:
    """Come while as many handshakes as may are under way."""
    async with AsyncExitStack() as stack:
        watch = await stack.enter_async_context(stage.welcomed())
        waiting = [stack.enter_async_context(stage.client(stage.token("wait"))) for _ in range(PENDING)]
        crowd = asyncio.gather(*waiting, return_exceptions=True)
        try:
            await _until_waiting(stage, watch, PENDING)
            async with stage.client() as client:
                after = ", with Retry-After" if client.values("retry-after") else ""
                return f"HTTP {client.status}{after}"
        finally:
            await crowd
            await _until_waiting(stage, watch, 0)


async def _until_waiting(stage: Stage, watch: Client, count: int) -> None:
    while (await stage.census(watch))["handshakes"] != count:  # noqa: ASYNC110  # a count of the server, no event
        await asyncio.sleep(_LOOK_SECONDS)


async def _contexts(stage: Stage) -> str:
    """Let two handshakes wait for each other inside ``authenticate``, several times."""

    async def come(token: str) -> bool:
        async with stage.client(token) as client:
            return bool(await client.until("check.user") == token.partition(".")[2])

    for _ in range(_PAIRS):
        pair = stage.token("pair")
        if not all(await asyncio.gather(come(f"{pair}a"), come(f"{pair}b"))):
            return "swapped"
    return "each has its own"


async def _first_message(stage: Stage) -> str:
    """Send as soon as the handshake is answered, before anything is read."""
    async with stage.client() as client:
        client.send("size", text="first")
        return f"answered {await client.until('check.size')}"


async def _greetings(stage: Stage) -> str:
    async with stage.client() as client:
        client.send("return")
        kinds = [frame.get("type") for frame in (await client.ending()).frames]
    first = "first" if kinds[:1] == ["ws.welcome"] else "late"
    return f"{kinds.count('ws.welcome')}, {first}"


async def _subprotocol(stage: Stage) -> str:
    """Offer the credential before the subprotocol, and read what is answered."""
    token = stage.token()
    async with stage.client("", f"Sec-WebSocket-Protocol: bearer.{token}, {SUBPROTOCOL}") as client:
        answered = client.values("sec-websocket-protocol")
    if any("bearer" in value for value in answered):
        return "the token"
    return ", ".join(answered) or "none"


async def _no_subprotocol(stage: Stage) -> str:
    async with stage.client() as client:
        return ", ".join(client.values("sec-websocket-protocol")) or "none"


OPENINGS: Final = (
    Check("foreign Origin", "HTTP 403", _knocks("Origin: https://evil.example.com")),
    Check("own Origin", "HTTP 101", _knocks(f"Origin: https://{HOST}")),
    Check("unknown Host", "HTTP 403", _knocks(host="evil.example.com")),
    Check("two Hosts", "HTTP 400", _knocks("Host: evil.example.com")),
    Check("Cookie without Origin", "HTTP 403", _knocks("Cookie: session=1")),
    Check("overload", "HTTP 503, with Retry-After", _overload),
    Check("contexts of handshakes at the same time", "each has its own", _contexts),
    Check("a message right after the handshake", "answered 5", _first_message),
    Check("greetings", "1, first", _greetings),
    Check("answered subprotocol", SUBPROTOCOL, _subprotocol),
    Check("answered subprotocol where none is offered", "none", _no_subprotocol),
)
