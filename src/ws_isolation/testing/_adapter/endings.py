"""
The ways out: whatever fails, the client reads goodbye and a close code of the library.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from .frames import BINARY, TEXT, encoded
from .report import Check
from .stage import Stage
from .subject import LONGEST


def _refused(how: str) -> Callable[[Stage], Awaitable[str]]:
    """Come with a credential that ``authenticate`` fails on in that way."""

    async def observe(stage: Stage) -> str:
        async with stage.client(stage.token(how)) as client:
            return str(await client.ending()) if client.accepted else f"HTTP {client.status}"

    return observe


async def _without_credential(stage: Stage) -> str:
    async with stage.client("") as client:
        return str(await client.ending()) if client.accepted else f"HTTP {client.status}"


def _told(kind: str) -> Callable[[Stage], Awaitable[str]]:
    """Tell the handler to end in that way."""

    async def observe(stage: Stage) -> str:
        async with stage.welcomed() as client:
            client.send(kind)
            return str(await client.ending())

    return observe


def _sent(frame: bytes) -> Callable[[Stage], Awaitable[str]]:
    """Send a frame as it is."""

    async def observe(stage: Stage) -> str:
        async with stage.welcomed() as client:
            client.writer.write(frame)
            return str(await client.ending())

    return observe


async def _long_reason(stage: Stage) -> str:
    async with stage.welcomed() as client:
        client.send("longest")
        ending = await client.ending()
    wanted = f"{LONGEST.slug};r=3600000"
    return "whole" if ending.reason == wanted else f"{ending.code} with {ending.reason or 'none'}"


async def _incident(stage: Stage) -> str:
    """Compare the incident id of the goodbye with that of the reason."""
    async with stage.welcomed() as client:
        client.send("raise")
        ending = await client.ending()
    incident = ending.frames[-1].get("incident_id") if ending.frames else None
    if not ending.reason:
        return "no reason"
    return "the same" if incident and f"i={incident}" in ending.reason else "another"


ENDINGS: Final = (
    Check("no credential", "4001 unauthenticated", _without_credential),
    Check("authenticate refuses", "4001 unauthenticated", _refused("refuse")),
    Check("authenticate forbids", "4003 forbidden", _refused("forbid")),
    Check("an expired context", "4101 token_expired", _refused("expire")),
    Check("no context", "4310 context_rejected", _refused("impostor")),
    Check("raise before accept", "4300 internal_error", _refused("raise")),
    Check("cancellation before accept", "4300 internal_error", _refused("cancel")),
    Check("authenticate takes too long", "4300 internal_error", _refused("wait")),
    Check("raise after accept", "4300 internal_error", _told("raise")),
    Check("raise what is no Exception", "4300 internal_error", _told("odd")),
    Check("cancellation after accept", "4300 internal_error", _told("cancel")),
    Check("plain return", "1000 normal", _told("return")),
    Check("send of a lone surrogate", "4300 internal_error", _told("surrogate")),
    Check("bad JSON", "4000 bad_frame", _sent(encoded(TEXT, b"{"))),
    Check("binary message", "4000 bad_frame", _sent(encoded(BINARY, b"{}"))),
    Check("invalid UTF-8", "1007 without goodbye", _sent(encoded(TEXT, b'{"type":"\xff\xfe"}'))),
    Check("2 MiB message", "4013 message_too_big", _sent(encoded(TEXT, b'{"type":"' + b"x" * 2**21 + b'"}'))),
    Check("longest reason", "whole", _long_reason),
    Check("incident id in goodbye and reason", "the same", _incident),
)
