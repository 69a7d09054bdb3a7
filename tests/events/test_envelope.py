"""
The envelope holds an event's place; no payload reaches into it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import force_setattr

from tests.events.samples import ALICE, EPOCH, EVENT_ID, RUN, SAMPLES, TIME, json_values, plain, sealed
from ws_isolation.errors import InvalidEventError
from ws_isolation.events import (
    EVENT_CLASSES,
    AgentCompleted,
    AgentMessageDelta,
    Custom,
    ToolCompleted,
    ToolExecuting,
    encode_data,
    format_time,
    seal,
)
from ws_isolation.events.conversion import format_unix
from ws_isolation.events.declaration import envelope_fields
from ws_isolation.events.envelope import halves
from ws_isolation.frozen import Json

MEMBERS = [
    *["type", "v", "id", "seq", "after_seq", "run_seq", "time", "thread_id", "run_id", "parent_run_id"],
    *["final", "synthetic", "causation_id", "metadata", "data"],
]
"""The reference's order."""

FORGED: Final[dict[str, Json]] = {
    "type": "ws.goodbye",
    "v": "9.9",
    "id": "0",
    "seq": 1,
    "after_seq": 1,
    "user_id": "bob",
    "tenant_id": "t",
    "owner": "bob",
    "run_id": "other",
    "thread_id": "other",
    "final": True,
    "data": {},
}


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_members(name: str) -> None:
    """
    Members come in the reference's order; delta and durable differ in ``seq``; the envelope says the same.
    """
    event = SAMPLES[name]
    envelope = sealed(event)
    frame = json.loads(envelope.text)

    assert [member for member in MEMBERS if member in frame] == list(frame)
    assert event.durable == envelope.durable == ("seq" in frame) == ("after_seq" not in frame)
    assert frame.get("run_seq") == envelope.run_seq
    assert event.final is ("final" in frame)
    assert (ALICE, EVENT_ID, EPOCH, 44, TIME) == (
        envelope.owner,
        envelope.id,
        envelope.epoch,
        envelope.seq,
        envelope.time,
    )
    assert event is envelope.event
    assert len(envelope.text.encode()) == envelope.size
    assert f'"data":{encode_data(event).decode()}}}' == envelope.text[envelope.text.index('"data":') :]


def test_every_envelope_field_is_written() -> None:
    """
    No class has a field beside ``data`` that the envelope does not know.
    """
    for kind in EVENT_CLASSES.values():
        assert set(envelope_fields(kind)) <= set(MEMBERS)


def test_identity_of_envelopes() -> None:
    """
    Envelopes are equal only to themselves, and frozen.
    """
    one, other = sealed(SAMPLES["custom"]), sealed(SAMPLES["custom"])

    assert one == one  # noqa: PLR0124  # equality is what is tested
    assert one != other
    with pytest.raises(AttributeError, match="immutable"):
        one.owner = ALICE  # type: ignore[misc]


@pytest.mark.scenario("S40")
@pytest.mark.requirement("P1")
@given(st.dictionaries(st.sampled_from(sorted(FORGED)), json_values))
def test_no_override(payload: dict[str, Json]) -> None:
    """
    A payload with the envelope's own member names changes nothing beside ``data``.
    """
    payload = {**FORGED, **payload}
    pairs = [
        (Custom(**RUN, name="a.b", value=payload), Custom(**RUN, name="a.b", value=None)),
        (
            ToolExecuting(**RUN, tool_call_id="c", tool_name="n", arguments=payload),
            ToolExecuting(**RUN, tool_call_id="c", tool_name="n"),
        ),
        (
            ToolCompleted(**RUN, tool_call_id="c", tool_name="n", status="ok", result=payload),
            ToolCompleted(**RUN, tool_call_id="c", tool_name="n", status="ok"),
        ),
        (AgentCompleted(**RUN, result=payload), AgentCompleted(**RUN)),
    ]
    for forged, honest in pairs:
        frames = [json.loads(sealed(event).text) for event in (forged, honest)]
        data = frames[0].pop("data")
        frames[1].pop("data")

        assert frames[0] == frames[1]
        assert any(plain(payload) == member for member in data.values())


@given(json_values, st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_round_trip(value: Json, text: str) -> None:
    """
    Any legal value comes out of the frame as it went in.
    """
    event = AgentCompleted(**RUN, result=value, output_text=text, metadata={"a.b": text})
    frame = json.loads(sealed(event).text)

    assert {"result": value, "output_text": text} == frame["data"]
    assert {"a.b": text} == frame["metadata"]
    assert RUN == {name: frame[name] for name in RUN}


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255))
def test_ids_are_escaped(text: str) -> None:
    """
    Ids with quotes and backslashes stay ids.
    """
    frame = json.loads(sealed(Custom(name="a.b", value=None, run_id=text, thread_id=text)).text)

    assert (text, text) == (frame["run_id"], frame["thread_id"])


@pytest.mark.parametrize("missing", ["run_id", "thread_id"])
def test_run_is_needed(missing: str) -> None:
    """
    A run's event without run or thread is refused; the text says what to do.
    """
    ids: dict[str, Any] = {name: value for name, value in RUN.items() if name != missing}
    with pytest.raises(InvalidEventError, match=r"belongs to a run: send it inside manager.run\(\)"):
        sealed(AgentMessageDelta(message_id="m", delta="", **ids))

    assert '"run_id"' not in sealed(Custom(name="a.b", value=None)).text


@pytest.mark.scenario("S48")
def test_size() -> None:
    """
    A frame of exactly the limit passes; one byte more is refused with size, limit and what to do.
    """
    event = Custom(name="a.b", value="ä" * 100)
    size = sealed(event).size

    assert size == sealed(event, event_bytes=size).size
    with pytest.raises(InvalidEventError) as caught:
        sealed(event, event_bytes=size - 1)
    assert "$" == caught.value.path
    assert f"{size:,} bytes long, at most {size - 1:,}" in caught.value.problem
    assert "truncated=True" in caught.value.problem
    with pytest.raises(InvalidEventError, match="65,536"):
        sealed(Custom(name="a.b", value="x" * 65_536))


@pytest.mark.scenario("S48")
def test_edited_event() -> None:
    """
    An event that its constructor did not make, or that was edited, is an error of its producer.
    """
    edited = Custom(name="a.b", value=None)
    force_setattr(edited, "value", object())
    beside = Custom(name="a.b", value=None)
    force_setattr(beside, "metadata", object())
    for event in (edited, beside):
        with pytest.raises(InvalidEventError, match="not made by its constructor, or was edited"):
            seal(event, owner=ALICE, id=EVENT_ID, epoch=EPOCH, seq=1, prev="", run_seq=None, time=TIME)


@pytest.mark.requirement("P3")
@pytest.mark.parametrize("seq", [0, 7, 10, 2**53 - 1])
@pytest.mark.parametrize("name", SAMPLES)
def test_head_place_and_tail_are_the_frame(name: str, seq: int) -> None:
    """
    Whoever writes the place between the two texts has the frame, byte for byte, and its size.
    """
    event = SAMPLES[name]
    run_seq = 3 if event.durable else None

    parts = halves(event, EVENT_ID, run_seq, TIME)
    envelope = seal(event, owner=ALICE, id=EVENT_ID, epoch=EPOCH, seq=seq, prev="", run_seq=run_seq, time=TIME)

    text = f"{parts.head}{seq}{parts.tail}"
    assert envelope.text == text
    assert len(text.encode()) == parts.size + len(str(seq)) == envelope.size
    assert event.durable is parts.durable
    assert seq == json.loads(text)["seq" if parts.durable else "after_seq"]


def test_digits_of_the_place_count() -> None:
    """
    A frame that fits at place 9 and is a byte too large at place 10 is refused there.
    """
    event = Custom(name="a.b", value=None)
    size = halves(event, EVENT_ID, None, TIME).size

    def at(seq: int) -> int:
        return seal(
            event,
            owner=ALICE,
            id=EVENT_ID,
            epoch=EPOCH,
            seq=seq,
            prev="",
            run_seq=None,
            time=TIME,
            event_bytes=size + 1,
        ).size

    assert size + 1 == at(9)
    with pytest.raises(InvalidEventError, match=f"{size + 2:,} bytes long"):
        at(10)


def test_run_seq_is_optional() -> None:
    """
    Without a place in a run the member is absent, never null.
    """
    envelope = seal(
        Custom(name="a.b", value=1), owner=ALICE, id=EVENT_ID, epoch=EPOCH, seq=1, prev="", run_seq=None, time=TIME
    )

    assert "run_seq" not in json.loads(envelope.text)
    assert "null" not in envelope.text


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 11, 22, 21, 9, 0, 123456, UTC), TIME),
        (datetime(2026, 11, 22, 21, 9, tzinfo=UTC), "2026-11-22T21:09:00Z"),
        (datetime(2026, 11, 22, 23, 9, 0, 5, timezone(timedelta(hours=2))), "2026-11-22T21:09:00.000005Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00Z"),
    ],
)
def test_format_time(moment: datetime, text: str) -> None:
    """
    Times are UTC with Z and at most six digits of a second's fraction.
    """
    assert text == format_time(moment)
    assert text == format_unix(moment.timestamp())


def test_times_close_together() -> None:
    """
    Whatever moment came before, each one's text is its own: within a millisecond, into the next, and the next second.
    """
    begin = datetime(2026, 11, 22, 21, 9, 58, 999_000, UTC)
    moments = [begin + timedelta(microseconds=step) for step in (*range(0, 2_100, 7), 1_000, 0, 1_001_000, 999, 1)]
    assert [format_time(moment) for moment in moments] == [format_unix(moment.timestamp()) for moment in moments]


def test_naive_time() -> None:
    """
    A naive time is refused: it names no moment.
    """
    with pytest.raises(ValueError, match="naive"):
        format_time(datetime(2026, 11, 22))  # noqa: DTZ001  # that is the point
