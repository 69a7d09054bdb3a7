"""
How a handshake ends that gets no session: a status before accept, goodbye and a code after it.

Rule: the refusal stands, told or not. Each answer is bounded by
``Settings.close_seconds``, logged, and counted by its code.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from . import closing
from .frames import Goodbye
from .ids import new_incident_id
from .oplog import report

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .admission import Denied
    from .door import Refusal
    from .factory import ManagerFactory
    from .handshake import Handshake
    from .typing import Transport
    from .wire import Wire

__all__ = ("NO_ROOM", "refuse", "tell")

NO_ROOM: Final = 503
_RETRY_AFTER: Final = 1
"""Seconds in the Retry-After of a 503; clients spread themselves with jitter."""


async def refuse(
    answer: Callable[[int, int | None], Awaitable[None]],
    handshake: Handshake,
    factory: ManagerFactory,
    refusal: Refusal,
) -> None:
    """Answer with a status: within ``Settings.close_seconds``, whatever the peer does."""
    factory.count_close(refusal.status)
    report(
        logging.WARNING,
        "handshake refused",
        status=refusal.status,
        problem=refusal.problem,
        path=handshake.path,
        sources=",".join(handshake.credential_sources()),
        origin=handshake.origin,
        client=handshake.client,
    )
    try:
        async with asyncio.timeout(factory.settings.close_seconds):
            await answer(refusal.status, _RETRY_AFTER if refusal.status == NO_ROOM else None)
    except Exception as error:  # noqa: BLE001  # the refusal stands, told or not
        report(logging.INFO, "the refusal could not be told", error=error, path=handshake.path)


async def tell(transport: Transport, handshake: Handshake, factory: ManagerFactory, wire: Wire, denied: Denied) -> None:
    """Say goodbye and close: within ``Settings.close_seconds``, whatever the peer does."""
    code = denied.code
    ours = code.action == "back_off"
    incident = new_incident_id()
    factory.count_close(code.code)
    report(
        logging.ERROR if ours else logging.WARNING,
        f"handshake ended: {denied.why}",
        error=denied.cause,
        code=code.code,
        incident_id=incident,
        path=handshake.path,
        sources=",".join(handshake.credential_sources()),
        client=handshake.client,
    )
    shown_incident = incident if ours else ""
    reason = closing.reason(code, incident_id=shown_incident, retry_after_ms=closing.retry_after(code, None))
    try:
        async with asyncio.timeout(factory.settings.close_seconds):
            text = wire.control(Goodbye(code=code, incident_id=shown_incident))
            if text is not None:
                await transport.send(text)
            await transport.close(code.code, reason)
    except Exception as error:  # noqa: BLE001  # a peer that is gone or stalled; the refusal stands either way
        report(logging.INFO, "the refusal could not be told", error=error, incident_id=incident)
        transport.abort()
