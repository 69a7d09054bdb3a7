"""
Events of AI agents reach the sockets of the user they belong to, and nobody else's.

Adapters, wires of one's own and test helpers are imported by path:
``ws_isolation.adapters.starlette``, ``ws_isolation.testing``.
"""

from __future__ import annotations

from . import closing, errors, events
from ._version import __version__ as __version__
from .context import UserExecutionContext
from .delivery import Delivery
from .factory import ManagerFactory
from .frames import Message
from .handshake import Handshake
from .identifiers import IdPolicy
from .manager import IsolatedManager
from .reports import Report
from .run import Run
from .session import Session
from .settings import Settings
from .wire import PlainWire

__all__ = (
    "Delivery",
    "Handshake",
    "IdPolicy",
    "IsolatedManager",
    "ManagerFactory",
    "Message",
    "PlainWire",
    "Report",
    "Run",
    "Session",
    "Settings",
    "UserExecutionContext",
    "closing",
    "errors",
    "events",
)
