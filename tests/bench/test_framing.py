"""
The load generator's parser and ledger: nothing wrong passes as right.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.framing import FrameParser, Ledger, Stamp, read_stamp
from bench.load import request, text_frame
from bench.work import as_dict, thought


def framed(payload: bytes, opcode: int = 1) -> bytes:
    """
    Return *payload* as a server's frame.
    """
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65_536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


def stamped(user: str, n: int) -> bytes:
    """
    Return a payload that holds the stamp of *user*'s event *n*.
    """
    return thought(user, n).encode()


@given(sizes=st.lists(st.sampled_from([0, 1, 125, 126, 300, 65_535, 65_536]), max_size=4), data=st.data())
def test_frames_come_out_however_the_bytes_were_split(sizes: list[int], data: st.DataObject) -> None:
    """
    Each frame comes out once, whole and in order, wherever the stream was cut.
    """
    payloads = [bytes([number]) * size for number, size in enumerate(sizes)]
    stream = b"".join(framed(payload) for payload in payloads)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    parser = FrameParser()

    got = [
        payload
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for _, payload in parser.feed(stream[begin:end])
    ]

    assert payloads == got


@pytest.mark.parametrize("data", [b"\x81\x85\0\0\0\0hello", b"\x01\x03abc", b"\x81\xfe\0\x80" + b"\0" * 132])
def test_masked_and_fragmented_frames_are_no_frames(data: bytes) -> None:
    """
    What no measured server sends ends the run instead of being counted.
    """
    with pytest.raises(ValueError, match="masked or fragmented"):
        list(FrameParser().feed(data))


def test_stamp_is_found_in_any_envelope() -> None:
    """
    The stamp is read out of JSON, and out of JSON inside another protocol; other frames have none.
    """
    payload = b'42["agent_thinking",{"data":{"text":"' + stamped("user000007", 3) + b'"}}]'

    found = read_stamp(payload)

    assert isinstance(found, Stamp)
    assert ("user000007", 3) == found[:2]
    assert read_stamp(b'{"type":"ws.welcome"}') is None
    assert as_dict("a", 1)["data"]["text"].startswith("@@a|1|")


def test_ledger_of_a_sound_run() -> None:
    """
    Events that come once, in order and to their user leave nothing to say.
    """
    ledger = Ledger()
    for n in range(3):
        ledger.note("a", stamped("a", n))
    ledger.note("a", b"{}")

    assert (3, 0, 0, 0) == (ledger.delivered, ledger.foreign, ledger.gaps, ledger.duplicates)
    assert 0 == ledger.missing({"a": 3})


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        ([("a", 0), ("b", 0)], (1, 0, 0)),
        ([("a", 0), ("a", 2)], (0, 1, 0)),
        ([("a", 0), ("a", 0)], (0, 0, 1)),
        ([("a", 1), ("a", 0)], (0, 1, 1)),
    ],
)
def test_ledger_sees_each_fault(events: list[tuple[str, int]], fault: tuple[int, int, int]) -> None:
    """
    A foreign event, a gap, a repetition and a swap are each counted.
    """
    ledger = Ledger()
    for user, n in events:
        ledger.note("a", stamped(user, n))

    assert fault == (ledger.foreign, ledger.gaps, ledger.duplicates)


def test_ledger_sees_what_never_came() -> None:
    """
    Events at the end of a sequence, and users who got nothing at all, are missing.
    """
    ledger = Ledger()
    ledger.note("a", stamped("a", 0))

    assert 4 == ledger.missing({"a": 3, "b": 2})


def test_client_frames_are_masked() -> None:
    """
    What the client writes is a handshake and masked frames.
    """
    assert b"\x81\x82\0\0\0\x0040" == text_frame("40")
    assert request("/ws", "h", "me").endswith(b"Authorization: Bearer me\r\n\r\n")
