"""
A process without sockets that sends: ``python -m tests.soak.publisher``.
"""

from __future__ import annotations

import asyncio
import os

from tests.soak.app import SETTINGS, backplane
from tests.soak.control import obey
from ws_isolation.publisher import Publisher


async def main() -> None:
    """
    Send what the driver says until it goes away.
    """
    engine = backplane()
    async with Publisher(SETTINGS, backplane=engine) as publisher:
        await obey(int(os.environ["SOAK_PORT"]), "publisher", publisher.create_manager)
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main())
