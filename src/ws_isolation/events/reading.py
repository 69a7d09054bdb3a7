"""
An event out of its frame: what another process wrote, checked as its constructor checks it.

Rule 1: nothing is believed. A member that the event's class does not have, one
below ``data`` that belongs beside it, and a value that its declaration does not
allow are refused. Rule 2: what is refused is never shown: it may be anybody's.
"""

from __future__ import annotations

from typing import Any, Final, cast, final

from msgspec import UNSET, MsgspecError, Struct, UnsetType
from msgspec.json import Decoder

from ..errors import InvalidEventError
from . import EVENT_CLASSES
from .declaration import Event, Value, data_fields, envelope_fields
from .envelope import WIRE_VERSION
from .problem import Problem, Usage

__all__ = ("Frame", "read_frame")


@final
class Frame(Struct, frozen=True):
    """A frame that was read: the event, and the members that its sender stamped."""

    event: Event
    id: str
    seq: int
    """Of a delta, the last place that was given."""
    run_seq: int | None
    time: str


@final
class _Members(Struct, forbid_unknown_fields=True, gc=False):
    type: str
    v: str
    id: str
    time: str
    data: dict[str, Any]
    seq: int | UnsetType = UNSET
    after_seq: int | UnsetType = UNSET
    run_seq: int | UnsetType = UNSET
    thread_id: str | UnsetType = UNSET
    run_id: str | UnsetType = UNSET
    parent_run_id: str | UnsetType = UNSET
    final: bool | UnsetType = UNSET
    synthetic: bool | UnsetType = UNSET
    causation_id: str | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


_decode: Final = Decoder(_Members).decode
_DATA: Final = {kind: frozenset(data_fields(kind)) for kind in EVENT_CLASSES.values()}
_BESIDE: Final = {kind: envelope_fields(kind) for kind in EVENT_CLASSES.values()}


def read_frame(text: bytes | str, /) -> Frame:
    """
    Read the frame of one event.

    Args:
        text: Its JSON. Whoever calls has bounded it.

    Raises:
        InvalidEventError: It is none, or not of this version. Names the problem, never a value.
    """
    try:
        members = _decode(text)
    except (MsgspecError, UnicodeDecodeError, RecursionError) as error:
        problem = f"is no frame of an event ({type(error).__name__})"
        raise InvalidEventError("$", problem) from None
    kind = EVENT_CLASSES.get(members.type)
    if kind is None or members.v != WIRE_VERSION:
        raise InvalidEventError("$.type", f"is no event of version {WIRE_VERSION}")
    event = _event(kind, members)
    place, other = (members.seq, members.after_seq) if event.durable else (members.after_seq, members.seq)
    if place is UNSET or other is not UNSET or place < 0:
        raise InvalidEventError("$.seq", "is not the kind of place that the event has", kind.type)
    run_seq = None if members.run_seq is UNSET else members.run_seq
    return Frame(event, members.id, place, run_seq, members.time)


def _event(kind: type[Event], members: _Members) -> Event:
    data = members.data
    if not _DATA[kind].issuperset(data):
        raise InvalidEventError("$.data", "has members that the event does not have", kind.type)
    for name, made in _NESTED:
        if name in data and name in _DATA[kind]:
            data[name] = made(data[name])
    for name in _BESIDE[kind]:
        value = getattr(members, name)
        if value is not UNSET:
            data[name] = value
    try:
        return kind(**data)
    except TypeError:
        raise InvalidEventError("$.data", "lacks members that the event must have", kind.type) from None


def _value(kind: type[Value], data: object) -> Value:
    try:
        return kind(**data)  # type: ignore[arg-type]  # whatever it is: it is refused then
    except TypeError:
        raise InvalidEventError("$.data", "holds something else than it must", kind.__name__) from None


def _problem(data: object) -> Value:
    return _value(Problem, data)


def _usages(data: object) -> tuple[Value, ...]:
    if type(data) is not list:
        raise InvalidEventError("$.data.usage", "must be an array")
    return tuple(_value(Usage, one) for one in cast("list[object]", data))


def _ids(data: object) -> tuple[object, ...]:
    return tuple(cast("list[object]", data)) if type(data) is list else (data,)


_NESTED: Final = (("error", _problem), ("usage", _usages), ("pending_tool_call_ids", _ids))
"""The members below ``data`` that are no plain JSON in the event, and how they are made."""
