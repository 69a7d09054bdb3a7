"""
The limit of a message: exact to the byte of what was decoded, compressed or not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from .client import Client
from .report import Check
from .stage import Stage

_LIMIT: Final = 65_536
_HEAD: Final = b'{"type":"size","data":{"text":"'
_TAIL: Final = b'"}}'


def _of(size: int, *, deflate: bool) -> Callable[[Stage], Awaitable[str]]:
    """Send a message of exactly that many bytes."""

    async def observe(stage: Stage) -> str:
        async with stage.welcomed(deflate=deflate) as client:
            if deflate and not client.compresses:
                return "no compression"
            return await _answer(client, size)

    return observe


async def _answer(client: Client, size: int) -> str:
    text = b"x" * (size - len(_HEAD) - len(_TAIL))
    client.send_text(_HEAD + text + _TAIL)
    try:
        return "whole" if await client.until("check.size") == len(text) else "cut"
    except ConnectionError as closed:
        return str(closed)


def _named(size: int, wanted: str) -> tuple[Check, Check]:
    return (
        Check(f"message of {size} bytes", wanted, _of(size, deflate=False)),
        Check(f"compressed message of {size} bytes", wanted, _of(size, deflate=True)),
    )


SIZES: Final = (
    *_named(_LIMIT - 1, "whole"),
    *_named(_LIMIT, "whole"),
    *_named(_LIMIT + 1, "4013 message_too_big"),
)
