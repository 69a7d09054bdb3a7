"""
A frame that another node has sealed is read as strictly as an event is made.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events.samples import ALICE, EPOCH, EVENT_ID, SAMPLES, TIME, json_values, sealed
from ws_isolation.errors import InvalidEventError
from ws_isolation.events import Custom, Envelope, seal
from ws_isolation.events.reading import envelope_from
from ws_isolation.frozen import Json


def read(text: str, *, seq: int = 1, event_bytes: int = 65_536) -> Envelope:
    """
    Read *text* as Alice's event at place *seq*.
    """
    return envelope_from(text, owner=ALICE, epoch=EPOCH, seq=seq, prev="p", event_bytes=event_bytes)


@pytest.mark.requirement("P3")
@pytest.mark.parametrize("name", SAMPLES)
def test_there_and_back(name: str) -> None:
    """
    What was sealed is read as an equal envelope, in every member, with the very same text.
    """
    event = SAMPLES[name]
    made = seal(
        event, owner=ALICE, id=EVENT_ID, epoch=EPOCH, seq=7, prev="p", run_seq=2 if event.durable else None, time=TIME
    )

    again = read(made.text, seq=7)

    for member in Envelope.__struct_fields__:
        assert getattr(made, member) == getattr(again, member), member


@pytest.mark.parametrize(
    ("path", "members"),
    [
        ("$.type", {"type": "other"}),
        ("$.v", {"v": "2.0"}),
        ("$", {"id": ""}),
        ("$", {"time": "x" * 65}),
        ("$", {"data": []}),
        ("$", {"type": None}),
        ("$", {"seq": "1"}),
        ("$.seq", {"seq": 2}),
        ("$.seq", {"after_seq": 1}),
        ("$.run_id", {"run_id": "a b"}),
        ("$", {"run_id": 7}),
        ("$.name", {"data": {"value": 1}}),
        ("$.value", {"data": {"name": "a.b"}}),
        ("$.metadata", {"metadata": []}),
    ],
)
def test_refused(path: str, members: dict[str, Any]) -> None:
    """
    A frame that nobody could have sealed at this place is refused, and the path says where.
    """
    text = sealed(SAMPLES["custom"]).text
    good = {**json.loads(text), "seq": 1}
    assert read(json.dumps(good)).event == SAMPLES["custom"]

    with pytest.raises(InvalidEventError) as caught:
        read(json.dumps({**good, **members}))

    assert path == caught.value.path
    assert "frame" == caught.value.event or path in {"$.name", "$.value", "$.metadata", "$.run_id"}


def test_a_run_is_needed() -> None:
    """
    An event of a run without the run is refused.
    """
    text = sealed(SAMPLES["agent_started"]).text
    members = json.loads(text)
    del members["run_id"]

    with pytest.raises(InvalidEventError, match="belongs to a run"):
        read(json.dumps(members), seq=44)


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "[" * 100_000, '{"data":' * 10_000, "\ud800"])
def test_no_frame(text: str) -> None:
    """
    What is no frame at all, however deep, is refused as that.
    """
    with pytest.raises(InvalidEventError, match="is no frame of this wire"):
        read(text, event_bytes=1_000_000)


def test_size() -> None:
    """
    A frame of exactly the limit is read; one byte more is refused, without a look into it.
    """
    made = sealed(Custom(name="a.b", value="ä" * 50))

    assert made.size == read(made.text, seq=44, event_bytes=made.size).size
    for text in (made.text, "ä" * made.size):
        with pytest.raises(InvalidEventError, match="bytes long"):
            read(text, seq=44, event_bytes=made.size - 1)


@pytest.mark.scenario("S48")
@given(st.sampled_from(sorted(SAMPLES)), st.text(max_size=12), json_values, st.booleans())
def test_total(name: str, member: str, value: Json, below: bool) -> None:  # noqa: FBT001  # drawn
    """
    With any value in any place of a frame there is an envelope or an InvalidEventError.
    """
    members: dict[str, Any] = json.loads(sealed(SAMPLES[name]).text)
    names = sorted(members["data"] if below else members)
    place = names[len(member) % len(names)] if names else member
    (members["data"] if below else members)[place] = value
    with contextlib.suppress(InvalidEventError):
        assert ALICE == read(json.dumps(members), seq=44).owner
