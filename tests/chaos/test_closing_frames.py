"""
The close frame of a server is found, and nothing else is taken for one.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.test_framing import framed
from tests.chaos.closing_frames import ServerStream

UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
LOOKS_CLOSED = b"xy\x88\x02\x6c\x3d"
"""Data that ends like a close frame with code 27709, as compressed data may."""


def code(*chunks: bytes) -> int | None:
    """
    Return the code that is found in what a server sent.
    """
    stream = ServerStream()
    for chunk in chunks:
        stream.feed(chunk)
    return stream.close


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (b"", None),
        (framed(b"text"), None),
        (framed(LOOKS_CLOSED), None),
        (framed(b"a" * 300) + framed(LOOKS_CLOSED, 2), None),
        (framed(b"cut off here")[:-3] + LOOKS_CLOSED[-3:], None),
        (framed((4200).to_bytes(2) + b"draining", 8), 4200),
        (framed(b"", 8), 1005),
        (framed(LOOKS_CLOSED) + framed((1011).to_bytes(2), 8), 1011),
        (framed((4200).to_bytes(2), 8) + framed((1011).to_bytes(2), 8), 4200),
        (framed((4200).to_bytes(2) + b"half", 8)[:-1], None),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_close_of_a_server(frames: bytes, expected: int | None, size: int) -> None:
    """
    The code of the first whole close frame, wherever the bytes were split; data that looks like one is data.
    """
    sent = UPGRADED + frames

    assert expected == code(*(sent[at : at + size] for at in range(0, len(sent), size)))


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 403 Forbidden\r\n\r\n", b"nothing of HTTP\r\n\r\n", b"x" * 70_000, b"\r\n\r\n"]
)
def test_no_upgrade_no_frame(answer: bytes) -> None:
    """
    After an answer that is no 101 no frame is looked for.
    """
    assert code(answer, framed((1011).to_bytes(2), 8)) is None


@given(sizes=st.lists(st.sampled_from([0, 1, 125, 126, 65_535, 65_536]), max_size=4), data=st.data())
def test_any_split(sizes: list[int], data: st.DataObject) -> None:
    """
    Frames of every kind of length are passed over exactly, wherever they are cut.
    """
    sent = UPGRADED + b"".join(framed(b"\x88" * size) for size in sizes) + framed((4213).to_bytes(2), 8)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))

    assert 4213 == code(*(sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)))
