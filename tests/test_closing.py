"""
Close codes: all registered, each with an action, each with a reason that every server can send.
"""

from __future__ import annotations

from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import MAKE_HOSTILE, Something, anything
from ws_isolation import closing
from ws_isolation.closing import CODES, CloseCode, action_of, code_of, reason, retry_after
from ws_isolation.errors import SettingsError

# The constructor as callers without a type checker see it.
build = cast("Any", CloseCode)

EXPECTED: Final = {
    1000: ("normal", "stop"),
    4000: ("bad_frame", "stop"),
    4001: ("unauthenticated", "stop"),
    4003: ("forbidden", "stop"),
    4004: ("not_found", "stop"),
    4009: ("replaced", "stop"),
    4010: ("revoked", "stop"),
    4103: ("claims_changed", "reauthenticate"),
    4201: ("max_age", "resume"),
    4006: ("subprotocol", "stop"),
    4013: ("message_too_big", "stop"),
    4022: ("schema_violation", "stop"),
    4026: ("version_unsupported", "stop"),
    4029: ("connection_limit", "stop"),
    4101: ("token_expired", "reauthenticate"),
    4102: ("inactive", "reauthenticate"),
    4108: ("auth_timeout", "reauthenticate"),
    4200: ("drain", "resume"),
    4208: ("heartbeat_timeout", "resume"),
    4213: ("slow_consumer", "resume"),
    4300: ("internal_error", "back_off"),
    4302: ("engine_unavailable", "back_off"),
    4303: ("overloaded", "back_off"),
    4304: ("engine_timeout", "back_off"),
    4310: ("context_rejected", "back_off"),
    4329: ("rate_limited", "back_off"),
}
"""The codes that this version sends. A number or name that a client knows never changes."""

each_code = pytest.mark.parametrize("number", sorted(CODES))


@pytest.mark.scenario("S56", "S57")
def test_registry() -> None:
    """
    The library's codes have these names and actions, and no two share a name.
    """
    assert EXPECTED == {number: (code.slug, code.action) for number, code in CODES.items()}
    assert len(CODES) == len({code.slug for code in CODES.values()})


@pytest.mark.scenario("S57")
@each_code
def test_constants_are_the_registry(number: int) -> None:
    """
    Each code is a constant of the module, named like its slug, with a line for people.
    """
    code = CODES[number]

    assert getattr(closing, code.slug.upper()) is code
    assert code.slug.upper() in closing.__all__
    assert code.about.endswith(".")
    assert number == code.code


@pytest.mark.scenario("S57")
@each_code
def test_range_is_the_action(number: int) -> None:
    """
    A client that knows the ranges only does what the code means.
    """
    assert CODES[number].action == action_of(number)


@pytest.mark.scenario("S57")
@pytest.mark.parametrize(
    ("number", "action"),
    [
        (4099, "stop"),
        (4199, "reauthenticate"),
        (4299, "resume"),
        (4399, "back_off"),
        (4400, None),
        (4999, None),
        (3999, None),
        (1001, None),
        (1006, None),
        (1011, None),
        (0, None),
        (-4000, None),
    ],
)
def test_unknown_codes_by_range(number: int, action: str | None) -> None:
    """
    A code of a later version is obeyed by its range; outside the ranges nothing is known.
    """
    assert action == action_of(number)


@pytest.mark.scenario("S57")
@given(st.integers())
def test_code_of_is_total(number: int) -> None:
    """
    Each number leads to a code of the registry: an unknown one to 4300.
    """
    assert CODES.get(number, closing.INTERNAL_ERROR) is code_of(number)


@pytest.mark.scenario("S57")
@pytest.mark.parametrize("number", [4900, 4950, 4999])
@pytest.mark.parametrize("action", ["stop", "reauthenticate", "resume", "back_off"])
def test_an_application_has_its_own(number: int, action: str) -> None:
    """
    4900 to 4999 are an application's own, with one of the four actions; the library's registry stays as it is.
    """
    before = dict(CODES)

    code = build(number, "quota_used_up", action, "The quota of this hour is used up.")

    assert (number, "quota_used_up", action) == (code.code, code.slug, code.action)
    assert before == CODES


@pytest.mark.scenario("S57")
@pytest.mark.parametrize(
    "number",
    [0, -1, 999, 1001, 1005, 1006, 1011, 1012, 1015, 2999, 3000, 3999, 4002, 4399, 4400, 4899, 5000, 10**400, True],
)
def test_numbers_of_others_are_refused(number: int) -> None:
    """
    Codes of the protocol, of other projects and of the library's own ranges cannot be registered.
    """
    with pytest.raises(SettingsError, match="is not free: an application's own are 4900 to 4999"):
        CloseCode(number, "mine", "stop")


@pytest.mark.scenario("S57")
@pytest.mark.parametrize("action", ["", "retry", "STOP", None, 4, [], "back off"])
def test_no_code_without_action(action: object) -> None:
    """
    A code whose client would not know what to do is refused.
    """
    with pytest.raises(SettingsError, match="needs an action: stop, reauthenticate, resume or back_off"):
        build(4900, "mine", action)


@pytest.mark.scenario("S57")
@pytest.mark.parametrize(
    "slug", ["", "Mine", "my-slug", "my slug", "1st", "x" * 41, "ü", "a;r=1", "a\n", None, 7, b"a"]
)
def test_slugs(slug: object) -> None:
    """
    A name that could not stand in a reason is refused.
    """
    with pytest.raises(SettingsError, match="use a-z, 0-9 and _, at most 40 characters"):
        build(4900, slug, "stop")


@pytest.mark.scenario("S57")
@each_code
def test_codes_cannot_be_redefined(number: int) -> None:
    """
    The library's codes keep their name and action.
    """
    code = CODES[number]
    other = "resume" if code.action == "stop" else "stop"

    assert code == CloseCode(number, code.slug, code.action, code.about)
    with pytest.raises(SettingsError, match=f"close code {number} is {code.slug} already"):
        CloseCode(number, "mine", code.action)
    with pytest.raises(SettingsError, match=f"close code {number} is {code.slug} already"):
        build(number, code.slug, other)


@pytest.mark.scenario("S57")
@given(anything(), anything(), anything())
def test_nothing_else_is_ever_raised(number: Something, slug: Something, action: Something) -> None:
    """
    Whatever a code is made from: a code, or the library's own error.
    """
    for values in (
        (number.make(), "mine", "stop"),
        (4900, slug.make(), "stop"),
        (4900, "mine", action.make()),
    ):
        try:
            build(*values)
        except SettingsError as error:
            assert len(str(error)) <= 300  # noqa: PT017  # both outcomes are right


@pytest.mark.scenario("S57")
@pytest.mark.parametrize("name", sorted(MAKE_HOSTILE))
def test_hostile_values(name: str) -> None:
    """
    Objects that raise, lie or never end make no code.
    """
    for values in (
        (MAKE_HOSTILE[name](), "mine", "stop"),
        (4900, MAKE_HOSTILE[name](), "stop"),
        (4900, "mine", MAKE_HOSTILE[name]()),
    ):
        with pytest.raises(SettingsError):
            build(*values)


@pytest.mark.scenario("S57")
@given(
    st.sampled_from(sorted(CODES)) | st.just(4900),
    st.text(max_size=200) | st.just("0123456789" * 4),
    st.none() | st.integers(0, 2**53),
)
def test_reasons_fit(number: int, incident_id: str, retry_after_ms: int | None) -> None:
    """
    Each reason is ASCII, printable, at most 123 bytes, and begins with the code's name.
    """
    code = CODES.get(number) or CloseCode(4900, "x" * 40, "back_off")

    text = reason(code, incident_id=incident_id, retry_after_ms=retry_after_ms)

    assert text.isascii()
    assert text.isprintable()
    assert len(text.encode()) <= 123
    assert code.slug == text.split(";")[0]


@pytest.mark.scenario("S57")
def test_reason_has_a_form() -> None:
    """
    A reason is the name, then the incident and the wait where there are any.
    """
    assert "normal" == reason(closing.NORMAL)
    assert "internal_error;i=7f3a;r=1500" == reason(closing.INTERNAL_ERROR, incident_id="7f3a", retry_after_ms=1500)
    assert "overloaded;r=0" == reason(closing.OVERLOADED, retry_after_ms=0)


@pytest.mark.scenario("S59")
def test_back_off_always_says_how_long() -> None:
    """
    A client that has to back off is told how long, also where the server has no idea of its own.
    """
    assert 1_000 == retry_after(closing.OVERLOADED, None)
    assert 250 == retry_after(closing.OVERLOADED, 250)
    assert retry_after(closing.DRAIN, None) is None
    assert 5 == retry_after(closing.DRAIN, 5)


def test_is_a_value() -> None:
    """
    A code cannot be changed.
    """
    for name in ("code", "slug", "action", "about"):
        with pytest.raises(AttributeError):
            setattr(closing.DRAIN, name, "stop")
