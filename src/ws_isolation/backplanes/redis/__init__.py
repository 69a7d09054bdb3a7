"""
Streams on Redis or Valkey, for applications of more than one process.

Needs the extra ``redis``: ``pip install 'ws-isolation[redis]'``.
"""

from __future__ import annotations

from ...errors import MissingExtraError

try:
    import hiredis as _hiredis  # noqa: F401  # see that it is there
except ImportError as _error:
    _MESSAGE = "the Redis backplane needs hiredis. Install it with: pip install 'ws-isolation[redis]'"
    raise MissingExtraError(_MESSAGE) from _error

from .backplane import RedisBackplane

__all__ = ("RedisBackplane",)
