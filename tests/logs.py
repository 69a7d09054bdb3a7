"""
Streams without an engine: events put in their place by hand.
"""

from __future__ import annotations

from typing import Final

from ws_isolation.events import Envelope, Event
from ws_isolation.keys import Identity
from ws_isolation.lifecycle import Lifecycle
from ws_isolation.stream import Draft, Stream
from ws_isolation.streams import LiveStream

TIME: Final = "2026-11-22T21:09:00.123456Z"


class NoReader:
    """
    Reads nothing again, and notes that it was asked to.
    """

    def __init__(self) -> None:
        self.asked = 0

    def read_soon(self, _live: LiveStream, /) -> None:
        """
        Count.
        """
        self.asked += 1

    def check_soon(self, _live: LiveStream, /) -> None:
        """
        Look at no record.
        """

    def replaced(self, _live: LiveStream, _connection_id: str, /) -> None:
        """
        End nobody.
        """


def put(
    stream: Stream,
    event: Event,
    event_id: str = "",
    *,
    owner: Identity | None = None,
    limit: int = 65_536,
    lifecycle: Lifecycle | None = None,
    now: float = 0.0,
) -> Envelope:
    """
    Append *event* to *stream*: as its owner's, under an id of its place, and in the order that *lifecycle* allows.
    """
    draft = Draft(
        event=event,
        owner=stream.identity if owner is None else owner,
        id=event_id or f"{stream.seq + 1:036d}",
        time=TIME,
        run_seq=None if lifecycle is None else lifecycle.check(event),
        event_bytes=limit,
    )
    envelope = stream.append(draft, now)
    if lifecycle is not None:
        lifecycle.apply(event)
    return envelope
