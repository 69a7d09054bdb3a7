"""
Notices when the library is loaded twice in one process.

Two copies have two ``UserExecutionContext`` classes that print alike; that is
how a whole service once refused its own users. Copies meet in one process-wide
slot, an attribute of the ``sys`` module, since their module names and paths are
just what differs.

A second copy is a warning at import and a refusal at the gate, never an
ImportError: notebooks and reloaders live from loading again.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from typing import Final, cast, final

import attrs

__all__ = ("Copy", "copy_of", "other_copies", "register")

_SLOT: Final = "_ws_isolation_copies"


@final
@attrs.frozen(eq=False)
class Copy:
    """
    One loaded copy of the context module.

    Attributes:
        module: The name that it was imported under.
        file: Where it was loaded from.
        version: Its version.
        kind: A weak reference to its context class.
    """

    module: str
    file: str
    version: str
    kind: weakref.ref[type]

    def __str__(self) -> str:
        return f"{self.module} {self.version} ({self.file})"


def _slot() -> list[Copy]:
    # Entries may have been made by another version of this file: Copy's four attributes and its text are for good.
    slot = cast("list[Copy] | None", getattr(sys, _SLOT, None))
    if slot is None:
        slot = []
        setattr(sys, _SLOT, slot)
    return slot


def other_copies(kind: type, /) -> tuple[str, ...]:
    """Return the copies, described, whose context class is alive and is not *kind*; empty when all is well."""
    return tuple(str(copy) for copy in _slot() if copy.kind() is not None and copy.kind() is not kind)


def copy_of(kind: type, /) -> Copy | None:
    """Return the copy that *kind* is the context class of, or None."""
    return next((copy for copy in _slot() if copy.kind() is kind), None)


def register(kind: type, /, *, file: str, version: str) -> None:
    """
    Enter the context class of this copy; warn when another one is alive.

    Warns:
        RuntimeWarning: Names both copies.
    """
    copy = Copy(kind.__module__, file, version, weakref.ref(kind))
    slot = _slot()
    slot[:] = [other for other in slot if other.kind() is not None]
    others = [str(other) for other in slot]
    slot.append(copy)
    if others:
        warnings.warn(
            f"ws_isolation is loaded twice: {copy} beside {', '.join(others)}. Contexts of one copy are "
            "refused by the other; import the library under one name from one place",
            RuntimeWarning,
            stacklevel=2,
        )
