"""
What is said about bad data: where, and which constraint; never what the client sent.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from typing import Annotated, Final, Literal, TypedDict, cast

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_isolation import errors
from ws_isolation.decoding import InvalidDataError, decode, require_data_class
from ws_isolation.frozen import FrozenDict, freeze

CANARY: Final = "c4n4ry"


class Colour(enum.Enum):
    """
    Words.
    """

    RED = "red"


class Level(enum.IntEnum):
    """
    Numbers.
    """

    LOW = 1


class Inner(msgspec.Struct):
    """
    An object in an object.
    """

    n: int


class Tagged(msgspec.Struct, tag="a"):
    """
    One of those that a tag tells apart.
    """


class Other(msgspec.Struct, tag="b"):
    """
    Another one.
    """


class Ask(msgspec.Struct, forbid_unknown_fields=True):
    """
    A field of each kind that has a way of its own to be wrong.
    """

    colour: Colour = Colour.RED
    level: Level = Level.LOW
    word: Literal["x"] = "x"
    inner: Inner | None = None
    counts: dict[str, int] = {}
    keys: dict[int, int] = {}
    uid: uuid.UUID | None = None
    at: dt.datetime | None = None
    lasts: dt.timedelta | None = None
    numbers: list[int] = []
    pattern: Annotated[str, msgspec.Meta(pattern="^a$")] = "a"
    raw: bytes = b""
    big: Annotated[int, msgspec.Meta(ge=3)] = 3
    union: Tagged | Other | None = None
    anything: object = None


@attrs.frozen
class AskAttrs:
    """
    An attrs class.
    """

    text: str


@dataclasses.dataclass(frozen=True)
class AskDataclass:
    """
    A dataclass that may refuse by itself.
    """

    text: str

    def __post_init__(self) -> None:
        """
        Refuse the canary, and say so.
        """
        if self.text == CANARY:
            msg = f"Expected no {self.text}"
            raise ValueError(msg)


class AskTyped(TypedDict):
    """
    A TypedDict.
    """

    text: str


def frozen(**members: object) -> FrozenDict:
    """
    Return members as a message has them.
    """
    return cast("FrozenDict", freeze(members))


def refusal(kind: type[object] = Ask, /, **members: object) -> tuple[str, str]:
    """
    Return path and problem of data that must not fit.
    """
    with pytest.raises(InvalidDataError) as caught:
        decode(frozen(**members), kind)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    return caught.value.path, caught.value.problem


def test_all_four_kinds() -> None:
    """
    A Struct, an attrs class, a dataclass and a TypedDict are made of the same data.
    """
    for kind in (Ask, AskAttrs, AskDataclass, AskTyped):
        require_data_class(kind)

    assert Inner(1) == decode(frozen(n=1), Inner)
    assert AskAttrs("hi") == decode(frozen(text="hi"), AskAttrs)
    assert AskDataclass("hi") == decode(frozen(text="hi"), AskDataclass)
    assert {"text": "hi"} == decode(frozen(text="hi"), AskTyped)
    assert {"a": (1,)} == decode(frozen(anything={"a": [1]}), Ask).anything


@pytest.mark.parametrize(
    ("members", "path", "problem"),
    [
        ({"colour": CANARY}, "$.colour", "Invalid enum value"),
        ({"level": 424_242}, "$.level", "Invalid enum value"),
        ({"level": -424_242}, "$.level", "Invalid enum value"),
        ({"word": f"{CANARY}' - at `$.{CANARY}`\n"}, "$.word", "Invalid enum value"),
        ({"inner": {"n": CANARY}}, "$.inner.n", "Expected `int`, got `str`"),
        ({"inner": {}}, "$.inner", "Object missing required field `n`"),
        ({"inner": 424_242}, "$.inner", "Expected `object | null`, got `int`"),
        ({"counts": {CANARY: "x"}}, "$.counts[...]", "Expected `int`, got `str`"),
        ({"keys": {CANARY: 1}}, "$.keys", "Expected `int`, got `str`"),
        ({"uid": CANARY}, "$.uid", "Invalid UUID"),
        ({"at": CANARY}, "$.at", "Invalid RFC3339 encoded datetime"),
        ({"lasts": CANARY}, "$.lasts", "Invalid ISO8601 duration"),
        ({"raw": f"%{CANARY}"}, "$.raw", "Invalid base64 encoded string"),
        ({"numbers": [1, CANARY]}, "$.numbers[1]", "Expected `int`, got `str`"),
        ({"pattern": CANARY}, "$.pattern", "Expected `str` matching regex '^a$'"),
        ({"big": 2}, "$.big", "Expected `int` >= 3"),
        ({"big": "3"}, "$.big", "Expected `int`, got `str`"),
        ({"union": {"type": CANARY}}, "$.union.type", "Invalid value"),
        ({CANARY: 1}, "$", "Object contains unknown field"),
    ],
)
@pytest.mark.scenario("S63")
def test_what_is_said(members: dict[str, object], path: str, problem: str) -> None:
    """
    Bad data is told by path and constraint, without a value and without a name that the client made up.
    """
    assert (path, problem) == refusal(**members)


@pytest.mark.scenario("S63")
def test_what_a_class_says_is_not_passed_on() -> None:
    """
    Where the application's class refused the value, its words stay here.
    """
    assert ("$", "not valid") == refusal(AskDataclass, text=CANARY)


def test_what_msgspec_would_say() -> None:
    """
    The negative control: without the cut, the value would get out.
    """
    for members in ({"colour": CANARY}, {CANARY: 1}, {"union": {"type": CANARY}}):
        with pytest.raises(msgspec.ValidationError, match=CANARY):
            msgspec.convert(frozen(**members), Ask)


NAMES: Final = [field.name for field in msgspec.structs.fields(Ask)]


@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.recursive(
            st.just(CANARY) | st.just(f"Expected {CANARY} - at `$.{CANARY}`") | st.integers(0, 9),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just(CANARY) | st.just("n"), inner),
            max_leaves=5,
        ),
    )
)
@pytest.mark.scenario("S63")
def test_no_value_gets_out(members: dict[str, object]) -> None:
    """
    Whatever a client sends, nothing of it stands in the answer.
    """
    told = ""
    try:
        decode(frozen(**members), Ask)
    except InvalidDataError as error:
        told = f"{error.path} {error.problem}"

    assert CANARY not in told


class Dangling(msgspec.Struct):
    """
    A field whose type does not exist.
    """

    x: Nowhere  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]


@pytest.mark.parametrize("kind", [int, dict, Colour, object(), None, Dangling, "Ask", list[int]])
def test_no_data_class(kind: object) -> None:
    """
    What is no class of fields is refused when it is registered, not when the first client sends something.
    """
    with pytest.raises(errors.SettingsError, match="data class"):
        require_data_class(kind)
