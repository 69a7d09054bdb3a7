"""
Help for the tests of applications: contexts, time, sockets, and proof for managers, backplanes and adapters.

Nothing here is used by the library itself.
"""

from __future__ import annotations

from .check_adapter import Adapter, AdapterSubject, Difference, check_adapter
from .check_backplane import check_backplane
from .check_manager import check_manager
from .clock import FakeClock
from .contexts import make_context
from .transport import RecordingTransport

__all__ = (
    "Adapter",
    "AdapterSubject",
    "Difference",
    "FakeClock",
    "RecordingTransport",
    "check_adapter",
    "check_backplane",
    "check_manager",
    "make_context",
)
