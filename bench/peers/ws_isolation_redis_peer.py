"""The library with its streams on Redis, signed as it is between machines."""

from __future__ import annotations

from ws_isolation.backplanes.redis import RedisBackplane

from ..work import KEY
from .ws_isolation_peer import WsIsolation


def make(*, token: bool, engine: str) -> WsIsolation:
    """Return the peer."""
    return WsIsolation(token=token, backplane=RedisBackplane(engine, keys=(KEY.encode(),)))
