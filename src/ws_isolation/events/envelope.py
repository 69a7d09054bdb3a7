"""
The event with its place and its owner, encoded once for everybody who gets it.

Rule 1: the payload stands below ``data`` and is spliced in as encoded bytes, so
no key of it can become a member of the envelope.

Rule 2: the owner travels beside the text, never in it. The last hop compares
it with the session's own just before the write.
"""

from __future__ import annotations

from typing import Final, final

from msgspec import UNSET, Struct, UnsetType
from msgspec.json import Encoder

from ..errors import InvalidEventError, type_name
from ..keys import Identity
from .conversion import format_time, format_unix
from .declaration import Event, data_of

__all__ = ("EVENT_BYTES", "WIRE_VERSION", "Envelope", "encode_data", "format_time", "format_unix", "seal")

WIRE_VERSION: Final = "1.0"
"""The version of the wire: ``MAJOR.MINOR``."""

EVENT_BYTES: Final = 65_536
"""The most bytes of a frame where nothing else is said (CloudEvents 1.0: what intermediaries must forward)."""

_encode: Final = Encoder().encode


@final
class _Frame(Struct, gc=False):
    """The members of a frame in the order of the wire; what is UNSET is left out."""

    type: str
    v: str
    id: str
    seq: int | UnsetType
    after_seq: int | UnsetType
    run_seq: int | UnsetType
    time: str
    thread_id: str | UnsetType
    run_id: str | UnsetType
    parent_run_id: str | UnsetType
    final: bool | UnsetType
    synthetic: bool | UnsetType
    causation_id: str | UnsetType
    metadata: object
    data: object


@final
class Envelope(Struct, frozen=True, eq=False):
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
    try:
        durable = event.durable
        run_id, thread_id = event.run_id, event.thread_id
        frame = _Frame(
            event.type,
            WIRE_VERSION,
            id,
            seq if durable else UNSET,
            UNSET if durable else seq,
            UNSET if run_seq is None else run_seq,
            time,
            thread_id,
            run_id,
            getattr(event, "parent_run_id", UNSET),
            event.final or UNSET,
            getattr(event, "synthetic", UNSET),
            event.causation_id,
            event.metadata,
            data_of(event),
        )
        encoded = _encode(frame)
    except Exception as error:  # noqa: BLE001  # as in encode_data()
        raise _edited(event, error) from None
    if (run_id is UNSET or thread_id is UNSET) and event.scope == "run":
        raise InvalidEventError("$.run_id", "belongs to a run: send it inside manager.run()", event.type)
    if len(encoded) > event_bytes:
        problem = (
            f"the frame is {len(encoded):,} bytes long, at most {event_bytes:,} are allowed: cut the payload and set "
            "truncated=True, hand it over by result_ref, or raise Settings.event_bytes"
        )
        raise InvalidEventError("$", problem, event.type)
    return Envelope(owner, event, id, epoch, seq, prev, durable, run_seq, time, encoded.decode("utf-8"), len(encoded))
