"""
How a connection begins: who we are, what the engine is, and what it must know.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, cast, final

import attrs

from ...errors import EngineUnavailableError, SettingsError, bounded
from .jobs import Ask, MalformedError
from .line import Line

if TYPE_CHECKING:
    from .address import Address
    from .scripts import Script

__all__ = ("POLICY", "Asks", "Checked", "asking", "evicts", "greeted", "opened")

POLICY: Final = ("CONFIG", "GET", "maxmemory-policy")
_MIN_VERSION: Final = 7
_MOST_SKEW_SECONDS: Final = 5.0
_WAIT_SECONDS: Final = 60.0
"""Whoever opens has a time-out of his own."""


@final
@attrs.frozen
class Checked:
    """
    What the engine said of itself.

    Attributes:
        server: ``redis`` or ``valkey``, and its version.
        notes: What ought to be mended, in words.
    """

    server: str
    notes: tuple[str, ...]


class Asks(Protocol):
    """Asks the engine one thing, and returns what it answers."""

    async def __call__(self, *words: bytes | str, is_mark: bool = False) -> object:
        """Send *words*; *is_mark*: behind a command that has no place in the row."""
        ...


async def opened(
    line: Line,
    address: Address,
    scripts: tuple[Script, ...],
    pulse: bytes,
    now: Callable[[], float],
    /,
    *,
    cluster: bool = False,
) -> Checked:
    """
    Connect, and make the connection ready.

    Args:
        line: Not connected yet.
        address: Where.
        scripts: What is to be known to the engine.
        pulse: The channel on which the node hears itself.
        now: Seconds, monotonic.
        cluster: Whether it is a node of a Cluster, or must be none.

    Raises:
        OSError: There is nobody.
        SettingsError: The engine is not fit for it; says why.
        EngineUnavailableError: It refuses.
    """
    ask = await asking(line, address, now)
    server = _server(await greeted(ask, address), cluster=cluster)
    if address.database:
        await ask("SELECT", str(address.database))
    for script in scripts:
        await ask("SCRIPT", "LOAD", script.text)
    notes = [*await _policy(ask), *await _clock(ask, time.time())]
    line.write(_subscribe(pulse))
    await ask("TIME", is_mark=True)  # an error to the subscription comes in its place
    return Checked(server, tuple(notes))


async def asking(line: Line, address: Address, now: Callable[[], float], /) -> Asks:
    """
    Connect, and return what asks on this connection, one thing after the other.

    Raises:
        OSError: There is nobody.
    """
    loop = asyncio.get_running_loop()
    if address.path:
        await loop.create_unix_connection(lambda: line, address.path)
    else:
        await loop.create_connection(lambda: line, address.host, address.port, ssl=address.tls)

    async def ask(*words: bytes | str, is_mark: bool = False) -> object:
        job = Ask(words[0] if isinstance(words[0], str) else "", lambda _again: words, _anything, now() + _WAIT_SECONDS)
        job.optional, job.is_mark = words[0] == "CONFIG", is_mark
        line.ask(job, job.packed(), now())
        either: set[asyncio.Future[object]] = {job.answer, cast("asyncio.Future[object]", line.over)}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not job.answer.done():
            job.answer.cancel()
            msg = f"the engine closed the connection at {words[0]!r}"
            raise ConnectionResetError(msg)
        return job.answer.result()

    return ask


async def greeted(ask: Asks, address: Address, /) -> dict[bytes, object]:
    """
    Say who we are, and return what the engine says of itself.

    Raises:
        EngineUnavailableError: It does not let us in.
        MalformedError: It is no engine.
    """
    login = () if address.password is None else ("AUTH", address.username or "default", address.password)
    hello = await ask("HELLO", "3", *login, "SETNAME", "ws_isolation")
    if type(hello) is not dict:
        raise MalformedError
    return cast("dict[bytes, object]", hello)


def _subscribe(channel: bytes) -> bytes:
    return b"*2\r\n$9\r\nSUBSCRIBE\r\n$%d\r\n%b\r\n" % (len(channel), channel)


def _anything(reply: object) -> object:
    return reply


def _server(hello: dict[bytes, object], *, cluster: bool) -> str:
    if (hello.get(b"mode") == b"cluster") is not cluster:
        what, wanted = ("no node", "redis://") if cluster else ("a node", "redis+cluster://")
        msg = f"the engine is {what} of a Cluster: write {wanted}host:port"
        raise SettingsError(msg)
    if hello.get(b"role") not in (b"master", None):
        msg = "the engine is a replica"
        raise ConnectionRefusedError(msg)
    name, version = (str(cast("bytes", hello.get(key, b"?")), "ascii", "replace") for key in (b"server", b"version"))
    major = re.match(r"\d+", version)
    if major is None or int(major[0]) < _MIN_VERSION:
        msg = f"the engine is {bounded(name, 20)} {bounded(version, 20)}: Redis 7 or Valkey 7.2 is needed at least"
        raise SettingsError(msg)
    return f"{bounded(name, 20)} {bounded(version, 20)}"


def evicts(reply: object, /) -> bool:
    """Tell whether an engine that answers this to ``POLICY`` drops data to make room."""
    policy = cast("dict[bytes, object]", reply).get(b"maxmemory-policy") if type(reply) is dict else None
    return policy not in (b"noeviction", None)


async def _policy(ask: Asks) -> list[str]:
    """Refuse an engine that throws streams away when its memory is full."""
    try:
        reply = await ask(*POLICY)
    except EngineUnavailableError:
        return ["the engine does not say its maxmemory-policy: see that it is noeviction"]
    if evicts(reply):
        msg = "the engine's maxmemory-policy throws data away when memory is short: set it to noeviction"
        raise SettingsError(msg)
    return []


async def _clock(ask: Asks, unix: float) -> list[str]:
    """Say so where the engine's clock is another than ours: revocations end by it."""
    match await ask("TIME"):
        case [bytes() as seconds, bytes()] if seconds.isdigit():
            skew = abs(int(seconds) - unix)
            if skew > _MOST_SKEW_SECONDS:
                return [f"the engine's clock differs from this machine's by {skew:.0f} s: set them by NTP"]
        case _:
            pass
    return []
