"""
Each foreign value has its documented result: JSON, or a refusal with its path.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import enum
from collections.abc import ItemsView, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple, NoReturn, cast
from unittest import mock
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given

from tests.events.samples import ALICE, PROBLEM, SAMPLES, anything, json_values, mutable_parts, plain, sealed
from ws_isolation.context import UserExecutionContext
from ws_isolation.errors import InvalidEventError
from ws_isolation.events import Custom, to_json
from ws_isolation.events.conversion import converted
from ws_isolation.frozen import JsonTooLargeError

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=timezone(timedelta(hours=1)))
UUID_TEXT = "0192f0c2-0a0b-7c0d-8e0f-101112131415"


class Colour(enum.Enum):
    """
    An enum with a value that is no scalar.
    """

    RED = (255, 0, 0)


class Level(enum.IntEnum):
    """
    An enum that is an int.
    """

    HIGH = 3


class Status(enum.StrEnum):
    """
    An enum that is a str.
    """

    OK = "ok"


@attrs.frozen
class Row:
    """
    A value of an application.
    """

    name: object
    size: object = 1


@attrs.frozen
class Guarded:
    """
    A value with something private.
    """

    name: str
    _token: str


@dataclasses.dataclass
class Page:
    """
    The same as a dataclass.
    """

    rows: object


class Model(pydantic.BaseModel):
    """
    The same for pydantic.
    """

    when: datetime
    ident: UUID
    items: list[int]


class Loose(pydantic.BaseModel):
    """
    A pydantic model that holds anything.
    """

    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    inner: Any


class Endless(Mapping[str, object]):
    """
    A mapping that goes on for ever.
    """

    def __getitem__(self, key: str) -> object:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def items(self) -> ItemsView[str, object]:
        """
        Return a view that has no end.
        """
        return cast("ItemsView[str, object]", self._pairs())

    def _pairs(self) -> Iterator[tuple[str, object]]:
        while True:
            yield "k", 1


class NoZone(tzinfo):
    """
    A time zone that fails.
    """

    def tzname(self, dt: datetime | None) -> None:
        """
        Return no name.
        """

    def dst(self, dt: datetime | None) -> None:
        """
        Return no offset.
        """

    def utcoffset(self, dt: datetime | None) -> NoReturn:
        """
        Fail.
        """
        raise RuntimeError("secret")


class Hostile:
    """
    Nothing of it can be read.
    """

    def __getattribute__(self, name: str) -> NoReturn:
        raise RuntimeError("secret")

    def __repr__(self) -> str:
        raise RuntimeError("secret")


@attrs.define
class Raising:
    """
    An attrs class whose field cannot be read.
    """

    x: int = 0

    def __getattribute__(self, name: str) -> NoReturn:
        raise RuntimeError("secret")


class HostileMeta(type):
    """
    A class that cannot even be named.
    """

    def __getattribute__(cls, name: str) -> NoReturn:
        raise RuntimeError("secret")

    def __hash__(cls) -> int:
        raise RuntimeError("secret")


class Unnameable(metaclass=HostileMeta):
    """
    Its instance.
    """


class Text(str):
    """
    A str that may do anything.
    """

    __slots__ = ()


class Dumping:
    """
    Has the method that pydantic's models have.
    """

    def model_dump(self, *, mode: str) -> object:
        """
        Return what is no JSON.
        """
        return {"mode": mode, "own": {1, 2}}


class Pair(NamedTuple):
    """
    A tuple with names.
    """

    a: int
    b: int


CONVERTED: list[tuple[object, object]] = [
    (None, None),
    ("text", "text"),
    (Colour.RED, (255, 0, 0)),
    (Level.HIGH, 3),
    (Status.OK, "ok"),
    (NOON, "2026-11-22T11:00:00Z"),
    (NOON.replace(microsecond=5), "2026-11-22T11:00:00.000005Z"),
    (date(2026, 11, 22), "2026-11-22"),
    (time(12, 30), "12:30:00"),
    (UUID(UUID_TEXT), UUID_TEXT),
    (Decimal("1.10"), "1.10"),
    (Row("a", Page([Level.HIGH])), {"name": "a", "size": {"rows": (3,)}}),
    (Model(when=NOON, ident=UUID(UUID_TEXT), items=[1]), None),
    (MappingProxyType({"k": (NOON,)}), {"k": ("2026-11-22T11:00:00Z",)}),
    (collections.OrderedDict(a=[]), {"a": ()}),
    (PROBLEM, None),
    (SAMPLES["custom"], None),
]


@pytest.mark.scenario("S48")
@pytest.mark.parametrize(
    ("value", "expected"),
    CONVERTED,
)
def test_converted(value: object, expected: object) -> None:
    """
    What has one obvious JSON form gets it, wherever it stands, and can be sent.
    """
    result = to_json([value])
    if isinstance(value, Model):
        expected = {"when": "2026-11-22T12:00:00+01:00", "ident": UUID_TEXT, "items": (1,)}
    elif value is PROBLEM:
        expected = msgspec.structs.asdict(PROBLEM)
    elif value is SAMPLES["custom"]:
        expected = {"name": "billing.invoice_paid", "value": {"number": 7}}

    assert (expected,) == result
    assert "data" in sealed(Custom(name="a.b", value=result)).text


async def _coroutine() -> None:
    """
    Do nothing.
    """


def _refusals() -> list[tuple[object, str]]:
    """
    Return values that have no obvious JSON form, each with a part of the hint.
    """
    cycle: list[object] = []
    cycle.append(cycle)
    own: dict[str, object] = {}
    own["self"] = Row(own)
    pending = _coroutine()
    pending.close()
    context = UserExecutionContext(user_id="alice")
    stranger = attrs.make_class("UserExecutionContext", ["user_id"])("bob")
    return [
        (float("nan"), "nan is no JSON number"),
        (float("-inf"), "-inf is no JSON number"),
        (2**53, "outside ±(2^53-1)"),
        (2**100_000, "an int of more than 64 bits"),
        ("a\ud800", "lone surrogate"),
        (b"x", "is binary"),
        (bytearray(b"x"), "is binary"),
        (memoryview(b"x"), "is binary"),
        ({1, 2}, "has no order: use sorted(value)"),
        (frozenset({1}), "has no order"),
        ({}.keys(), "has no order"),
        (datetime(2026, 11, 22), "a naive datetime names no moment"),  # noqa: DTZ001  # that is the point
        (datetime(2026, 11, 22, tzinfo=NoZone()), "could not be read (RuntimeError)"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "could not be read (OverflowError)"),
        (timedelta(1), "value.total_seconds()"),
        (Decimal("NaN"), "is no finite number"),
        (Decimal("Infinity"), "is no finite number"),
        ((n for n in [1]), "can be read only once"),
        (iter([1]), "can be read only once"),
        (range(3), "is no list or tuple"),
        (collections.deque([1]), "is no list or tuple"),
        (Pair(1, 2), "is a subclass of tuple"),
        (type("L", (list,), {})(), "is a subclass of list"),
        (Text("x"), "is a subclass of str"),
        (type("I", (int,), {})(1), "is a subclass of int"),
        (type("F", (float,), {})(1), "is a subclass of float"),
        (pending, "await it first"),
        (asyncio.Queue, "is a class"),
        (Row, "is a class"),
        (Model, "is a class"),
        (ValueError("x"), "is an exception"),
        (_coroutine, "is a function"),
        (len, "is no JSON value"),
        (object(), "is no JSON value"),
        (SimpleNamespace(a=1), "is no JSON value"),
        (complex(1), "is no JSON value"),
        (mock.Mock(), "is no JSON value"),
        (mock.MagicMock(spec=Row), "is no JSON value"),
        (context, "a context or identity never leaves the server"),
        (stranger, "a context or identity never leaves the server"),
        (ALICE, "a context or identity never leaves the server"),
        (sealed(SAMPLES["custom"]), "a context or identity never leaves the server"),
        (Loose(inner=context), "PydanticSerializationError)"),
        (Dumping(), "has no order"),
        (Guarded("n", "t"), "has the private field _token"),
        (cycle, "nested too deep"),
        (own, "nested too deep"),
        ({1: 2}, "a key is no str but int"),
        ({Status.OK: 2}, "a key is no str but "),
        (Endless(), "larger than 65536 bytes"),
        (Hostile(), "is no JSON value"),
        (Raising(), "could not be read (RuntimeError)"),
        (Unnameable(), "could not be read (RuntimeError)"),
    ]


REFUSALS = _refusals()


@pytest.mark.scenario("S48")
@pytest.mark.parametrize("number", range(len(REFUSALS)))
def test_refused(number: int) -> None:
    """
    Everything else is refused with its path and a hint, and nothing of it is shown.
    """
    value, hint = REFUSALS[number]
    with pytest.raises(InvalidEventError) as caught:
        to_json({"rows": [0, Row(value)]}, limit=65_536)

    assert hint in caught.value.problem
    assert caught.value.path.startswith("$.rows[1].name") or type(value) is Endless
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.scenario("S48")
def test_cost_is_bounded() -> None:
    """
    Lists that hold each other ten times are refused by their size, not by running out of memory.
    """
    value: list[object] = []
    for _ in range(25):
        value = [value] * 10

    with pytest.raises(InvalidEventError, match="larger than 65536 bytes"):
        to_json(value, limit=65_536)
    with pytest.raises(JsonTooLargeError):
        converted("x" * 100, limit=50)


@pytest.mark.scenario("S48")
def test_depth() -> None:
    """
    Thirty containers may stand inside each other, whatever they are made of.
    """
    value: object = NOON
    for _ in range(30):
        value = Row(value) if isinstance(value, list) else [value]

    assert to_json(value)
    with pytest.raises(InvalidEventError, match="nested too deep"):
        to_json([value])


@given(json_values)
def test_json_stays(value: object) -> None:
    """
    What is JSON already comes back equal, and shares nothing mutable.
    """
    result = to_json(value)

    assert plain(value) == plain(result)
    assert [] == mutable_parts(result)
    assert result == to_json(result)


@given(anything)
def test_total(value: object) -> None:
    """
    For any object there is JSON that can be sent, or an InvalidEventError.
    """
    with contextlib.suppress(InvalidEventError):
        result = to_json(value)
        assert Custom(name="a.b", value=result).value == result


def test_utc() -> None:
    """
    The same moment reads the same, whatever its time zone.
    """
    assert to_json(NOON) == to_json(NOON.astimezone(UTC))
