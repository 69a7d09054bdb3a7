"""
What the processes of one application must have in common, and who differs.

Each process says on the engine what it was set to, for some minutes at a time,
and reads what the others say. Without any I/O. Rule 1: a difference is said and
never refused: while a change is rolled out, both are there. Rule 2: what is not
known is not compared, so a later version may say more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, final

import msgspec

from ...errors import bounded
from .letters import RefusedError
from .versions import VERSION

if TYPE_CHECKING:
    from ...settings import Settings
    from .letters import Letters

__all__ = ("AGREE_SECONDS", "differences", "statement")

AGREE_SECONDS: Final = 180
"""How long a statement holds; it is made again each minute, so that of a process that ended is gone soon."""

_NAMES: Final = (
    "event_bytes",
    "lease_seconds",
    "session_limit",
    "sessions_per_identity",
    "stream_seconds",
    "tip_seconds",
    "window_bytes",
    "window_events",
    "window_seconds",
)
_OTHER_KEY: Final = (
    "a process of this application signs with a key that this one was not given, and is not believed: "
    "give all the same keys, see RedisBackplane(keys=...)"
)


@final
class _Statement(msgspec.Struct):
    wire: int
    settings: dict[str, float | str | None]


_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_decode: Final = msgspec.json.Decoder(_Statement).decode


def statement(settings: Settings, /) -> bytes:
    """Return what a process with these settings says; of those that agree, all say the same."""
    return _encode(_Statement(VERSION, {name: getattr(settings, name) for name in _NAMES}))


def differences(own: bytes, others: Iterable[bytes], letters: Letters, /) -> tuple[str, ...]:
    """
    Return, in words, in what the others differ; each thing once.

    Args:
        own: What this process says.
        others: What stood on the engine, signed or not.
        letters: Who is believed.
    """
    mine = _decode(own)
    notes: dict[str, None] = {}
    for said in others:
        try:
            text = letters.vouched(said)
        except RefusedError:
            notes[_OTHER_KEY] = None
            continue
        try:
            theirs = _decode(text)
        except (msgspec.MsgspecError, UnicodeError):
            notes["a process of this application says its settings in another form: is it of another version?"] = None
            continue
        if theirs.wire != mine.wire:
            notes[f"a process speaks version {theirs.wire} of the bus, this one {mine.wire}: bring all to one"] = None
        for name in _NAMES:
            value = theirs.settings.get(name, mine.settings[name])
            if value != mine.settings[name]:
                other = bounded(str(value), 40)
                notes[f"a process has {name}={other}, this one {mine.settings[name]}: give all the same"] = None
    return tuple(notes)
