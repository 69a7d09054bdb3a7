"""
Control frames have exactly the members of the event reference, in their order, and nothing of what was thrown.
"""

from __future__ import annotations

import msgspec
import pytest

from ws_isolation import closing
from ws_isolation.frames import (
    Ack,
    ErrorFrame,
    Frame,
    GapFrame,
    Goodbye,
    Message,
    Ping,
    Pong,
    ResumedFrame,
    Welcome,
)
from ws_isolation.stream import NIL_ID, Cursor, Gap

CURSOR = Cursor("q3J8", 41, NIL_ID)
WIRE_CURSOR = f'{{"epoch":"q3J8","seq":41,"id":"{NIL_ID}"}}'
WELCOME = Welcome(
    connection_id="c1",
    thread_id="thr_7",
    cursor=CURSOR,
    heartbeat_ms=25_000,
    pong_timeout_ms=8_000,
    message_bytes=65_536,
    event_bytes=65_536,
    replay_events=300,
    expires_in_ms=900_000,
)
_LIMITS = '"limits":{"message_bytes":65536,"event_bytes":65536,"replay_events":300}'
_BEATS = '"heartbeat_ms":25000,"pong_timeout_ms":8000'


@pytest.mark.scenario("S61", "S63")
@pytest.mark.requirement("WS-29")
@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (
            WELCOME,
            (
                f'{{"type":"ws.welcome","v":"1.0","connection_id":"c1","thread_id":"thr_7","cursor":{WIRE_CURSOR},'
                f'{_BEATS},{_LIMITS},"expires_in_ms":900000}}'
            ),
        ),
        (
            msgspec.structs.replace(WELCOME, thread_id=None, expires_in_ms=None),
            f'{{"type":"ws.welcome","v":"1.0","connection_id":"c1","cursor":{WIRE_CURSOR},{_BEATS},{_LIMITS}}}',
        ),
        (ResumedFrame(CURSOR, 0), f'{{"type":"ws.resumed","cursor":{WIRE_CURSOR},"count":0}}'),
        (
            GapFrame(Gap("trimmed", CURSOR, 12, 41)),
            f'{{"type":"ws.gap","reason":"trimmed","cursor":{WIRE_CURSOR},"from_seq":12,"to_seq":41}}',
        ),
        (
            GapFrame(Gap("epoch_changed", CURSOR)),
            f'{{"type":"ws.gap","reason":"epoch_changed","cursor":{WIRE_CURSOR}}}',
        ),
        (Ping(3, 44, None), '{"type":"ws.ping","n":3,"seq":44}'),
        (Ping(3, 44, 0), '{"type":"ws.ping","n":3,"seq":44,"expires_in_ms":0}'),
        (
            Goodbye(code=closing.NORMAL),
            '{"type":"ws.goodbye","code":1000,"slug":"normal","action":"stop"}',
        ),
        (
            Goodbye(code=closing.INTERNAL_ERROR, incident_id="7f3a9c21d0"),
            (
                '{"type":"ws.goodbye","code":4300,"slug":"internal_error","action":"back_off",'
                '"retry_after_ms":1000,"incident_id":"7f3a9c21d0"}'
            ),
        ),
        (
            Goodbye(code=closing.DRAIN, retry_after_ms=0),
            '{"type":"ws.goodbye","code":4200,"slug":"drain","action":"resume","retry_after_ms":0}',
        ),
        (ErrorFrame(slug="handler_error"), '{"type":"ws.error","slug":"handler_error"}'),
        (
            ErrorFrame(slug="x", refused_type="t", causation_id="c", path="$.p", problem="q", incident_id="i"),
            (
                '{"type":"ws.error","slug":"x","refused_type":"t","causation_id":"c","path":"$.p","problem":"q",'
                '"incident_id":"i"}'
            ),
        ),
    ],
)
def test_members(frame: Frame, text: str) -> None:
    """
    The frame equals its golden JSON, byte for byte.
    """
    assert text == msgspec.json.encode(frame.members()).decode()


def test_inbound_values() -> None:
    """
    What a client may send are values, and an empty message shares nothing that could change.
    """
    assert Message(type="x") == Message(type="x", data={}, id=None, run_id=None)
    with pytest.raises(TypeError):
        Message(type="x").data["y"] = 1  # type: ignore[index]  # what must fail
    assert (Pong(1), Ack(0)) == (Pong(1), Ack(0))
