"""
The plain client and its history: every cut is survived, and every kind of silent loss is found.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.client import Cursor, Gap, History
from tests.chaos.soak import soak

FIRST = {"epoch": "E1", "seq": 1, "id": "id-1"}


def welcome(seq: int = 1, epoch: str = "E1") -> dict[str, Any]:
    """
    Return a welcome with the top at *seq*.
    """
    return {"type": "ws.welcome", "cursor": {"epoch": epoch, "seq": seq, "id": f"id-{seq}"}}


def answer(kind: str, seq: int, *, epoch: str = "E1", **more: Any) -> dict[str, Any]:
    """
    Return a resumed or a gap that stands at *seq*.
    """
    return {"type": f"ws.{kind}", "cursor": {"epoch": epoch, "seq": seq, "id": f"id-{seq}"}, **more}


def event(seq: int, event_id: str = "") -> dict[str, Any]:
    """
    Return a durable event.
    """
    return {"type": "custom", "seq": seq, "id": event_id or f"id-{seq}", "data": {"value": seq}}


def told(*connections: tuple[str | None, list[dict[str, Any]]]) -> History:
    """
    Return the history of a client that was told this, connection by connection.
    """
    history = History()
    for asked, frames in connections:
        history.connected(asked)
        for frame in frames:
            history.frame(frame)
    return history


PUBLISHED = {seq: f"id-{seq}" for seq in range(1, 8)}
BEGUN: tuple[None, list[dict[str, Any]]] = (None, [welcome(1), event(2), event(3)])


def test_what_a_server_may_do() -> None:
    """
    Live, replay, a window, an empty window and a gap are in order; the client stands where it was told.
    """
    replayed = told(BEGUN, ("3", [welcome(5), event(4), event(5), answer("resumed", 5, count=2), event(6)]))
    behind = told(BEGUN, ("3", [welcome(5), answer("gap", 5, reason="trimmed"), event(6)]))
    window = told(("window", [welcome(6), event(4), event(5), event(6), answer("resumed", 6, count=3), event(7)]))
    empty = told(("window", [welcome(0), answer("resumed", 0, count=0), event(1)]))
    renewed = told(BEGUN, ("3", [welcome(1, "E2"), answer("gap", 1, epoch="E2", reason="epoch_changed"), event(2)]))

    assert [[]] * 5 == [history.wrong for history in (replayed, behind, window, empty, renewed)]
    assert [[]] * 4 == [history.lost(PUBLISHED) for history in (replayed, behind, window, empty)]
    assert [2, 3, 4, 5, 6] == list(replayed.got) == replayed.values
    assert [Gap("trimmed", Cursor("E1", 3, "id-3"), Cursor("E1", 5, "id-5"))] == behind.gaps
    assert Cursor("E2", 2, "id-2") == renewed.cursor
    assert {2: "id-2"} == renewed.got


def test_repeated_events_are_removed() -> None:
    """
    An event that comes again is processed once and counted.
    """
    history = told(BEGUN, ("3", [welcome(4), event(3), event(4), answer("resumed", 4, count=1)]))

    assert (1, [2, 3, 4], []) == (history.repeated, history.values, history.wrong)


@pytest.mark.requirement("P3")
@pytest.mark.parametrize(
    ("frames", "wrong"),
    [
        ([welcome(5), event(5), answer("resumed", 5, count=1)], "event 5, the client stands at 3"),
        ([welcome(5), answer("resumed", 5, count=0)], "resumed at E1.5.id-5, the client stands at E1.3.id-3"),
        ([welcome(5), event(4), answer("gap", 5, reason="trimmed")], "a part of a replay before a gap"),
        ([welcome(3), answer("resumed", 3, count=0), event(4, "x"), event(4)], "event 4, the client stands at 4"),
        ([welcome(3), answer("resumed", 3, count=0), event(6)], "event 6, the client stands at 3"),
        ([welcome(3), answer("resumed", 3, count=0), {"type": "ws.ping", "seq": 4}], "a ping at 4"),
        ([welcome(3), answer("resumed", 3, count=0), {"type": "message", "after_seq": 4}], "a delta after 4"),
        ([welcome(3), answer("resumed", 3, count=0), answer("resumed", 3, count=0)], "resumed without a question"),
        ([answer("resumed", 3, count=0)], "ws.resumed as frame 1"),
        ([welcome(3), welcome(3)], "ws.welcome as frame 2"),
    ],
)
def test_control_what_no_server_may_do(frames: list[dict[str, Any]], wrong: str) -> None:
    """
    A loss, a false resumed, a part of a replay, a place given twice and a greeting out of turn are all found.
    """
    history = told(BEGUN, ("3", frames))

    assert wrong in " | ".join(history.wrong)


def test_control_silent_loss_is_counted() -> None:
    """
    A counter instead of a chain: a server that numbers anew loses events that only the ids give away.
    """
    history = told(BEGUN, ("3", [welcome(5), event(4, "other"), event(5), answer("resumed", 5, count=2)]))
    skipped = told(BEGUN, ("3", [welcome(5), event(5), answer("resumed", 5, count=1)]))

    assert [4] == history.lost(PUBLISHED) == skipped.lost(PUBLISHED)


def test_epoch_of_a_welcome_is_not_taken_over() -> None:
    """
    Cut between a welcome of a new history and its gap, the client still asks for its own, and is told.
    """
    history = told((None, [welcome(0)]), ("0", [welcome(2, "E2")]))

    assert Cursor("E1", 0, "id-0") == history.cursor


@pytest.mark.requirement("P1", "P3")
@pytest.mark.timeout(120)
async def test_random_cuts_are_announced() -> None:
    """
    Cuts at random bytes while events flow: each client gets its own events only, in order, or a gap that says so.
    """
    result = await soak(200, users=6, seed=3)

    assert (0, 0, 0, []) == (result.lost, result.repeated, result.foreign, result.wrong)
    assert result.cuts >= 200
    assert result.gaps + result.replayed > 0
