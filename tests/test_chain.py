"""
What an arriving event is: next, a repetition, behind a hole, or of another history.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from tests.logs import put
from tests.shell import note
from ws_isolation.chain import RECENT_IDS, Arrival, Chain
from ws_isolation.events import AgentMessageDelta, Envelope
from ws_isolation.keys import Identity
from ws_isolation.stream import NIL_ID, Cursor, Stream

ALICE: Final = Identity(None, "alice")


def events(count: int, stream: Stream | None = None) -> list[Envelope]:
    """
    Append *count* events to a stream.
    """
    whose = Stream(ALICE, "epoch-1") if stream is None else stream
    return [put(whose, note(number)) for number in range(count)]


def new_chain() -> Chain:
    """
    Return a chain at the beginning.
    """
    return Chain(Cursor("epoch-1", 0, NIL_ID))


@pytest.mark.requirement("P3")
def test_follow() -> None:
    """
    The next event is next and moves the cursor; the same again is a duplicate and moves nothing.
    """
    chain, (one, two, _) = new_chain(), events(3)

    assert [Arrival.NEXT, Arrival.NEXT] == [chain.follow(one), chain.follow(two)]
    assert [Arrival.DUPLICATE, Arrival.DUPLICATE] == [chain.follow(two), chain.follow(one)]
    assert Cursor("epoch-1", 2, two.id) == chain.cursor


@pytest.mark.requirement("P3")
def test_hole() -> None:
    """
    What comes too early takes no place, so that it can come again in its turn.
    """
    chain, (one, two, three) = new_chain(), events(3)

    assert [Arrival.HOLE, Arrival.NEXT, Arrival.HOLE] == [chain.follow(event) for event in (two, one, three)]
    assert [Arrival.NEXT, Arrival.NEXT] == [chain.follow(two), chain.follow(three)]


@pytest.mark.requirement("P3")
@pytest.mark.parametrize(
    "changed",
    [{"prev": NIL_ID}, {"epoch": "epoch-2"}, {"seq": 1, "id": "0192f0c3-0000-7000-8000-000000000099"}],
    ids=["another before it", "another epoch", "a place given twice"],
)
def test_divergence(changed: dict[str, Any]) -> None:
    """
    Another history is found out by prev, by the epoch, and by the id at a place that was delivered.
    """
    chain, (one, two) = new_chain(), events(2)
    chain.follow(one)

    assert Arrival.DIVERGENCE is chain.follow(msgspec.structs.replace(two, **changed))
    assert Cursor("epoch-1", 1, one.id) == chain.cursor


@pytest.mark.requirement("P3")
def test_deltas() -> None:
    """
    A delta is next after what it was stamped behind, also late, a hole before it, and moves nothing.
    """
    stream, chain = Stream(ALICE, "epoch-1"), new_chain()
    piece = AgentMessageDelta(run_id="r", thread_id="t", message_id="m", delta="...")
    first = put(stream, piece)
    (one,) = events(1, stream)
    second = put(stream, piece)

    assert [Arrival.NEXT, Arrival.HOLE] == [chain.follow(first), chain.follow(second)]
    assert [Arrival.NEXT] * 3 == [chain.follow(one), chain.follow(second), chain.follow(first)]
    assert Cursor("epoch-1", 1, one.id) == chain.cursor


@pytest.mark.requirement("P3")
def test_bound_of_memory() -> None:
    """
    As many ids are remembered as a window holds; an older repetition counts as another history, never as known.
    """
    chain, made = new_chain(), events(RECENT_IDS + 1)
    for event in made:
        chain.follow(event)

    assert Arrival.DUPLICATE is chain.follow(made[1])
    assert Arrival.DIVERGENCE is chain.follow(made[0])


@pytest.mark.requirement("P3")
def test_move_to() -> None:
    """
    After a gap the chain goes on from where the stream is, and knows the event at its top.
    """
    chain, made = new_chain(), events(5)
    chain.move_to(Cursor("epoch-1", 4, made[3].id))

    assert [Arrival.DUPLICATE, Arrival.NEXT] == [chain.follow(made[3]), chain.follow(made[4])]
