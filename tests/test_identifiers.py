"""
What an id may look like, and that nothing is ever done to one.
"""

from __future__ import annotations

import unicodedata
import uuid
from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import HOSTILE_IDS, MAKE_HOSTILE, Something, anything, ids
from ws_isolation import IdPolicy, UserExecutionContext
from ws_isolation.errors import InvalidContextError, SettingsError
from ws_isolation.identifiers import DEFAULT_POLICY, MAX_BYTES, PLACEHOLDERS, check_id, check_user_id

LETTERS: Final = IdPolicy(unicode_letters=True)
ANY_USER: Final = IdPolicy(placeholders=frozenset())
FIELDS: Final = ("user_id", "tenant_id", "thread_id", "run_id", "request_id")

# The constructors as callers without a type checker see them.
build = cast("Any", UserExecutionContext)
policy = cast("Any", IdPolicy)

each_field = pytest.mark.parametrize("field", FIELDS)


def problem_of(field: str, value: object, /, **options: object) -> str:
    """
    Return the text with which a context refuses *value* for *field*.
    """
    with pytest.raises(InvalidContextError) as caught:
        build(**({"user_id": "alice"} | {field: value} | options))
    assert field == caught.value.field
    return str(caught.value)


@pytest.mark.scenario("S04")
@given(ids())
def test_kept_verbatim(value: str) -> None:
    """
    A legal id is returned as the same object.
    """
    assert value is check_id("thread_id", value)
    assert value is check_user_id(value, DEFAULT_POLICY)


@pytest.mark.scenario("S03", "S04")
@each_field
@pytest.mark.parametrize(
    "value",
    [
        *HOSTILE_IDS,
        "42",
        "007",
        str(uuid.UUID(int=1)),
        "auth0|5f7c8ec7c33c6c004bbafe82",
        "alice@example.com",
        "urn:uuid:x",
        "YWxpY2U=",
        "test",
        "default",
        "default_user",
        "placeholder_1",
        "NONE",
        "none",
        "Null",
        "nulls",
        "undefined_",
        "nan",
        "x" * 255,
        "~",
        "!",
    ],
)
def test_accepted(field: str, value: str) -> None:
    """
    Numbers, UUIDs, separators, globs, words that resemble placeholders and 255 characters pass, unchanged.
    """
    assert value == getattr(build(**({"user_id": "alice"} | {field: value})), field)


@pytest.mark.scenario("S02")
@each_field
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "must not be empty"),
        (" ", "must be printable ASCII"),
        ("\t\n", "must be printable ASCII"),
        ("a b", "must be printable ASCII"),
        ("alice ", "must be printable ASCII"),
        ("a\x00", "must be printable ASCII"),
        ("a\x7f", "must be printable ASCII"),
        ("alice\n", "must be printable ASCII"),
        ("é", "must be printable ASCII"),
        ("\u200balice", "must be printable ASCII"),
        ("\u0430lice", "must be printable ASCII"),
        ("\uff41lice", "must be printable ASCII"),
        ("\ud800", "must be printable ASCII"),
        ("x" * 256, "must be at most 255 bytes"),
        ("x" * 10_000_000, "must be at most 255 bytes"),
        (7, "must be a str, not int"),
        (True, "must be a str, not bool"),
        (b"alice", "must be a str, not bytes"),
        (1.5, "must be a str, not float"),
        (uuid.UUID(int=1), "must be a str, not uuid.UUID"),
        (["alice"], "must be a str, not list"),
        (MAKE_HOSTILE["str subclass"](), "must be a str, not tests.strategies.StrSubclass"),
        (MAKE_HOSTILE["str enum"](), "must be a str, not tests.strategies.StrMember"),
    ],
    ids=repr,
)
def test_refused(field: str, value: object, problem: str) -> None:
    """
    What is blank, too long, not printable ASCII or no exact ``str`` is refused by field, type and reason.
    """
    text = problem_of(field, value)

    assert problem in text
    assert text.startswith(f"invalid {field}")
    assert len(text) <= 300
    assert text.isprintable()


@pytest.mark.scenario("S02")
def test_none_is_no_user() -> None:
    """
    There is no default user; the other ids may be absent.
    """
    assert "invalid user_id: must be a str, not NoneType" == problem_of("user_id", None)
    for field in FIELDS[1:]:
        assert type(build(**({"user_id": "alice"} | {field: None}))) is UserExecutionContext


@pytest.mark.scenario("S02")
@given(anything())
def test_nothing_else_is_ever_raised(something: Something) -> None:
    """
    For any object there is the same object back, or the library's own error, with each policy.
    """
    value = something.make()
    for letters in (False, True):
        try:
            assert check_id("run_id", value, unicode_letters=letters) is value
        except InvalidContextError as error:
            assert "run_id" == error.field  # noqa: PT017  # both outcomes are right


@pytest.mark.scenario("S02")
def test_refusal_is_bounded_and_escaped() -> None:
    """
    The error shows at most 64 characters of the value, escaped, and how long it is.
    """
    text = problem_of("user_id", "\x1b[31m" + "x" * 1_000)

    assert "\\x1b[31m" in text
    assert "\x1b" not in text
    assert "(1005 characters)" in text
    assert "x" * 65 not in text


@pytest.mark.scenario("S03")
@pytest.mark.parametrize("placeholder", sorted(PLACEHOLDERS))
def test_placeholders(placeholder: str) -> None:
    """
    How a missing value prints is no user id; for other ids, and with another policy, it is a word like others.
    """
    assert "is how a missing value prints" in problem_of("user_id", placeholder)
    assert placeholder == UserExecutionContext(user_id=placeholder, policy=ANY_USER).user_id
    for field in FIELDS[1:]:
        assert placeholder == getattr(build(**({"user_id": "alice"} | {field: placeholder})), field)


@pytest.mark.scenario("S03")
def test_placeholders_are_these_four() -> None:
    """
    The default set is exactly the documented one; another set replaces it.
    """
    mine = IdPolicy(placeholders=frozenset({"guest"}))

    assert {"None", "null", "undefined", "NaN"} == PLACEHOLDERS == DEFAULT_POLICY.placeholders
    assert "is how a missing value prints" in problem_of("user_id", "guest", policy=mine)
    assert "None" == UserExecutionContext(user_id="None", policy=mine).user_id


@pytest.mark.scenario("S03")
@pytest.mark.parametrize("name", ["ENVIRONMENT", "ENV", "TESTING", "PYTEST_CURRENT_TEST", "CI"])
@pytest.mark.parametrize("value", ["production", "test", "1"])
def test_environment_has_no_influence(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """
    The same ids are accepted and refused whatever the environment says.
    """
    monkeypatch.setenv(name, value)

    assert "test_user" == UserExecutionContext(user_id="test_user").user_id
    assert problem_of("user_id", "None")


@pytest.mark.scenario("S04")
@pytest.mark.parametrize("value", ["zoë", "Ωmega", "用户", "alice-ж_1", "ⅷ", "x" * 255, "é" * 127])
@pytest.mark.parametrize("field", ["user_id", "tenant_id"])
def test_other_letters_by_policy(field: str, value: str) -> None:
    """
    A policy lets letters and digits of any script into user and tenant ids, in NFC, up to 255 bytes.
    """
    assert value == getattr(build(**({"user_id": "alice"} | {field: value}), policy=LETTERS), field)


@pytest.mark.scenario("S02", "S04")
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("zoe\u0308", "may hold letters, digits and printable ASCII, not U+0308"),
        ("\u212b", "must already be in Unicode NFC"),
        ("zoë ", "not U+0020"),
        ("zoë\u200b", "not U+200B"),
        ("zoë\ufe0f", "not U+FE0F"),
        ("ж\ud800", "not U+D800"),
        ("ж\x00", "not U+0000"),
        ("é" * 128, "must be at most 255 bytes"),
    ],
    ids=ascii,
)
def test_other_letters_are_checked(value: str, problem: str) -> None:
    """
    Marks, spaces, invisible characters, what is not in NFC and more than 255 bytes are refused all the same.
    """
    assert problem in problem_of("user_id", value, policy=LETTERS)


@pytest.mark.scenario("S04")
@pytest.mark.parametrize("field", ["thread_id", "run_id", "request_id"])
def test_other_letters_stay_out_of_the_wire(field: str) -> None:
    """
    Thread, run and request ids stay ASCII, whatever the policy.
    """
    assert "must be printable ASCII" in problem_of(field, "zoë", policy=LETTERS)


@pytest.mark.scenario("S04")
@given(st.text(max_size=40))
def test_accepted_text_never_folds(value: str) -> None:
    """
    What a policy accepts is already in NFC and encodes to at most 255 bytes.
    """
    try:
        accepted = check_id("user_id", value, unicode_letters=True)
    except InvalidContextError:
        return
    assert value is accepted
    assert value == unicodedata.normalize("NFC", value)
    assert 1 <= len(value.encode()) <= MAX_BYTES


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"placeholders": {"None"}}, "placeholders must be a frozenset of str, not set"),
        ({"placeholders": None}, "placeholders must be a frozenset of str, not NoneType"),
        ({"placeholders": frozenset({1})}, "placeholders must be a frozenset of str"),
        ({"unicode_letters": 1}, "unicode_letters must be a bool, not int"),
    ],
)
def test_policy_is_checked(arguments: dict[str, object], problem: str) -> None:
    """
    A policy that could not be applied is refused when it is made.
    """
    with pytest.raises(SettingsError, match=problem):
        policy(**arguments)


def test_policy_is_a_value() -> None:
    """
    Policies are equal by content and cannot change.
    """
    assert IdPolicy() == DEFAULT_POLICY
    assert LETTERS != DEFAULT_POLICY
    with pytest.raises(AttributeError):
        setattr(DEFAULT_POLICY, "unicode_letters", True)  # noqa: B010  # what a careless caller does
