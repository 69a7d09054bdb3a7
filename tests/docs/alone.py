"""
A page in a process of its own: ``python -m tests.docs.alone PAGE``. Fails where one of its Python blocks does.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.docs.blocks import Namespace, blocks, run


async def main(page: Path, /) -> None:
    """
    Run the Python blocks of *page* from top to bottom.
    """
    namespace: Namespace = {"__name__": page.stem}
    for block in blocks(page):
        if block.language in {"python", "pycon"} and not block.file:
            await run(block, namespace)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
