"""
The stream of one identity: order, chain, window and cursor, without any I/O.

Rule 1: a durable event gets the next ``seq``, and ``prev``, the id of the one
before it, in one step. Rule 2: a cursor is answered truthfully: *resumed* only
where everything that was missed can be replayed, else a *gap* that says why;
never a part of it. Rule 3: which stream a client reads follows from its
context; a cursor names a place, never a stream.

Whatever a history was read from, ``answer`` checks it the same way: an engine
that lost its last seconds is found out by the chain, not believed.
"""

from __future__ import annotations

import re
from collections import deque
from itertools import islice, pairwise
from typing import Final, Literal, TypeAlias, final

import msgspec
from msgspec.structs import force_setattr
from typing_extensions import override

from .errors import SchemaViolationError
from .events.envelope import Envelope, Halves, Unplaced, halves, too_large
from .keys import Identity

__all__ = (
    "NIL_ID",
    "Cursor",
    "Draft",
    "Gap",
    "GapReason",
    "Limits",
    "Page",
    "Resumed",
    "Start",
    "Stream",
    "answer",
    "parse_start",
)

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
    """Everything that was missed is *replay*, in order; after it the client stands at *cursor*."""

    cursor: Cursor
    replay: tuple[Envelope, ...] = ()


@final
class Gap(msgspec.Struct, frozen=True):
    """Something was missed and cannot be replayed; *cursor* is where the stream is now."""

    reason: GapReason
    cursor: Cursor
    from_seq: int | None = None
    to_seq: int | None = None


_NOT_YET: Final = Halves("", "", 0, durable=False)


@final
class Draft(Unplaced, frozen=True, kw_only=True, gc=False):
    """
    An event that is ready to be given its place: encoded, but for the place.

    An engine of its own may give the place itself, without reading any JSON:
    the frame is ``parts.head``, the place in decimal digits, and ``parts.tail``.
    It must refuse what is then larger than *event_bytes*, as ``at`` does, before
    it stores anything.

    Args:
        event: What happened.
        owner: Whose it is, as its sender's context says.
        id: A new UUID of version 7.
        time: RFC 3339 UTC.
        run_seq: Its place within its run, None for a delta and outside of a run.
        event_bytes: Bytes that the encoded event may have.

    Raises:
        InvalidEventError: Belongs to a run and names none, or not made by its constructor.

    Attributes:
        parts: The frame before and behind the place.
    """

    parts: Halves = _NOT_YET

    def __post_init__(self) -> None:
        """Encode the event."""
        parts = halves(self.event, self.id, self.run_seq, self.time)
        force_setattr(self, "parts", parts)
        force_setattr(self, "durable", parts.durable)

    @override
    def at(self, epoch: str, seq: int, prev: str) -> Envelope:
        """
        Return the envelope at this place.

        Raises:
            InvalidEventError: Too big.
        """
        parts = self.parts
        size = parts.size + len(str(seq))
        if size > self.event_bytes:
            raise too_large(self.event.type, size, self.event_bytes)
        text = f"{parts.head}{seq}{parts.tail}"
        # By place: once for each event.
        return Envelope(
            self.owner, self.event, self.id, epoch, seq, prev, parts.durable, self.run_seq, self.time, text, size
        )


@final
class Limits(msgspec.Struct, frozen=True):
    """
    How much a stream keeps for clients that come back, and how much one of them gets.

    Attributes:
        events: Events in the window.
        size: Their bytes together.
        seconds: Their age.
        replay: Events that one resume may replay.
    """

    events: int = 512
    size: int = 1_048_576
    seconds: float = 300.0
    replay: int = 300


@final
class Page(msgspec.Struct, frozen=True):
    """
    What an engine holds behind a cursor, read in one step.

    Attributes:
        top: The last durable event.
        entries: Every event from the one after the cursor to the top, as far as the window still has them.
    """

    top: Cursor
    entries: tuple[Envelope, ...]


def answer(start: Start, page: Page, /, *, replay: int) -> Resumed | Gap | None:
    """
    Say what a client that begins at *start* gets; None where it asked for live events only.

    The order of the checks is that of the gap reasons in the wire reference.
    The entry at the cursor itself is not needed: the ``prev`` of the next one
    names it.

    Args:
        start: Where the client wants to begin.
        page: What was read behind it.
        replay: Events that may be replayed at most.
    """
    top, entries = page.top, page.entries
    if start is None:
        return None
    if start == "window":
        entries = entries[-replay:] if replay else ()
        return Resumed(top, entries) if _is_chained(entries, top) else Gap("divergence", top)
    missed = top.seq - start.seq
    reason: GapReason | None = None
    if start.epoch != top.epoch:
        return Gap("epoch_changed", top)
    if missed <= 0:
        return Resumed(top) if start == top else Gap("divergence", top)
    if not entries or entries[0].seq > start.seq + 1:
        reason = "trimmed"
    elif entries[0].seq != start.seq + 1 or entries[0].prev != start.id or not _is_chained(entries, top):
        reason = "divergence"
    elif missed > replay:
        reason = "replay_limit"
    if reason is None:
        return Resumed(top, entries)
    return Gap(reason, top) if reason == "divergence" else Gap(reason, top, start.seq + 1, top.seq)


def _is_chained(entries: tuple[Envelope, ...], top: Cursor) -> bool:
    """Tell whether each entry names the one before it, without a hole, and the last one is the top."""
    for before, entry in pairwise(entries):
        if entry.seq != before.seq + 1 or entry.prev != before.id or entry.epoch != top.epoch:
            return False
    last = entries[-1] if entries else None
    return last is None or (last.epoch, last.seq, last.id) == (top.epoch, top.seq, top.id)


@final
class Stream:
    """
    The ordered, bounded log of one identity's events.

    Lives from the first session or event of its identity to the time-out after
    the last. The top outlives the window: an idle client is still verified.

    Args:
        identity: Whose it is.
        epoch: The name of this unbroken history, new for every stream.
        limits: What its window keeps.
    """

    __slots__ = ("_limits", "_times", "_window", "epoch", "identity", "last_id", "seq", "size")

    def __init__(self, identity: Identity, epoch: str, limits: Limits = Limits()) -> None:  # noqa: B008  # a value
        self.identity: Identity = identity
        self.epoch: str = epoch
        self.seq: int = 0
        self.last_id: str = NIL_ID
        self.size: int = 0
        """Bytes in the window."""
        self._limits = limits
        # Times beside the envelopes and not in pairs with them: a tuple per event would keep the collector busy.
        # None until there is one: two empty ones would hold 1.5 KiB.
        self._window: deque[Envelope] | None = None
        self._times: deque[float] | None = None

    def __len__(self) -> int:
        """Return the number of events in the window."""
        return 0 if self._window is None else len(self._window)

    @property
    def cursor(self) -> Cursor:
        """The top: the last durable event."""
        return Cursor(self.epoch, self.seq, self.last_id)

    @property
    def newest(self) -> float:
        """When the last event in the window came; minus infinity where it is empty."""
        return self._times[-1] if self._times else float("-inf")

    def append(self, draft: Unplaced, now: float = 0.0, /) -> Envelope:
        """
        Give an event its place and return it as an envelope.

        The envelope's owner is the draft's: a sender who got hold of the wrong
        stream relabels nothing, the last hop finds out.

        Args:
            draft: The event.
            now: Seconds, monotonic: from when its age counts.

        Raises:
            InvalidEventError: What ``at`` of the draft raises. The stream is unchanged.
        """
        if not draft.durable:
            return draft.at(self.epoch, self.seq, "")
        seq = self.seq + 1
        envelope = draft.at(self.epoch, seq, self.last_id)
        self.seq = seq
        self.last_id = envelope.id
        window, times = self._window, self._times
        if window is None or times is None:
            self._window, self._times = window, times = deque[Envelope](), deque[float]()
        window.append(envelope)
        times.append(now)
        self.size += envelope.size
        limits = self._limits
        if len(window) > limits.events or self.size > limits.size:
            while len(window) > limits.events or self.size > limits.size:
                self.size -= window.popleft().size
                times.popleft()
        elif times[0] <= now - limits.seconds:
            self.trim(now)
        return envelope

    def read(self, start: Start, now: float, /) -> Page:
        """Return what is behind *start*, which may be anything a client sent; all of the window for ``window``."""
        self.trim(now)
        if start is None or not self._window:
            return Page(self.cursor, ())
        first = self._window[0].seq
        skipped = 0 if start == "window" else start.seq + 1 - first
        return Page(self.cursor, tuple(islice(self._window, max(0, skipped), None)))

    def trim(self, now: float, /) -> None:
        """Forget what is older than the window."""
        oldest = now - self._limits.seconds
        window, times = self._window, self._times
        while window and times and times[0] <= oldest:
            self.size -= window.popleft().size
            times.popleft()

    def clear(self) -> None:
        """Forget the whole window, not the top: clients behind it get a gap, and are told so."""
        self._window = self._times = None
        self.size = 0
