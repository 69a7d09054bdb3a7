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

from collections.abc import Callable
from operator import attrgetter
from typing import ClassVar, Final, Literal, NoReturn, TypeVar, cast, final, get_args, get_type_hints

import attrs
from msgspec import UNSET, Struct, UnsetType, defstruct
from typing_extensions import override

from ..errors import EventTypeError, InvalidEventError, type_name
from ..frozen import JsonValueError
from .checks import Check, check_of, declares
from .limits import Id, Metadata, Uuid

__all__ = ("Event", "Value", "data_fields", "data_of", "declared", "envelope_fields", "variant")

_Class = TypeVar("_Class", bound="type[Value]")
_Made = TypeVar("_Made", bound="Value")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Value:
    """
    A frozen value with checked fields; the base of events and of the values inside them.

    Only the classes of this library can be built: a subclass would carry fields
    that no client knows, and methods that the encoder might meet.
    """

    def __attrs_post_init__(self) -> None:
        """Check each field, and put frozen JSON in the place of what was handed in."""
        plan = _PLANS.get(type(self))
        if plan is None:
            raise EventTypeError(type_name(type(self)))
        check = plan.checks[0]
        try:
            for value, check in zip(plan.values(self), plan.checks):  # noqa: B905  # strict costs; made together
                if value is not UNSET:
                    checked = check(value)
                    if checked is not value:
                        object.__setattr__(self, plan.names[check], checked)
                elif check in plan.required:
                    check(value)
        except JsonValueError as error:
            path = f"$.{plan.names[check]}{error.path[1:]}"
            raise InvalidEventError(path, error.problem, plan.label) from None
        self._check_together()

    # One of each for all classes: what attrs would generate for each class costs half a millisecond at import.

    @override
    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        values = _PLANS[type(self)].values
        return values(self) == values(other)

    @override
    def __hash__(self) -> int:
        return hash((type(self), _PLANS[type(self)].values(self)))

    @override
    def __repr__(self) -> str:
        plan = _PLANS[type(self)]
        members = zip(plan.names.values(), plan.values(self), strict=True)
        shown = (f"{name}={value!r}" for name, value in members if value is not UNSET)
        return f"{type(self).__name__}({', '.join(shown)})"

    def _check_together(self) -> None:
        """Check what several fields must fulfil together; each one is right by itself."""

    def _refuse(self, name: str, problem: str) -> NoReturn:
        raise InvalidEventError(f"$.{name}", problem, _PLANS[type(self)].label)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Event(Value):
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
class _Plan:
    """What was compiled from one class's declaration."""

    __slots__ = (
        "check_of",
        "checks",
        "data",
        "envelope",
        "label",
        "members",
        "names",
        "nested",
        "required",
        "setters",
        "shape",
        "values",
    )

    def __init__(self, kind: type[Value], label: str) -> None:
        hints = get_type_hints(kind, include_extras=True)
        names = [field.name for field in attrs.fields(kind)]
        inherited = _ENVELOPE_FIELDS if issubclass(kind, Event) else ()
        self.names: dict[Check, str] = {}
        required: list[Check] = []
        envelope: list[str] = []
        for name in names:
            annotation, optional, beside = declares(hints[name])
            check = check_of(annotation, _PLANS)
            self.names[check] = name
            if not optional:
                required.append(check)
            if beside or name in inherited:
                envelope.append(name)
        self.label = label
        self.checks = tuple(self.names)
        self.required = frozenset(required)
        self.envelope = tuple(envelope)
        self.data = tuple(name for name in names if name not in envelope)
        self.values = cast("Callable[[Value], tuple[object, ...]]", attrgetter(*names))
        self.members = cast("Callable[[Value], tuple[object, ...]]", attrgetter(*self.data))
        self.check_of = {name: check for check, name in self.names.items()}
        self.setters: dict[str, Callable[[object, object], None]] = {
            name: getattr(kind, name).__set__ for name in names
        }
        self.nested = frozenset(place for place, name in enumerate(self.data) if _is_nested(hints[name]))
        self.shape = defstruct(kind.__name__, self.data, gc=False)


def _is_nested(hint: object) -> bool:
    """Tell whether one of the classes stands in what the field is annotated with."""
    return any(hint is kind for kind in _PLANS) or any(_is_nested(part) for part in get_args(hint))


_PLANS: Final[dict[type, _Plan]] = {}


def declared(kind: _Class, /) -> _Class:
    """
    Compile the checks of *kind*, an attrs class whose fields are annotated with limits.

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


def variant(model: _Made, name: str, minted: str, field: str, value: object, /) -> _Made:
    """
    Return a value like *model* with another id and another value of one field.

    Cheaper than the constructor, which would check again what *model* was checked with.

    Args:
        model: A value that its constructor has made.
        name: The field of an id that the library itself mints.
        minted: The new id; it is not checked.
        field: The field that is checked, as the constructor does.
        value: What stands there.

    Neither may be a field that is checked together with others.
    """
    kind = type(model)
    plan = _PLANS[kind]
    try:
        checked = plan.check_of[field](value)
    except JsonValueError as error:
        raise InvalidEventError(f"$.{field}{error.path[1:]}", error.problem, plan.label) from None
    made = object.__new__(kind)
    for setter, member in zip(plan.setters.values(), plan.values(model)):  # noqa: B905  # strict costs; made together
        setter(made, member)
    plan.setters[name](made, minted)
    plan.setters[field](made, checked)
    return made


def data_of(value: Value, /) -> Struct:
    """
    Return the members below ``data`` as the encoder takes them: in declared order, what is absent left out.

    The containers inside are the value's own, frozen ones.
    """
    plan = _PLANS[type(value)]
    members = plan.members(value)
    if plan.nested:
        members = tuple(_encodable(member) if place in plan.nested else member for place, member in enumerate(members))
    return plan.shape(*members)


def _encodable(member: object) -> object:
    if type(member) is tuple:
        return tuple(map(_encodable, cast("tuple[object, ...]", member)))
    return data_of(cast("Value", member)) if type(member) in _PLANS else member
