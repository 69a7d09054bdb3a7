"""
What an event is, and how one declaration of its fields becomes its checks.

Rule 1: a field is declared once, as ``Annotated[T, Meta(...)]``. The
constructor's checks, the order on the wire, and later decoders and schemas all
come from that declaration.

Rule 2: what is absent is ``UNSET``, on the wire and here. ``None`` is a JSON
value, and only where JSON stands.

Rule 3: a payload cannot change the envelope. What a subclass declares goes
below ``data``, except for the fields that carry the mark ``ENVELOPE``.

A decoder that is built from one of these classes alone would take ``run_id``
from ``data`` as well: it must compare the member names with
:func:`data_fields` first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Final, Literal, NoReturn, TypeAlias, TypeVar, cast, final, get_type_hints

from msgspec import UNSET, Struct, UnsetType, defstruct
from msgspec.structs import force_setattr

from ..errors import EventTypeError, InvalidEventError, type_name
from ..frozen import JsonValueError
from .checks import Check, check_of, declares
from .compiling import Fields, checks, function
from .limits import Id, Metadata, Uuid

__all__ = (
    "FRAMES",
    "Event",
    "Frame",
    "Value",
    "data_fields",
    "data_of",
    "declared",
    "envelope_fields",
    "fields",
    "variant",
)

_Class = TypeVar("_Class", bound="type[Value]")
_Made = TypeVar("_Made", bound="Value")
_Code = TypeVar("_Code")

_copy_of: Final = cast("Callable[[Struct], Struct]", Struct.__copy__)  # type: ignore[attr-defined]  # not in its stubs


class Value(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """
    A frozen value with checked fields; the base of events and of the values inside them.

    Only the classes of this library can be built: a subclass would carry fields
    that no client knows, and methods that the encoder might meet.
    """

    def __post_init__(self) -> None:
        """Check each field, and put frozen JSON in the place of what was handed in."""
        _CHECKS[type(self)](self)

    def _check_together(self) -> None:
        """Check what several fields must fulfil together; each one is right by itself."""

    def _refuse(self, name: str, problem: str) -> NoReturn:
        raise InvalidEventError(f"$.{name}", problem, _PLANS[type(self)].label)


class Event(Value, frozen=True, kw_only=True):
    """
    Something that happened in an agent's run; a frozen value that can be shared.

    It holds no user: whose it is follows from the manager that sends it.

    Raises:
        InvalidEventError: A field has a value that its declaration does not
            allow. Names the JSON path and what would be right, never the value.
        EventTypeError: The class is not one of the library's events.

    The fields below stand beside ``data``, each event's own stand in it.
    """

    type: ClassVar[str]
    """The name on the wire, the sole discriminator."""
    final: ClassVar[bool] = False
    """Whether it ends its run."""
    scope: ClassVar[Literal["run", "any"]] = "run"
    """``run``: needs a run and a thread; ``any``: may stand outside of one."""

    run_id: Id | UnsetType = UNSET
    """The run that it belongs to; set by ``manager.run()``."""
    thread_id: Id | UnsetType = UNSET
    """The thread of that run."""
    causation_id: Uuid | UnsetType = UNSET
    """The id of the message or event that caused this one."""
    metadata: Metadata | UnsetType = UNSET
    """At most 4 KiB of JSON under keys with a namespace: ``my_app.trace``."""

    @property
    def durable(self) -> bool:
        """Whether it has a place in the stream and is never dropped; else it is a delta."""
        return True


_ENVELOPE_FIELDS: Final = ("run_id", "thread_id", "causation_id", "metadata")


@final
class Frame(Struct, gc=False):
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


_GIVEN: Final = ("v", "id", "seq", "after_seq", "run_seq", "time")
"""What a frame has beside what its event holds."""

Framing: TypeAlias = "Callable[[Struct, str, str, int | UnsetType, int | UnsetType, int | UnsetType, str], Frame]"


@final
class _Plan:
    """What was read from one class's declaration."""

    __slots__ = ("check_of", "data", "envelope", "fields", "kind", "label", "shape")

    def __init__(self, kind: type[Value], label: str) -> None:
        hints = get_type_hints(kind, include_extras=True)
        inherited = _ENVELOPE_FIELDS if issubclass(kind, Event) else ()
        self.kind = kind
        self.label = label
        self.fields: list[tuple[str, object, bool, Check]] = []
        envelope: list[str] = []
        for name in kind.__struct_fields__:
            annotation, optional, beside = declares(hints[name])
            self.fields.append((name, annotation, optional, check_of(annotation, _PLANS)))
            if beside or name in inherited:
                envelope.append(name)
        self.envelope = tuple(envelope)
        self.data = tuple(name for name in kind.__struct_fields__ if name not in envelope)
        self.shape = defstruct(kind.__name__, self.data, gc=False)
        self.check_of = {name: check for name, _, _, check in self.fields}

    def checks(self) -> Callable[[Struct], None]:
        """Compile the checks of a new value."""
        together = "_check_together" in vars(self.kind)
        return checks(self.fields, self.label, together=together)

    def data_of(self) -> Callable[[Struct], Struct]:
        """Compile what takes the members below ``data``."""
        made = function(["def data_of(self):", f"    return {self._shaped()}"], {"Shape": self.shape})
        return cast("Callable[[Struct], Struct]", made)

    def frame_of(self) -> Framing:
        """Compile what takes the members of the whole frame."""
        names = {"Frame": Frame, "Shape": self.shape, "UNSET": UNSET}
        members = {name: f"self.{name}" for name in self.envelope} | {name: name for name in _GIVEN}
        members["type"] = repr(self.label)
        members["data"] = self._shaped()
        members["final"] = "True" if cast("type[Event]", self.kind).final else "UNSET"
        inside = ", ".join(members.get(name, "UNSET") for name in Frame.__struct_fields__)
        made = function([f"def frame_of(self, {', '.join(_GIVEN)}):", f"    return Frame({inside})"], names)
        return cast("Framing", made)

    def _shaped(self) -> str:
        return f"Shape({', '.join(f'self.{name}' for name in self.data)})"


_PLANS: Final[dict[type, _Plan]] = {}


@final
class _Compiled(dict[type, _Code]):
    """One function for each class, compiled when it is first asked for."""

    def __init__(self, make: Callable[[_Plan], _Code]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, kind: type) -> _Code:
        plan = _PLANS.get(kind)
        if plan is None:
            raise EventTypeError(type_name(kind))
        code = self[kind] = self._make(plan)
        return code


_CHECKS: Final = _Compiled(_Plan.checks)
_DATA: Final = _Compiled(_Plan.data_of)
FRAMES: Final[Mapping[type, Framing]] = _Compiled(_Plan.frame_of)
"""By class: what takes an event and what else its frame has, and returns the frame's members."""


def declared(kind: _Class, /) -> _Class:
    """
    Read the declaration of *kind*, whose fields are annotated with limits.

    Raises:
        TypeError: A field has an annotation that nothing is known to check with.
    """
    _PLANS[kind] = _Plan(kind, getattr(kind, "type", kind.__name__) if issubclass(kind, Event) else kind.__name__)
    return kind


def data_fields(kind: type[Value], /) -> tuple[str, ...]:
    """Return the names of the members below ``data``, in the order of the wire."""
    return _PLANS[kind].data


def envelope_fields(kind: type[Event], /) -> tuple[str, ...]:
    """Return the names of the fields that stand beside ``data``."""
    return _PLANS[kind].envelope


def fields(kind: type[Value], /) -> Fields:
    """Return the fields of *kind* in their order, each with its declared check."""
    return tuple(_PLANS[kind].fields)


def variant(model: _Made, name: str, minted: str | int, field: str, value: object, /) -> _Made:
    """
    Return a value like *model* with another id or number, and another value of one field.

    Cheaper than the constructor, which would check again what *model* was checked with.

    Args:
        model: A value that its constructor has made.
        name: The field of an id or number that the library itself mints.
        minted: The new one; it is not checked.
        field: The field that is checked, as the constructor does.
        value: What stands there.

    Neither may be a field that is checked together with others.
    """
    plan = _PLANS[type(model)]
    try:
        checked = plan.check_of[field](value)
    except JsonValueError as error:
        raise InvalidEventError(f"$.{field}{error.path[1:]}", error.problem, plan.label) from None
    made = cast("_Made", _copy_of(model))
    force_setattr(made, name, minted)
    force_setattr(made, field, checked)
    return made


def data_of(event: Event, /) -> Struct:
    """
    Return the members below ``data`` as the encoder takes them: in declared order, what is absent left out.

    The containers inside are the event's own, frozen ones.
    """
    return _DATA[type(event)](event)
