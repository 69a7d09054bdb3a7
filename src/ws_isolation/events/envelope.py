"""
The event with its place and its owner, encoded once for everybody who gets it.

Rule 1: the payload stands below ``data`` and is spliced in as encoded bytes, so
no key of it can become a member of the envelope.

Rule 2: the owner travels beside the text, never in it. The last hop compares
it with the session's own just before the write.

Rule 3: all but the place is encoded before the place is known, so whoever gives
it, an engine's script too, writes a number between two texts and reads no JSON.
"""

from __future__ import annotations

from typing import Final, final

from msgspec import UNSET, Struct
from msgspec.json import Encoder

from ..errors import InvalidEventError, type_name
from ..keys import Identity
from .conversion import format_time, format_unix
from .declaration import FRAMES, Event, data_of

__all__ = (
    "EVENT_BYTES",
    "WIRE_VERSION",
    "Envelope",
    "Halves",
    "Unplaced",
    "encode_data",
    "format_time",
    "format_unix",
    "halves",
    "seal",
    "too_large",
)

WIRE_VERSION: Final = "1.0"
"""The version of the wire: ``MAJOR.MINOR``."""

EVENT_BYTES: Final = 65_536
"""The most bytes of a frame where nothing else is said (CloudEvents 1.0: what intermediaries must forward)."""

_encode: Final = Encoder().encode


@final
class Halves(Struct, frozen=True, gc=False):
    """A frame without its place: ``head``, the place in decimal digits and ``tail`` are the frame."""

    head: str
    """Up to the place; it names it ``seq``, or ``after_seq`` where the event is a delta."""
    tail: str
    """What stands behind it."""
    size: int
    """Bytes of both in UTF-8."""
    durable: bool
    """Whether the event gets a place of its own."""


@final
class Envelope(Struct, frozen=True, eq=False, gc=False):
    """
    An event that has been given its place; made by :func:`seal`.

    Two envelopes are equal only if they are the same object: the id says which
    event it is, the owner says whose.
    """

    owner: Identity
    """Whose it is."""
    event: Event
    """What happened."""
    id: str
    """A UUID of version 7: removes duplicates, never says an order."""
    epoch: str
    """The unbroken history that the place belongs to."""
    seq: int
    """The place of a durable event; of a delta, the last place that was given when it was stamped."""
    prev: str
    """The id of the event before it in the chain; empty for a delta."""
    durable: bool
    """Whether it has a place of its own."""
    run_seq: int | None
    """The place within its run, from 1; None for a delta and outside of a run."""
    time: str
    """When it was stamped: RFC 3339, UTC."""
    text: str
    """The frame of the default wire."""
    size: int
    """The frame's bytes in UTF-8."""


def encode_data(event: Event, /) -> bytes:
    """
    Return the members below ``data`` as JSON.

    Raises:
        InvalidEventError: The event was not made by its constructor, or was changed afterwards.
    """
    try:
        return _encode(data_of(event))
    except Exception as error:  # noqa: BLE001  # an edited event may hold anything; its producer must hear of it
        raise _edited(event, error) from None


def _edited(event: Event, error: Exception) -> InvalidEventError:
    problem = f"cannot be encoded ({type_name(type(error))}): it was not made by its constructor, or was edited"
    return InvalidEventError("$", problem, event.type)


_SEQ: Final = ',"seq":0'
_AFTER_SEQ: Final = ',"after_seq":0'


def halves(event: Event, id: str, run_seq: int | None, time: str, /) -> Halves:  # noqa: A002  # as on the wire
    """
    Encode *event* but for its place.

    Args:
        event: One of the library's events.
        id: A new UUID of version 7.
        run_seq: The place within the run, from 1; None for a delta and outside of a run.
        time: What :func:`format_time` returns.

    Raises:
        InvalidEventError: The event belongs to a run and names none, or its constructor did not make it.
    """
    durable = event.durable
    encoded = _frame(event, durable, id, 0, run_seq, time)
    text = encoded.decode("utf-8")
    place = _SEQ if durable else _AFTER_SEQ
    # Before it stand two constants and the id, in which each quotation mark is escaped: the first one it is.
    zero = text.index(place, len(id)) + len(place) - 1
    return Halves(text[:zero], text[zero + 1 :], len(encoded) - 1, durable)


def _frame(  # noqa: PLR0917  # by place: once for each event
    event: Event,
    durable: bool,  # noqa: FBT001
    id: str,  # noqa: A002  # as on the wire
    seq: int,
    run_seq: int | None,
    time: str,
) -> bytes:
    run_place = UNSET if run_seq is None else run_seq
    try:
        framing = FRAMES[type(event)]
        if durable:
            encoded = _encode(framing(event, WIRE_VERSION, id, seq, UNSET, run_place, time))
        else:
            encoded = _encode(framing(event, WIRE_VERSION, id, UNSET, seq, run_place, time))
    except Exception as error:  # noqa: BLE001  # as in encode_data()
        raise _edited(event, error) from None
    if (event.run_id is UNSET or event.thread_id is UNSET) and event.scope == "run":
        raise InvalidEventError("$.run_id", "belongs to a run: send it inside manager.run()", event.type)
    return encoded


def too_large(event_type: str, size: int, event_bytes: int, /) -> InvalidEventError:
    """Return the error for a frame of *size* bytes where *event_bytes* are allowed; engines that check raise it too."""
    problem = (
        f"the frame is {size:,} bytes long, at most {event_bytes:,} are allowed: cut the payload and set "
        "truncated=True, hand it over by result_ref, or raise Settings.event_bytes"
    )
    return InvalidEventError("$", problem, event_type)


def seal(
    event: Event,
    /,
    *,
    owner: Identity,
    id: str,  # noqa: A002  # the member's name on the wire
    epoch: str,
    seq: int,
    prev: str,
    run_seq: int | None,
    time: str,
    event_bytes: int = EVENT_BYTES,
) -> Envelope:
    """
    Give *event* its place and encode it.

    Args:
        event: One of the library's events.
        owner: Whose it is.
        id: A new UUID of version 7.
        epoch: The stream's history.
        seq: The event's place; for a delta, the last place that was given.
        prev: The id of the event before it; empty for a delta.
        run_seq: The place within the run, from 1; None for a delta and outside of a run.
        time: What :func:`format_time` returns.
        event_bytes: Bytes that the frame may have in UTF-8.

    Raises:
        InvalidEventError: The frame is too large, the event belongs to a run
            and names none, or its constructor did not make it.
    """
    return Unplaced(event, owner, id, time, run_seq, event_bytes, event.durable).at(epoch, seq, prev)


class Unplaced(Struct, frozen=True, gc=False):
    """
    An event with all but its place, for a stream in this process: encoded once its place is known.

    The arguments are those of :func:`seal`.
    """

    event: Event
    owner: Identity
    id: str
    time: str
    run_seq: int | None = None
    event_bytes: int = EVENT_BYTES
    durable: bool = True
    """What the event says: asked once, for all who need it."""

    def at(self, epoch: str, seq: int, prev: str) -> Envelope:
        """
        Return the envelope at this place.

        Raises:
            InvalidEventError: What :func:`seal` raises.
        """
        event, durable, id_, time = self.event, self.durable, self.id, self.time
        run_seq = self.run_seq
        encoded = _frame(event, durable, id_, seq, run_seq, time)
        size = len(encoded)
        if size > self.event_bytes:
            raise too_large(event.type, size, self.event_bytes)
        # By place: once for each event.
        return Envelope(self.owner, event, id_, epoch, seq, prev, durable, run_seq, time, encoded.decode("utf-8"), size)
