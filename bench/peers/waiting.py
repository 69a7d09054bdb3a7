"""What a server without a call of its own for it waits on."""

from __future__ import annotations

import asyncio


async def for_ever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()
