"""
Which versions of what stands on the bus are read: our own, and its neighbours on either side.

While a release is rolled out, processes of two versions work on one engine. So
whoever writes says which version it wrote, ``v``, and where an older reader can
do with it, the oldest version that can: ``r``, left out where that is its own.
Rule 1: a reader passes over members that it does not know. Rule 2: what a
reader cannot know is a new version, with an ``r`` that leaves it out; that is
dropped, counted and logged. Rule 3: whatever an older reader is to believe is
signed as it signs.
"""

from __future__ import annotations

from typing import Final

__all__ = ("OLDEST", "VERSION", "is_readable")

VERSION: Final = 1
"""What this release writes."""
OLDEST: Final = 1
"""The oldest that it reads: one before its own, and never below the first."""
_NEWEST: Final = VERSION + 1
"""The newest that it may read: releases are rolled out one after the other."""


def is_readable(written: int, least: int | None, /) -> bool:
    """
    Tell whether this release reads what somebody wrote.

    Args:
        written: The version that it was written in.
        least: The oldest version that can read it, as its writer says; None: the one that it was written in.
    """
    if written > VERSION:
        return written <= _NEWEST and least is not None and least <= VERSION
    return written >= OLDEST
