"""
The frames on the wire equal their golden files, byte for byte.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.events.samples import EPOCH, SAMPLES, sealed
from ws_isolation.events import EVENT_CLASSES

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.scenario("S39")
@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_frame(name: str) -> None:
    """
    The frame of each sample is the golden one: members, order, spelling, escapes.
    """
    expected = (GOLDEN / f"{name}.json").read_bytes()

    assert expected.decode() == sealed(SAMPLES[name]).text + "\n"


@pytest.mark.scenario("S39")
def test_complete() -> None:
    """
    Each golden file has its sample, and each event type its golden file.
    """
    files = {path.stem for path in GOLDEN.glob("*.json")}
    types = {json.loads(path.read_bytes())["type"] for path in GOLDEN.glob("*.json")}

    assert files == set(SAMPLES)
    assert types == set(EVENT_CLASSES)


@pytest.mark.scenario("S39")
def test_documented_examples() -> None:
    """
    The ``data`` of the five mission-critical events is what the reference shows as examples.
    """
    shown = [
        ("agent_started", '{"agent_name":"assistant"}'),
        ("agent_thinking_summary", '{"thought_id":"t1","mode":"summary","text":"looking it up"}'),
        ("tool_executing", '{"tool_call_id":"c1","tool_name":"search","arguments":{"q":"open invoices"}}'),
        (
            "tool_completed",
            '{"tool_call_id":"c1","tool_name":"search","status":"ok","result":{"rows":5},"duration_ms":182.4}',
        ),
        (
            "agent_completed",
            '{"output_text":"Five invoices are open.","stop_reason":"end_turn","tool_calls":1,"tool_errors":0}',
        ),
    ]

    for name, data in shown:
        assert sealed(SAMPLES[name]).text.endswith(f'"data":{data}}}')


@pytest.mark.scenario("S39", "S40")
def test_nobody_is_named() -> None:
    """
    No frame holds the owner, the key of the identity, the epoch or the chain's link.
    """
    for event in SAMPLES.values():
        envelope = sealed(event)

        for secret in (envelope.owner.user_id, envelope.owner.key, EPOCH, "334455667788"):
            assert secret not in envelope.text
