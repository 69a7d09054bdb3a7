"""
Pieces of one text that wait for a slow client: joined, and nothing of them lost, moved or mixed.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.logs import put
from tests.shell import note
from ws_isolation.events import AgentMessageDelta, AgentThinking, Envelope, Event
from ws_isolation.events.joining import joined
from ws_isolation.keys import identity_of
from ws_isolation.outbox import Outbox
from ws_isolation.stream import Stream
from ws_isolation.testing import make_context

IDS: Final[dict[str, Any]] = {"run_id": "r", "thread_id": "t"}


def thought(text: str, **members: Any) -> AgentThinking:
    """
    Return a piece of a thought.
    """
    given: dict[str, Any] = {**IDS, "thought_id": "x", "mode": "delta", "text": text, **members}
    return AgentThinking(**given)


def said(text: str, **members: Any) -> AgentMessageDelta:
    """
    Return a piece of a message.
    """
    given: dict[str, Any] = {**IDS, "message_id": "m", "delta": text, **members}
    return AgentMessageDelta(**given)


def sealed(event: Event, user: str = "alice", epoch: str = "epoch") -> Envelope:
    """
    Return *event* in a stream of *user*.
    """
    return put(Stream(identity_of(make_context(user)), epoch), event)


@pytest.mark.scenario("S51")
@pytest.mark.requirement("P3", "P5")
@pytest.mark.parametrize(("make", "member"), [(thought, "text"), (said, "delta")])
def test_two_pieces(make: Any, member: str) -> None:
    """
    The texts stand in their order; index, id, time and place are the first one's, and the pieces are counted.
    """
    first, second = sealed(make("al", index=3, pieces=2)), sealed(make("ice", index=5))
    both = joined(first, second, event_bytes=65_536)

    assert both is not None
    frame, one = msgspec.json.decode(both.text), msgspec.json.decode(first.text)
    assert {**one, "data": {**one["data"], member: "alice", "pieces": 3}} == frame
    assert (first.owner, first.epoch, first.seq, "", False) == (
        both.owner,
        both.epoch,
        both.seq,
        both.prev,
        both.durable,
    )
    assert len(both.text.encode()) == both.size


@pytest.mark.requirement("P1", "P3")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (thought("a"), said("b")),
        (said("a"), thought("b")),
        (thought("a"), thought("b", thought_id="y")),
        (said("a"), said("b", message_id="n")),
        (thought("a"), thought("b", run_id="other")),
        (thought("a"), thought("b", visibility="debug")),
        (thought("a"), thought("b", metadata={"my_app.trace": 1})),
        (thought("a"), thought("b", done=True)),
        (thought("a", done=True), thought("b")),
        (thought("a", mode="summary"), thought("b")),
        (thought("a"), thought("b", index=1)),
        (thought("a", index=0), thought("b")),
        (thought("a", index=0), thought("b", index=2)),
        (thought("a", index=0, pieces=2), thought("b", index=1)),
        (said("a" * 16_000), said("b" * 385)),
        (said("ä" * 8_000), said("ä" * 193)),
        (note("a"), note("b")),
        (said("a"), note("b")),
    ],
)
def test_what_is_not_joined(first: Event, second: Event) -> None:
    """
    Pieces of two texts, runs or kinds, a durable event, a hole in the numbers, or too much text for one piece stay two.
    """
    assert joined(sealed(first), sealed(second), event_bytes=65_536) is None


@pytest.mark.scenario("S27")
@pytest.mark.requirement("P1")
def test_owners_are_not_mixed() -> None:
    """
    A foreign piece is joined to nothing: it keeps its owner, and the last hop finds it. Nor are two histories joined.
    """
    own = sealed(said("a"))

    assert joined(own, sealed(said("b"), "bob"), event_bytes=65_536) is None
    assert joined(own, sealed(said("b"), epoch="later"), event_bytes=65_536) is None
    assert joined(own, sealed(said("b")), event_bytes=65_536) is not None


def test_frame_limit() -> None:
    """
    Two pieces that would not fit one frame stay two.
    """
    first, second = sealed(said("a" * 400)), sealed(said("b" * 400))

    assert joined(first, second, event_bytes=1_024) is not None
    assert joined(first, second, event_bytes=900) is None


_MOVES: Final = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["r1", "r2"]), st.sampled_from(["m1", "m2"]), st.text("abä", max_size=3)),
        st.just("durable"),
        st.just("take"),
    ),
    max_size=40,
)


@pytest.mark.scenario("S51")
@pytest.mark.requirement("P3", "P5")
@given(moves=_MOVES)
def test_whatever_waits(moves: list[Any]) -> None:
    """
    However pieces and durable events mix: each text arrives whole, in order, and bytes and events are counted exactly.
    """
    stream = Stream(identity_of(make_context()), "epoch")
    outbox = Outbox(events=100, size=10**6)
    sent: dict[str, str] = {}
    got: dict[str, str] = {}
    durable: list[int] = []
    taken: list[Envelope] = []

    def take() -> bool:
        item = outbox.take()
        if isinstance(item, Envelope):
            taken.append(item)
        return item is not None

    for move in moves:
        if move == "take":
            take()
        elif move == "durable":
            durable.append(stream.seq + 1)
            assert outbox.add(put(stream, note()))
        else:
            run_id, message_id, text = move
            sent[f"{run_id}/{message_id}"] = sent.get(f"{run_id}/{message_id}", "") + text
            assert outbox.add(put(stream, said(text, run_id=run_id, message_id=message_id)))
    while take():
        assert outbox.events <= len(outbox)
    for envelope in taken:
        event = envelope.event
        if isinstance(event, AgentMessageDelta):
            key = f"{event.run_id}/{event.message_id}"
            got[key] = got.get(key, "") + event.delta

    assert sent == got
    assert durable == [envelope.seq for envelope in taken if envelope.durable]
    assert (0, 0, 0) == (len(outbox), outbox.events, outbox.size)
    assert not outbox._last_pieces


@pytest.mark.scenario("S51")
@pytest.mark.requirement("P3")
def test_nothing_is_joined_across_what_came_between() -> None:
    """
    A durable event of the run or a control frame between two pieces keeps them apart; one of another run does not.
    """
    stream = Stream(identity_of(make_context()), "epoch")
    outbox = Outbox(events=100, size=10**6)
    for event in (said("a"), note(), said("b")):
        outbox.add(put(stream, event))
    assert (2, 1) == (outbox.events, outbox.joined)
    outbox.add(put(stream, thought("", mode="summary")))
    outbox.add(put(stream, said("c")))
    assert (4, 1) == (outbox.events, outbox.joined)


@pytest.mark.scenario("S51")
@pytest.mark.requirement("P5")
def test_joining_keeps_to_the_bound() -> None:
    """
    A piece that would make the joined one too large for the outbox is refused like any other event; clearing forgets.
    """
    first, second = sealed(said("a" * 50)), sealed(said("b" * 50))
    together = joined(first, second, event_bytes=65_536)
    assert together is not None
    for room, fits in ((together.size, True), (together.size - 1, False)):
        outbox = Outbox(events=1, size=room)
        assert outbox.add(first)
        assert fits is outbox.add(second)
        assert (1, together.size if fits else first.size) == (outbox.events, outbox.size)
        assert 1 == outbox.clear()
        assert outbox.add(first)
        assert 0 == outbox.joined - fits
