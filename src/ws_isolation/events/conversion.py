"""
The one way from foreign values to JSON: explicit, strict and total.

Rule 1: nothing is guessed. What has no single obvious JSON form is refused with
its path and a hint, because ``str()`` of an unknown object once reached users.

Rule 2: a context is never converted, whatever it stands in: it names a user.

Rule 3: nothing but ``InvalidEventError`` is raised, whatever the value's own
methods do. Types are looked at, never ``__class__``: a mock's lies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from types import FunctionType
from typing import Final, cast, final
from uuid import UUID

import attrs
from msgspec import UNSET

from ..context import UserExecutionContext
from ..errors import InvalidEventError, bounded, type_name
from ..frozen import FrozenJson, JsonTooLargeError, JsonValueError, freeze
from ..keys import Identity
from .declaration import Value
from .limits import PAYLOAD_DEPTH

__all__ = ("converted", "format_time", "format_unix", "to_json")

_CONTEXT_NAME: Final = UserExecutionContext.__name__
_ENVELOPE: Final = (f"{__package__}.envelope", "Envelope")
"""The class that holds an identity; it stands in a layer above."""
_MOST_BYTES: Final = 1_048_576
_NAIVE: Final = "a naive datetime names no moment: give it a time zone"
_SEQUENCES: Final = frozenset({list, tuple})

_HINTS: Final[tuple[tuple[type, str], ...]] = (
    (str, "is a subclass of str: use str(value)"),
    (int, "is a subclass of int: use int(value)"),
    (float, "is a subclass of float: use float(value)"),
    (timedelta, "has no single JSON form: use value.total_seconds() and name the unit"),
    (bytes, "is binary: use value.decode() or base64"),
    (bytearray, "is binary: use value.decode() or base64"),
    (memoryview, "is binary: use value.tobytes() and base64"),
    (AbstractSet, "has no order: use sorted(value)"),
    (tuple, "is a subclass of tuple: use value._asdict() or tuple(value)"),
    (list, "is a subclass of list: use list(value)"),
    (type, "is a class: pass an instance"),
    (Coroutine, "is a coroutine: await it first"),
    (Iterator, "can be read only once: use list(value)"),
    (BaseException, "is an exception: describe it in a Problem"),
    (FunctionType, "is a function: pass what it returns"),
    (Sequence, "is no list or tuple: use list(value)"),
)


def to_json(value: object, /, *, limit: int = _MOST_BYTES) -> FrozenJson:
    """
    Convert *value* to JSON that nobody can change.

    Args:
        value: What JSON has, and aware ``datetime`` (RFC 3339, UTC), ``date``,
            ``time``, ``UUID`` and ``Decimal`` (as text), ``Enum`` (its value),
            instances of attrs classes, dataclasses and pydantic models (their
            public fields), any ``Mapping`` with ``str`` keys, list, tuple.
        limit: Bytes that the result may have when encoded (a lower bound is
            counted, so nothing legal is refused). 1 MiB is what an outbox
            holds, ``Settings.outbox_bytes``.

    Returns:
        A deep-frozen copy: it shares nothing mutable with *value*.

    Raises:
        InvalidEventError: Anything else, with its JSON path and a hint; also a
            value that is nested more than 30 deep, or holds itself.
    """
    try:
        return converted(value, limit=limit)
    except JsonValueError as error:
        raise InvalidEventError(error.path, error.problem) from None


def converted(value: object, /, *, limit: int) -> FrozenJson:
    """
    Do what :func:`to_json` does, for callers that make their own errors.

    Raises:
        JsonTooLargeError: It takes more than *limit* bytes.
        JsonValueError: Anything else.
    """
    plain = _Conversion(limit).convert(value, PAYLOAD_DEPTH)
    return freeze(plain, limit=limit, depth=PAYLOAD_DEPTH)


def format_time(moment: datetime, /) -> str:
    """
    Return *moment* as RFC 3339 in UTC with ``Z`` and at most 6 digits of a second's fraction.

    Raises:
        ValueError: It is naive: it names no moment.
    """
    if moment.utcoffset() is None:
        raise ValueError(_NAIVE)
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def format_unix(seconds: float, /) -> str:
    """Return Unix time as :func:`format_time` returns a moment, to the microsecond; for each event, so cheaply."""
    micros = round(seconds * 1_000_000)
    if not micros % 1_000_000:
        return _whole_second(micros // 1_000_000) + "Z"
    return _to_the_millisecond(micros // 1_000) + _ENDS[micros % 1_000]


_ENDS: Final = tuple(f"{micros:03d}Z" for micros in range(1_000))


@lru_cache(maxsize=2)
def _to_the_millisecond(millis: int) -> str:
    """Return the beginning of the texts of one millisecond: most events share it with the one before."""
    return f"{_whole_second(millis // 1_000)}.{millis % 1_000:03d}"


@lru_cache(maxsize=4)
def _whole_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()


@final
class _Conversion:
    """
    One call of :func:`to_json`.

    It counts what it reads: a mapping may go on for ever, and ten lists that
    hold each other ten times are ten billion items.
    """

    __slots__ = ("left", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.left = limit

    def convert(self, value: object, depth: int) -> object:
        """Return *value* as plain JSON; its scalars, keys and exact depth are checked when it is frozen."""
        self.left -= 1
        if self.left < 0:
            raise JsonTooLargeError(f"the value is larger than {self.limit} bytes")
        kind = type(value)
        # By identity: a metaclass may refuse to be hashed.
        if kind is str or kind is int or kind is float or kind is bool or value is None:
            return value
        if depth < 0:
            raise JsonValueError("nested too deep, or a value that holds itself")
        try:
            return self._dispatch(value, kind, depth - 1)
        except JsonValueError:
            raise
        except Exception as error:  # noqa: BLE001  # foreign methods: nothing but JsonValueError leaves here
            raise JsonValueError(f"the value could not be read ({type_name(type(error))})") from None

    def _dispatch(self, value: object, kind: type, depth: int) -> object:
        if kind in _SEQUENCES:
            return self._items(cast("Sequence[object]", value), depth)
        if kind.__name__ == _CONTEXT_NAME or kind is Identity or (kind.__module__, kind.__name__) == _ENVELOPE:
            raise JsonValueError("a context or identity never leaves the server: pick the fields that you need")
        # The order matters: a StrEnum is a str, a datetime is a date.
        if issubclass(kind, Enum):
            return self.convert(cast("Enum", value).value, depth)
        for base, convert in _CONVERTERS:
            if issubclass(kind, base):
                return convert(value)
        if issubclass(kind, Mapping):
            return self._members(cast("Mapping[object, object]", value).items(), depth)
        return self._object(value, depth)

    def _object(self, value: object, depth: int) -> object:
        kind = type(value)
        if callable(dump := getattr(kind, "model_dump", None)):
            # pydantic, without importing it. What comes back is checked like everything else.
            return self.convert(dump(value, mode="json"), depth)
        if issubclass(kind, Value):
            return self._fields(value, kind.__struct_fields__, depth)
        if attrs.has(kind):
            return self._fields(value, [field.name for field in attrs.fields(kind)], depth)
        if dataclasses.is_dataclass(kind):
            return self._fields(value, [field.name for field in dataclasses.fields(kind)], depth)
        raise JsonValueError(f"a value of type {type_name(type(value))} {_hint(type(value))}")

    def _items(self, value: Sequence[object], depth: int) -> list[object]:
        items: list[object] = []
        for index, item in enumerate(value):
            try:
                items.append(self.convert(item, depth))
            except JsonValueError as error:
                error.steps.append(f"[{index}]")
                raise
        return items

    def _members(self, pairs: Iterable[tuple[object, object]], depth: int) -> dict[str, object]:
        members: dict[str, object] = {}
        for key, item in pairs:
            if type(key) is not str:
                raise JsonValueError(f"a key is no str but {type_name(type(key))}: name it yourself")
            try:
                # Quotes, colon and comma.
                self.left -= 4
                members[key] = self.convert(item, depth)
            except JsonValueError as error:
                error.steps.append(f".{bounded(key, 40)}")
                raise
        return members

    def _fields(self, value: object, names: Sequence[str], depth: int) -> dict[str, object]:
        if private := [name for name in names if name.startswith("_")]:
            raise JsonValueError(f"has the private field {bounded(private[0], 40)}: pick the fields that you need")
        pairs = ((name, getattr(value, name)) for name in names)
        return self._members(((name, member) for name, member in pairs if member is not UNSET), depth)


def _hint(kind: type) -> str:
    return next((hint for base, hint in _HINTS if issubclass(kind, base)), "is no JSON value: pick what you need of it")


def _datetime(value: datetime) -> str:
    if value.utcoffset() is None:
        raise JsonValueError(_NAIVE)
    return format_time(value)


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise JsonValueError("is no finite number")
    return str(value)


_CONVERTERS: Final[tuple[tuple[type, Callable[[object], object]], ...]] = (
    (datetime, cast("Callable[[object], object]", _datetime)),
    (date, cast("Callable[[object], object]", date.isoformat)),
    (time, cast("Callable[[object], object]", time.isoformat)),
    (UUID, str),
    (Decimal, cast("Callable[[object], object]", _decimal)),
)
