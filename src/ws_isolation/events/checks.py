"""
Checks that are compiled from a field's annotation, once per class.

Rule 1: exact types. ``bool`` is no ``int``, and a subclass of ``str`` or an enum
is no ``str``: what has methods of its own can compare equal to another user's
value, or turn into something else when it is encoded.

Rule 2: patterns match the whole text. In Python ``$`` also matches before a
line break at the end, which JavaScript's does not.

Rule 3: a problem never holds the value, which may be another person's secret.

No attrs validators: ``attrs.validators.set_disabled()`` switches them off for
the whole process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from types import UnionType
from typing import Annotated, Any, Final, Literal, TypeAlias, Union, cast, get_args, get_origin

from msgspec import Meta, UnsetType
from msgspec.json import Encoder

from ..errors import bounded, type_name
from ..frozen import MAX_INT, FrozenDict, FrozenJson, JsonValueError, freeze
from .limits import ENVELOPE, FRAME_BYTES, PAYLOAD_DEPTH

__all__ = ("Check", "check_of", "declares", "extra", "limits_of")

Check: TypeAlias = Callable[[object], object]
"""Takes a value, returns what is stored in its place, raises ``JsonValueError``."""

_NO_LIMITS: Final = Meta()
_UNLIMITED: Final = MAX_INT
_encode: Final = Encoder().encode


def declares(annotation: object, /) -> tuple[object, bool, bool]:
    """
    Read a field's resolved annotation.

    Returns:
        The annotation without ``UnsetType``, whether the field may be absent,
        and whether it belongs to the envelope.
    """
    optional = False
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not UnsetType]
        optional = len(members) < len(get_args(annotation))
        if len(members) != 1:
            raise TypeError(f"{annotation} declares more than one type for a field")
        annotation = members[0]
    marks: tuple[object, ...] = getattr(annotation, "__metadata__", ())
    return annotation, optional, ENVELOPE in marks


def check_of(annotation: object, values: Container[object], /) -> Check:
    """
    Return the check that *annotation* declares.

    Args:
        annotation: As :func:`declares` returns it.
        values: The classes that may stand as values inside others.

    Raises:
        TypeError: Nothing is known to check this annotation with: a field
            without a check must not exist.
    """
    kind, limits = limits_of(annotation)
    make = _BY_KIND.get(kind)
    if make is not None:
        return make(limits)
    if kind in values:
        return _instance(cast("type", kind))
    arguments: tuple[object, ...] = get_args(kind)
    origin = get_origin(kind)
    if origin is Literal:
        return _choice(arguments)
    if origin is tuple and arguments[1:] == (...,):
        return _items(check_of(arguments[0], values))
    if origin is dict and arguments[1] is Any:
        return _json_object(limits, check_of(arguments[0], values))
    raise TypeError(f"no check is known for {kind}")


def limits_of(annotation: object, /) -> tuple[object, Meta]:
    """Return the type that *annotation* names, and its limits."""
    if get_origin(annotation) is not Annotated:
        return annotation, _NO_LIMITS
    kind, *marks = get_args(annotation)
    return kind, next((mark for mark in marks if isinstance(mark, Meta)), _NO_LIMITS)


def _wrong(wanted: str, value: object) -> JsonValueError:
    hint = ": leave it out instead" if value is None else ""
    return JsonValueError(f"must be {wanted}, not {type_name(type(value))}{hint}")


def extra(limits: Meta, name: str, default: int, /) -> int:
    """Return what ``extra`` says beside the limits that a schema can state."""
    return int((limits.extra or {}).get(name, default))


def _text(limits: Meta) -> Check:
    least = limits.min_length or 0
    # Length first: a text of 100 MB must not be encoded or matched to learn that it is too long.
    length = min(limits.max_length or _UNLIMITED, extra(limits, "bytes", _UNLIMITED))

    def check(value: object) -> str:
        if type(value) is str and least <= len(value) <= length and value.isascii():
            return value
        return _text_in_full(value, limits, length)

    if limits.pattern is None:
        return check
    matches = re.compile(limits.pattern).fullmatch

    def check_pattern(value: object) -> str:
        # All patterns are about ASCII, so no surrogate and no byte limit is left to look at.
        if type(value) is str and len(value) <= length and value.isascii() and matches(value) is not None:
            return value
        return _text_in_full(value, limits, length)

    return check_pattern


def _text_in_full(value: object, limits: Meta, length: int) -> str:
    """Check what is not plainly right, and say what is wrong with it."""
    if type(value) is not str:
        raise _wrong("a str", value)
    if len(value) < (limits.min_length or 0):
        raise JsonValueError("must not be empty")
    if len(value) > length:
        raise _too_long(limits)
    if limits.pattern is not None:
        raise JsonValueError(f"must match {limits.pattern}")
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise JsonValueError("holds a lone surrogate, which UTF-8 cannot carry") from None
    if size > extra(limits, "bytes", _UNLIMITED):
        raise _too_long(limits)
    return value


def _too_long(limits: Meta) -> JsonValueError:
    if limits.extra is None:
        return JsonValueError(f"must be at most {limits.max_length:,} characters")
    return JsonValueError(f"must be at most {limits.extra['bytes']:,} bytes in UTF-8")


def _integer(limits: Meta) -> Check:
    least = -MAX_INT if limits.ge is None else int(limits.ge)
    most = MAX_INT if limits.le is None else int(limits.le)

    def check(value: object) -> int:
        if type(value) is not int:
            raise _wrong("an int", value)
        if not least <= value <= most:
            raise JsonValueError(f"must be from {least} to {most}")
        return value

    return check


def _number(limits: Meta) -> Check:
    least = -MAX_INT if limits.ge is None else limits.ge

    def check(value: object) -> float:
        # An int is a float to type checkers, and the same JSON number.
        if type(value) is not float and type(value) is not int:
            raise _wrong("a float", value)
        # Beyond 2^53 nothing is a duration; NaN fails each comparison.
        if not least <= value <= MAX_INT:
            raise JsonValueError(f"must be a finite number from {least:g} to 2^53-1")
        return value

    return check


def _boolean(limits: Meta) -> Check:
    only_true = extra(limits, "const", 0) == 1

    def check(value: object) -> bool:
        if type(value) is not bool:
            raise _wrong("a bool", value)
        if only_true and not value:
            raise JsonValueError("must be True, or left out")
        return value

    return check


def _choice(options: tuple[object, ...]) -> Check:
    wanted = "one of " + ", ".join(f"'{option}'" for option in options)

    def check(value: object) -> str:
        if type(value) is not str:
            raise _wrong(wanted, value)
        if value not in options:
            raise JsonValueError(f"must be {wanted}")
        return value

    return check


def _instance(kind: type) -> Check:
    wanted = f"exactly {type_name(kind)}"

    def check(value: object) -> object:
        # The type alone is looked at: a mock's __class__ lies.
        if type(value) is not kind:
            raise _wrong(wanted, value)
        return value

    return check


def _items(item_check: Check) -> Check:
    def check(value: object) -> object:
        if type(value) is not tuple:
            raise _wrong("a tuple", value)
        items = cast("tuple[object, ...]", value)
        for index, item in enumerate(items):
            try:
                item_check(item)
            except JsonValueError as error:
                error.steps.append(f"[{index}]")
                raise
        return items

    return check


def _json(limits: Meta) -> Check:
    most = extra(limits, "bytes", FRAME_BYTES)

    def check(value: object) -> FrozenJson:
        frozen = freeze(value, limit=most, depth=PAYLOAD_DEPTH)
        _fits(frozen, most)
        return frozen

    return check


def _fits(frozen: FrozenJson, most: int) -> None:
    # freeze() counts what the encoding has at least. The frame's own limit is checked when it is sealed.
    if most < FRAME_BYTES and (size := len(_encode(frozen))) > most:
        raise JsonValueError(f"is {size:,} bytes long when encoded, must be at most {most:,}")


def _json_object(limits: Meta, key_check: Check) -> Check:
    most = extra(limits, "bytes", FRAME_BYTES)

    def check(value: object) -> FrozenDict:
        frozen = freeze(value, limit=most, depth=PAYLOAD_DEPTH)
        if type(frozen) is not FrozenDict:
            raise _wrong("a mapping", value)
        for key in frozen:
            try:
                key_check(key)
            except JsonValueError as error:
                error.problem = f"the key {error.problem}"
                error.steps.append(f".{bounded(key, 40)}")
                raise
        _fits(frozen, most)
        return frozen

    return check


_BY_KIND: Final[Mapping[object, Callable[[Meta], Check]]] = {
    str: _text,
    int: _integer,
    float: _number,
    bool: _boolean,
    Any: _json,
}
