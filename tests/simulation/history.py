"""
What happened in one schedule, in order: causes, what the engine kept, what went to each socket, what clients read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import attrs
import msgspec

Kind: TypeAlias = Literal[
    # Causes, from the schedule.
    "connect",  # a client knocks at its node
    "asked",  # a client sent something that may end its session; id: what
    "authority",  # authenticate said yes; number: until when, unix
    "stall",
    "read_again",
    "mute",  # the network is gone, and nobody says so
    "left",  # the client ended the connection, or the network did
    "revoking",  # a revocation begins
    "revoke",  # number: until when; node: where it holds, -1 for everywhere
    "revoke_session",
    "lift",
    "drain",
    "up",  # a node that is new or has started again
    "trouble",  # the engine is not sound from here on
    "sound",  # it is again
    # The engine.
    "stored",  # a durable event: id, number, epoch, thread, run, run_seq, is_end, tool; text: its type
    "lost",  # the engine fell back to data without the event of this id
    # The library.
    "sent",  # a send returned; id and number: its place
    "wrote",  # a write was begun; frame
    "closed",  # number: the code of the close frame
    "aborted",
    "refused",  # number: the status
    "over",  # the serving of a socket returned
    # Clients.
    "read",  # frame
    "final",  # a client that is connected at the end, when all is quiet; who: its user, number: its device
]


class Entry(msgspec.Struct, frozen=True):
    """
    One thing that happened.
    """

    at: float
    kind: Kind
    who: int = -1
    socket: int = -1
    device: int = -1
    node: int = -1
    number: float = 0.0
    id: str = ""
    epoch: str = ""
    thread: str | None = None
    run: str | None = None
    run_seq: int | None = None
    is_end: bool = False
    tool: str = ""
    frame: dict[str, Any] = {}  # msgspec copies an empty default
    text: str = ""

    def __str__(self) -> str:
        """
        Show what is set.
        """
        shown = {
            name: getattr(self, name) for name in ("who", "socket", "device", "node", "number", "id", "thread", "text")
        }
        set_ones = {name: value for name, value in shown.items() if value not in (-1, 0.0, "", None)}
        return f"{self.at - 1_700_000_000:9.3f} {self.kind:14} " + " ".join(f"{k}={v}" for k, v in set_ones.items())


@attrs.define
class History:
    """
    The log of one schedule.
    """

    unix: Callable[[], float]
    entries: list[Entry] = attrs.field(factory=list[Entry])

    def note(self, kind: Kind, /, **about: Any) -> None:
        """
        Write down that something happened now.
        """
        self.entries.append(Entry(self.unix(), kind, **about))

    def count(self, kind: Kind) -> int:
        """
        Return how many entries there are of one kind.
        """
        return sum(entry.kind == kind for entry in self.entries)
