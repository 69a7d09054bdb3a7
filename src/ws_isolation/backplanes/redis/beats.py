"""
What a link says of its own accord, and whose answer nobody awaits.
"""

from __future__ import annotations

from typing import ClassVar, final

from typing_extensions import override

from .pending import Job

__all__ = ("Beat", "Mark")


class Beat(Job):
    """A proof of life: it is not repeated, and nobody waits for its answer."""

    __slots__ = ("_packed",)

    def __init__(self, packed: bytes, due: float) -> None:
        super().__init__(due, 0)
        self._packed = packed

    @property
    @override
    def is_over(self) -> bool:
        """It is of no use on another connection."""
        return True

    @override
    def packed(self) -> bytes:
        """Return the command."""
        return self._packed

    @override
    def answered(self, reply: object, /) -> None:
        """Take no note: what is heard counts."""

    @override
    def failed(self, error: Exception, /) -> None:
        """Take no note."""

    @override
    def expired(self) -> None:
        """Take no note."""


@final
class Mark(Beat):
    """Stands behind a command that has no place in the row: an error in front of it is that command's."""

    __slots__ = ()

    is_mark: ClassVar[bool] = True
