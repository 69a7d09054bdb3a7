"""
Streams on Redis or Valkey, for applications of more than one process.

Needs the extra ``redis``: ``pip install 'ws-isolation[redis]'``.
"""

from __future__ import annotations

from ...errors import MissingExtraError

try:
    from .backplane import RedisBackplane
except ModuleNotFoundError as _error:
    _MESSAGE = "the Redis backplane needs hiredis. Install it with: pip install 'ws-isolation[redis]'"
    raise MissingExtraError(_MESSAGE) from _error

__all__ = ("RedisBackplane",)
