"""
Reading what clients send: whatever it is, it is served, answered or closed with a documented code.
"""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.logs import put
from tests.shell import note
from ws_isolation import PlainWire, errors
from ws_isolation.events.envelope import Envelope
from ws_isolation.frames import Ack, ErrorFrame, Message, Ping, Pong
from ws_isolation.frozen import FrozenDict
from ws_isolation.keys import identity_of
from ws_isolation.stream import Stream
from ws_isolation.testing import make_context
from ws_isolation.wire import DEFAULT_WIRE, RESERVED_NAMES, SUBPROTOCOL, Unservable, Wire

LIMIT: Final = 65_536
UUID: Final = "0192f0c3-aaaa-7bbb-8ccc-ddddeeeeffff"
PLAIN: Final = PlainWire(lambda _envelope: None)
WIRES: Final = pytest.mark.parametrize("wire", [DEFAULT_WIRE, PLAIN], ids=["default", "plain"])

FINITE: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
JSON: Final = FINITE | st.floats() | st.dictionaries(st.text(max_size=4), st.floats(), max_size=2)
MEMBERS: Final = st.dictionaries(
    st.sampled_from(["type", "data", "id", "run_id", "thread_id", "n", "seq", "user_id", "aud", "extra"]),
    JSON | st.sampled_from(["ws.pong", "ws.ack", "ws.auth", "ws.goodbye", "hello", "stop", "Hello", "", UUID]),
    max_size=5,
)


def read(text: str | bytes, wire: Wire = DEFAULT_WIRE, limit: int = LIMIT) -> object:
    """
    Return what the wire makes of *text*; a PeerError's or AccessError's code where it refuses.
    """
    try:
        return wire.read(text, limit)
    except (errors.PeerError, errors.ForbiddenError) as error:
        return error.close_code


def padded(size: int, filler: str = "x") -> str:
    """
    Return a message of *size* bytes.
    """
    rest = size - len('{"type":"x","data":{"t":""}}')
    each = len(filler.encode())
    text = '{"type":"x","data":{"t":"' + filler * (rest // each) + "y" * (rest % each) + '"}}'
    assert size == len(text.encode())
    return text


def test_message() -> None:
    """
    A message keeps its type, data, id and run id; data is frozen, and empty where absent or null.
    """
    text = f'{{"type":"say","data":{{"text":"hi","n":[1,{{}}]}},"id":"{UUID}","run_id":"run 1"}}'

    assert 4022 == read(text)
    message = read(text.replace("run 1", "run-1"))
    assert Message(type="say", data={"text": "hi", "n": (1, {})}, id=UUID, run_id="run-1") == message
    assert Message(type="say") == read('{"type":"say"}') == read('{"type":"say","data":null,"id":null}')
    assert isinstance(message, Message)
    assert isinstance(message.data, FrozenDict)


def test_control_frames() -> None:
    """
    Pong and ack are read; nothing else that begins with ``ws.`` is a client's to send.
    """
    assert Pong(3) == read('{"type":"ws.pong","n":3}') == read('{"type":"ws.pong","n":3,"seq":4}')
    assert Ack(0) == read('{"type":"ws.ack","seq":0}')


@pytest.mark.scenario("S41")
@pytest.mark.requirement("WS-17", "WS-18")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", 4000),
        (" ", 4000),
        ("{", 4000),
        ("{}", 4000),
        ("[]", 4000),
        ("1", 4000),
        ("null", 4000),
        ('"text"', 4000),
        ('{"type":null}', 4000),
        ('{"type":1}', 4000),
        ('{"data":{}}', 4000),
        ('\ufeff{"type":"x"}', 4000),
        ('{"type":"x"}{"type":"y"}', 4000),
        ('{"type":"x",}', 4000),
        ("{'type':'x'}", 4000),
        ('{"type":"x","data":{"n":NaN}}', 4000),
        ('{"type":"x","data":{"n":Infinity}}', 4000),
        ('{"type":"x","data":{"t":"\\ud800"}}', 4000),
        ('{"type":"x","data":{"t":"\ud800"}}', 4000),
        ('{"type":"x","data":{"n":1e400}}', 4000),
        ('{"type":"x","data":' + "[" * 60_000, 4000),
        ('{"type":"x","data":{"d":' + "[" * 33 + "]" * 33 + "}}", 4000),
        ('{"type":"ws.auth","credential":"x"}', 4000),
        ('{"type":"ws.refresh"}', 4022),
        ('{"type":"ws.goodbye"}', 4000),
        ('{"type":"ws."}', 4000),
        ('{"type":"ws.WEIRD\\u0000"}', 4000),
        (b'{"type":"x"}', 4000),
        ('{"type":""}', 4022),
        ('{"type":"Say"}', 4022),
        ('{"type":"a.b"}', 4022),
        ('{"type":"1a"}', 4022),
        ('{"type":"' + "a" * 65 + '"}', 4022),
        ('{"type":"x","data":[]}', 4022),
        ('{"type":"x","data":"text"}', 4022),
        ('{"type":"x","data":{"n":9007199254740992}}', 4022),
        ('{"type":"x","data":{"n":-9007199254740992}}', 4022),
        ('{"type":"x","data":{"n":' + "9" * 30 + "}}", 4022),
        ('{"type":"x","id":"1"}', 4022),
        ('{"type":"x","id":"' + UUID.upper() + '"}', 4022),
        ('{"type":"x","id":1}', 4022),
        ('{"type":"x","run_id":""}', 4022),
        ('{"type":"x","run_id":"' + "r" * 256 + '"}', 4022),
        ('{"type":"x","run_id":{}}', 4022),
        ('{"type":"x","user_id":"bob"}', 4022),
        ('{"type":"x","user_id":null}', 4022),
        ('{"type":"x","tenant_id":"t"}', 4022),
        ('{"type":"x","owner":"bob"}', 4022),
        ('{"type":"x","aud":"bob"}', 4022),
        ('{"type":"BAD","user_id":"bob"}', 4022),
        ('{"type":"x","thread_id":""}', 4022),
        ('{"type":"ws.pong"}', 4022),
        ('{"type":"ws.pong","n":0}', 4022),
        ('{"type":"ws.pong","n":true}', 4022),
        ('{"type":"ws.pong","n":1.0}', 4022),
        ('{"type":"ws.pong","n":"1"}', 4022),
        ('{"type":"ws.pong","n":9007199254740992}', 4022),
        ('{"type":"ws.pong","n":1,"seq":-1}', 4022),
        ('{"type":"ws.pong","n":1,"extra":1}', 4022),
        ('{"type":"ws.ack"}', 4022),
        ('{"type":"ws.ack","seq":1,"user_id":"bob"}', 4022),
    ],
)
def test_refused(text: str | bytes, code: int) -> None:
    """
    What is no frame ends with 4000, a frame of the wrong shape with 4022.
    """
    assert code == read(text)


@pytest.mark.scenario("S41")
@pytest.mark.requirement("WS-17")
def test_unknown_member_is_answered() -> None:
    """
    A well-formed message with a member that does not exist is answered, with its id, type and the member's path.
    """
    text = f'{{"type":"say","id":"{UUID}","zeta":1,"alpha":2}}'
    error = ErrorFrame(
        slug="invalid_data", refused_type="say", causation_id=UUID, path="$.alpha", problem="unknown member"
    )

    assert Unservable(error) == read(text)
    long = read('{"type":"say","' + "x" * 10_000 + '\\u001b":1}')
    assert isinstance(long, Unservable)
    assert len(long.error.path) <= 66


def test_duplicate_members() -> None:
    """
    Of members that come twice the last counts, for the reserved names as for the rest.
    """
    assert Message(type="y") == read('{"type":"ws.auth","type":"y"}')
    assert 4022 == read('{"type":"x","user_id":"a","user_id":"a"}')


def test_data_may_hold_anything() -> None:
    """
    Below ``data`` every name is the application's own.
    """
    data: dict[str, object] = {"user_id": "bob", "type": "ws.auth", "thread_id": "t", "owner": None, "": {"aud": []}}

    assert Message(type="x", data={**data, "": {"aud": ()}}) == read(json.dumps({"type": "x", "data": data}))


@WIRES
@pytest.mark.requirement("WS-14")
@pytest.mark.parametrize("limit", [1_024, LIMIT])
@pytest.mark.parametrize("filler", ["x", "ä", "漢", "😀", "\\n"])
def test_size(wire: Wire, limit: int, filler: str) -> None:
    """
    One byte below the limit and the limit itself are read, one more is not; bytes count, not characters.
    """
    sizes = [limit - 1, limit, limit + 1]

    assert [True, True, False] == [isinstance(read(padded(size, filler), wire, limit), Message) for size in sizes]
    assert 4013 == read(padded(limit + 1, filler), wire, limit)
    assert 4013 == read("[" * (limit + 1), wire, limit)


@WIRES
@pytest.mark.scenario("S41")
@pytest.mark.requirement("WS-18")
@given(text=st.text() | st.binary())
@example(text='{"type":"x","data":{"t":"\udfff"}}')
@example(text="\x00")
def test_any_text(wire: Wire, text: str | bytes) -> None:
    """
    Arbitrary text and bytes come to a documented end.
    """
    assert isinstance(read(text, wire), Message | Pong | Ack | Unservable) or read(text, wire) in {4000, 4022}


@WIRES
@pytest.mark.scenario("S41")
@pytest.mark.requirement("WS-17", "WS-18")
@given(value=JSON | MEMBERS)
def test_any_json(wire: Wire, value: Any) -> None:
    """
    Arbitrary JSON is read, answered or refused with 4000, 4003 or 4022; with a reserved name it is never read.
    """
    got = read(json.dumps(value), wire)

    assert isinstance(got, Message | Pong | Ack | Unservable) or got in {4000, 4003, 4022}
    if isinstance(value, dict) and RESERVED_NAMES & value.keys():
        assert got in {4000, 4022}


@pytest.mark.requirement("WS-17")
@given(
    data=st.dictionaries(st.text(max_size=5), FINITE, max_size=4),
    kind=st.from_regex("[a-z][a-z0-9_]{0,63}", fullmatch=True),
)
def test_what_is_read_is_what_was_sent(data: dict[str, Any], kind: str) -> None:
    """
    What a message holds is what the client sent, unless it was refused.
    """
    got = read(json.dumps({"type": kind, "data": data}))

    if isinstance(got, Message):
        assert (kind, data) == (got.type, json.loads(json.dumps(got.data)))


def test_plain_wire_reads_any_object() -> None:
    """
    Any object is a message whose data is the whole; its type is kept where it is one.
    """
    assert Message(type="message", data={"text": "hi"}) == read('{"text":"hi"}', PLAIN)
    assert Message(type="say", data={"type": "say"}) == read('{"type":"say"}', PLAIN)
    for kind in ('"ws.auth"', '"Say"', "1", "null"):
        got = read(f'{{"type":{kind}}}', PLAIN)
        assert isinstance(got, Message)
        assert "message" == got.type
    assert [4000, 4000, 4022] == [read(text, PLAIN) for text in ("[]", b"{}", '{"tenant_id":1}')]


def _envelope(value: object) -> Envelope:
    stream = Stream(identity_of(make_context()), "epoch")
    return put(stream, note(value), limit=LIMIT)


def test_plain_wire_writes_what_encode_makes() -> None:
    """
    A text goes out as it is, JSON encoded, None not at all; control frames do not exist.
    """
    envelope = _envelope(1)

    assert "as it is" == PlainWire(lambda _envelope: "as it is").event(envelope)
    assert '{"a":[1,null]}' == PlainWire(lambda _envelope: {"a": [1, None]}).event(envelope)
    assert PlainWire(lambda _envelope: None).event(envelope) is None
    assert PLAIN.control(Ping(1, 0, None)) is None
    with pytest.raises(ValueError, match="number"):
        PlainWire(lambda _envelope: float("nan")).event(envelope)


@pytest.mark.scenario("S55")
def test_subprotocols() -> None:
    """
    The default wire has its name, a plain one what it was given, if that can be answered at all.
    """
    assert SUBPROTOCOL == DEFAULT_WIRE.subprotocol
    assert PLAIN.subprotocol is None
    assert "v1.chat" == PlainWire(lambda _envelope: None, subprotocol="v1.chat").subprotocol
    for name in ("", "two words", "ä", "x" * 65, "a,b"):
        with pytest.raises(errors.SettingsError, match="must be a token of RFC 7230"):
            PlainWire(lambda _envelope: None, subprotocol=name)


@pytest.mark.scenario("S40")
def test_default_wire_writes_the_envelope() -> None:
    """
    An event goes out as the text that was encoded once for all sessions.
    """
    envelope = _envelope({"type": "ws.goodbye"})

    assert envelope.text is DEFAULT_WIRE.event(envelope)
    assert '{"type":"ws.ping","n":1,"seq":2}' == DEFAULT_WIRE.control(Ping(1, 2, None))
