"""
What Hypothesis draws for several test modules: ids that look like something else, JSON, anything.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Callable
from typing import Final, NoReturn
from unittest import mock

import attrs
from hypothesis import strategies as st

HOSTILE_IDS: Final = ("a", "b", "a:b", "b:a", "*", "{x}", ">", "a.b", "a>", "%s", "../a", "a|b", "1", "A", "0", "a,b")
"""Legal ids that a key, a pattern, a path or a format string would take for something else."""

_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_NOBODY: Final = frozenset({"None", "null", "undefined", "NaN"})


def ids() -> st.SearchStrategy[str]:
    """
    Draw ids that the default policy accepts, hostile ones often.
    """
    ordinary = st.text(_PRINTABLE, min_size=1, max_size=255).filter(lambda text: text not in _NOBODY)
    return st.one_of(st.sampled_from(HOSTILE_IDS), ordinary)


def identities() -> st.SearchStrategy[tuple[str | None, str]]:
    """
    Draw tenant and user.
    """
    return st.tuples(st.none() | ids(), ids())


def json_scalars() -> st.SearchStrategy[str | int | float | bool | None]:
    """
    Draw scalars that the library accepts as JSON.
    """
    numbers = st.integers(-(2**53 - 1), 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    return st.none() | st.booleans() | numbers | text


def json_values() -> st.SearchStrategy[object]:
    """
    Draw JSON values of exact builtin types, nested a little.
    """
    return st.recursive(json_scalars(), _containers, max_leaves=8)


def json_objects() -> st.SearchStrategy[dict[str, object]]:
    """
    Draw JSON objects; among their keys are the names that identity has.
    """
    return st.dictionaries(_keys(), json_values(), max_size=4)


def _keys() -> st.SearchStrategy[str]:
    reserved = st.sampled_from(("user_id", "tenant_id", "policy", "claims", "sub", "__class__"))
    return reserved | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def _containers(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(inner, max_size=4) | st.dictionaries(_keys(), inner, max_size=4)


class DeliberateError(Exception):
    """
    Raised by hostile objects, so that it cannot be mistaken for a failure of the code under test.
    """


def _raise(*_args: object, **_kwargs: object) -> NoReturn:
    raise DeliberateError


class StrSubclass(str):
    """
    Prints like a str and is equal to everything.
    """

    __slots__ = ()

    def __eq__(self, _other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


class StrMember(enum.StrEnum):
    """
    An id out of an enumeration.
    """

    ALICE = "alice"


class IntSubclass(int):
    """
    An int that cannot be shown.
    """

    __repr__ = __str__ = __format__ = _raise


class Hostile:
    """
    Raises whatever is asked of it.
    """

    __repr__ = __str__ = __eq__ = __bool__ = __len__ = __iter__ = __getattribute__ = _raise
    __hash__ = None  # type: ignore[assignment]


class Liar:
    """
    Says that its class is another one.
    """

    def __init__(self, claimed: type) -> None:
        self.claimed = claimed

    @property  # type: ignore[misc]  # object's is read-write
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.claimed


RaisingClass: Final = type("RaisingClass", (), {"__class__": property(_raise)})
"""Its objects raise when they are asked for their class."""

HostileMeta: Final = type(
    "HostileMeta",
    (type,),
    {
        **dict.fromkeys(("__module__", "__name__", "__mro__"), property(_raise)),
        **dict.fromkeys(("__eq__", "__repr__", "__str__", "__getattribute__", "__subclasscheck__"), _raise),
        "__hash__": None,
    },
)
"""A class of classes that cannot be named, compared, hashed or walked."""


def _unnameable(*bases: type) -> type:
    kind: type = type.__call__(HostileMeta, "Unnameable", bases, {})
    return kind


def _without_module() -> object:
    namespace: dict[str, type] = {}
    exec("Nameless = type('Nameless', (), {})", {"__builtins__": {"type": type}}, namespace)  # noqa: S102  # no __name__
    return namespace["Nameless"]()


def _of_module(module: object) -> Callable[[], object]:
    return type("UserExecutionContext", (), {"__module__": module})


MAKE_HOSTILE: Final[dict[str, Callable[[], object]]] = {
    "hostile": Hostile,
    "liar": lambda: Liar(dict),
    "raising class": RaisingClass,
    "unnameable": lambda: type.__call__(_unnameable()),
    "below unnameable": lambda: type.__call__(_unnameable(_unnameable())),
    "without module": _without_module,
    "module is no str": _of_module(7),
    "module is a str subclass": _of_module(StrSubclass("ws_isolation.context")),
    "module is very long": _of_module("m" * 100_000),
    "module forges lines": _of_module("a\r\nb\x1b[31m\u2028"),
    "module is a lone surrogate": _of_module("\ud800"),
    "str subclass": lambda: StrSubclass("alice"),
    "str enum": lambda: StrMember.ALICE,
    "int subclass": lambda: IntSubclass(7),
    "huge int": lambda: 10**5000,
    "not a number": lambda: float("nan"),
    "lone surrogate": lambda: "\ud800",
    "ten megabytes": lambda: "x" * 10_000_000,
    "bytes": lambda: b"alice",
    "mock": mock.Mock,
    "magic mock": mock.MagicMock,
    "namespace": lambda: types.SimpleNamespace(user_id="alice"),
    "class": lambda: Hostile,
    "hostile class": _unnameable,
    "generator": lambda: (n for n in range(3)),
    "module": lambda: types,
    "function": lambda: len,
    "list of hostile": lambda: [Hostile()],
    "dict of hostile": lambda: {"user_id": Hostile()},
}
"""Makes objects of which each question may raise, lie or never end, by a name for the test's id."""


@attrs.frozen
class Something:
    """
    A drawn value in a wrapper, since Hypothesis itself looks at what it draws, and would meet the hostile ones.
    """

    shown: str
    make: Callable[[], object] = attrs.field(repr=False)


def anything() -> st.SearchStrategy[Something]:
    """
    Draw makers of values of builtin types, of containers of them, and of hostile objects.
    """
    flat = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.complex_numbers(),
        st.text(),
        st.binary(),
        st.uuids(),
        st.datetimes(),
        st.decimals(),
    )
    values = st.one_of(flat, st.lists(flat, max_size=3), st.dictionaries(st.text(), flat, max_size=3))
    return st.one_of(
        values.map(lambda value: Something(repr(value), lambda: value)),
        st.sampled_from(sorted(MAKE_HOSTILE)).map(lambda name: Something(name, MAKE_HOSTILE[name])),
    )
