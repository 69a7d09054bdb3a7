"""
Whether the application can serve now: asked before anybody is authenticated, and never waited for long.

Rule 1: the answer is a bool, and only True lets anybody in. Rule 2: who asks
while an answer is on its way gets that one: a crowd that comes back after an
outage asks once. Rule 3: no answer outlives its question.

Source: a guard that waited inside the handshake made clients wait for minutes,
and closed them with 1011 (SECURITY §2.1, acceptance scenario S59).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TypeAlias, final

from .errors import type_name
from .oplog import report

__all__ = ("Readiness", "Ready")

Ready: TypeAlias = Callable[[], Awaitable[bool]]
"""The application's own answer to whether it can serve: True, or not now."""


@final
class Readiness:
    """
    The one question under way. Lives as long as its factory.

    Args:
        ready: What to ask; always ready where None.
        seconds: How long an answer may take.
    """

    __slots__ = ("_asking", "_ready", "_seconds", "_was_ready")

    def __init__(self, ready: Ready | None, seconds: float) -> None:
        self._ready = ready
        self._seconds = seconds
        self._asking: asyncio.Task[bool] | None = None
        self._was_ready = True

    async def ask(self) -> bool:
        """Return whether the application says True in time. Cancelling it leaves the question to the others."""
        if self._ready is None:
            return True
        asking = self._asking
        if asking is None or asking.done() or asking.get_loop() is not asyncio.get_running_loop():
            # No variables of whoever asks first: the answer is everybody's.
            asking = self._asking = asyncio.create_task(self._answer(self._ready), name="ws-ready", context=Context())
        # Once more bounded: what catches its cancellation and goes on answers too late.
        await asyncio.wait({asking}, timeout=self._seconds)
        return asking.done() and not asking.cancelled() and asking.result()

    def stop(self) -> None:
        """Ask no longer: whoever waits hears no."""
        if self._asking is not None:
            self._asking.cancel()

    async def _answer(self, ready: Ready) -> bool:
        try:
            async with asyncio.timeout(self._seconds):
                said: object = await ready()
        except Exception as error:  # noqa: BLE001  # the application's own; whatever it is, it is no True
            self._note(is_ready=False, why="ready() failed", error=error)
            return False
        why = "ready() said no" if said is False else f"ready() returned {type_name(type(said))}, which is no bool"
        self._note(is_ready=said is True, why=why)
        return said is True

    def _note(self, *, is_ready: bool, why: str, error: Exception | None = None) -> None:
        """Log what has changed: an outage is two lines, not one for each client."""
        if is_ready and not self._was_ready:
            report(logging.INFO, "ready again")
        elif not is_ready and self._was_ready:
            report(logging.ERROR, f"not ready: {why}; clients get 4303 until it is", error=error)
        self._was_ready = is_ready
