"""
The backplane on a real engine: the suite that every engine has to pass.
"""

from __future__ import annotations

from tests.engines.running import Engine
from ws_isolation.backplanes.redis import RedisBackplane
from ws_isolation.testing.check_backplane import check_backplane


async def test_conformance(shared_engine: Engine) -> None:
    """
    Redis does what every engine must do.
    """
    made: list[RedisBackplane] = []

    def make() -> RedisBackplane:
        made.append(RedisBackplane(shared_engine.url))
        return made[-1]

    try:
        await check_backplane(make)
    finally:
        for plane in made:
            await plane.close()
