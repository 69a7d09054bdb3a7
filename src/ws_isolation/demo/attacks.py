"""
Mallory's attempts, carried out for real against the running server.

She has an account of her own and wants Alice's events. Each attempt goes over a
real socket; what is reported is what that socket got, beside what the operator
of the server finds in the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias, cast, final

import attrs

from .. import IsolatedManager, ManagerFactory, UserExecutionContext, closing, errors, events
from .client import Client, connected
from .forgeries import FORGERIES, Forgery
from .operator import Entry, OperatorLog

__all__ = ("ATTACKS", "Attack", "Outcome", "Target")

_REFUSALS: Final = closing.CODES.keys() - {closing.NORMAL.code}
_FLOOD_BYTES: Final = 16_000
_FLOOD_MOST: Final = 1_000
"""Events of a flood at most: 16 MB, four times of what kernel buffers and an outbox take."""
_END_SECONDS: Final = 5.0
"""Seconds within which a tab that was cut must find out."""


@final
@attrs.frozen(kw_only=True)
class Target:
    """
    What an attempt is made against, and with.

    Attributes:
        address: Where the server listens, ``127.0.0.1:8765``.
        factory: The server's factory.
        log: The operator's log.
        token: Mallory's own credential.
        manager: Mallory's own manager.
        canaries: Everybody else's. To see one of them is to succeed.
    """

    address: str
    factory: ManagerFactory
    log: OperatorLog
    token: str
    manager: IsolatedManager
    canaries: tuple[str, ...]


@final
@attrs.frozen(kw_only=True)
class Outcome:
    """
    What an attempt came to.

    Attributes:
        attack: Its name.
        title: Its name for people.
        refused: Whether it was refused with an error and a code, and saw nothing of anybody else.
        error: The class of the error, as the operator sees it.
        message: The error's full text, as the operator sees it.
        close_code: The code that the peer's socket was closed with.
        reason: The reason that came with it.
        goodbye: The last frame before it.
        log: The line in the operator's log, an empty string where there is none.
        foreign: Messages with somebody else's canary that the peer got.
        note: What else there is to see.
        seconds: How long it took.
    """

    attack: str
    title: str
    refused: bool
    error: str
    message: str
    close_code: int | None
    reason: str
    goodbye: dict[str, Any] | None
    log: str
    foreign: int
    note: str
    seconds: float


@final
@attrs.frozen
class _Finding:
    """What one attempt found out; ``Attack.run`` makes an ``Outcome`` of it."""

    client: Client
    error: str = ""
    message: str = ""
    log: str = ""
    note: str = ""


Attempt: TypeAlias = Callable[[Target], Awaitable[_Finding]]


@final
@attrs.frozen
class Attack:
    """
    One attempt that can be made again and again.

    Attributes:
        name: Its name in URLs.
        title: Its name for people.
        about: What is tried, in a sentence.
        kind: ``context`` for a forged context, ``client`` for a hostile client or a failing server.
    """

    name: str
    title: str
    about: str
    kind: str
    _attempt: Attempt

    async def run(self, target: Target, /) -> Outcome:
        """Make the attempt and report it."""
        began = time.perf_counter()
        found = await self._attempt(target)
        client = found.client
        foreign = client.count(target.canaries)
        code = client.close_code
        return Outcome(
            attack=self.name,
            title=self.title,
            refused=bool(found.error) and code in _REFUSALS and foreign == 0,
            error=found.error,
            message=found.message,
            close_code=code,
            reason=client.close_reason,
            goodbye=client.control("ws.goodbye"),
            log=found.log,
            foreign=foreign,
            note=found.note,
            seconds=round(time.perf_counter() - began, 3),
        )


def _of_forgery(forgery: Forgery) -> Attack:
    async def attempt(target: Target) -> _Finding:
        # First the gate itself, as a line of application code would meet it ...
        forged = cast("UserExecutionContext", forgery.forge(target.manager.context))
        error, message, note = "", "", ""
        try:
            target.factory.create_manager(forged)
        except errors.IsolationError as refusal:
            error, message = type(refusal).__name__, str(refusal)
        except Exception as failure:  # noqa: BLE001  # it got past the gate and fell over behind it: no refusal
            note = f"The gate let it through: {type(failure).__name__}."
        # ... then a real socket at an endpoint whose authenticate() returns the forgery.
        path = f"/forged/{forgery.name}"
        async with connected(target.address, target.token, path=path) as client:
            await client.closed()
        return _Finding(client, error, message, _line(target.log.find(path=path)), note)

    return Attack(forgery.name, forgery.title, forgery.about, "context", attempt)


async def _claim(target: Target) -> _Finding:
    async with connected(target.address, target.token) as client:
        await client.send(type="ask", user_id="alice", data={"text": "Which of my invoices are open?"})
        await client.closed()
    return _logged(client, target)


async def _crash(target: Target) -> _Finding:
    async with connected(target.address, target.token) as client:
        await client.send(type="crash")
        await client.closed()
    return _logged(client, target)


async def _stall(target: Target) -> _Finding:
    """
    Connect twice, read on one socket only, and have as much sent as the bounds allow.
    """
    canary = str(target.manager.context.claims["canary"])
    filler = canary + "." * _FLOOD_BYTES
    sent = 0
    async with (
        connected(target.address, target.token, reads=False) as stalled,
        connected(target.address, target.token) as healthy,
    ):
        await healthy.until(lambda client: client.control("ws.welcome"))
        refused = 0
        while not refused and sent < _FLOOD_MOST:
            delivery = await target.manager.send(events.Custom(name="demo.flood", value=filler))
            sent += 1
            refused = delivery.refused
            await asyncio.sleep(0.001)  # a reader that reads keeps up with this; one that does not, does not
        if refused:
            await healthy.until(lambda client: client.count([canary]) >= sent)
            # Now it reads again, and finds out. Until here its socket was full, and nobody waited for it.
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await stalled.listen()
    note = (
        f"{sent} events of {_FLOOD_BYTES // 1000} kB were sent. "
        f"Another tab of the same user, which went on reading, got {healthy.count([canary])} of them."
    )
    return attrs.evolve(_logged(stalled, target), note=note)


def _logged(client: Client, target: Target) -> _Finding:
    """Return what the operator's log says about the session of *client*."""
    welcome = client.control("ws.welcome")
    entry = None if welcome is None else target.log.find(connection_id=str(welcome["connection_id"]))
    if entry is None:
        return _Finding(client)
    # Not every refusal is an exception: a full outbox is a decision, and its name is the code's.
    slug = str((client.control("ws.goodbye") or {}).get("slug", ""))
    return _Finding(client, entry.error or slug, entry.message, _line(entry))


def _line(entry: Entry | None) -> str:
    return "" if entry is None else f"{entry.level} {entry.line}"


ATTACKS: Final[dict[str, Attack]] = {
    attack.name: attack
    for attack in (
        *(_of_forgery(forgery) for forgery in FORGERIES),
        Attack("claim", "Claim to be Alice", "A client's message that carries user_id: alice.", "client", _claim),
        Attack("crash", "Handler that raises", "A message that makes the server's handler fail.", "client", _crash),
        Attack("stall", "Slow reader", "A tab that stops reading while megabytes are sent to it.", "client", _stall),
    )
}
"""All attempts by name, in the order in which they are shown."""
