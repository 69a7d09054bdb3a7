"""
What is compiled from a declaration agrees with the declared checks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Meta

from tests.events.samples import PROBLEM, SAMPLES, USAGE, anything
from ws_isolation.errors import InvalidEventError
from ws_isolation.events.checks import check_of
from ws_isolation.events.compiling import function, plain
from ws_isolation.events.declaration import Value, fields
from ws_isolation.frozen import JsonValueError

VALUES: Final[dict[str, Value]] = {**SAMPLES, "problem": PROBLEM, "usage": USAGE}
"""One value of each class."""

EDGES: Final = st.one_of(
    st.sampled_from(
        [True, False, 0, 1, -1, 2**53 - 1, 2**53, 99, 100, 599, 600, 0.0, -0.0, float("nan"), float("inf")]
    ),
    st.sampled_from(["", " ", "a b", "a\n", "\x7f", "\x21", "~", "ä", "\ud800", "delta", "summary", "ok", "server"]),
    st.sampled_from([64, 128, 200, 255, 256, 1_000, 4_000, 16_384, 32_768, 49_152]).flatmap(
        lambda size: st.sampled_from(["x" * size, "x" * (size + 1), "ä" * (size // 2), "ä" * (size // 2 + 1)])
    ),
    st.text(max_size=8),
    anything,
)
"""What stands on either side of a limit, and anything else."""


def passes(expression: str) -> Callable[[object], bool]:
    """
    Return the expression as a function of a value.
    """

    def asked(value: object) -> bool:
        return bool(eval(expression.format("value"), {}, {"value": value}))  # noqa: S307  # text of the library

    return asked


@given(EDGES)
def test_plainly_right_is_right(value: object) -> None:
    """
    Whatever is let through without asking the declared check is what that check returns, unchanged.
    """
    for made in VALUES.values():
        for name, annotation, _, check in fields(type(made)):
            expression = plain(annotation)
            if expression is not None and passes(expression)(value):
                assert check(value) is value, name


def test_what_is_sent_is_plainly_right() -> None:
    """
    Each text, number, choice and flag without a pattern of its own is let through: the shortcut is taken.
    """
    for made in VALUES.values():
        for name, annotation, _, _ in fields(type(made)):
            expression, value = plain(annotation), getattr(made, name)
            if expression is not None and value is not UNSET and type(value) is not int and str(value).isascii():
                assert passes(expression)(value), name
    for annotation, right in ((float, 1.5), (int, 1), (bool, False), (str, ""), (Literal["a"], "a")):
        assert passes(plain(annotation) or "")(right)
    assert plain(Annotated[str, Meta(pattern="^a$")]) is None
    assert plain(tuple[str, ...]) is None


@pytest.mark.scenario("S41")
@given(st.sampled_from(sorted(VALUES)), st.data())
def test_the_constructor_decides_as_declared(name: str, data: st.DataObject) -> None:
    """
    With any value in any field, the constructor stores what the declared check returns, or says what it says.
    """
    model = VALUES[name]
    field, _, optional, check = data.draw(st.sampled_from(fields(type(model))))
    value = data.draw(EDGES)
    stored: Any = None
    refused = expected = None
    try:
        stored = getattr(msgspec.structs.replace(model, **{field: value}), field)
    except InvalidEventError as error:
        refused = (error.path, error.problem)
    try:
        kept = value if optional and value is UNSET else check(value)
    except JsonValueError as error:
        kept, expected = None, (f"$.{field}{error.path[1:]}", error.problem)

    # What several fields must fulfil together is asked after what each one must.
    assert refused == expected or (expected is None and refused is not None)
    assert refused is not None or stored == kept


def test_a_bare_check_is_asked() -> None:
    """
    A function is compiled once, and its text can be read.
    """
    made = function(["def twice(value):", "    return value + other"], {"other": 2})

    assert 5 == made(3)
    assert made.__doc__ is not None
    assert "return value + other" in made.__doc__
    assert check_of(str, ())("a") == "a"
