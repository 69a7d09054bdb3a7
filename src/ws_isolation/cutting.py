"""
Making payloads fit: what is too large is cut and marked, never a reason to drop its event.

Two measures count. The wire bounds a field in bytes of UTF-8. A frame is
bounded in bytes of JSON, where a quote takes two bytes and a control character
six, and each again as much inside a text that is JSON itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from .errors import InvalidEventError
from .events.conversion import converted
from .frozen import FrozenJson, JsonTooLargeError, JsonValueError

__all__ = (
    "JSON_BYTES",
    "PIECE_BYTES",
    "ROOM",
    "SHORT",
    "WHOLE_BYTES",
    "arguments_text",
    "cut",
    "encoded_size",
    "measured",
)

PIECE_BYTES: Final = 16_384
"""Bytes of UTF-8 of one piece of text: what the wire allows."""
SHORT: Final = (PIECE_BYTES - 2) // 6
"""Characters that always fit into a piece, whatever they are: as JSON, one takes six bytes at most, two are quotes."""
WHOLE_BYTES: Final = 32_768
"""Bytes of UTF-8 of a whole text."""
JSON_BYTES: Final = 32_768
"""Bytes of JSON of arguments or a result: half of the smallest frame that everybody forwards."""
ROOM: Final = 57_344
"""Bytes of JSON of everything large in one event together: leaves 8 KiB of a 64 KiB frame to all the rest."""


def encoded_size(value: object, /) -> int:
    """Return how many bytes of JSON *value* takes."""
    return len(msgspec.json.encode(value))


def cut(text: str, limit: int, /, *, room: int = ROOM) -> tuple[str, bool]:
    """
    Return the longest beginning of *text* that fits, and whether something was cut off.

    Args:
        text: Any text; a wrong type or a lone surrogate is left to the event, whose own error it is.
        limit: Bytes of UTF-8.
        room: Bytes of JSON, the quotes included.
    """
    # Six bytes of JSON is the most that one character takes.
    if type(text) is not str or len(text) * 6 + 2 <= min(limit, room):
        return text, False
    head = text[: limit + 1]  # each character takes a byte at least: no more of 100 MB has to be looked at
    try:
        if len(head) == len(text) and _fits(head, limit, room):
            return text, False
        least, most = 0, len(head)
        while most - least > 1:
            middle = (least + most) // 2
            if _fits(head[:middle], limit, room):
                least = middle
            else:
                most = middle
    except UnicodeEncodeError:
        return text[:limit], len(text) > limit
    return head[:least], True


def _fits(text: str, limit: int, room: int) -> bool:
    return len(text.encode("utf-8")) <= limit and encoded_size(text) <= room


def measured(
    value: object, field: str, event: str, /, *, limit: int = JSON_BYTES
) -> tuple[FrozenJson | UnsetType, bool]:
    """
    Return *value* as frozen JSON, or UNSET and True where it takes more than *limit* bytes.

    Raises:
        InvalidEventError: It is no JSON; names the path from *field* on. See ``events.to_json()``.
    """
    if value is UNSET:
        return UNSET, False
    try:
        frozen = converted(value, limit=limit)
    except JsonTooLargeError:
        return UNSET, True
    except JsonValueError as error:
        raise InvalidEventError(f"$.{field}{error.path.removeprefix('$')}", error.problem, event) from None
    # What was counted so far is a lower bound: escapes and digits come on top.
    if encoded_size(frozen) > limit:
        return UNSET, True
    return frozen, False


def arguments_text(arguments: Mapping[str, object], event: str, /) -> str:
    """Return the beginning of arguments that are too large to be sent whole, for people; empty for huge ones."""
    # Measured first, so that a huge value is not encoded for it.
    frozen, _ = measured(arguments, "arguments", event, limit=16 * JSON_BYTES)
    return "" if frozen is UNSET else cut(msgspec.json.encode(frozen).decode("utf-8"), PIECE_BYTES)[0]
