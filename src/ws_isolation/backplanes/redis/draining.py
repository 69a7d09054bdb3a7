"""
The last second of a link: what was asked before it is closed is answered first.

Rule 1: only what somebody awaits, or was told to be done, is waited for; a
proof of life is not. Rule 2: a link that has no connection any more has nothing
to wait for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from .jobs import Ask

if TYPE_CHECKING:
    from .pending import Job

__all__ = ("DRAIN_SECONDS", "drained")

DRAIN_SECONDS: Final = 1.0
"""Stopping takes a second or two at most: ``Closing.close()``."""


async def drained(outstanding: Callable[[], Iterable[Job]], seconds: float, over: asyncio.Future[None] | None) -> None:
    """
    Wait until all that is asked is answered, also what is only asked meanwhile, but no longer than *seconds*.

    Args:
        outstanding: Returns what is not answered yet.
        seconds: How long at most.
        over: Done where nothing will be answered any more.

    Cancelled, nothing has changed.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while over is None or not over.done():
                jobs = [cast("Ask[object]", job) for job in outstanding() if isinstance(job, Ask)]
                answers = [job.answer for job in jobs if not job.is_over]
                if not answers:
                    return
                both = [*answers, *(() if over is None else (cast("asyncio.Future[object]", over),))]
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
