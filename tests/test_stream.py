"""
One identity's stream: places, chain and cursor.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.shell import note
from ws_isolation import errors
from ws_isolation.events import AgentError, AgentStarted, AgentThinking, Envelope, Event, Problem
from ws_isolation.keys import identity_of
from ws_isolation.stream import NIL_ID, Cursor, Gap, Resumed, Start, Stream, parse_start
from ws_isolation.testing import make_context

TIME: Final = "2026-11-22T21:09:00.123456Z"
OTHER_ID: Final = "0192f0c2-0a0b-7c0d-8e0f-101112131415"


def new_stream() -> Stream:
    """
    Return a stream on which nothing has happened.
    """
    return Stream(identity_of(make_context()), "epoch-1")


def an_id(number: int) -> str:
    """
    Return a UUID of version 7.
    """
    return f"0192f0c3-0000-7000-8000-{number:012x}"


def append(stream: Stream, event: Event, number: int, *, limit: int = 65_536) -> Envelope:
    """
    Append *event* under an id that *number* gives.
    """
    return stream.append(event, event_id=an_id(number), time=TIME, limit=limit)


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


def with_events(count: int) -> Stream:
    """
    Return a stream with *count* durable events.
    """
    stream = new_stream()
    for number in range(1, count + 1):
        append(stream, note(number), number)
    return stream


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
            assert (chain[-1].seq, "", None) == (envelope.seq, envelope.prev, envelope.run_seq)
            assert envelope.seq == frame["after_seq"]
        assert Cursor("epoch-1", chain[-1].seq, chain[-1].id) == stream.cursor

    assert list(range(1, len(chain) + 1)) == [envelope.seq for envelope in chain]
    assert [NIL_ID, *(envelope.id for envelope in chain[:-1])] == [envelope.prev for envelope in chain]
    assert {"epoch-1"} == {envelope.epoch for envelope in chain}
    assert {stream.identity} == {envelope.owner for envelope in chain}


@pytest.mark.scenario("S27")
@pytest.mark.requirement("P1")
def test_owner_is_not_relabelled() -> None:
    """
    An event whose sender acts for another identity keeps that owner, so that the last hop can tell; else the stream's.
    """
    stream, bob = new_stream(), identity_of(make_context("bob"))
    foreign = stream.append(note(), event_id=an_id(1), time=TIME, limit=65_536, owner=bob)

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
        (piece(), 65_536, errors.LifecycleError),
    ],
    ids=["too big", "start too big", "end too big", "no thread", "illegal"],
)
def test_refused_event_leaves_no_trace(event: Event, limit: int, error: type[Exception]) -> None:
    """
    An event that is refused takes no place, opens no run and ends none: the next one follows the last good one.
    """
    stream = with_events(1)
    before = stream.cursor
    with pytest.raises(error):
        append(stream, event, 2, limit=limit)

    assert before == stream.cursor
    assert frozenset() == stream.lifecycle.open_runs
    envelope = append(stream, started(), 3)
    assert (2, an_id(1), 1) == (envelope.seq, envelope.prev, envelope.run_seq)


@pytest.mark.requirement("P3")
@pytest.mark.parametrize(
    ("count", "start", "answer"),
    [
        (2, None, None),
        (0, None, None),
        (0, "window", Resumed(Cursor("epoch-1", 0, NIL_ID), 0)),
        (2, "window", Gap("trimmed", Cursor("epoch-1", 2, an_id(2)), 1, 2)),
        (0, Cursor("epoch-1", 0, NIL_ID), Resumed(Cursor("epoch-1", 0, NIL_ID), 0)),
        (2, Cursor("epoch-1", 2, an_id(2)), Resumed(Cursor("epoch-1", 2, an_id(2)), 0)),
        (3, Cursor("epoch-1", 1, an_id(1)), Gap("trimmed", Cursor("epoch-1", 3, an_id(3)), 2, 3)),
        (3, Cursor("epoch-1", 0, NIL_ID), Gap("trimmed", Cursor("epoch-1", 3, an_id(3)), 1, 3)),
        (2, Cursor("epoch-1", 3, an_id(3)), Gap("divergence", Cursor("epoch-1", 2, an_id(2)))),
        (2, Cursor("epoch-1", 2, OTHER_ID), Gap("divergence", Cursor("epoch-1", 2, an_id(2)))),
        (0, Cursor("epoch-1", 0, OTHER_ID), Gap("divergence", Cursor("epoch-1", 0, NIL_ID))),
        (2, Cursor("epoch-0", 2, an_id(2)), Gap("epoch_changed", Cursor("epoch-1", 2, an_id(2)))),
        (2, Cursor("epoch-0", 1, an_id(1)), Gap("epoch_changed", Cursor("epoch-1", 2, an_id(2)))),
    ],
    ids=[
        "live",
        "live, nothing yet",
        "window, nothing yet",
        "window",
        "top, nothing yet",
        "top",
        "behind",
        "behind, from the beginning",
        "ahead",
        "another id",
        "another id, nothing yet",
        "another epoch",
        "another epoch, behind",
    ],
)
def test_answer(count: int, start: Start, answer: Resumed | Gap | None) -> None:
    """
    A start is answered truthfully: resumed only where nothing was missed, else a gap that says why and where.
    """
    assert answer == with_events(count).answer(start)


@given(missed=st.integers(0, 5), durables=st.integers(0, 5))
def test_resumed_only_where_nothing_was_missed(missed: int, durables: int) -> None:
    """
    Whoever has seen the last durable event has missed nothing, whatever pieces came after it; anybody else a gap.
    """
    stream = with_events(durables)
    append(stream, started(), 90)
    seen = stream.cursor
    append(stream, piece(), 91)
    for number in range(missed):
        append(stream, note(number), 100 + number)

    answer = stream.answer(seen)
    top = stream.cursor
    assert answer == (Gap("trimmed", top, seen.seq + 1, seen.seq + missed) if missed else Resumed(top, 0))


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


@pytest.mark.parametrize("value", [Cursor("e", 0, NIL_ID), Resumed(Cursor("e", 0, NIL_ID), 0)])
def test_values_are_frozen(value: Any) -> None:
    """
    A place that was handed out cannot be changed.
    """
    with pytest.raises(AttributeError):
        value.seq = 5
