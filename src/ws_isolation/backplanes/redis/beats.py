"""
What a link says of its own accord, and whose answer nobody awaits.
"""

from __future__ import annotations

from typing import final

from typing_extensions import override

from .line import pack
from .pending import Job

__all__ = ("Asking", "Beat", "Mark", "Pulse")


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

    def __init__(self, packed: bytes, due: float) -> None:
        super().__init__(packed, due)
        self.is_mark = True


@final
class Asking(Beat):
    """Stands before what is asked of a node that its slot is on its way to; denied, that one says so itself."""

    __slots__ = ()

    def __init__(self, due: float) -> None:
        super().__init__(pack(("ASKING",)), due)
        self.optional = True


@final
class Pulse:
    """
    How a node proves to itself that it hears: it says numbers, and listens for the last one.

    Args:
        channel: On which it does.
    """

    __slots__ = ("_heard", "_said", "channel")

    def __init__(self, channel: bytes) -> None:
        self.channel: bytes = channel
        self._said = 0
        self._heard = 0

    def begin(self) -> None:
        """Begin on a new connection."""
        self._said = self._heard = 0

    def beat(self, due: float) -> Beat:
        """Return the next proof."""
        self._said += 1
        return Beat(pack(("PUBLISH", self.channel, str(self._said))), due)

    def said(self, every: int) -> bool:
        """Tell whether the last one was the first of so many."""
        return self._said % every == 1

    def hear(self, letter: bytes) -> None:
        """Take what was said on the channel; what is not the last number changes nothing."""
        if letter == b"%d" % self._said:
            self._heard = self._said

    @property
    def is_deaf(self) -> bool:
        """Whether the last proof was not heard."""
        return self._heard < self._said
