"""
Tools, thoughts and messages close what they opened, however they are left.
"""

from __future__ import annotations

import asyncio
import enum
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runs import desk
from ws_isolation import errors
from ws_isolation.events import Problem
from ws_isolation.cutting import cut, measured
from ws_isolation.testing.clock import settle


class _Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class _Row:
    name: str
    price: Decimal


@pytest.mark.scenario("S48")
@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (_Colour.RED, "red"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ([_Row("a", Decimal("1.50"))], [{"name": "a", "price": "1.50"}]),
        (None, None),
    ],
)
async def test_results_are_converted(result: object, shown: object) -> None:
    """What agents commonly return is converted by the one documented rule."""
    async with desk() as here:
        async with here.manager.run("assistant") as run, run.tool("look") as tool:
            tool.result = result
        _, _, completed, _ = await here.events()

    assert shown == completed["data"]["result"]


@pytest.mark.scenario("S48")
@pytest.mark.parametrize("result", [object(), float("nan"), b"x", "\ud800", {1, 2}, {"a": [object()]}])
async def test_result_that_is_no_json(result: object) -> None:
    """It raises in the agent with its path; the call is closed as failed, the socket stays open."""
    async with desk() as here:
        with pytest.raises(errors.InvalidEventError, match=r"\$\.result"):
            async with here.manager.run("assistant") as run, run.tool("look") as tool:
                tool.result = result
        _, _, completed, end = await here.events()

        assert ("error", "invalid_result") == (completed["data"]["status"], completed["data"]["error"]["code"])
        assert "agent_error" == end["type"]
        assert here.session.is_open


@pytest.mark.scenario("S48")
async def test_arguments_that_are_no_json() -> None:
    """They raise where the tool is made, with their path; nothing was sent."""
    async with desk() as here, here.manager.run("assistant") as run:
        with pytest.raises(errors.InvalidEventError, match=r"\$\.arguments\.x"):
            run.tool("look", {"x": object()})

        assert ["agent_started"] == await here.types()


@pytest.mark.scenario("S46", "S63")
@pytest.mark.parametrize(("error", "status"), [(LookupError("canary"), "error"), (TimeoutError("canary"), "timeout")])
async def test_exception_completes_the_call(error: Exception, status: str) -> None:
    """A raising tool completes as failed or timed out without the exception's text; the exception goes on."""
    async with desk() as here:
        with pytest.raises(type(error)):
            async with here.manager.run("assistant") as run, run.tool("look"):
                raise error
        events = await here.events()

    assert status == events[2]["data"]["status"]
    assert 1 == events[2]["data"]["error"]["code"].count(status[:5] if status == "timeout" else "failed")
    assert "canary" not in str(events)


@pytest.mark.scenario("S46")
async def test_cancellation_completes_the_call() -> None:
    """A cancelled tool completes as cancelled before its run ends."""
    async with desk() as here:

        async def agent() -> None:
            async with here.manager.run("assistant") as run, run.tool("look"):
                await asyncio.Event().wait()

        task = asyncio.create_task(agent())
        await settle()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        events = await here.events()

    assert ["tool_completed", "agent_cancelled"] == [event["type"] for event in events[-2:]]
    assert "cancelled" == events[-2]["data"]["status"]


async def test_status_by_hand() -> None:
    """A tool that fails without an exception says so; a problem is made up where none is given."""
    async with desk() as here:
        async with here.manager.run("assistant") as run:
            async with run.tool("pay") as denied:
                denied.status = "denied"
                denied.error = Problem(title="Not you.", code="not_you")
            async with run.tool("pay") as failed:
                failed.status = "error"
        events = await here.events()

    first, second = (event["data"] for event in events if event["type"] == "tool_completed")
    assert ("denied", "not_you") == (first["status"], first["error"]["code"])
    assert ("error", "tool_error") == (second["status"], second["error"]["code"])
    assert (2, 2) == (events[-1]["data"]["tool_calls"], events[-1]["data"]["tool_errors"])


async def test_tool_is_entered_once() -> None:
    """A tool call cannot begin twice."""
    async with desk() as here, here.manager.run("assistant") as run:
        tool = run.tool("look")
        async with tool:
            pass
        with pytest.raises(errors.InvalidStateError, match="entered before"):
            await tool.__aenter__()


async def test_reused_call_id_is_refused() -> None:
    """A tool call id that was used before is refused at the start, and leaves nothing to close."""
    async with desk() as here:
        async with here.manager.run("assistant") as run:
            async with run.tool("look", tool_call_id="c1"):
                pass
            with pytest.raises(errors.LifecycleError, match="L11"):
                await run.tool("look", tool_call_id="c1").__aenter__()

        assert ["agent_started", "tool_executing", "tool_completed", "agent_completed"] == await here.types()


async def test_large_payloads_are_cut_and_marked() -> None:
    """A result over 32 KiB is left out, arguments become text; both are marked and nothing is dropped."""
    async with desk() as here:
        async with here.manager.run("assistant") as run:
            async with run.tool("look", {"q": "x" * 40_000}) as tool:
                tool.result = '"' * 20_000  # twice as long once it is escaped
            async with run.tool("look", {"q": "x" * 40_000_000}):
                pass
        events = await here.events()

    executing, completed, huge, *_ = (event["data"] for event in events if event["type"].startswith("tool_"))
    assert executing["arguments_text"].startswith('{"q":"xxx')
    assert 16_384 == len(executing["arguments_text"])
    assert executing["truncated"] is True
    assert "arguments" not in executing
    assert completed["truncated"] is True
    assert "result" not in completed
    assert ("", True) == (huge["arguments_text"], huge["truncated"])


@pytest.mark.parametrize("kind", ["thought", "message"])
async def test_pieces(kind: str) -> None:
    """Pieces carry their index and no seq; the last one brings the whole text and is durable."""
    async with desk() as here:
        async with here.manager.run("assistant") as run:
            async with run.thought() if kind == "thought" else run.message() as text:
                await text.write("hel")
                await text.write("lo")
        events = (await here.events())[1:-1]

    field, name = ("text", "thought_id") if kind == "thought" else ("delta", "message_id")
    assert ["hel", "lo", ""] == [event["data"][field] for event in events]
    assert [0, 1, 2] == [event["data"]["index"] for event in events]
    assert {text.id} == {event["data"][name] for event in events}
    assert [False, False, True] == ["seq" in event for event in events]
    assert ("hello", True) == (events[2]["data"]["full_text"], events[2]["data"]["done"])


async def test_long_text_is_split_and_the_whole_is_cut() -> None:
    """A long piece goes out as several, none is lost; the whole at the end is cut and marked."""
    async with desk() as here:
        async with here.manager.run("assistant") as run, run.message() as text:
            await text.write("ä" * 20_000)
            await text.write("end")
        pieces = [event["data"] for event in (await here.events())[1:-1]]

    assert "ä" * 20_000 + "end" == "".join(piece["delta"] for piece in pieces)
    assert list(range(len(pieces))) == [piece["index"] for piece in pieces]
    assert ("ä" * 16_384, True) == (pieces[-1]["full_text"], pieces[-1]["truncated"])


async def test_text_that_is_done() -> None:
    """Nothing can be written to a text after its block; an exception inside closes it and goes on."""
    async with desk() as here, here.manager.run("assistant") as run:
        async with run.thought() as text:
            pass
        with pytest.raises(errors.InvalidStateError, match="is done"):
            await text.write("late")
        with pytest.raises(LookupError):
            async with run.message() as message:
                await message.write("half")
                raise LookupError
        assert "half" == (await here.last())["data"]["full_text"]


@pytest.mark.parametrize("part", ["tool", "thought"])
async def test_end_that_cannot_be_sent(part: str, caplog: pytest.LogCaptureFixture) -> None:
    """Where a part's end cannot be sent, the block's own error comes out, else the reason; the log has the other."""
    async with desk() as here:
        with pytest.raises(LookupError):
            async with here.manager.run("assistant") as run:
                async with run.tool("look") if part == "tool" else run.thought():
                    await here.stop_factory()
                    raise LookupError
        assert "could not be sent" in caplog.text

    async with desk() as here:
        with pytest.raises(errors.InvalidStateError, match="has stopped"):
            async with here.manager.run("assistant") as run:
                async with run.tool("look") if part == "tool" else run.thought():
                    await here.stop_factory()


@given(st.text(), st.integers(min_value=0, max_value=64))
def test_cut_is_exact(text: str, limit: int) -> None:
    """What is cut fits, begins the text, and could not be one character longer."""
    short, was_cut = cut(text, limit)

    assert text.startswith(short)
    if text.isascii() or "\ud800" not in text:
        size = len(short.encode("utf-8", "surrogatepass"))
        assert size <= limit or not was_cut
        assert was_cut == (short != text)
        if was_cut:
            following = text[: len(short) + 1]
            assert len(following.encode("utf-8", "surrogatepass")) > limit


@given(
    st.recursive(
        st.text() | st.integers(-1000, 1000) | st.none() | st.booleans(),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
        max_leaves=20,
    )
)
def test_measured_is_exact(value: object) -> None:
    """A value is kept if and only if its encoding fits."""
    size = len(msgspec.json.encode(value))

    kept, was_cut = measured(value, "result", "tool_completed", limit=64)

    assert was_cut == (size > 64)
    assert was_cut == (kept is msgspec.UNSET)
