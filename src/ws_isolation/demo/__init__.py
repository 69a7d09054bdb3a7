"""
The demo: two users in one browser, their agents, and whoever tries to get between them.

Everything here uses the library as an application would. Read ``app`` first.
"""

from __future__ import annotations

from ..errors import MissingExtraError

try:
    import rich
    import starlette
    import uvicorn
    import websockets
except ImportError as _error:
    _MESSAGE = "the demo needs Starlette, uvicorn and websockets. Install them with: pip install 'ws-isolation[demo]'"
    raise MissingExtraError(_MESSAGE) from _error

del rich, starlette, uvicorn, websockets

__all__ = ()
