"""
What Hypothesis draws for sockets: valid frames with one thing wrong, and JSON that is barely one.
"""

from __future__ import annotations

import json
from typing import Final

from hypothesis import strategies as st

UUID: Final = "0192f0c3-aaaa-7bbb-8ccc-ddddeeeeffff"

VALID: Final = (
    '{"type":"say","data":{"text":"hi","n":[1,{"a":null}]},"id":"' + UUID + '","run_id":"run-1"}',
    '{"type":"stop","run_id":"run-1"}',
    '{"type":"ws.pong","n":1,"seq":2}',
    '{"type":"ws.ack","seq":7}',
    '{"type":"ws.auth","credential":"secret","cursor":{"epoch":"e","seq":1,"id":"' + UUID + '"}}',
    '{"type":"ws.refresh","credential":"secret"}',
)
"""Frames of the wire reference, legal somewhere."""

CORPUS: Final[tuple[str | bytes, ...]] = (
    "",
    "\x00",
    "\ufeff{}",
    "nul",
    b'{"type":"say"}',
    b"\xff\xfe",
    "[" * 60_000,
    '{"a":' * 10_000,
    "[" * 500 + "]" * 500,
    '{"type":"say","data":{"d":' + "[" * 500 + "]" * 500 + "}}",
    '{"type":"say","data":{"d":' + '{"k":' * 40 + "1" + "}" * 40 + "}}",
    '{"type":"say","data":{"n":' + "9" * 5_000 + "}}",
    '{"type":"ws.ack","seq":' + "9" * 5_000 + "}",
    '{"type":"ws.ack","seq":1e400}',
    '{"type":"ws.ack","seq":-0}',
    '{"type":"say","data":{"t":"\\ud800"}}',
    '{"type":"say","data":{"\ud800":1}}',
    '{"type":"\\ud83d"}',
    '{"\\udfff":1,"type":"say"}',
    '{"type":"say","type":"ws.auth"}',
    '{"type":"ws.pong","n":1,"n":"x"}',
    '{"type":"say","user_id":"bob","user_id":null}',
    '{"type":"say","data":{},"data":[]}',
    '{"type":"say","data":NaN}',
    '{"type":"say"} {"type":"say"}',
    '{"type":"say","' + "k" * 30_000 + '":1}',
    '{"type":"' + "ws." * 20_000 + '"}',
    "x" * 70_000,
    "é" * 40_000,
)
"""What has broken decoders before; deterministic, for the broken variants as well."""


def _mutated(frame: str, place: int, cut: int, piece: str) -> str:
    place %= len(frame) + 1
    return frame[:place] + piece + frame[place + cut :]


def nearly_valid() -> st.SearchStrategy[str]:
    """
    Draw valid frames into which something was put, out of which something was taken, or both.
    """
    pieces = st.sampled_from(
        ['"', "{", "}", "[", "]", ",", ":", "\\", "\\u", "\\ud800", "\x00", "\u2028", "\ud800", "null", "true", "1e9"]
    )
    anything = st.text(st.characters(), max_size=4)
    return st.builds(
        _mutated, st.sampled_from(VALID), st.integers(0, 200), st.integers(0, 12), st.just("") | pieces | anything
    )


def nested() -> st.SearchStrategy[str]:
    """
    Draw brackets, in a message or alone, closed or not, around the depth that is legal and around a decoder's own.
    """

    def build(depth: int, opening: str, *, closed: bool, inside: bool) -> str:
        ends = {"[": "]", '{"k":': "}"}[opening] * depth if closed else ""
        text = opening * depth + ("1" if closed else "") + ends
        return '{"type":"say","data":{"d":' + text + "}}" if inside else text

    depths = st.integers(0, 40) | st.sampled_from([255, 256, 900, 1_000, 1_100, 5_000])
    return st.builds(build, depths, st.sampled_from(["[", '{"k":']), closed=st.booleans(), inside=st.booleans())


def doubled() -> st.SearchStrategy[str]:
    """
    Draw objects whose members come in any order and more than once, huge and odd numbers among their values.
    """
    names = st.sampled_from(["type", "data", "id", "run_id", "n", "seq", "user_id", "thread_id", "x", "\\u0074ype"])
    numbers = st.integers(-(10**40), 10**40).map(str) | st.sampled_from(
        ["1e308", "1e309", "-0", "0.1e-400", "9" * 400, "01", "+1", "1.", ".5", "0x1", "1_0", "NaN", "-Infinity"]
    )
    words = st.sampled_from(["say", "ws.pong", "ws.ack", "ws.auth", "ws.", "stop", UUID, "", "\\ud800", "Say"])
    values = numbers | words.map('"{}"'.format) | st.sampled_from(["{}", "[]", "null", "true", '{"a":{}}'])
    members = st.lists(st.tuples(names, values), max_size=7)
    return members.map(lambda pairs: "{" + ",".join(f'"{name}":{value}' for name, value in pairs) + "}")


def hostile() -> st.SearchStrategy[str | bytes]:
    """
    Draw any of it, and plain text and bytes.
    """
    return st.one_of(
        nearly_valid(),
        nested(),
        doubled(),
        st.sampled_from(CORPUS),
        st.text(),
        st.binary(),
        st.text().map(json.dumps),
    )


def cursors() -> st.SearchStrategy[str]:
    """
    Draw cursors: well-formed ones, nearly so, and anything else.
    """
    nil = "00000000-0000-0000-0000-000000000000"
    epochs = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)
    seqs = st.integers(0, 2**53 - 1) | st.sampled_from([0, 1, 2**53 - 1])
    formed = st.builds("{}.{}.{}".format, epochs, seqs, st.uuids().map(str) | st.just(nil))
    odd_seqs = st.sampled_from(["", "-1", "01", "+1", "1.0", "9" * 17, "9" * 5_000, str(2**53), "\u0661", " 1"])
    odd = st.builds("{}.{}.{}".format, epochs | st.just("") | st.text(max_size=70), odd_seqs, st.uuids().map(str))
    return st.one_of(formed, odd, st.text(), st.sampled_from(["", "window", "Window", "window.1", "..", f".0.{nil}"]))
