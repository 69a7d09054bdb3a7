"""
While it lasts, and at its end: silent peers, stalled peers, what is left behind, and SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

from .client import SECONDS, Client, request
from .frames import TEXT, encoded
from .report import Check
from .stage import SUBPROTOCOL, Stage

_LOOK_SECONDS: Final = 0.1
_KEPT_SECONDS: Final = 2.0
"""How long a server may take to let go of a connection that was dropped."""
_SMALL: Final = 4_096
_CROWD: Final = 10
_WARM: Final = 16
_AT_ONCE: Final = 4
"""Sessions that come and go at the same time; below the handshakes that may be under way."""
_FLOOD: Final = encoded(TEXT, b'{"type":"flood"}')
_ENDS_OF_A_SERVER: Final = frozenset({0, -signal.SIGTERM, 128 + signal.SIGTERM})


async def _heartbeat(stage: Stage) -> str:
    """Offer the subprotocol, and answer no ping."""
    async with stage.welcomed(None, f"Sec-WebSocket-Protocol: {SUBPROTOCOL}") as client:
        ending = await client.ending()
    pinged = any(frame.get("type") == "ws.ping" for frame in ending.frames)
    return str(ending) if pinged else f"{ending}, never pinged"


async def _stalled(stage: Stage) -> str:
    """Let the server write a lot, read nothing of it, and see whether session and connection are let go."""
    async with stage.welcomed() as watch:
        before = await _at_rest(stage, watch)
        with socket.socket() as stalled:
            await _stall(stage, stalled)
            if not await _falls(stage, watch, "sessions", before["sessions"], SECONDS):
                return "session kept"
            dropped = await _falls(stage, watch, "descriptors", before["descriptors"], _KEPT_SECONDS)
            return "session freed, connection dropped" if dropped else "session freed, connection kept"


async def _stall(stage: Stage, stalled: socket.socket) -> None:
    """Connect with a small buffer, ask for a flood, and never read."""
    loop = asyncio.get_running_loop()
    stalled.setblocking(False)  # noqa: FBT003  # positional only
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)
    await loop.sock_connect(stalled, (stage.served.host, stage.served.port))
    await loop.sock_sendall(stalled, request(f"Authorization: Bearer {stage.token()}"))
    async with asyncio.timeout(SECONDS):
        await loop.sock_recv(stalled, 1)
    await loop.sock_sendall(stalled, _FLOOD)


async def _falls(stage: Stage, watch: Client, name: str, most: int, seconds: float) -> bool:
    """Look until the server holds no more than *most*; False where it does not come to that."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (await stage.census(watch))[name] > most:
        if loop.time() > until:
            return False
        await asyncio.sleep(_LOOK_SECONDS)
    return True


async def _at_rest(stage: Stage, watch: Client) -> dict[str, int]:
    """Wait until what earlier clients left is gone, then return what the server holds."""
    await _falls(stage, watch, "sessions", 1, SECONDS)
    await _falls(stage, watch, "streams", 1, SECONDS)
    counts: dict[str, int] = {}
    later = await stage.census(watch)
    while later != counts:
        counts, later = later, await _later(stage, watch)
    return counts


async def _later(stage: Stage, watch: Client) -> dict[str, int]:
    await asyncio.sleep(_LOOK_SECONDS)
    return await stage.census(watch)


async def _leaks(stage: Stage) -> str:
    """Let sessions come and go in every way, and compare what the server holds before and afterwards."""
    async with stage.welcomed() as watch:
        await _cycles(stage, _WARM)
        before = await _at_rest(stage, watch)
        await _cycles(stage, stage.cycles)
        after = await _at_rest(stage, watch)
    grown = {name: after[name] - before[name] for name in before if after[name] > before[name]}
    return ", ".join(f"{count} {name}" for name, count in grown.items()) or "nothing"


async def _cycles(stage: Stage, count: int) -> None:
    async def some(first: int) -> None:
        for number in range(first, count, _AT_ONCE):
            await _WAYS[number // _AT_ONCE % len(_WAYS)](stage)

    await asyncio.gather(*(some(first) for first in range(_AT_ONCE)))


def _told(kind: str) -> Callable[[Stage], Awaitable[None]]:
    async def go(stage: Stage) -> None:
        async with stage.client() as client:
            client.send(kind)
            await client.ending()

    return go


async def _drops(stage: Stage) -> None:
    async with stage.welcomed():
        pass


async def _drops_before_the_answer(stage: Stage) -> None:
    async with stage.client():
        pass


async def _is_refused(stage: Stage) -> None:
    async with stage.client(stage.token("refuse")) as client:
        await client.ending()


_WAYS: Final = (_told("return"), _drops, _told("raise"), _is_refused, _drops_before_the_answer)


async def _sigterm(stage: Stage) -> str:
    """End the process while sessions write."""
    process = stage.served.process
    if process is None:
        return "no process"
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(stage.welcomed()) for _ in range(_CROWD)]
        for client in crowd:
            client.send("stream")
            await client.until("check.stream")
        process.send_signal(signal.SIGTERM)
        endings = {str(await client.ending()) for client in crowd}
    said = ", ".join(sorted(endings))
    async with asyncio.timeout(2 * SECONDS):
        code = await process.wait()
    return said if code in _ENDS_OF_A_SERVER else f"{said}; exit code {code}"


LIFE: Final = (
    Check("heartbeat", "4208 heartbeat_timeout", _heartbeat),
    Check("stalled peer", "session freed, connection dropped", _stalled),
    Check("left behind", "nothing", _leaks),
)
LAST: Final = Check("SIGTERM under load", "4200 drain", _sigterm)
"""After it there is no server."""
