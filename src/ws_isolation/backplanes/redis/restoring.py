"""
After a lost connection every history is read again, some at a time: the engine is not trampled in its first second.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from .topics import Topics

__all__ = ("Restoring",)

_RESTORE: Final = 250
"""Identities whose history is read again in one step after a reconnect."""
_RESTORE_SECONDS: Final = 0.01


@final
class Restoring:
    """
    Lives as long as its link.

    Args:
        topics: Who may have missed something.
    """

    def __init__(self, topics: Topics) -> None:
        self._loop = asyncio.get_running_loop()
        self._topics = topics
        self._is_under_way = False

    def soon(self) -> None:
        """Have the histories read again of those who may have missed something."""
        if self._topics.is_interrupted and not self._is_under_way:
            self._is_under_way = True
            self._loop.call_soon(self._some)

    def _some(self) -> None:
        self._is_under_way = False
        if self._topics.interrupted(_RESTORE):
            self._is_under_way = True
            self._loop.call_later(_RESTORE_SECONDS, self._some)
