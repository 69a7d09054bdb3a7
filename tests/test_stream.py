"""
One identity's stream: places, chain and cursor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.logs import put
from tests.shell import note
from ws_isolation import errors
from ws_isolation.events import AgentError, AgentStarted, AgentThinking, Envelope, Event, Problem
from ws_isolation.keys import identity_of
from ws_isolation.stream import NIL_ID, Cursor, Draft, Gap, Limits, Page, Resumed, Start, Stream, answer, parse_start
from ws_isolation.testing import make_context

OTHER_ID: Final = "0192f0c2-0a0b-7c0d-8e0f-101112131415"


def new_stream(limits: Limits = Limits()) -> Stream:  # noqa: B008  # a value
    """
    Return a stream on which nothing has happened.
    """
    return Stream(identity_of(make_context()), "epoch-1", limits)


def an_id(number: int) -> str:
    """
    Return a UUID of version 7.
    """
    return f"0192f0c3-0000-7000-8000-{number:012x}"


def append(stream: Stream, event: Event, number: int, *, limit: int = 65_536, now: float = 0.0) -> Envelope:
    """
    Append *event* under an id that *number* gives.
    """
    return put(stream, event, an_id(number), limit=limit, now=now)


def piece(text: str = "...") -> Event:
    """
    Return an event that has no place of its own.
    """
    return AgentThinking(run_id="r", thread_id="t", thought_id="x", mode="delta", text=text)


def started() -> Event:
    """
    Return the start of the run that ``piece()`` belongs to.
    """
    return AgentStarted(run_id="r", thread_id="t", agent_name="a")


def with_events(count: int, limits: Limits = Limits()) -> Stream:  # noqa: B008  # a value
    """
    Return a stream with *count* durable events, one in each second.
    """
    stream = new_stream(limits)
    for number in range(1, count + 1):
        append(stream, note(number), number, now=float(number))
    return stream


def asked(stream: Stream, start: Start, *, replay: int = 300, now: float = 0.0) -> Resumed | Gap | None:
    """
    Return what a client that begins at *start* gets.
    """
    return answer(start, stream.read(start, now), replay=replay)


def top(number: int) -> Cursor:
    """
    Return the cursor of the event with this number.
    """
    return Cursor("epoch-1", number, an_id(number) if number else NIL_ID)


@pytest.mark.requirement("P3")
def test_new_stream() -> None:
    """
    A new stream has a cursor before anything has happened.
    """
    assert Cursor("epoch-1", 0, NIL_ID) == new_stream().cursor


@pytest.mark.requirement("P3")
@given(durables=st.lists(st.booleans(), max_size=40))
def test_chain(durables: list[bool]) -> None:
    """
    Durable events are numbered without a hole and each names the one before it; pieces take no place.
    """
    stream = new_stream()
    chain = [append(stream, started(), 0)]
    for number, durable in enumerate(durables, 1):
        envelope = append(stream, note(number) if durable else piece(), number)
        assert durable is envelope.durable
        frame = msgspec.json.decode(envelope.text)
        if durable:
            assert envelope.seq == frame["seq"]
            chain.append(envelope)
        else:
            assert (chain[-1].seq, "") == (envelope.seq, envelope.prev)
            assert envelope.seq == frame["after_seq"]
        assert Cursor("epoch-1", chain[-1].seq, chain[-1].id) == stream.cursor

    assert list(range(1, len(chain) + 1)) == [envelope.seq for envelope in chain]
    assert [NIL_ID, *(envelope.id for envelope in chain[:-1])] == [envelope.prev for envelope in chain]
    assert {"epoch-1"} == {envelope.epoch for envelope in chain}
    assert {stream.identity} == {envelope.owner for envelope in chain}


def test_a_draft_is_encoded_but_for_its_place() -> None:
    """
    An engine that writes the place between the draft's two texts has what the stream itself makes.
    """
    stream = new_stream()
    draft = Draft(event=note(), owner=stream.identity, id=an_id(1), time="2026-11-22T21:09:00Z")

    envelope = stream.append(draft)

    assert f"{draft.parts.head}1{draft.parts.tail}" == envelope.text
    larger = msgspec.structs.replace(draft, event_bytes=envelope.size - 1)
    with pytest.raises(errors.InvalidEventError, match="bytes long"):
        stream.append(larger)
    assert 1 == stream.seq


@pytest.mark.scenario("S48")
def test_an_edited_event_makes_no_draft() -> None:
    """
    What cannot be encoded is refused before any engine hears of it.
    """
    edited = note()
    msgspec.structs.force_setattr(edited, "value", object())
    with pytest.raises(errors.InvalidEventError, match="was edited"):
        Draft(event=edited, owner=new_stream().identity, id=an_id(1), time="")


@pytest.mark.scenario("S27")
@pytest.mark.requirement("P1")
def test_owner_is_not_relabelled() -> None:
    """
    An event whose sender acts for another identity keeps that owner, so that the last hop can tell; else the stream's.
    """
    stream, bob = new_stream(), identity_of(make_context("bob"))
    foreign = put(stream, note(), owner=bob)

    assert bob == foreign.owner
    assert stream.identity == append(stream, note(), 2).owner


@pytest.mark.scenario("S42")
@pytest.mark.requirement("P3")
@pytest.mark.parametrize(
    ("event", "limit", "error"),
    [
        (note("x" * 2_000), 1_024, errors.InvalidEventError),
        (started(), 64, errors.InvalidEventError),
        (AgentError(run_id="r", thread_id="t", error=Problem(title="x" * 200, code="x")), 64, errors.InvalidEventError),
        (AgentError(run_id="r", error=Problem(title="It failed.", code="failed")), 65_536, errors.InvalidEventError),
    ],
    ids=["too big", "start too big", "end too big", "no thread"],
)
def test_refused_event_leaves_no_trace(event: Event, limit: int, error: type[Exception]) -> None:
    """
    An event that is refused takes no place and no room: the next one follows the last good one.
    """
    stream = with_events(1)
    before = stream.cursor, len(stream), stream.size
    with pytest.raises(error):
        append(stream, event, 2, limit=limit)

    assert before == (stream.cursor, len(stream), stream.size)
    envelope = append(stream, started(), 3)
    assert (2, an_id(1)) == (envelope.seq, envelope.prev)


SMALL: Final = Limits(events=3)


ANSWERS: Final[dict[str, tuple[int, Start, tuple[int, list[int]] | Gap | None]]] = {
    "live": (2, None, None),
    "live, nothing yet": (0, None, None),
    "window, nothing yet": (0, "window", (0, [])),
    "window": (2, "window", (2, [1, 2])),
    "window, trimmed": (5, "window", (5, [3, 4, 5])),
    "top, nothing yet": (0, top(0), (0, [])),
    "top": (2, top(2), (2, [])),
    "behind": (3, top(1), (3, [2, 3])),
    "behind, from the beginning": (3, top(0), (3, [1, 2, 3])),
    "behind, the entry itself trimmed": (5, top(2), (5, [3, 4, 5])),
    "trimmed": (5, top(1), Gap("trimmed", top(5), 2, 5)),
    "trimmed, from the beginning": (5, top(0), Gap("trimmed", top(5), 1, 5)),
    "ahead": (2, top(3), Gap("divergence", top(2))),
    "another id at the top": (2, Cursor("epoch-1", 2, OTHER_ID), Gap("divergence", top(2))),
    "another id": (3, Cursor("epoch-1", 1, OTHER_ID), Gap("divergence", top(3))),
    "another id, the entry itself trimmed": (5, Cursor("epoch-1", 2, OTHER_ID), Gap("divergence", top(5))),
    "another id, nothing yet": (0, Cursor("epoch-1", 0, OTHER_ID), Gap("divergence", top(0))),
    "another epoch": (2, Cursor("epoch-0", 2, an_id(2)), Gap("epoch_changed", top(2))),
    "another epoch, ahead": (2, Cursor("epoch-0", 9, an_id(1)), Gap("epoch_changed", top(2))),
}


@pytest.mark.requirement("P3")
@pytest.mark.scenario("S52")
@pytest.mark.parametrize(("count", "start", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_answer(count: int, start: Start, expected: tuple[int, list[int]] | Gap | None) -> None:
    """
    A start is answered truthfully: resumed with all that was missed, else a gap that says why and where.
    """
    result = asked(with_events(count, SMALL), start)

    if isinstance(result, Resumed):
        assert expected == (result.cursor.seq, [envelope.seq for envelope in result.replay])
        assert top(count) == result.cursor
    else:
        assert expected == result


@pytest.mark.requirement("P3")
@pytest.mark.parametrize(("replay", "missed"), [(4, 3), (4, 4), (4, 5), (0, 1)])
def test_replay_limit(replay: int, missed: int) -> None:
    """
    As many events are replayed as allowed, and no part of more; the window gives the newest of them.
    """
    stream = with_events(10)
    result = asked(stream, top(10 - missed), replay=replay)
    window = asked(stream, "window", replay=replay)

    if missed <= replay:
        assert isinstance(result, Resumed)
        assert missed == len(result.replay)
    else:
        assert Gap("replay_limit", top(10), 11 - missed, 10) == result
    assert isinstance(window, Resumed)
    assert list(range(11 - replay, 11)) == [envelope.seq for envelope in window.replay]


@pytest.mark.requirement("P3", "P5")
@given(sizes=st.lists(st.integers(0, 2_000), max_size=30), events=st.integers(0, 8), size=st.integers(0, 6_000))
def test_window_stays_within_its_bounds(sizes: list[int], events: int, size: int) -> None:
    """
    The window keeps the newest events that fit, its bytes are exact, and the chain goes on without it.
    """
    stream = new_stream(Limits(events=events, size=size))
    for number, padding in enumerate(sizes, 1):
        append(stream, note("x" * padding), number)
        kept = stream.read("window", 0.0).entries
        assert len(kept) == len(stream) <= events
        assert sum(envelope.size for envelope in kept) == stream.size <= size
        assert list(range(number - len(kept) + 1, number + 1)) == [envelope.seq for envelope in kept]
        assert top(number) == stream.cursor


@pytest.mark.requirement("P3", "P5")
def test_window_forgets_by_age() -> None:
    """
    What is older than the window is not replayed, whether something is appended later or not; the top stays known.
    """
    stream = with_events(4, Limits(seconds=10.0))

    assert [3, 4] == [envelope.seq for envelope in stream.read("window", 12.0).entries]
    append(stream, note(), 5, now=13.5)
    assert (2, 13.5) == (len(stream), stream.newest)
    assert Resumed(top(5)) == asked(stream, top(5), now=100.0)
    assert (0, 0, float("-inf")) == (len(stream), stream.size, stream.newest)
    assert Gap("trimmed", top(5), 5, 5) == asked(stream, top(4), now=100.0)


@pytest.mark.requirement("P3")
def test_cleared_window_is_a_gap() -> None:
    """
    A window that was given up for others leaves the top: who stands there goes on, who is behind gets a gap.
    """
    stream = with_events(3)
    stream.clear()

    assert (0, 0) == (len(stream), stream.size)
    assert Resumed(top(3)) == asked(stream, top(3))
    assert Gap("trimmed", top(3), 3, 3) == asked(stream, top(2))


SPOILT: Final[dict[str, Callable[[Page], Page]]] = {
    "a hole": lambda page: Page(page.top, (*page.entries[:1], *page.entries[2:])),
    "twice": lambda page: Page(page.top, (page.entries[1], *page.entries[1:])),
    "no end": lambda page: Page(page.top, page.entries[:-1]),
    "another end": lambda page: Page(Cursor("epoch-1", 4, OTHER_ID), page.entries),
    "another epoch": lambda page: Page(Cursor("epoch-2", 4, an_id(4)), page.entries),
    "another last one": lambda page: Page(page.top, (*page.entries[:2], put(with_events(3), note(), OTHER_ID))),
    "backwards": lambda page: Page(page.top, page.entries[::-1]),
}


@pytest.mark.requirement("P3")
@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_broken_history_is_not_replayed(spoil: Callable[[Page], Page]) -> None:
    """
    What an engine hands back is checked: a hole, a repetition or another history is a gap, never a part of a replay.
    """
    stream = with_events(4)
    for start in (top(1), "window"):
        sound = stream.read(start, 0.0)
        assert isinstance(answer(start, sound, replay=300), Resumed)
        result = answer(start, spoil(sound), replay=300)
        assert isinstance(result, Gap), start
        assert result.reason in ("divergence", "epoch_changed", "trimmed")


@pytest.mark.requirement("P3")
@given(missed=st.integers(0, 5), durables=st.integers(0, 5))
def test_everything_that_was_missed(missed: int, durables: int) -> None:
    """
    Wherever a client stands, what it has not seen is replayed, in order; pieces are not.
    """
    stream = with_events(durables)
    append(stream, started(), 90)
    seen = stream.cursor
    append(stream, piece(), 91)
    for number in range(missed):
        append(stream, note(number), 100 + number)

    result = asked(stream, seen)
    assert isinstance(result, Resumed)
    assert [an_id(100 + number) for number in range(missed)] == [envelope.id for envelope in result.replay]


_PARTS: Final = st.one_of(
    st.sampled_from(("", "0", "1", "007", "-1", "9" * 16, "9007199254740991", "9007199254740992", "٣", NIL_ID, "w")),
    st.text(max_size=70),
    st.uuids().map(str),
)
_TEXTS: Final = st.one_of(
    st.text(max_size=250),
    st.lists(_PARTS, min_size=1, max_size=4).map(".".join),
    st.tuples(
        st.text("abcXYZ019-_", min_size=1, max_size=64), st.integers(0, 2**53 - 1).map(str), st.uuids().map(str)
    ).map(".".join),
)


@given(text=_TEXTS)
def test_any_text_is_a_start_or_refused(text: str) -> None:
    """
    Any text is refused with an error that does not repeat it, or is a cursor that prints back the same.
    """
    try:
        start: object = parse_start(text)
    except errors.SchemaViolationError as refusal:
        start = refusal

    if isinstance(start, errors.SchemaViolationError):
        assert (
            "the cursor must be <epoch>.<seq>.<id> as the last welcome, resumed or gap gave it, or 'window'"
        ) in str(start)
    else:
        assert text == str(start)


@given(epoch=st.text("".join(map(chr, range(0x21, 0x7F))), min_size=1, max_size=64))
def test_cursor_there_and_back(epoch: str) -> None:
    """
    What a stream gave a client comes back as the same cursor.
    """
    cursor = Cursor(epoch, 2**53 - 1, OTHER_ID)

    assert cursor == parse_start(str(cursor))


@pytest.mark.parametrize(
    ("text", "start"),
    [(None, None), ("window", "window"), (f"epoch-1.0.{NIL_ID}", Cursor("epoch-1", 0, NIL_ID))],
)
def test_start(text: str | None, start: Start) -> None:
    """
    No cursor means live, ``window`` all that is there, and a cursor what it says.
    """
    assert start == parse_start(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Window",
        "window ",
        "..",
        f"epoch-1.0{NIL_ID}",
        f".0.{NIL_ID}",
        f"epoch-1..{NIL_ID}",
        "epoch-1.0.",
        f"epoch 1.0.{NIL_ID}",
        f"epöch.0.{NIL_ID}",
        f"{'e' * 65}.0.{NIL_ID}",
        f"{'e' * 300}.0.{NIL_ID}",
        f"epoch-1.00.{NIL_ID}",
        f"epoch-1.+1.{NIL_ID}",
        f"epoch-1.٣.{NIL_ID}",
        f"epoch-1.{2**53}.{NIL_ID}",
        f"epoch-1.{'9' * 5_000}.{NIL_ID}",
        f"epoch-1.0.{NIL_ID}\n",
        f"epoch-1.0.{OTHER_ID.upper()}",
        f"epoch-1.0.{NIL_ID}." + "x",
        "." * 1_000_000,
    ],
)
def test_no_start(text: str) -> None:
    """
    What no stream ever gave is refused.
    """
    with pytest.raises(errors.SchemaViolationError):
        parse_start(text)


@pytest.mark.parametrize("value", [Cursor("e", 0, NIL_ID), Resumed(Cursor("e", 0, NIL_ID))])
def test_values_are_frozen(value: Any) -> None:
    """
    A place that was handed out cannot be changed.
    """
    with pytest.raises(AttributeError):
        value.seq = 5
