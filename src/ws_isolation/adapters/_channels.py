"""
How a factory runs in an application of Channels, with a server's lifespan or without one.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import attrs

from ..signals import drain_first
from ._requests import running

if TYPE_CHECKING:
    from ..factory import ManagerFactory
    from ._asgi import Receive, Send


@attrs.define
class Running:
    """What has been begun: by a server's lifespan, or by the first request where there is none."""

    factory: ManagerFactory
    begun: bool = False
    stack: AsyncExitStack[bool | None] = attrs.field(factory=AsyncExitStack[bool | None])

    async def run(self, receive: Receive, send: Send) -> None:
        """Take the server's lifespan, which says startup first and shutdown at the end."""
        await receive()
        self.begun = True
        phase = "startup"
        try:
            async with running(self.factory):
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
        except Exception as error:
            await send({"type": f"lifespan.{phase}.failed", "message": str(error)})
            raise
        finally:
            self.begun = False
        await send({"type": "lifespan.shutdown.complete"})

    async def begin(self) -> None:
        """Listen to the signals where nobody has begun: as long as the process runs, for nobody says when it ends."""
        if not self.begun:
            self.begun = True
            await self.stack.enter_async_context(drain_first(self.factory))
