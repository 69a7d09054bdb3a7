"""
Frozen JSON: exact types, bounded, and nothing in it that anybody can change.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import enum
import pickle
from collections.abc import Callable, ItemsView, Iterator, Mapping
from types import MappingProxyType
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events.samples import anything, json_values, mutable_parts, plain
from ws_isolation.frozen import (
    MAX_DEPTH,
    MAX_INT,
    FrozenDict,
    JsonTooLargeError,
    JsonValueError,
    freeze,
    thaw,
)


class Odd(Mapping[str, object]):
    """
    A mapping whose ``items()`` does what it is told to.
    """

    def __init__(self, pairs: Callable[[], object]) -> None:
        self.pairs = pairs

    def __getitem__(self, key: str) -> object:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def items(self) -> ItemsView[str, object]:
        """
        Return whatever it is.
        """
        return cast("ItemsView[str, object]", self.pairs())


class Status(enum.StrEnum):
    """
    Looks like a str.
    """

    OK = "ok"


class Liar:
    """
    Says that it is a dict.
    """

    @property  # type: ignore[misc]  # lying is its purpose
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        return dict


class HostileMeta(type):
    """
    A class that cannot be hashed.
    """

    def __hash__(cls) -> int:
        raise RuntimeError("secret")


class Unhashable(metaclass=HostileMeta):
    """
    Its instance.
    """


def forever() -> Iterator[tuple[str, int]]:
    """
    Yield the same pair without end.
    """
    while True:
        yield "k", 1


def failing() -> Iterator[tuple[str, int]]:
    """
    Yield one pair, then fail.
    """
    yield "k", 1
    raise RuntimeError("secret")


@given(json_values)
def test_equal_and_unshared(value: object) -> None:
    """
    The copy equals the value as it was, also after everything mutable in the value has been emptied.
    """
    expected = plain(copy.deepcopy(value))
    frozen = freeze(value)
    for part in mutable_parts(value):
        part.clear()

    assert expected == plain(frozen)
    assert [] == mutable_parts(frozen)
    assert expected == thaw(frozen)
    assert frozen == freeze(frozen) == pickle.loads(pickle.dumps(frozen))
    assert hash(frozen) == hash(freeze(frozen))


@given(json_values)
def test_limit_is_a_lower_bound(value: object) -> None:
    """
    Whatever fits when it is encoded passes the same limit.
    """
    assert plain(value) == plain(freeze(value, limit=len(msgspec.json.encode(value))))


@given(json_values)
def test_thaw_is_fresh(value: object) -> None:
    """
    Two thawed copies share nothing mutable.
    """
    frozen = freeze(value)
    one, other = thaw(frozen), thaw(frozen)

    assert {id(part) for part in mutable_parts(one)}.isdisjoint(id(part) for part in mutable_parts(other))


@given(anything)
def test_total(value: object) -> None:
    """
    For any object there is frozen JSON or a JsonValueError.
    """
    with contextlib.suppress(JsonValueError):
        assert [] == mutable_parts(freeze(value))


WRONG: list[tuple[object, str, str]] = [
    (float("nan"), "$", "nan is no JSON number"),
    ([0.0, float("inf")], "$[1]", "inf is no JSON number"),
    ({"a": [1, 2**53]}, "$.a[1]", "outside ±(2^53-1)"),
    ({"a": -(2**53)}, "$.a", "outside ±(2^53-1)"),
    ("a\ud800", "$", "lone surrogate"),
    ({"a": ("\udfff",)}, "$.a[0]", "lone surrogate"),
    ({"a": {"\ud800": 1}}, "$.a", "lone surrogate"),
    ({"a": {1: 1}}, "$.a", "a key is no str but int"),
    ({Status.OK: 1}, "$", "a key is no str but "),
    ([Status.OK], "$[0]", "is no JSON value: convert it first"),
    ({"a": {"b": set()}}, "$.a.b", "a value of type set is no JSON value"),
    ({"a" * 50: {}, "b": object()}, "$.b", "a value of type object is no JSON value"),
    ({"a\n" * 50: b""}, "$.a\\x0aa\\x0a", "a value of type bytes is no JSON value"),
    (Liar(), "$", "is no JSON value"),
    ([Unhashable()], "$[0]", "could not be read (RuntimeError)"),
    ([Odd(failing)], "$[0]", "could not be read (RuntimeError)"),
    ([Odd(lambda: [1])], "$[0]", "could not be read (TypeError)"),
    ([Odd(lambda: [(b"k", 1)])], "$[0]", "a key is no str but bytes"),
    ([Odd(lambda: [("k", [b""])])], "$[0].k[0]", "a value of type bytes is no JSON value"),
    (collections.UserList([1]), "$", "is no JSON value"),
]


@pytest.mark.scenario("S48")
@pytest.mark.parametrize(
    ("value", "path", "problem"),
    WRONG,
)
def test_refused(value: object, path: str, problem: str) -> None:
    """
    Each wrong value is refused at its path, and nothing of it is shown.
    """
    with pytest.raises(JsonValueError) as caught:
        freeze(value)

    assert caught.value.path.startswith(path)
    assert problem in caught.value.problem
    assert "secret" not in caught.value.problem


TOO_LARGE: list[object] = [
    "x" * 100,
    "ä" * 49,
    "ä" * 100,
    [""] * 50,
    list(range(60)),
    tuple(range(1000)),
    [[[]] * 20] * 20,
    {"k" * 98: 1},
    {"ä" * 49: 1},
    {str(n): 1 for n in range(30)},
    {"a": {"b": "x" * 90}},
    Odd(forever),
    Odd(lambda: [(str(n), 1) for n in range(30)]),
]


@pytest.mark.parametrize(
    "value",
    TOO_LARGE,
)
def test_too_large(value: object) -> None:
    """
    What cannot fit is refused as a whole.
    """
    with pytest.raises(JsonTooLargeError) as caught:
        freeze(value, limit=99)

    assert "$" == caught.value.path
    assert "the value is larger than 99 bytes" == caught.value.problem


def test_depth() -> None:
    """
    As many containers as allowed may stand inside each other; a container in itself never.
    """
    value: object = 1
    for number in range(MAX_DEPTH):
        value = [value] if number % 2 else {"k": value}
    cycle: dict[str, Any] = {}
    cycle["k"] = [cycle]

    assert value == plain(freeze(value))
    for wrong in ([value], (value,), {"k": value}, Odd(lambda: [("k", value)]), cycle):
        with pytest.raises(JsonValueError, match="nested too deep, or a container that holds itself"):
            freeze(wrong)


MAPPINGS: list[object] = [MappingProxyType({"k": [1]}), Odd(lambda: [("k", [1])]), collections.OrderedDict(k=[1])]


@pytest.mark.parametrize("value", MAPPINGS)
def test_mappings(value: object) -> None:
    """
    Any Mapping becomes a FrozenDict; it is read once, through ``items()``.
    """
    frozen = freeze(value)

    assert type(frozen) is FrozenDict
    assert {"k": (1,)} == frozen


@pytest.mark.requirement("P1")
def test_refuses_changes() -> None:
    """
    No method of a dict changes a FrozenDict, and copying returns the same object.
    """
    frozen = freeze({"k": 1})
    assert isinstance(frozen, FrozenDict)
    changes: list[Any] = [
        lambda: frozen.__setitem__("k", 2),
        lambda: frozen.__delitem__("k"),
        lambda: frozen.__ior__({"k": 2}),
        frozen.clear,
        lambda: frozen.pop("k"),
        frozen.popitem,
        lambda: frozen.setdefault("x", 1),
        lambda: frozen.update(k=2),
        lambda: FrozenDict.fromkeys(["x"]),
        lambda: FrozenDict({"x": []}),  # type: ignore[arg-type]  # a type checker refuses it as well
        lambda: FrozenDict(x=[]),  # type: ignore[arg-type]
    ]
    for change in changes:
        with pytest.raises(TypeError):
            change()

    assert {"k": 1} == frozen
    assert frozen is frozen.copy()
    assert frozen is copy.copy(frozen)
    assert frozen is copy.deepcopy(frozen)
    assert {"k": 1, "x": 2} == frozen | {"x": 2}
    assert {} == FrozenDict()
    with pytest.raises(AttributeError):
        frozen.extra = 1  # type: ignore[attr-defined]


def test_pickles_at_any_size() -> None:
    """
    What was frozen under a larger limit comes back from its pickle.
    """
    frozen = freeze({"k": ["x" * 70_000]}, limit=MAX_INT)

    assert frozen == pickle.loads(pickle.dumps(frozen))


@given(st.integers())
def test_integers(number: int) -> None:
    """
    Integers pass if and only if JavaScript reads them exactly.
    """
    try:
        assert number == freeze(number)
    except JsonValueError:
        assert abs(number) > MAX_INT
    else:
        assert abs(number) <= MAX_INT
