"""
The stream of one identity: order, chain and cursor, without any I/O.

Rule 1: a durable event gets the next ``seq``, and ``prev``, the id of the one
before it, in one step. Rule 2: a cursor is answered truthfully: *resumed* only
where nothing was missed, else a *gap* that says why. Rule 3: which stream a
client reads follows from its context; a cursor names a place, never a stream.

This version keeps no events: a client that stands at the top has missed
nothing, one that stands behind it gets a gap.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, final

import msgspec

from .errors import SchemaViolationError
from .events.envelope import Envelope, seal
from .lifecycle import Lifecycle

if TYPE_CHECKING:
    from .events import Event
    from .keys import Identity

__all__ = ("NIL_ID", "Cursor", "Gap", "GapReason", "Resumed", "Start", "Stream", "parse_start")

NIL_ID: Final = "00000000-0000-0000-0000-000000000000"
"""The id at ``seq`` 0, and the ``prev`` of a stream's first event."""

GapReason: TypeAlias = Literal["epoch_changed", "trimmed", "divergence", "replay_limit"]
"""Why a client cannot be brought up to date by replay; it reloads its state instead."""

_CURSOR: Final = re.compile(
    r"(?P<epoch>[\x21-\x7e]{1,64})\.(?P<seq>0|[1-9][0-9]{0,15})"
    r"\.(?P<id>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
)
_MAX_SEQ: Final = 2**53 - 1


@final
class Cursor(msgspec.Struct, frozen=True):
    """
    How far a client has seen its stream. Opaque to clients: they copy it.

    Attributes:
        epoch: The unbroken history that it belongs to.
        seq: The last durable event, 0 where there was none.
        id: That event's id, ``NIL_ID`` at 0.
    """

    epoch: str
    seq: int
    id: str

    def __str__(self) -> str:
        return f"{self.epoch}.{self.seq}.{self.id}"


Start: TypeAlias = "Cursor | Literal['window'] | None"
"""Where a client wants to begin: its cursor, all that is still there, or live."""


def parse_start(text: str | None, /) -> Start:
    """
    Read the ``cursor`` parameter of a handshake: ``<epoch>.<seq>.<id>`` or ``window``.

    Raises:
        SchemaViolationError: It is neither. An unknown but well-formed cursor
            is no error; it is answered with a gap.
    """
    if text is None:
        return None
    if text == "window":
        return "window"
    match = _CURSOR.fullmatch(text)
    if match is not None and int(match["seq"]) <= _MAX_SEQ:
        return Cursor(match["epoch"], int(match["seq"]), match["id"])
    msg = "the cursor must be <epoch>.<seq>.<id> as the last welcome, resumed or gap gave it, or 'window'"
    raise SchemaViolationError(msg)


@final
class Resumed(msgspec.Struct, frozen=True):
    """Nothing was missed. *count* events were replayed before it."""

    cursor: Cursor
    count: int


@final
class Gap(msgspec.Struct, frozen=True):
    """Something was missed and cannot be replayed; *cursor* is where the stream is now."""

    reason: GapReason
    cursor: Cursor
    from_seq: int | None = None
    to_seq: int | None = None


@final
class Stream:
    """
    The ordered log of one identity's events.

    Lives from the first session or event of its identity to the time-out after
    the last.

    Args:
        identity: Whose it is.
        epoch: The name of this unbroken history, new for every stream.
    """

    __slots__ = ("epoch", "identity", "last_id", "lifecycle", "seq")

    def __init__(self, identity: Identity, epoch: str) -> None:
        self.identity: Identity = identity
        self.epoch: str = epoch
        self.seq: int = 0
        self.last_id: str = NIL_ID
        self.lifecycle: Lifecycle = Lifecycle()

    @property
    def cursor(self) -> Cursor:
        """The top: the last durable event."""
        return Cursor(self.epoch, self.seq, self.last_id)

    def append(
        self, event: Event, /, *, event_id: str, time: str, limit: int, owner: Identity | None = None
    ) -> Envelope:
        """
        Give *event* its place and return it as an envelope.

        Args:
            event: The event; its run must be in a state in which it is legal.
            event_id: A new UUID of version 7.
            time: RFC 3339 UTC.
            limit: Bytes that the encoded event may have.
            owner: Whose it is, as its sender says; the stream's identity where
                None. A sender who got hold of the wrong stream relabels nothing:
                the last hop finds out.

        Raises:
            LifecycleError: Not legal now. The stream is unchanged.
            InvalidEventError: Too big. The stream is unchanged.
        """
        run_seq = self.lifecycle.check(event)
        durable = event.durable
        envelope = seal(
            event,
            owner=self.identity if owner is None else owner,
            id=event_id,
            epoch=self.epoch,
            seq=self.seq + 1 if durable else self.seq,
            prev=self.last_id if durable else "",
            run_seq=run_seq,
            time=time,
            event_bytes=limit,
        )
        self.lifecycle.apply(event)
        if durable:
            self.seq += 1
            self.last_id = event_id
        return envelope

    def answer(self, start: Start, /) -> Resumed | Gap | None:
        """
        Say what a client that begins at *start* has missed; None where it asked for live events only.

        The order of the checks is that of the gap reasons in the wire reference.
        """
        top = self.cursor
        if start is None:
            return None
        if start == "window":
            return Resumed(top, 0) if self.seq == 0 else Gap("trimmed", top, 1, self.seq)
        if start.epoch != self.epoch:
            return Gap("epoch_changed", top)
        if start.seq < self.seq:
            return Gap("trimmed", top, start.seq + 1, self.seq)
        if start != top:
            return Gap("divergence", top)
        return Resumed(top, 0)
