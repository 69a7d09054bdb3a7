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

__all__ = ("new_epoch", "new_fractions", "new_incident_id", "new_uuid7", "utc_now")

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_MANY = 256
"""Ids whose random bits are read at once: the call to the system costs more than all the rest of an id."""
_VERSION = (0x0FFF, 0x7000)
"""The version's four bits are 0111, so the first digit of its group is 7: what is kept of 16 random bits, and set."""
_VARIANT = (0x3FFF, 0x8000)
"""The variant's two bits are 10, so the first digit of its group is 8, 9, a or b."""
_tails: deque[str] = deque()
"""The random ends of ids to come. Its two ends are safe to use from several threads."""
_stamp: tuple[int, str] = (0, "")
"""The last millisecond, and the beginning of its ids."""

with suppress(AttributeError):  # there is no fork on Windows
    os.register_at_fork(after_in_child=_tails.clear)


def new_uuid7() -> str:
    """
    Return a new UUID of version 7, lower-case with hyphens.

    48 bits of Unix milliseconds, 74 random bits (RFC 9562 §5.7). It never says
    an order: ``seq`` does.
    """
    global _stamp  # noqa: PLW0603  # a cache; two threads that write it write the same or the next
    now = time.time_ns() // 1_000_000
    milliseconds, start = _stamp
    if now != milliseconds:
        start = f"{now >> 16:08x}-{now & 0xFFFF:04x}-"
        _stamp = (now, start)
    try:
        return start + _tails.popleft()
    except IndexError:
        return start + _more_tails()


def _more_tails() -> str:
    rest = os.urandom(6 * _MANY).hex(" ", 6).split()
    first, *others = map("-".join, zip(_marked(_VERSION), _marked(_VARIANT), rest, strict=True))
    _tails.extend(others)
    return first


def _marked(bits: tuple[int, int]) -> list[str]:
    """Return many random groups of four digits, each with the same bits set: one step for all of them together."""
    kept, put = (int.from_bytes(bit.to_bytes(2, "big") * _MANY, "big") for bit in bits)
    random = int.from_bytes(os.urandom(2 * _MANY), "big")
    return (random & kept | put).to_bytes(2 * _MANY, "big").hex(" ", 2).split()


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
