"""
Two waiting pieces of one text as one event: what a slow client gets instead of many small frames.

Rule 1: nothing is lost and nothing moves: the texts are joined in their order,
``index`` and ``after_seq`` stay the first one's, and ``pieces`` says how many
there are. Rule 2: pieces that differ in anything but their text are not joined,
least of all those of two owners. Rule 3: a durable event is never joined.
"""

from __future__ import annotations

from typing import Final

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from ..errors import InvalidEventError
from .agent import AgentMessageDelta, AgentThinking
from .envelope import Envelope, seal

__all__ = ("joined",)

_PIECE_BYTES: Final = 16_384
"""Bytes of UTF-8 of one piece, however many it was made of."""


def joined(first: Envelope, second: Envelope, /, *, event_bytes: int) -> Envelope | None:
    """
    Return one envelope for both, None where they are not to be joined.

    Args:
        first: What waits.
        second: The next event of the same run.
        event_bytes: Bytes that the frame may have in UTF-8.
    """
    if first.durable or second.durable or first.owner != second.owner or first.epoch != second.epoch:
        return None
    event = _together(first.event, second.event)
    if event is None:
        return None
    try:
        return seal(
            event,
            owner=first.owner,
            id=first.id,
            epoch=first.epoch,
            seq=first.seq,
            prev="",
            run_seq=None,
            time=first.time,
            event_bytes=event_bytes,
        )
    except InvalidEventError:
        return None  # too large for one frame


def _together(first: object, second: object) -> AgentThinking | AgentMessageDelta | None:
    if isinstance(first, AgentThinking) and isinstance(second, AgentThinking):
        text = first.text + second.text
        alike = replace(first, text="", index=UNSET, pieces=UNSET) == replace(
            second, text="", index=UNSET, pieces=UNSET
        )
    elif isinstance(first, AgentMessageDelta) and isinstance(second, AgentMessageDelta):
        text = first.delta + second.delta
        alike = replace(first, delta="", index=UNSET, pieces=UNSET) == replace(
            second, delta="", index=UNSET, pieces=UNSET
        )
    else:
        return None
    pieces = _count(first.pieces)
    follows = second.index is UNSET if first.index is UNSET else second.index == first.index + pieces
    if not (alike and follows) or len(text) > _PIECE_BYTES or len(text.encode()) > _PIECE_BYTES:
        return None
    pieces += _count(second.pieces)
    if isinstance(first, AgentThinking):
        return replace(first, text=text, pieces=pieces)
    return replace(first, delta=text, pieces=pieces)


def _count(pieces: int | UnsetType) -> int:
    return 1 if pieces is UNSET else pieces
