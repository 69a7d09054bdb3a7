"""
What a signed payload must say to count now, as a function: no clock, no key, no library.

Rule 1: a token has an end. Rule 2: no error holds a claim, a reason for the operator only.

Source: RFC 7519 §4.1.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast, final

import attrs
import msgspec

from ..errors import ExpiredError, SettingsError, UnauthenticatedError, shown

__all__ = ("Claims", "Rules", "judge")

_MOST_LEEWAY: Final = 300.0
_MOST_NAMES: Final = 32
_LAST: Final = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
"""Seconds since 1970 that a datetime can hold; what ends later ends then."""


@final
@attrs.frozen(repr=False)
class Claims:
    """
    What a verified token says. Its ``repr`` shows no claim.

    Attributes:
        subject: The ``sub``, None where there is none.
        expires_at: The ``exp`` and the leeway; aware, UTC. A context of this token may not live longer.
        members: All claims, as JSON.
    """

    subject: str | None
    expires_at: datetime
    members: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Claims({len(self.members)} of them)"


@final
@attrs.frozen
class Rules:
    """
    What is demanded of every token.

    Attributes:
        audiences: Of which ``aud`` has to name one; empty where that is waived.
        issuers: Of which ``iss`` has to be one; empty where that is waived.
        leeway: How far two clocks may differ, in seconds.
    """

    audiences: frozenset[str]
    issuers: frozenset[str]
    leeway: float

    @staticmethod
    def of(
        audience: str | Collection[str] | None, issuer: str | Collection[str] | None, leeway_seconds: float
    ) -> Rules:
        """
        Return the rules.

        Raises:
            SettingsError: A name is empty, there are none or too many, or the leeway is out of bounds.
        """
        if type(leeway_seconds) not in (int, float) or not 0 <= leeway_seconds <= _MOST_LEEWAY:
            raise SettingsError(f"leeway_seconds={shown(leeway_seconds)} must be from 0 to {_MOST_LEEWAY:g}")
        return Rules(_names("audience", audience), _names("issuer", issuer), float(leeway_seconds))


def judge(payload: bytes, rules: Rules, now: float, /) -> Claims:
    """
    Return the claims of a payload whose signature is right, once they hold.

    Args:
        payload: The JSON that was signed.
        rules: What is demanded.
        now: Seconds since 1970 UTC.

    Raises:
        UnauthenticatedError: They do not hold; says which and why.
        ExpiredError: They held once.
    """
    try:
        members = msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UnauthenticatedError("the token's claims are no JSON object") from None
    ends = _time(members, "exp")
    if ends is None:
        raise UnauthenticatedError("the token has no exp: one that never ends is not accepted")
    # For whom it is before when: whose token has expired is told to get another one, and this one would not do.
    _check_parties(members, rules)
    if now >= ends + rules.leeway:
        raise ExpiredError(f"the token expired {math.ceil(now - ends)} s ago")
    for name in ("nbf", "iat"):
        begins = _time(members, name)
        if begins is not None and now < begins - rules.leeway:
            raise UnauthenticatedError(f"the token is not valid yet ({name}): are the clocks of both machines right?")
    subject = members.get("sub")
    if subject is not None and type(subject) is not str:
        raise UnauthenticatedError("the token's sub is no text")
    return Claims(subject, datetime.fromtimestamp(min(ends + rules.leeway, _LAST), UTC), members)


def _check_parties(members: Mapping[str, object], rules: Rules) -> None:
    issuer, audience = members.get("iss"), members.get("aud")
    if rules.issuers and not (type(issuer) is str and issuer in rules.issuers):
        raise UnauthenticatedError("the token is of another issuer, or of none")
    given = cast("list[object]", audience) if type(audience) is list else [audience]
    if rules.audiences and not any(type(one) is str and one in rules.audiences for one in given):
        raise UnauthenticatedError("the token is for another audience, or for none")


def _time(members: Mapping[str, object], name: str) -> float | None:
    """Return a NumericDate of RFC 7519 §2."""
    value = members.get(name)
    if value is None:
        return None
    if type(value) is not int and type(value) is not float:
        raise UnauthenticatedError(f"the token's {name} is no number of seconds")
    return float(max(-_LAST, min(value, _LAST)))


def _names(what: str, value: str | Collection[str] | None) -> frozenset[str]:
    """Return the accepted values, none where they are waived."""
    if value is None:
        return frozenset()
    names = (value,) if isinstance(value, str) else tuple(value)
    if not 1 <= len(names) <= _MOST_NAMES or not all(type(name) is str and name for name in names):
        raise SettingsError(f"{what} must be a text or 1 to {_MOST_NAMES} of them, none empty; None waives the check")
    return frozenset(names)
