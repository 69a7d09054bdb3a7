"""python-socketio with its Redis manager: a room per user."""

from __future__ import annotations

import socketio

from .socketio_peer import SocketIo


def make(*, token: bool, engine: str) -> SocketIo:
    """Return the peer."""
    return SocketIo(token=token, manager=socketio.AsyncRedisManager(engine))
