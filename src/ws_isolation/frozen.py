"""
JSON values that nobody can change any more.

Rule 1: what is frozen shares nothing mutable with what it was made from, so two
users never hold the same list. Rule 2: only exact builtin types pass. A
subclass of ``str`` can have its own ``__eq__`` and be found in another user's
dict, and an enum that slips into JSON is how a log call once closed every chat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias, cast, final

from typing_extensions import override

from .errors import bounded, shown, type_name

if TYPE_CHECKING:
    from typing import Never

__all__ = (
    "MAX_DEPTH",
    "MAX_INT",
    "FrozenDict",
    "FrozenJson",
    "Json",
    "JsonTooLargeError",
    "JsonValueError",
    "freeze",
    "thaw",
)

Json: TypeAlias = "Mapping[str, Json] | list[Json] | tuple[Json, ...] | str | int | float | bool | None"
"""A JSON value as callers hand it in."""

FrozenJson: TypeAlias = "FrozenDict | tuple[FrozenJson, ...] | str | int | float | bool | None"
"""A JSON value that cannot change."""

MAX_INT: Final = 2**53 - 1
"""The largest integer that JavaScript reads exactly (RFC 8259 §6)."""

MAX_DEPTH: Final = 32
"""How deep payloads may nest; decoders raise RecursionError from about 1,000 on."""


def _refuse() -> NoReturn:
    msg = "this mapping is frozen: build a new one"
    raise TypeError(msg)


@final
class FrozenDict(dict[str, "FrozenJson"]):
    """
    A dict that refuses every change, so that it can be shared.

    It is a ``dict`` for reading: it compares, iterates and encodes as one.
    Copying returns the same object.
    """

    __slots__ = ()

    def __init__(self, *args: Never, **kwargs: Never) -> None:
        """Refuse content: what stands in it must be frozen first, which :func:`freeze` does."""
        if args or kwargs:
            msg = "FrozenDict takes no content: use freeze()"
            raise TypeError(msg)

    def __setitem__(self, *_args: object) -> NoReturn:
        _refuse()

    def __delitem__(self, *_args: object) -> NoReturn:
        _refuse()

    def __ior__(self, *_args: object) -> NoReturn:  # type: ignore[misc]  # mypy wants it to match __or__
        _refuse()

    def clear(self) -> NoReturn:
        """Refuse."""
        _refuse()

    def pop(self, *_args: object) -> NoReturn:
        """Refuse."""
        _refuse()

    def popitem(self) -> NoReturn:
        """Refuse."""
        _refuse()

    def setdefault(self, *_args: object) -> NoReturn:
        """Refuse."""
        _refuse()

    def update(self, *_args: object, **_kwargs: object) -> NoReturn:
        """Refuse."""
        _refuse()

    @override
    def __hash__(self) -> int:  # type: ignore[override]  # dict says None; a frozen one has a hash
        return hash(frozenset(self.items()))

    def __copy__(self) -> FrozenDict:
        return self

    def __deepcopy__(self, _memo: object) -> FrozenDict:
        return self

    @override
    def copy(self) -> FrozenDict:
        """Return the same object: it cannot change."""
        return self

    @override
    def __reduce__(self) -> tuple[object, ...]:
        return (_restore, (dict(self),))


_TOO_DEEP: Final = "nested too deep, or a container that holds itself"

# Past the refusals, for the one place that fills a new FrozenDict.
_new: Final = cast("Callable[[type[FrozenDict]], FrozenDict]", dict.__new__)
_update: Final = cast("Callable[[FrozenDict, dict[object, object]], None]", dict.update)  # pyright: ignore[reportUnknownMemberType]


def _restore(plain: dict[str, FrozenJson], /) -> FrozenJson:
    """Freeze what a pickle holds: it was within its limits when it was made."""
    return freeze(plain, limit=MAX_INT)


class JsonValueError(ValueError):
    """
    A value is no JSON value under our rules; internal, always translated by its catcher.

    Attributes:
        problem: What is wrong with it, never the value itself.
        steps: The way to it, innermost first: ``.name``, ``[3]``, ``.rows``.
        index: Where it stands in the container that is being read.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.steps: list[str] = []
        self.index = 0

    @property
    def path(self) -> str:
        """Where the value stands: ``$.rows[3].name``."""
        return "$" + "".join(reversed(self.steps))


def _fail(problem: str) -> NoReturn:
    raise JsonValueError(problem)


class JsonTooLargeError(JsonValueError):
    """A value that would be fine if it were smaller; internal as well."""

    @property
    @override
    def path(self) -> str:
        """The whole value: which part of it is too much cannot be said."""
        return "$"


class _Budget:
    """Counts what one payload may still hold, so that a huge value is refused before it is copied."""

    __slots__ = ("left", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.left = limit

    def refuse(self) -> NoReturn:
        """Raise: the value does not fit."""
        msg = f"the value is larger than {self.limit} bytes"
        raise JsonTooLargeError(msg)


def freeze(value: object, /, *, limit: int = 65_536, depth: int = MAX_DEPTH) -> FrozenJson:
    """
    Return a deep-frozen copy of *value*.

    Args:
        value: dict or other Mapping with exact ``str`` keys, list, tuple, exact
            ``str``, ``int`` within ±(2⁵³-1), finite ``float``, ``bool``, None.
        limit: Bytes that it may have when encoded. What is counted is a lower
            bound (escapes and digits are not), so nothing legal is refused, and
            nothing is copied that cannot fit.
        depth: How many containers may stand inside each other.

    Raises:
        JsonValueError: With the JSON path of the first value that does not fit.
            Nothing else is raised, whatever the value's own methods do.
    """
    budget = _Budget(limit)
    kind = type(value)
    if kind is dict or kind is list:
        # The common ones, without the detour.
        return _freeze_container(value, budget, depth)
    values = [value]
    _freeze_values(values, budget, depth)
    return cast("FrozenJson", values[0])


def _freeze_values(  # noqa: C901  # one branch for each kind of scalar, in one loop on purpose
    values: list[object], budget: _Budget, depth: int
) -> list[int]:
    """
    Check the scalars in *values*, replace all else by its frozen copy, and return the places of the latter.

    One loop without a call for each scalar: this is most of what building an event costs.
    """
    containers: list[int] = []
    left = budget.left
    index = 0
    try:
        for index, item in enumerate(values):
            if type(item) is str:
                left -= (len(item) if item.isascii() else _utf8_size(item, left)) + 2
            elif type(item) is int:
                left -= 1
                if not -MAX_INT <= item <= MAX_INT:
                    _fail(f"{shown(item)} is outside ±(2^53-1), where JavaScript is exact: send it as a string")
            elif item is None or type(item) is bool:
                left -= 4
            elif type(item) is float:
                left -= 3
                if not math.isfinite(item):
                    _fail(f"{item} is no JSON number")
            else:
                containers.append(index)
        if left < 0:
            budget.refuse()
        budget.left = left
        for index in containers:
            values[index] = _freeze_container(values[index], budget, depth)
    except JsonValueError as error:
        error.index = index
        raise
    return containers


def _utf8_size(text: str, left: int) -> int:
    # Characters first: a text of 100 MB must not be encoded to learn that it is too long.
    if len(text) > left:
        return len(text)
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise JsonValueError("the text holds a lone surrogate, which UTF-8 cannot carry") from None


def _freeze_container(value: object, budget: _Budget, depth: int) -> FrozenJson:
    if depth <= 0:
        raise JsonValueError(_TOO_DEEP)
    if type(value) is dict or type(value) is FrozenDict:
        return _freeze_mapping(cast("dict[object, object]", value), budget, depth)
    if type(value) is list or type(value) is tuple:
        return _freeze_items(cast("list[object]", value), budget, depth)
    return _freeze_mapping(_read_mapping(value, budget), budget, depth)


def _freeze_items(value: Sequence[object], budget: _Budget, depth: int) -> tuple[FrozenJson, ...]:
    # Brackets, and the commas between the items, before anything is copied.
    budget.left -= len(value) + 1
    if budget.left < 0:
        budget.refuse()
    items = list(value)
    try:
        _freeze_values(items, budget, depth - 1)
    except JsonValueError as error:
        error.steps.append(f"[{error.index}]")
        raise
    return cast("tuple[FrozenJson, ...]", tuple(items))


def _freeze_mapping(value: dict[object, object], budget: _Budget, depth: int) -> FrozenDict:
    # Quotes, colons and commas. Then the copy, so that no other thread changes what is read twice.
    size = 4 * len(value) + 1
    if size > budget.left:
        budget.refuse()
    plain = {**value}
    for key in plain:
        if type(key) is not str:
            _fail(f"a key is no str but {type_name(type(key))}")
        size += len(key) if key.isascii() else _utf8_size(key, budget.left)
    budget.left -= size
    values = list(plain.values())
    try:
        containers = _freeze_values(values, budget, depth - 1)
    except JsonValueError as error:
        error.steps.append(f".{bounded(str(list(plain)[error.index]), 40)}")
        raise
    if containers:
        keys = list(plain)
        for index in containers:
            plain[keys[index]] = values[index]
    frozen = _new(FrozenDict)
    _update(frozen, plain)
    return frozen


def _read_mapping(value: object, budget: _Budget) -> dict[object, object]:
    """Read a foreign Mapping once, whatever its methods do: raise, lie, or go on for ever."""
    plain: dict[object, object] = {}
    try:
        # On the type, never isinstance on the value: a mock's __class__ may lie or raise.
        if not issubclass(type(value), Mapping):
            _fail(f"a value of type {type_name(type(value))} is no JSON value: convert it first, see events.to_json()")
        for count, (key, item) in enumerate(cast("Mapping[object, object]", value).items(), start=1):
            if type(key) is not str:
                _fail(f"a key is no str but {type_name(type(key))}")
            if 4 * count > budget.left:
                budget.refuse()
            plain[key] = item
    except JsonValueError:
        raise
    except Exception as error:  # noqa: BLE001  # foreign methods: nothing but JsonValueError leaves here
        raise JsonValueError(f"the value could not be read ({type_name(type(error))})") from None
    return plain


def thaw(value: FrozenJson, /) -> object:
    """Return a plain, mutable copy: dict, list and scalars, as decoders expect them."""
    if isinstance(value, FrozenDict):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [thaw(item) for item in value]
    return value
