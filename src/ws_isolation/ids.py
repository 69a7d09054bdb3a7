"""
Where ids and wall-clock times come from.

The one impure module of layers 0 to 4: everything else takes time
and ids as values. Nothing here keeps state, so a fork is safe and no id tells
how much traffic other users make.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

__all__ = ("new_epoch", "new_fractions", "new_incident_id", "new_uuid7", "utc_now")

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""The variant's two bits are 10, so its digit is 8, 9, a or b."""


def new_uuid7() -> str:
    """
    Return a new UUID of version 7, lower-case with hyphens.

    48 bits of Unix milliseconds, 74 random bits (RFC 9562 §5.7). It never says
    an order: ``seq`` does.
    """
    text = ((time.time_ns() // 1_000_000).to_bytes(6, "big") + os.urandom(10)).hex()
    return f"{text[:8]}-{text[8:12]}-7{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}"


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
