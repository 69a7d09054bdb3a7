"""
Where ids and wall-clock times come from.

The one impure module of layers 0 to 4: everything else takes time
and ids as values. No id tells how much traffic other users make. The random bits of
ids are read from the system for many at once; a forked process drops what its
parent has read, so that the two never make the same.
"""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache

__all__ = ("new_epoch", "new_fractions", "new_incident_id", "new_uuid7", "utc_now")

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_MANY = 256
"""Ids whose random bits are read at once: the call to the system costs more than all the rest of an id."""
_PATTERN = b"7xxx-Vxxx-xxxxxxxxxxxx "
"""The end of an id: the version's digit, the variant's, and 18 random ones."""
_RANDOM = [place for place, digit in enumerate(_PATTERN) if digit == ord("x")]
_VARIANTS = bytes.maketrans(b"0123456789abcdef", b"89ab" * 4)
"""The variant's two bits are 10, so its digit is 8, 9, a or b."""
_tails: deque[str] = deque()
"""The random ends of ids to come. Its two ends are safe to use from several threads."""

with suppress(AttributeError):  # there is no fork on Windows
    os.register_at_fork(after_in_child=_tails.clear)


def new_uuid7() -> str:
    """
    Return a new UUID of version 7, lower-case with hyphens.

    48 bits of Unix milliseconds, 74 random bits (RFC 9562 §5.7). It never says
    an order: ``seq`` does.
    """
    start = _start(time.time_ns() // 1_000_000)
    try:
        return start + _tails.popleft()
    except IndexError:
        return start + _more_tails()


@lru_cache(maxsize=2)
def _start(now: int) -> str:
    """Return the beginning of the ids of one millisecond."""
    return f"{now >> 16:08x}-{now & 0xFFFF:04x}-"


def _more_tails() -> str:
    digits = os.urandom(10 * _MANY).hex().encode()
    text = bytearray(_PATTERN * _MANY)
    for column, place in enumerate(_RANDOM):
        text[place :: len(_PATTERN)] = digits[column::20]
    variants = slice(_PATTERN.index(b"V"), None, len(_PATTERN))
    text[variants] = digits[19::20].translate(_VARIANTS)
    first, *others = text.decode().split()
    _tails.extend(others)
    return first


def new_incident_id() -> str:
    """Return a new incident id: 10 hexadecimal digits, short enough to be read out on the telephone."""
    return os.urandom(5).hex()


def new_epoch() -> str:
    """Return the name of a new unbroken history: 128 random bits as 22 URL-safe characters."""
    number = int.from_bytes(os.urandom(16), "big")
    return "".join(_ALPHABET[(number >> shift) & 63] for shift in range(0, 128, 6))


def new_fractions(count: int, /) -> list[float]:
    """Return *count* random numbers from 0 up to, not including, 1: for what must not happen all at once."""
    raw = os.urandom(4 * count)
    return [int.from_bytes(raw[at : at + 4], "big") / 2**32 for at in range(0, 4 * count, 4)]


def utc_now() -> datetime:
    """Return the wall clock's time, aware, in UTC."""
    return datetime.now(UTC)
