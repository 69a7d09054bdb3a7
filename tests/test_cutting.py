"""
What is too large is cut, exactly as much as needed, between characters, and quickly.
"""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events.samples import json_values
from tests.managers import Around
from tests.runs import Desk, desk
from ws_isolation import ManagerFactory, Settings, errors
from ws_isolation.cutting import arguments_text, cut, encoded_size, measured
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.testing.clock import settle

HUGE: Final = 60_000_000
"""Characters of a text that nobody may encode or copy again and again."""

GROWING: Final = {
    "quotes": '"',
    "backslashes": "\\",
    "control characters": "\x00",
    "line breaks": "\n",
    "two bytes": "ä",
    "four bytes": "🎉",
    "separators": "\u2028",
}
"""Characters that take several bytes of UTF-8, of JSON, or of both."""

_texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(list(GROWING.values())), max_size=60)


def _utf8(text: str) -> int:
    return len(text.encode("utf-8"))


@given(_texts, st.integers(min_value=0, max_value=64), st.integers(min_value=2, max_value=128))
def test_cut_is_exact(text: str, limit: int, room: int) -> None:
    """What is left begins the text, fits in both measures, and could not be one character longer."""
    short, was_cut = cut(text, limit, room=room)

    assert text.startswith(short)
    assert was_cut == (short != text)
    assert _utf8(short) <= limit
    assert len(msgspec.json.encode(short)) <= room
    if was_cut:
        following = text[: len(short) + 1]
        assert _utf8(following) > limit or len(msgspec.json.encode(following)) > room


@pytest.mark.parametrize("text", ["\ud800", "\ud800" * 100, "x" * 64 + "\ud800", None, b"x" * 100])
def test_what_is_no_text_is_left_to_the_event(text: Any) -> None:
    """A lone surrogate or a wrong type raises nothing here."""
    short, _ = cut(text, 64)

    assert short == (text if text is None else text[:64] if isinstance(text, str) else text)


@given(json_values, st.integers(min_value=2, max_value=64))
def test_measured_is_exact(value: object, limit: int) -> None:
    """A value is kept if and only if its encoding fits."""
    size = len(msgspec.json.encode(value))

    kept, was_cut = measured(value, "result", "tool_completed", limit=limit)

    assert was_cut == (size > limit)
    assert was_cut == (kept is msgspec.UNSET)


@pytest.mark.scenario("S48")
def test_measured_names_the_place() -> None:
    """What is no JSON is refused with its path, from the field on."""
    with pytest.raises(errors.InvalidEventError) as caught:
        measured({"rows": [1, object()]}, "result", "tool_completed")

    assert ("$.result.rows[1]", "tool_completed") == (caught.value.path, caught.value.event)
    assert (msgspec.UNSET, False) == measured(msgspec.UNSET, "result", "tool_completed")


@pytest.mark.parametrize("character", GROWING.values(), ids=GROWING)
def test_arguments_text(character: str) -> None:
    """Large arguments are shown from their beginning on; huge ones are not encoded for that, and show nothing."""
    text = arguments_text({"q": character * 40_000}, "tool_executing")

    assert text.startswith('{"q":"')
    assert 16_000 < _utf8(text) <= 16_384
    assert "" == arguments_text({"q": character * HUGE}, "tool_executing")


async def _use(here: Desk, text: str) -> None:
    async with here.manager.run("assistant") as run:
        await run.thinking(text)
        async with run.thought() as thought, run.message() as message:
            await thought.write(text)
            await message.write(text)
        async with run.tool("look", {"q": text}) as tool:
            tool.result = {"a": text}
        async with run.tool("look", {text[:1_000]: [text, text]}) as tool:
            tool.result = text[:30_000]
        await run.complete(text, result=text[:30_000], summary=text[:1_000])


@pytest.mark.scenario("S48")
@pytest.mark.parametrize("size", [8_000, 16_384, 28_000, 40_000])
@pytest.mark.parametrize("character", GROWING.values(), ids=GROWING)
async def test_every_event_fits(character: str, size: int) -> None:
    """Whatever an agent writes, no event is refused for its size: it is cut, and marked where it was cut."""
    async with desk() as here:
        await _use(here, character * size)
        events = await here.events()

        assert here.session.is_open
    assert all(len(text.encode("utf-8")) <= 65_536 for text in here.transport.sent)
    thought, end = events[1], events[-1]
    assert ("agent_thinking", "agent_completed") == (thought["type"], end["type"])
    assert set(thought["data"]["text"]) == set(end["data"]["output_text"]) == {character}
    assert (len(thought["data"]["text"]) < size) == thought["data"].get("truncated", False)
    assert len(end["data"]["output_text"]) == size or end["data"]["truncated"]
    for kind, field in (("agent_thinking", "text"), ("agent_message_delta", "delta")):
        pieces = [event["data"] for event in events if event["type"] == kind and event["data"].get("mode") != "summary"]
        assert character * size == "".join(piece[field] for piece in pieces)
        assert list(range(len(pieces))) == [piece["index"] for piece in pieces]
        whole_text = pieces[-1]["full_text"]
        assert (whole_text != character * size) == pieces[-1].get("truncated", False)


async def test_huge_values_are_quick() -> None:
    """Texts, results and arguments of tens of megabytes are cut or left out without being copied many times over."""
    text = "x" * HUGE
    async with desk() as here:
        began = time.perf_counter()
        async with here.manager.run("assistant") as run:
            await run.thinking(text)
            async with run.tool("look", {"q": text}) as tool:
                tool.result = [text]
            await run.complete(text, result={"a": text})
        passed = time.perf_counter() - began
        thought, executing, completed, end = (event["data"] for event in (await here.events())[1:])

    assert all(data["truncated"] is True for data in (thought, executing, completed, end))
    assert (16_384, 32_768) == (len(thought["text"]), len(end["output_text"]))
    assert not {"result", "arguments"} & {*executing, *completed, *end}
    assert passed < 10


async def test_long_text_in_many_pieces() -> None:
    """A text of megabytes is written in time that grows with its length, and not with its square."""
    async with desk() as here:
        manager = Around(here.manager)
        here.session.close()
        began = time.perf_counter()
        async with manager.run("assistant") as run, run.message() as message:
            await message.write("x" * 20_000_000)

        assert time.perf_counter() - began < 10


@pytest.mark.scenario("S46", "S48")
async def test_smaller_frames() -> None:
    """Where a factory allows smaller frames, what ends a tool or a text is sent without what is too large for them."""
    factory = ManagerFactory(Settings(event_bytes=2_048), clock=FakeClock())
    transport = RecordingTransport()
    async with factory.attach(make_context(), transport) as session:
        async with session.manager.run("assistant") as run:
            with pytest.raises(errors.InvalidEventError, match=r"Settings\.event_bytes"):
                await run.thinking("x" * 4_000)
            async with run.tool("look") as tool, run.message() as message, run.thought() as thought:
                for text in (message, thought, message, thought):
                    await text.write("x" * 1_500)
                tool.result = "x" * 4_000
        await settle()

        assert session.is_open
    ended = [frame["data"] for frame in transport.events if frame["data"].get("done") or "status" in frame["data"]]
    assert [True, True, True] == [data["truncated"] for data in ended]
    assert "ok" == ended[-1]["status"]
    assert not any({"result", "full_text"} & data.keys() for data in ended)
    assert "agent_completed" == transport.events[-1]["type"]


def test_encoded_size() -> None:
    """It counts quotes and escapes."""
    assert len('"a\\"\\u0000"') == encoded_size('a"\x00')
