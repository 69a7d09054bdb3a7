"""
What an id may look like.

Rule 1: an id is an exact ``str``, kept verbatim: never stripped, folded,
normalised or parsed. Two stores that fold differently turn one user into two,
or two into one. Rule 2: no character is special, because no key is ever built
from an id by joining (see :mod:`ws_isolation.keys`).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, final

import attrs

from .errors import InvalidContextError, SettingsError, shown, type_name

__all__ = ("DEFAULT_POLICY", "MAX_BYTES", "PLACEHOLDERS", "IdPolicy", "check_id", "check_user_id")

MAX_BYTES: Final = 255
"""Bytes of an id: the bound of ``sub`` in OpenID Connect Core 1.0 §2."""

PLACEHOLDERS: Final[frozenset[str]] = frozenset({"None", "null", "undefined", "NaN"})
"""User ids that are how a missing value prints in Python and JavaScript; matched exactly."""

_PRINTABLE_ASCII: Final = re.compile(r"[\x21-\x7e]+")


@final
@attrs.frozen(kw_only=True)
class IdPolicy:
    """
    Which user and tenant ids are accepted. A value; share one per application.

    Args:
        placeholders: User ids to refuse, by exact match.
        unicode_letters: Also accept letters and digits of any script, already
            in NFC. For user and tenant ids only: thread, run and request ids
            stand on the wire, which is printable ASCII.
    """

    placeholders: frozenset[str] = PLACEHOLDERS
    unicode_letters: bool = False

    def __attrs_post_init__(self) -> None:
        """Refuse a policy that could not be applied."""
        if type(self.placeholders) is not frozenset:
            raise SettingsError(f"placeholders must be a frozenset of str, not {type_name(type(self.placeholders))}")
        if not all(type(placeholder) is str for placeholder in self.placeholders):
            raise SettingsError("placeholders must be a frozenset of str: something else is among them")
        if type(self.unicode_letters) is not bool:
            raise SettingsError(f"unicode_letters must be a bool, not {type_name(type(self.unicode_letters))}")


DEFAULT_POLICY: Final = IdPolicy()
"""1 to 255 printable ASCII characters, and four placeholders that no user has."""


def check_id(field: str, value: object, /, *, unicode_letters: bool = False) -> str:
    """
    Return *value* if it is an id.

    Args:
        field: The name that the error uses.
        value: Anything.
        unicode_letters: Accept letters and digits of every script in NFC.

    Raises:
        InvalidContextError: Names the field and what came. Nothing else is
            raised, for any value.
    """
    if type(value) is not str:
        problem = f"must be a str, not {type_name(type(value))}"
        raise InvalidContextError(field, problem, "" if value is None else shown(value))
    if not value:
        raise InvalidContextError(field, "must not be empty", "''")
    if len(value) > MAX_BYTES:
        raise InvalidContextError(field, f"must be at most {MAX_BYTES} bytes", shown(value))
    if _PRINTABLE_ASCII.fullmatch(value) is None:
        if not unicode_letters:
            problem = "must be printable ASCII without spaces (0x21 to 0x7e); other letters need an IdPolicy"
            raise InvalidContextError(field, problem, shown(value))
        _check_unicode(field, value)
    return value


def check_user_id(value: object, policy: IdPolicy, /) -> str:
    """Return *value* if *policy* accepts it as a user id; else raise ``InvalidContextError``."""
    user_id = check_id("user_id", value, unicode_letters=policy.unicode_letters)
    if user_id in policy.placeholders:
        problem = "is how a missing value prints, not a user; pass the real id, or an IdPolicy that allows it"
        raise InvalidContextError("user_id", problem, shown(user_id))
    return user_id


def _check_unicode(field: str, value: str) -> None:
    for character in value:
        if not ("!" <= character <= "~" or unicodedata.category(character)[0] in "LN"):
            problem = f"may hold letters, digits and printable ASCII, not U+{ord(character):04X}"
            raise InvalidContextError(field, problem, shown(value))
    if not unicodedata.is_normalized("NFC", value):
        raise InvalidContextError(field, "must already be in Unicode NFC", shown(value))
    if len(value.encode("utf-8")) > MAX_BYTES:
        raise InvalidContextError(field, f"must be at most {MAX_BYTES} bytes", shown(value))
