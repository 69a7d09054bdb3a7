"""What a send came to."""

from __future__ import annotations

from typing import final

import msgspec

__all__ = ("Delivery", "ManagerStats")


@final
class Delivery(msgspec.Struct, frozen=True):
    """
    Where an event now stands, and who queued it.

    Attributes:
        event_id: The event's id.
        seq: Its place in the stream; for a piece of text, which has none of its
            own, the place of the last durable event before it.
        sessions: Local sessions that queued it. 0 when nobody is connected,
            which is no error: the event has its place all the same. With an
            engine that is waited for, of events that are sent at the same time
            for one identity only the last one is counted for sure; the others
            may say 0. Count on ``seq``.
        refused: Local sessions that could not take it, because they are ending
            or just became too slow. They are gone from the next send on.
    """

    event_id: str
    seq: int
    sessions: int
    refused: int = 0


@final
class ManagerStats(msgspec.Struct, frozen=True):
    """
    Counts of one manager, of its own identity only.

    Attributes:
        sent: Events that this manager has sent.
        sessions: Local sessions of its identity now.
        open_runs: Runs of its identity that are open now.
    """

    sent: int
    sessions: int
    open_runs: int
