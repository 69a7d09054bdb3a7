"""
A frame that another node has sealed, as an envelope again.

Rule 1: the owner, the epoch and ``prev`` come from where the frame was read,
never from its text. Rule 2: what an engine hands back is checked as strictly
as what an application hands in; the text itself goes on as it came.
"""

from __future__ import annotations

from typing import Final, NoReturn, cast, final, get_args, get_origin

from msgspec import UNSET, MsgspecError, Struct, UnsetType
from msgspec.json import Decoder

from ..errors import InvalidEventError
from ..frozen import JsonValueError
from ..keys import Identity
from . import EVENT_CLASSES
from .checks import check_of
from .declaration import Event, Value, data_fields, envelope_fields, fields
from .envelope import EVENT_BYTES, WIRE_VERSION, Envelope, too_large
from .limits import Id, Text64

__all__ = ("envelope_from",)


@final
class _Read(Struct):
    """The members of a frame; what a later version adds is passed over."""

    type: str
    v: str
    id: str
    time: str
    data: dict[str, object]
    seq: int | UnsetType = UNSET
    after_seq: int | UnsetType = UNSET
    run_seq: int | UnsetType = UNSET
    thread_id: str | UnsetType = UNSET
    run_id: str | UnsetType = UNSET
    parent_run_id: str | UnsetType = UNSET
    synthetic: bool | UnsetType = UNSET
    causation_id: str | UnsetType = UNSET
    metadata: object = UNSET


_decode: Final = Decoder(_Read).decode
_MAJOR: Final = WIRE_VERSION.partition(".")[0] + "."
_CHECKS: Final = (("id", check_of(Id, ())), ("time", check_of(Text64, ())))


def envelope_from(
    text: str, /, *, owner: Identity, epoch: str, seq: int, prev: str, event_bytes: int = EVENT_BYTES
) -> Envelope:
    """
    Return the envelope whose frame is *text*.

    Args:
        text: The frame, as another node has sealed it.
        owner: Whose it is, as the engine keeps it beside the text.
        epoch: The stream's history.
        seq: The place; of a delta, the last place that was given. The text must say the same.
        prev: The id of the event before it; empty for a delta.
        event_bytes: Bytes that the frame may have in UTF-8.

    Raises:
        InvalidEventError: It is no frame of this version of the wire, too large, in another place, or holds an
            event that its constructor refuses. Nothing else is raised, for any text.
    """
    read, size = _frame(text, event_bytes)
    kind = EVENT_CLASSES.get(read.type)
    if kind is None:
        _refuse("$.type", "is no event of this version")
    event = _event(kind, read)
    durable = event.durable
    if (read.seq, read.after_seq) != ((seq, UNSET) if durable else (UNSET, seq)):
        _refuse("$.seq" if durable else "$.after_seq", "is another place than the one it was read from")
    if (event.run_id is UNSET or event.thread_id is UNSET) and event.scope == "run":
        _refuse("$.run_id", "must be there: the event belongs to a run")
    run_seq = None if read.run_seq is UNSET else read.run_seq
    return Envelope(owner, event, read.id, epoch, seq, prev, durable, run_seq, read.time, text, size)


def _frame(text: str, event_bytes: int) -> tuple[_Read, int]:
    try:
        # Characters first: nothing is encoded only to learn that it is too long.
        size = len(text) if len(text) > event_bytes else len(text.encode("utf-8"))
        if size > event_bytes:
            raise too_large("frame", size, event_bytes)
        read = _decode(text)
        for name, check in _CHECKS:
            check(getattr(read, name))
    except (MsgspecError, UnicodeEncodeError, RecursionError):
        _refuse("$", "is no frame of this wire")
    except JsonValueError as error:
        _refuse(f"${error.path[1:]}", error.problem)
    if not read.v.startswith(_MAJOR):
        _refuse("$.v", f"must be {WIRE_VERSION} or a later version of the same kind")
    return read, size


def _event(kind: type[Event], read: _Read) -> Event:
    beside, below = _PLANS[kind]
    members: dict[str, object] = {name: getattr(read, name) for name in beside}
    held = read.data
    for name, annotation in below:
        value = held.get(name, UNSET)
        members[name] = value if annotation is None else _member(annotation, value)
    return kind(**members)  # type: ignore[arg-type]  # the constructor checks each of them


def _plan(kind: type[Event]) -> tuple[tuple[str, ...], tuple[tuple[str, object], ...]]:
    """Return the members beside ``data``, and those below it; with their annotation where they are no plain JSON."""
    annotations = {name: annotation for name, annotation, _, _ in fields(kind)}
    return envelope_fields(kind), tuple(
        (name, annotations[name] if _is_built(annotations[name]) else None) for name in data_fields(kind)
    )


def _is_built(annotation: object) -> bool:
    return get_origin(annotation) is tuple or (isinstance(annotation, type) and issubclass(annotation, Value))


def _member(annotation: object, value: object) -> object:
    """Return *value* as its field takes it: values of our own built, arrays as tuples."""
    if get_origin(annotation) is tuple and type(value) is list:
        items = cast("list[object]", value)
        return tuple(_member(get_args(annotation)[0], item) for item in items)
    if isinstance(annotation, type) and issubclass(annotation, Value) and type(value) is dict:
        held = cast("dict[str, object]", value)
        return annotation(**{name: held.get(name, UNSET) for name in data_fields(annotation)})
    return value


def _refuse(path: str, problem: str) -> NoReturn:
    raise InvalidEventError(path, problem, "frame")


_PLANS: Final = {kind: _plan(kind) for kind in EVENT_CLASSES.values()}
