"""
Something that happens once, and whoever waits for it.

An ``asyncio.Event`` holds 760 bytes from its making on, and can be taken back;
a session has two such moments, and most of the time nobody waits for one.
"""

from __future__ import annotations

import asyncio
from typing import final

__all__ = ("Latch", "resolve")


@final
class Latch:
    """A moment that has come or not. Lives as long as what it belongs to."""

    __slots__ = ("_has_come", "_waiting")

    def __init__(self) -> None:
        self._has_come = False
        self._waiting: list[asyncio.Future[None]] = []

    def set(self) -> None:
        """Let everybody go on, those that wait and those that come later; harmless when called again."""
        self._has_come = True
        for future in self._waiting:
            resolve(future)

    async def wait(self) -> None:
        """Wait until it has come. Cancelling is safe."""
        if self._has_come:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        finally:
            self._waiting.remove(future)


def resolve(future: asyncio.Future[None] | None, /) -> None:
    """Wake whoever waits for *future*; harmless where nobody does any more."""
    if future is not None and not future.done():
        future.set_result(None)
