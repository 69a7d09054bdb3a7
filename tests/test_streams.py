"""
Who listens to which stream: by identity and by object, and by nothing else.
"""

from __future__ import annotations

import asyncio
import gc
import weakref

import attrs
import pytest
from hypothesis import given

from tests.logs import NoReader, put
from tests.shell import note
from tests.strategies import identities
from ws_isolation.events import Envelope
from ws_isolation.keys import Identity
from ws_isolation.stream import Cursor, Gap, Page, Stream
from ws_isolation.streams import LiveStream, Streams

ALICE = Identity(None, "alice")
BOB = Identity(None, "bob")
READER = NoReader()


@attrs.define(eq=True, unsafe_hash=True)
class Listener:
    """
    A session that is equal to every other one, as a careless implementation's could be.
    """

    takes: bool = attrs.field(default=True, eq=False)
    heard: list[Envelope] = attrs.field(factory=list[Envelope], eq=False)
    gaps: list[Gap] = attrs.field(factory=list[Gap], eq=False)

    def offer(self, envelope: Envelope, /) -> bool:
        """
        Take the envelope, or refuse it.
        """
        if self.takes:
            self.heard.append(envelope)
        return self.takes

    def missed(self, gap: Gap, /) -> None:
        """
        Hear of a gap.
        """
        self.gaps.append(gap)


class OpenRun:
    """
    A run that nobody stops.
    """

    def stop(self, reason: str = "user", /) -> None:
        """
        Fail.
        """
        raise AssertionError(reason)


def envelope_of(live: LiveStream) -> Envelope:
    """
    Append an event to the stream of *live*.
    """
    return put(Stream(live.identity, "epoch-1"), note())


def new_live(now: float = 1.0) -> LiveStream:
    """
    Return a stream to which nobody listens.
    """
    return LiveStream(ALICE, now, READER)


@pytest.mark.requirement("P1")
def test_publish_counts() -> None:
    """
    Each session is offered the event once, and those that queued it and those that could not are counted.
    """
    live = new_live()
    listeners = [Listener(), Listener(takes=False), Listener()]
    for listener in listeners:
        live.subscribe(listener)
    envelope = envelope_of(live)

    assert (2, 1) == live.offer(envelope)
    assert [[envelope], [], [envelope]] == [listener.heard for listener in listeners]


def test_publish_to_nobody() -> None:
    """
    An event that nobody hears is no error.
    """
    live = new_live()

    assert (0, 0) == live.offer(envelope_of(live))


@pytest.mark.requirement("P1")
def test_unsubscribe_this_very_session() -> None:
    """
    A session is removed by object, never by what it is equal to; twice does no harm.
    """
    live = new_live()
    one, two, stranger = Listener(), Listener(), Listener()
    live.subscribe(one)
    live.subscribe(two)
    assert one == two

    live.unsubscribe(stranger, 2.0)
    assert 2 == len(live.sessions)
    for now in (3.0, 4.0):
        live.unsubscribe(two, now)
        assert [id(one)] == [id(session) for session in live.sessions]
        assert 1.0 == live.detached_at
    live.unsubscribe(one, 5.0)
    assert (0, 5.0) == (len(live.sessions), live.detached_at)


def test_leaving_during_a_publish() -> None:
    """
    A session that leaves while an event is offered, as one that is too slow does, takes nobody else's turn.
    """
    live = new_live()

    class Leaver:
        def offer(self, envelope: Envelope, /) -> bool:
            live.unsubscribe(self, 2.0)
            return False

        def missed(self, gap: Gap, /) -> None:
            raise AssertionError(gap)

    last = Listener()
    for listener in (Leaver(), last):
        live.subscribe(listener)
    envelope = envelope_of(live)

    assert (1, 1) == live.offer(envelope)
    assert [envelope] == last.heard
    assert (last,) == live.sessions


async def test_idle() -> None:
    """
    A stream is idle while nobody listens, no run is open and no work goes on.
    """
    live = new_live()
    states = [live.is_idle]
    listener = Listener()
    live.subscribe(listener)
    states.append(live.is_idle)
    live.unsubscribe(listener, 2.0)
    live.runs["r"] = OpenRun()
    states.append(live.is_idle)
    del live.runs["r"]
    work = asyncio.create_task(asyncio.sleep(0))
    live.work.add(work)
    states.append(live.is_idle)
    live.work.discard(work)
    states.append(live.is_idle)
    await work

    assert [True, False, False, False, True] == states


@pytest.mark.requirement("P1")
@given(one=identities(), two=identities())
def test_one_stream_for_each_identity(one: tuple[str | None, str], two: tuple[str | None, str]) -> None:
    """
    Two identities share a stream exactly if they are the same, whatever their ids look like.
    """
    streams = Streams(READER)
    first, second = streams.open(Identity(*one), 1.0), streams.open(Identity(*two), 1.0)

    assert (first is second) is (one == two)
    assert len({one, two}) == len(streams) == len(streams.all())
    assert first is streams.find(Identity(*one))
    listener = Listener()
    first.subscribe(listener)
    second.offer(envelope_of(second))
    assert bool(listener.heard) is (one == two)


def test_find_makes_nothing() -> None:
    """
    Looking for a stream does not make one.
    """
    streams = Streams(READER)

    assert streams.find(ALICE) is None
    assert (0, ()) == (len(streams), streams.all())


@pytest.mark.requirement("P1")
def test_drop_this_very_stream() -> None:
    """
    Only the very stream is dropped: not a later one of the same identity, and no other's.
    """
    streams = Streams(READER)
    old, other = streams.open(ALICE, 1.0), streams.open(BOB, 1.0)
    for _ in range(2):
        streams.drop(old)
        assert streams.find(ALICE) is None
    new = streams.open(ALICE, 2.0)
    streams.drop(old)

    assert new is streams.find(ALICE)
    assert other is streams.find(BOB)
    assert new is streams.open(ALICE, 3.0)


def test_dropped_stream_is_garbage() -> None:
    """
    Nothing keeps a dropped stream.
    """
    streams = Streams(READER)
    gone = weakref.ref(streams.open(ALICE, 1.0))
    streams.drop(streams.all()[0])
    gc.collect()

    assert gone() is None


@pytest.mark.scenario("S22")
@pytest.mark.requirement("P3", "P5")
def test_what_the_engine_has_lost_is_not_asked_for_again() -> None:
    """
    An announced place that the engine does not have any more is dropped after one look; what came since is asked for.
    """
    stream, reader, listener = Stream(ALICE, "epoch-1"), NoReader(), Listener()
    live = LiveStream(ALICE, 1.0, reader)
    live.begin(Page(stream.cursor, ()))
    live.subscribe(listener)
    made = [put(stream, note(value)) for value in range(5)]
    live.arrived(made[2])
    assert (True, 1) == (live.reading, reader.asked)
    live.caught_up(Page(Cursor("epoch-1", 1, made[0].id), (made[0],)), 10)
    assert (False, 1, made[:1]) == (live.reading, reader.asked, listener.heard)

    live.arrived(made[3])
    live.arrived(made[4])  # while the engine is being asked: it may have been answered before this one came
    live.caught_up(Page(Cursor("epoch-1", 1, made[0].id), ()), 10)
    assert (True, 3) == (live.reading, reader.asked)
    live.caught_up(Page(stream.cursor, tuple(made[1:])), 10)

    assert (False, 3, made, []) == (live.reading, reader.asked, listener.heard, listener.gaps)


@pytest.mark.requirement("P3")
def test_what_was_held_and_follows_is_offered() -> None:
    """
    What came before the engine was asked, and is next after its answer, is offered without another look.
    """
    stream, reader, listener = Stream(ALICE, "epoch-1"), NoReader(), Listener()
    live = LiveStream(ALICE, 1.0, reader)
    live.begin(Page(stream.cursor, ()))
    live.subscribe(listener)
    made = [put(stream, note(value)) for value in range(3)]
    live.arrived(made[1])
    live.caught_up(Page(Cursor("epoch-1", 1, made[0].id), (made[0],)), 10)

    assert (False, 1, made[:2]) == (live.reading, reader.asked, listener.heard)


def test_interrupted_before_anybody_follows() -> None:
    """
    Where nobody follows the stream yet there is no history to read again.
    """
    reader = NoReader()
    LiveStream(ALICE, 1.0, reader).interrupted()

    assert 0 == reader.asked
