"""
When a published set of keys is asked for again, and which of its keys count: decisions, with time as a value.

Rule 1: a key that the issuer has taken out stops counting ``max_age`` after it was last seen, whether or not the issuer
answers: then nothing counts. Rule 2: a key name that nobody knows costs at most one look at the issuer in
``retry_seconds``, however many strangers come with one. Rule 3: a set that cannot be read changes nothing.

Source: RFC 7517 §5; OpenID Connect Core 1.0 §10.1.1 (rotation).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast, final

import attrs
import msgspec

from .jwt_keys import Key, key_of_jwk

__all__ = ("MOST_BYTES", "Answer", "KeySet", "MalformedKeysError", "keys_in")

MOST_BYTES: Final = 262_144
"""Bytes of a set: hundreds of keys with their certificates."""
_MOST_KEYS: Final = 64


class MalformedKeysError(ValueError):
    """What came is no JSON Web Key Set. Says why, and not what came."""


@final
@attrs.frozen
class Answer:
    """
    What is known of a key name now.

    Attributes:
        keys: Those that may have signed; empty where there are none.
        ask: Ask the issuer again, beside or before.
        is_current: The set is young enough to say that a name is not in it.
    """

    keys: tuple[Key, ...]
    ask: bool
    is_current: bool


class KeySet:
    """
    The newest set of keys that an issuer gave. Lives as long as its source.

    Args:
        max_age: Seconds that a set counts without having been seen again. It is asked for anew after half of that.
        retry_seconds: Seconds between two looks at the issuer, at least.
    """

    __slots__ = ("_asked", "_keys", "_max_age", "_retry_seconds", "_seen")

    def __init__(self, *, max_age: float, retry_seconds: float) -> None:
        self._max_age = max_age
        self._retry_seconds = retry_seconds
        self._keys: tuple[Key, ...] = ()
        self._seen: float | None = None
        self._asked: float | None = None

    def find(self, key_id: str | None, algorithm: str, now: float, /) -> Answer:
        """
        Return the keys of that name, and what to do.

        Args:
            key_id: None where the token has none: then the set must have one key alone for the algorithm.
            algorithm: What it has to verify.
            now: Seconds, monotonic.
        """
        age = self._max_age if self._seen is None else now - self._seen
        is_current = age < self._max_age
        fit = tuple(key for key in self._keys if algorithm in key.algorithms) if is_current else ()
        found = fit if key_id is None else tuple(key for key in fit if key.key_id == key_id)
        if len(found) > 1:
            found = ()  # two of one name, or one of many without a name: whichever was taken would be a guess
        may_ask = self._asked is None or now - self._asked >= self._retry_seconds
        return Answer(found, may_ask and (not found or age >= self._max_age / 2), is_current)

    def asked(self, now: float, /) -> None:
        """Note that the issuer is asked now."""
        self._asked = now

    def take(self, keys: Sequence[Key], asked: float, /) -> None:
        """Put *keys*, for which the issuer was asked at *asked*, in the place of all that there were."""
        self._keys = tuple(keys)
        self._seen = asked


def keys_in(text: bytes, /) -> tuple[Key, ...]:
    """
    Return the keys in a published set that can verify a signature; others in it are passed over.

    Raises:
        MalformedKeysError: It is no set, too large, or has no key to verify with.
    """
    if len(text) > MOST_BYTES:
        raise MalformedKeysError(f"the key set has more than {MOST_BYTES:,} bytes")
    try:
        members = msgspec.json.decode(text, type=dict[str, object]).get("keys")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise MalformedKeysError("the key set is no JSON object") from None
    listed = cast("list[object]", members) if type(members) is list else []
    if not 1 <= len(listed) <= _MOST_KEYS:
        raise MalformedKeysError(f"the key set has no list of 1 to {_MOST_KEYS} keys")
    found = (key_of_jwk(cast("dict[str, object]", one)) for one in listed if type(one) is dict)
    keys = tuple(key for key in found if key is not None)
    if not keys:
        raise MalformedKeysError("the key set has no public key to verify a signature with")
    return keys
