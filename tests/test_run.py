"""
A run starts once and ends exactly once, however its scope is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from tests.runs import desk, ends
from ws_isolation import Run, errors
from ws_isolation.events import AgentThinking, Problem, Usage
from ws_isolation.stopping import CANCEL_PREFIX
from ws_isolation.testing.clock import settle


class _AgentError(Exception):
    pass


@pytest.mark.scenario("S43")
async def test_empty_run_completes() -> None:
    """A run without thoughts and tools starts and completes, with its own id and the context's thread."""
    async with desk() as here:
        async with here.manager.run("assistant", model="m-1", agent_version="2", causation_id=_UUID) as run:
            assert run.is_open
        events = await here.events()

    started, completed = events
    assert ["agent_started", "agent_completed"] == [started["type"], completed["type"]]
    assert {"agent_name": "assistant", "agent_version": "2", "model": "m-1"} == started["data"]
    assert _UUID == started["causation_id"]
    assert {run.id} == {event["run_id"] for event in events}
    assert {"thread-1"} == {event["thread_id"] for event in events}
    assert [1, 2] == [event["run_seq"] for event in events]
    assert not run.is_open


_UUID = "0192f0c2-0a0b-7c0d-8e0f-101112131415"


async def test_without_a_thread_the_run_is_its_own() -> None:
    """Where the context has no thread, the run's id stands for it."""
    async with desk(None) as here:
        async with here.manager.run("assistant") as run:
            pass
        events = await here.events()

    assert run.id == run.thread_id
    assert {run.id} == {event["thread_id"] for event in events}


async def test_whole_run() -> None:
    """Thought, tool, custom event and answer arrive in order, with what was given."""
    async with desk() as here:
        async with here.manager.run("assistant", run_id="run-9") as run:
            await run.thinking("looking it up", visibility="debug")
            async with run.tool("search", {"q": "x"}, tool_call_id="c1", title="Search", timeout_ms=5) as tool:
                tool.result = [1, 2]
                tool.summary = "two"
            await run.custom("shop.cart_changed", {"items": 2})
            usage = (Usage(provider="p", model="m", input_tokens=1),)
            await run.complete("done", result={"n": 1}, summary="s", usage=usage, stop_reason="end_turn")
        _, thought, executing, completed, custom, end = await here.events()

    assert ("looking it up", "summary", "debug") == tuple(
        thought["data"][name] for name in ("text", "mode", "visibility")
    )
    assert {
        "tool_call_id": "c1",
        "tool_name": "search",
        "arguments": {"q": "x"},
        "title": "Search",
        "timeout_ms": 5,
    } == executing["data"]
    assert completed["data"].pop("duration_ms") >= 0
    assert {
        "tool_call_id": "c1",
        "tool_name": "search",
        "status": "ok",
        "result": [1, 2],
        "summary": "two",
    } == completed["data"]
    assert {"name": "shop.cart_changed", "value": {"items": 2}} == custom["data"]
    assert end["data"].pop("duration_ms") >= 0
    assert {
        "output_text": "done",
        "result": {"n": 1},
        "summary": "s",
        "usage": [{"provider": "p", "model": "m", "input_tokens": 1}],
        "stop_reason": "end_turn",
        "tool_calls": 1,
    } == end["data"]
    assert {"run-9"} == {event["run_id"] for event in (thought, executing, completed, custom, end)}


@pytest.mark.scenario("S46", "S63")
async def test_exception_ends_it_as_failed(caplog: pytest.LogCaptureFixture) -> None:
    """An exception goes on to the caller; the client gets one agent_error without its text, the operator all of it."""
    async with desk() as here:
        run = here.manager.run("assistant")
        with pytest.raises(_AgentError):
            async with run:
                raise _AgentError("the canary 7f3a")
        events = await here.events()

    assert ["agent_error"] == ends(events, run.id)
    error = events[-1]["data"]["error"]
    assert "agent_failed" == error["code"]
    assert "7f3a" not in str(events)
    assert error["instance"] in caplog.text
    assert "7f3a" in caplog.text


@pytest.mark.scenario("S46")
@pytest.mark.parametrize(
    ("message", "reason"), [(None, "disconnect_policy"), (CANCEL_PREFIX + "shutdown", "shutdown"), ("x", None)]
)
async def test_cancellation_ends_it_as_cancelled(message: str | None, reason: str | None) -> None:
    """A cancelled run ends as agent_cancelled, with the reason that the cancellation carries, and goes on cancelled."""
    async with desk() as here:
        runs: list[Run] = []

        async def agent() -> None:
            async with here.manager.run("assistant") as run:
                runs.append(run)
                await asyncio.Event().wait()

        task = asyncio.create_task(agent())
        await settle()
        task.cancel(message)
        with pytest.raises(asyncio.CancelledError):
            await task
        events = await here.events()

    assert ["agent_cancelled"] == ends(events, runs[0].id)
    assert (reason or "disconnect_policy") == events[-1]["data"]["reason"]


@pytest.mark.scenario("S46")
@pytest.mark.parametrize("how", ["complete", "fail", "cancel"])
async def test_an_end_inside_is_the_only_one(how: str) -> None:
    """After an end inside the scope, leaving it by exception sends no second one."""
    async with desk() as here:
        run = here.manager.run("assistant")
        with pytest.raises(_AgentError):
            async with run:
                match how:
                    case "complete":
                        await run.complete()
                    case "fail":
                        await run.fail(Problem(title="No.", code="no"), failed_tool_call_id="c9")
                    case _:
                        await run.cancel("quota", detail="too much")
                raise _AgentError
        events = await here.events()

    assert [{"complete": "agent_completed", "fail": "agent_error", "cancel": "agent_cancelled"}[how]] == ends(
        events, run.id
    )


@pytest.mark.scenario("S31", "S42")
async def test_nothing_after_the_end() -> None:
    """Every call on an ended run raises, says which call and what to do, and sends nothing."""
    async with desk() as here:
        async with here.manager.run("assistant") as run:
            pass
        before = len(await here.events())
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "thinking()": lambda: run.thinking("x"),
            "custom()": lambda: run.custom("a.b"),
            "complete()": run.complete,
            "fail()": lambda: run.fail(Problem(title="No.", code="no")),
            "cancel()": run.cancel,
            "send()": lambda: run.send(AgentThinking(thought_id="t", mode="summary", text="x")),
        }
        for name, call in calls.items():
            with pytest.raises(errors.InvalidStateError, match=r"has ended; start a new run") as caught:
                await call()
            assert name in str(caught.value)
        makers: list[Callable[[], object]] = [run.thought, run.message, partial(run.tool, "t"), partial(run.child, "c")]
        for make in makers:
            with pytest.raises(errors.InvalidStateError, match="has ended"):
                make()

        assert before == len(await here.events())


@pytest.mark.scenario("S31")
async def test_nothing_before_the_start_and_no_second_start() -> None:
    """A run that was not entered sends nothing, and none is entered twice."""
    async with desk() as here:
        run = here.manager.run("assistant")
        with pytest.raises(errors.InvalidStateError, match="has not begun; use 'async with"):
            await run.thinking("x")
        assert [] == await here.events()

        async with run:
            pass
        with pytest.raises(errors.InvalidStateError, match="starts once"):
            await run.__aenter__()


@pytest.mark.scenario("S41")
async def test_bad_arguments_fail_in_their_own_line() -> None:
    """A name that no event can carry raises where it is given, before anything was sent."""
    async with desk() as here:
        with pytest.raises(errors.InvalidEventError, match="agent_name"):
            here.manager.run("")
        with pytest.raises(errors.InvalidEventError, match="run_id"):
            here.manager.run("assistant", run_id="with space")

        assert [] == await here.events()


async def test_reused_run_id_is_refused() -> None:
    """A run id that was used before is refused at the start, and the refused run sends nothing."""
    async with desk() as here:
        async with here.manager.run("assistant", run_id="r"):
            pass
        before = len(await here.events())
        with pytest.raises(errors.LifecycleError, match="L03"):
            async with here.manager.run("assistant", run_id="r"):
                pytest.fail("the block was entered")

        assert before == len(await here.events())


@pytest.mark.scenario("S45")
async def test_two_runs_of_one_thread_keep_apart() -> None:
    """Interleaved runs have their own ids, order and ends."""
    async with desk() as here:
        async with here.manager.run("one") as one, here.manager.run("two") as two:
            for n in range(3):
                await one.thinking(f"one {n}")
                await two.thinking(f"two {n}")
            await one.complete("first")
            await two.thinking("still going")
        events = await here.events()

    for run, name, count in ((one, "one", 3), (two, "two", 4)):
        own = [event for event in events if event["run_id"] == run.id]
        assert list(range(1, len(own) + 1)) == [event["run_seq"] for event in own]
        thoughts = [event["data"]["text"] for event in own if event["type"] == "agent_thinking"]
        assert count == len(thoughts)
        assert all(name in text or "still" in text for text in thoughts)
        assert ["agent_completed"] == ends(events, run.id)


@pytest.mark.scenario("S44")
async def test_parallel_tools_pair_by_id() -> None:
    """Two calls of the same tool end in any order, each with its own id and result."""
    async with desk() as here:
        async with here.manager.run("assistant") as run:
            first = await run.tool("search", {"n": 1}).__aenter__()
            second = await run.tool("search", {"n": 2}).__aenter__()
            first.result, second.result = 1, 2
            await first.__aexit__(None, None, None)
            await second.__aexit__(None, None, None)
        events = await here.events()

    began = {event["data"]["tool_call_id"]: event["data"]["arguments"]["n"] for event in _of(events, "tool_executing")}
    ended = {event["data"]["tool_call_id"]: event["data"]["result"] for event in _of(events, "tool_completed")}
    assert began == ended
    assert 2 == len(began)


def _of(events: list[dict[str, object]], kind: str) -> list[dict[str, dict[str, dict[str, object]]]]:
    return [event for event in events if event["type"] == kind]  # type: ignore[misc]  # decoded JSON


@pytest.mark.scenario("S46", "S49")
@pytest.mark.parametrize("fails", [False, True])
async def test_what_is_open_is_closed_before_the_end(*, fails: bool) -> None:
    """Open tools, texts and child runs are closed first, marked as synthetic, whatever the end is."""
    async with desk() as here:
        async with contextlib.AsyncExitStack() as blocks:
            async with here.manager.run("assistant") as run:
                await blocks.enter_async_context(run.tool("search"))
                thought = await blocks.enter_async_context(run.thought())
                await thought.write("half")
                await blocks.enter_async_context(run.child("helper", run_id="child"))
                if fails:
                    await run.fail(Problem(title="No.", code="no"))
        events = await here.events()

    assert [
        "agent_cancelled",
        "agent_thinking",
        "tool_completed",
        "agent_error" if fails else "agent_completed",
    ] == [event["type"] for event in events[-4:]]
    cancelled, text, completed, _ = events[-4:]
    assert "child" == cancelled["run_id"]
    assert ("parent_ended", True) == (cancelled["data"]["reason"], cancelled["synthetic"])
    assert ("half", True) == (text["data"]["full_text"], text["data"]["done"])
    assert ("cancelled", True) == (completed["data"]["status"], completed["synthetic"])


async def test_child_names_its_parent() -> None:
    """A child run has the parent's thread and names its id."""
    async with desk() as here:
        async with here.manager.run("assistant") as run, run.child("helper", run_id="c", model="m") as child:
            assert child.context is run.context
        events = await here.events()

    started = [event for event in events if event["type"] == "agent_started"][1]
    assert (run.id, run.thread_id, "c") == (started["parent_run_id"], started["thread_id"], started["run_id"])


async def test_child_of_an_ended_run_is_refused() -> None:
    """A child that was made in time cannot start once its parent has ended."""
    async with desk() as here:
        children: list[Run] = []
        async with here.manager.run("assistant") as run:
            children.append(run.child("helper"))
        with pytest.raises(errors.InvalidStateError, match="has ended"):
            await children[0].__aenter__()


async def test_long_texts_are_cut_and_marked() -> None:
    """A thought over 16 KiB and an answer over 32 KiB go out cut between characters, marked as truncated."""
    async with desk() as here:
        async with here.manager.run("assistant") as run:
            await run.thinking("ä" * 10_000)
            await run.complete("€" * 20_000, result="x" * 40_000)
        _, thought, end = await here.events()

    assert ("ä" * 8_192, True) == (thought["data"]["text"], thought["data"]["truncated"])
    assert ("€" * (32_768 // 3), True) == (end["data"]["output_text"], end["data"]["truncated"])
    assert "result" not in end["data"]


@pytest.mark.scenario("S48")
async def test_result_that_is_no_json_leaves_the_run_open() -> None:
    """complete() with something that is no JSON raises with its path; the run can still be completed."""
    async with desk() as here:
        async with here.manager.run("assistant") as run:
            with pytest.raises(errors.InvalidEventError, match=r"\$\.result\.rows\[1\]"):
                await run.complete(result={"rows": [1, object()]})
            assert run.is_open
        assert "agent_completed" == (await here.last())["type"]
        assert here.session.is_open


@pytest.mark.scenario("S46")
async def test_end_that_cannot_be_sent(caplog: pytest.LogCaptureFixture) -> None:
    """Where the end cannot be sent, the block's own error comes out; without one, the reason it could not be sent."""
    async with desk() as here:
        with pytest.raises(_AgentError):
            async with here.manager.run("assistant"):
                await here.stop_factory()
                raise _AgentError
        assert "the end of a run could not be sent" in caplog.text

    async with desk() as here:
        with pytest.raises(errors.InvalidStateError, match="has stopped"):
            async with here.manager.run("assistant"):
                await here.stop_factory()


async def test_end_failure_is_logged_as_error(caplog: pytest.LogCaptureFixture) -> None:
    """A failing agent is an error in the operator's log, not a warning."""
    async with desk() as here:
        with pytest.raises(_AgentError):
            async with here.manager.run("assistant"):
                raise _AgentError

    assert {logging.ERROR} == {record.levelno for record in caplog.records if "an agent failed" in record.message}


@pytest.mark.scenario("S48")
async def test_every_piece_is_checked() -> None:
    """A piece after the first that is no text is refused by its path; the text goes on with the next index."""
    async with desk() as here:
        async with here.manager.run("assistant") as run, run.message() as message:
            await message.write("a")
            with pytest.raises(errors.InvalidEventError, match=r"\$\.delta: must be a str"):
                await message.write(7)  # type: ignore[arg-type]
            await message.write("ö")
        _, first, second, end, _ = await here.events()

    assert [("a", 0), ("ö", 1)] == [(event["data"]["delta"], event["data"]["index"]) for event in (first, second)]
    assert first["data"]["message_id"] == second["data"]["message_id"] == end["data"]["message_id"]
    assert ("aö", 2) == (end["data"]["full_text"], end["data"]["index"])
