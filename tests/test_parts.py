"""
Tools, thoughts and messages close what they opened, however they are left.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import pytest

from tests.runs import desk
from ws_isolation import errors
from ws_isolation.events import Problem
from ws_isolation.testing.clock import settle


class _Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class _Row:
    name: str
    price: Decimal


@dataclasses.dataclass
class _Point:
    x: int
    name: str


@dataclasses.dataclass
class _Model:
    """Converts itself, as pydantic's models do."""

    n: int

    def model_dump(self, *, mode: str) -> dict[str, int]:
        return {mode: self.n}


_CYCLE: list[object] = []
_CYCLE.append(_CYCLE)


@pytest.mark.scenario("S48")
@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (_Colour.RED, "red"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ([_Row("a", Decimal("1.50"))], [{"name": "a", "price": "1.50"}]),
        (_Point(1, "a"), {"x": 1, "name": "a"}),
        (_Model(n=3), {"json": 3}),
        (None, None),
    ],
)
async def test_results_are_converted(result: object, shown: object) -> None:
    """What agents commonly return is converted by the one documented rule."""
    async with desk() as here:
        async with here.manager.run("assistant") as run:
            async with run.tool("look") as tool:
                tool.result = result
            await run.complete(result=result)
        _, _, completed, end = await here.events()

    assert shown == completed["data"]["result"]
    assert shown == end["data"]["result"]


@pytest.mark.scenario("S48")
@pytest.mark.parametrize("result", [object(), float("nan"), b"x", "\ud800", {1, 2}, {"a": [object()]}, _CYCLE])
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


@pytest.mark.scenario("S41", "S46")
@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("summary", "x" * 1_001, r"\$\.summary"),
        ("summary", 7, r"\$\.summary"),
        ("status", "fine", r"\$\.status"),
        ("status", object(), r"code"),
        ("error", Problem(title="No.", code="no"), r"\$\.error"),
        ("error", "no", r"\$\.error"),
    ],
)
async def test_tool_that_was_filled_in_wrongly(field: str, value: object, path: str) -> None:
    """The mistake is raised with its place; the call is closed as failed, and the run ends."""
    async with desk() as here:
        with pytest.raises(errors.InvalidEventError, match=path):
            async with here.manager.run("assistant") as run, run.tool("look") as tool:
                tool.result = 1
                setattr(tool, field, value)
        events = await here.events()

    assert ["tool_executing", "tool_completed", "agent_error"] == [event["type"] for event in events[1:]]
    assert ("error", "invalid_result") == (events[2]["data"]["status"], events[2]["data"]["error"]["code"])


async def test_pair_keeps_its_name() -> None:
    """What is written over a tool's name and id changes neither: the completion names what began."""
    async with desk() as here:
        async with here.manager.run("assistant") as run, run.tool("look", tool_call_id="c") as tool:
            tool.name = tool.id = "another"
        _, _, completed, _ = await here.events()

    assert ("look", "c") == (completed["data"]["tool_name"], completed["data"]["tool_call_id"])


@pytest.mark.scenario("S42")
async def test_used_tool_call_id() -> None:
    """A call id that is open or was used is refused at the start, and its run closes what it knows of."""
    async with desk() as here:
        async with here.manager.run("assistant") as run:
            async with run.tool("look", tool_call_id="c"):
                with pytest.raises(errors.LifecycleError, match="L09"):
                    await run.tool("look", tool_call_id="c").__aenter__()
            with pytest.raises(errors.LifecycleError, match="L11"):
                await run.tool("look", tool_call_id="c").__aenter__()

        assert 1 == (await here.types()).count("tool_completed")


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
    text_ids: set[str] = set()
    async with desk() as here:
        async with here.manager.run("assistant") as run:
            async with run.thought() if kind == "thought" else run.message() as text:
                text_ids.add(text.id)
                await text.write("good")
                await text.write("bye")
        events = (await here.events())[1:-1]

    field, name = ("text", "thought_id") if kind == "thought" else ("delta", "message_id")
    assert ["good", "bye", ""] == [event["data"][field] for event in events]
    assert [0, 1, 2] == [event["data"]["index"] for event in events]
    assert text_ids == {event["data"][name] for event in events}
    assert [False, False, True] == ["seq" in event for event in events]
    assert ("goodbye", True) == (events[2]["data"]["full_text"], events[2]["data"]["done"])


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


async def test_text_that_is_closed_by_hand() -> None:
    """close() sends the last piece at once and only once; the block's end adds nothing."""
    async with desk() as here:
        async with here.manager.run("assistant") as run, run.message() as message:
            await message.write("all")
            await message.close()
            await message.close()
        types = await here.types()

    assert ["agent_started", "agent_message_delta", "agent_message_delta", "agent_completed"] == types


@pytest.mark.scenario("S41", "S48")
@pytest.mark.parametrize("text", ["\ud800", 7, None, b"x", "x" * 20_000 + "\ud800"])
async def test_text_that_is_none(text: Any) -> None:
    """What is no text raises where it is written; what was written before and after is complete."""
    async with desk() as here:
        async with here.manager.run("assistant") as run, run.message() as message:
            await message.write("be")
            with pytest.raises(errors.InvalidEventError, match=r"\$\.delta"):
                await message.write(text)
            await message.write("fore")
        done = (await here.events())[-2]

    assert done["data"]["full_text"].startswith("be")
    assert done["data"]["full_text"].endswith("fore")


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
