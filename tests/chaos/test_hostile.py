"""
Any text, any bytes, any cursor: a documented answer or a documented code, never another exception.
"""

from __future__ import annotations

import asyncio
import json
from typing import Final
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.chaos.hostile import CORPUS, cursors, hostile
from tests.cores import START, make_core, written
from tests.openings import MemoryOpening, handshake
from tests.shell import note, until_over
from ws_isolation import ManagerFactory, PlainWire, UserExecutionContext, errors
from ws_isolation.frames import Frame, Inbound
from ws_isolation.handshake import Handshake
from ws_isolation.serving import serve_opening
from ws_isolation.steps import Consumed, Deliver, Received
from ws_isolation.stream import Cursor, parse_start
from ws_isolation.testing import FakeClock, make_context
from ws_isolation.wire import DEFAULT_WIRE, SUBPROTOCOL, Unservable, Wire

LIMIT: Final = 65_536
DOCUMENTED: Final = frozenset({4000, 4001, 4003, 4013, 4022, 4026, 4329})
"""What a client's own text can end its session with."""
WIRES: Final = pytest.mark.parametrize("wire", [DEFAULT_WIRE, PlainWire(lambda _envelope: None)], ids=["own", "plain"])


def comes_to_a_documented_end(wire: Wire, text: str | bytes) -> None:
    """
    Read, and see that it was read, answered, or refused with an error of the library that has a documented code.
    """
    refused: errors.PeerError | errors.AccessError | None = None
    try:
        wire.read(text, LIMIT)
    except (errors.PeerError, errors.AccessError) as error:
        refused = error
    if refused is not None:
        assert refused.close_code in DOCUMENTED
        assert len(str(refused)) < 500


def session_survives_or_ends_documented(wire: Wire, texts: list[str | bytes]) -> None:
    """
    Feed a session: it delivers, answers or ends with a documented code and goodbye; the wire never failed.
    """
    core = make_core(wire=wire, enforce_pongs=True)
    for text in texts:
        for effect in core.handle(Received(text, START)):
            if isinstance(effect, Deliver):
                core.handle(Consumed())
    frames = written(core)
    assert core.is_open == (core.code is None)
    if core.code is not None:
        assert core.code.code in DOCUMENTED
        assert wire is not DEFAULT_WIRE or core.code.code == frames[-1]["code"]


@WIRES
@pytest.mark.scenario("S41", "S56")
@pytest.mark.requirement("P2", "WS-17", "WS-18")
@settings(max_examples=400)
@given(text=hostile())
def test_any_inbound_text(wire: Wire, text: str | bytes) -> None:
    """
    Mutated frames, deep nesting, lone surrogates, huge numbers and doubled members come to a documented end.
    """
    comes_to_a_documented_end(wire, text)


@WIRES
@pytest.mark.requirement("WS-18")
@pytest.mark.parametrize("number", range(len(CORPUS)))
def test_corpus(wire: Wire, number: int) -> None:
    """
    What has broken decoders before breaks neither wire nor session.
    """
    comes_to_a_documented_end(wire, CORPUS[number])
    session_survives_or_ends_documented(wire, [CORPUS[number]])


@WIRES
@pytest.mark.scenario("S41", "S56")
@pytest.mark.requirement("P2", "WS-18")
@given(texts=st.lists(hostile(), max_size=30))
def test_any_text_through_the_core(wire: Wire, texts: list[str | bytes]) -> None:
    """
    Whatever a client sends, one after the other: documented codes, one goodbye, never an internal error.
    """
    session_survives_or_ends_documented(wire, texts)


@given(text=cursors())
@pytest.mark.requirement("P3")
@example(text="e.9007199254740992.00000000-0000-0000-0000-000000000000")
@example(text="a.b.c.7.00000000-0000-0000-0000-000000000000")
def test_any_cursor_text(text: str) -> None:
    """
    A cursor is read as exactly what it says, or refused with 4022.
    """
    try:
        start = parse_start(text)
    except errors.SchemaViolationError:
        return
    assert text == str(start)
    assert not isinstance(start, Cursor) or 0 <= start.seq < 2**53


async def opened_at(cursor: str, published: int) -> tuple[list[dict[str, object]], int | None, list[str]]:
    """
    Open a session at *cursor* on a stream with *published* events: its first frames, its code, the events' ids.
    """
    factory = ManagerFactory(clock=FakeClock())
    alice = factory.create_manager(make_context("alice"))
    ids = [(await alice.send(note(number))).event_id for number in range(published)]

    async def authenticate(_handshake: Handshake) -> UserExecutionContext:
        return make_context("alice")

    opening = MemoryOpening(handshake=handshake(query=f"cursor={quote(cursor, safe='')}", subprotocols=(SUBPROTOCOL,)))
    serving = asyncio.create_task(serve_opening(opening, factory, authenticate, until_over))
    transport = opening.transport
    answers = {"ws.resumed", "ws.gap", "ws.goodbye"}
    async with asyncio.timeout(5):
        while not answers & set(transport.types()) and not serving.done():  # noqa: ASYNC110  # the loop's own turns
            await asyncio.sleep(0)
    transport.client_leaves()
    await serving
    return transport.frames, None if transport.closed is None else transport.closed[0], ids


def answered_truthfully(frames: list[dict[str, object]], code: int | None, cursor: str, ids: list[str]) -> None:
    """
    See that *cursor* was answered with resumed, gap or 4022, and that nothing was claimed that is not so.
    """
    kinds = [frame["type"] for frame in frames]
    if code is not None:
        assert (4022, ["ws.goodbye"]) == (code, kinds)
        return
    top = frames[0]["cursor"]
    assert isinstance(top, dict)
    assert "ws.welcome" == kinds[0]
    assert len(ids) == top["seq"]
    if kinds[-1] == "ws.gap":
        assert ["ws.welcome", "ws.gap"] == kinds, "a part of a replay before a gap"
        assert top == frames[-1]["cursor"]
        return
    assert "ws.resumed" == kinds[-1]
    assert top == frames[-1]["cursor"]
    replayed = [str(frame["id"]) for frame in frames[1:-1]]
    assert replayed == ids[len(ids) - len(replayed) :]
    if cursor != "window":
        start = parse_start(cursor)
        assert isinstance(start, Cursor)
        assert top["epoch"] == start.epoch, "resumed in another history"
        assert len(replayed) == top["seq"] - start.seq, "resumed with a hole"
        assert start.seq == 0 or start.id == ids[start.seq - 1], "resumed behind another event"


@pytest.mark.scenario("S52", "S56")
@pytest.mark.requirement("P2", "P3")
@settings(max_examples=60)
@given(cursor=cursors(), published=st.integers(0, 3))
@example(cursor="window", published=3)
def test_any_cursor_of_a_handshake(cursor: str, published: int) -> None:
    """
    Whatever cursor a client hands in, it is resumed truthfully, told a gap, or refused with 4022.
    """
    frames, code, ids = asyncio.run(opened_at(cursor, published))

    answered_truthfully(frames, code, cursor, ids)


# Broken variants: what the checks above must catch. Each is found by the corpus, without chance.


class _Careless:
    """
    A wire that decodes with the standard library and catches what its documentation names.
    """

    subprotocol = SUBPROTOCOL

    def event(self, envelope: object, /) -> str | None:
        """
        Write nothing.
        """
        return None

    def control(self, frame: Frame, /) -> str | None:
        """
        Write as the library.
        """
        return DEFAULT_WIRE.control(frame)

    def read(self, text: str | bytes, limit: int, /) -> Inbound | Unservable:
        """
        Catch JSONDecodeError, and neither RecursionError nor what a huge number raises.
        """
        try:
            json.loads(text)
        except json.JSONDecodeError:
            raise errors.BadFrameError("no JSON") from None
        return DEFAULT_WIRE.read(text, limit)


@pytest.mark.scenario("S65")
@pytest.mark.parametrize("check", ["wire", "session"])
def test_control_careless_decoder(check: str) -> None:
    """
    A decoder that lets RecursionError through fails both checks.
    """
    deep = next(text for text in CORPUS if isinstance(text, str) and text.startswith("[" * 60_000))
    expected: type[BaseException] = RecursionError if check == "wire" else AssertionError

    with pytest.raises(expected):
        if check == "wire":
            comes_to_a_documented_end(_Careless(), deep)
        else:
            session_survives_or_ends_documented(_Careless(), [deep])


@pytest.mark.scenario("S65")
@pytest.mark.parametrize(
    ("last", "message"),
    [
        ({"type": "ws.resumed", "cursor": {"epoch": "E2", "seq": 2, "id": "b"}}, "resumed with a hole"),
        ({"type": "ws.gap", "cursor": {"epoch": "E2", "seq": 2, "id": "b"}}, ""),
    ],
)
def test_control_counting_server(last: dict[str, object], message: str) -> None:
    """
    A server that says resumed and replays nothing is found; one that says gap is believed.
    """
    frames: list[dict[str, object]] = [{"type": "ws.welcome", "cursor": {"epoch": "E2", "seq": 2, "id": "b"}}, last]
    cursor = "E2.1.00000000-0000-0000-0000-00000000000a"

    if message:
        with pytest.raises(AssertionError, match=message):
            answered_truthfully(frames, None, cursor, ["a", "b"])
    else:
        answered_truthfully(frames, None, cursor, ["a", "b"])
