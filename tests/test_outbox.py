"""
What waits for one socket: in order, within its bounds, counted exactly.
"""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.logs import put
from tests.shell import note
from ws_isolation.events.envelope import Envelope
from ws_isolation.frames import Ping
from ws_isolation.keys import identity_of
from ws_isolation.outbox import Outbox
from ws_isolation.stream import Stream
from ws_isolation.testing import make_context


def envelope(size: int = 0) -> Envelope:
    """
    Return an envelope with *size* bytes of padding.
    """
    stream = Stream(identity_of(make_context()), "epoch")
    return put(stream, note("x" * size), limit=10**6)


@pytest.mark.requirement("P5", "WS-16")
def test_bound_in_events() -> None:
    """
    As many events as allowed, and not one more; a frame has always room.
    """
    outbox = Outbox(events=2, size=10**6)

    assert [True, True, False] == [outbox.add(envelope()) for _ in range(3)]
    outbox.add_frame(Ping(1, 0, None))
    assert (3, 2) == (len(outbox), outbox.events)


@pytest.mark.requirement("P5", "WS-16")
def test_bound_in_bytes() -> None:
    """
    Exactly as many bytes as allowed, and not one more.
    """
    item = envelope(1_000)

    assert Outbox(events=10, size=item.size).add(item)
    assert not Outbox(events=10, size=item.size - 1).add(item)


def test_clear() -> None:
    """
    Clearing drops frames and events, and tells how many events.
    """
    outbox = Outbox(events=10, size=10**6)
    outbox.add(envelope())
    outbox.add_frame(Ping(1, 0, None))

    assert 1 == outbox.clear()
    assert (0, 0, 0, None) == (len(outbox), outbox.events, outbox.size, outbox.take())


@pytest.mark.requirement("P5", "WS-16")
@given(
    events=st.integers(1, 5),
    room=st.integers(200, 3_000),
    steps=st.lists(st.one_of(st.integers(0, 1_500), st.sampled_from(["take", "frame", "clear"])), max_size=60),
)
def test_like_a_plain_queue(events: int, room: int, steps: list[int | str]) -> None:
    """
    Whatever happens in whatever order: first in, first out; both bounds hold; both counts are exact.
    """
    outbox = Outbox(events=events, size=room)
    model: deque[Envelope | Ping] = deque()
    for number, step in enumerate(steps):
        match step:
            case "take":
                assert (model.popleft() if model else None) is outbox.take()
            case "frame":
                model.append(frame := Ping(number, 0, None))
                outbox.add_frame(frame)
            case "clear":
                outbox.clear()
                model.clear()
            case _:
                item = envelope(int(step))
                if outbox.add(item):
                    model.append(item)
        waiting = [item for item in model if isinstance(item, Envelope)]
        assert (len(waiting), sum(item.size for item in waiting)) == (outbox.events, outbox.size)
        assert outbox.events <= events
        assert outbox.size <= room
        assert len(model) == len(outbox)
