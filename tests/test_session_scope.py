"""
A session that is narrowed to its context's thread: it gets less, and its chain is as good as any other's.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.cores import START, make_core, stream_of, types, written
from tests.logs import put
from tests.shell import note
from ws_isolation import Settings, UserExecutionContext
from ws_isolation.events import AgentMessageDelta, AgentStarted, Event
from ws_isolation.session_core import SessionCore
from ws_isolation.steps import Offered, Ticked
from ws_isolation.stream import Resumed, Stream

NARROW = Settings(session_scope="thread")


def started(thread: str) -> Event:
    """
    Return the start of a run in *thread*.
    """
    return AgentStarted(run_id=f"run-{thread}", thread_id=thread, agent_name="a")


def piece(thread: str) -> Event:
    """
    Return a piece of text in *thread*.
    """
    return AgentMessageDelta(run_id=f"run-{thread}", thread_id=thread, message_id="m", delta="x")


def core_of(thread: str | None, stream: Stream, settings: Settings = NARROW, answer: Any = None) -> SessionCore:
    """
    Return alice's session in *thread*.
    """
    context = UserExecutionContext(user_id="alice", thread_id=thread)
    return make_core(settings=settings, context=context, stream=stream, answer=answer)


@pytest.mark.scenario("S50")
@pytest.mark.requirement("P3")
@pytest.mark.parametrize(
    ("settings", "thread", "seqs"),
    [(NARROW, "t1", [1, 3, 4]), (NARROW, None, [1, 2, 3, 4]), (Settings(), "t1", [1, 2, 3, 4])],
)
def test_which_events(settings: Settings, thread: str | None, seqs: list[int]) -> None:
    """
    A narrowed session gets its own thread's events and those of none; without a thread or the setting, all of them.
    """
    stream = stream_of()
    core = core_of(thread, stream, settings)
    for event in (started("t1"), started("t2"), note(), piece("t2"), piece("t1")):
        core.handle(Offered(put(stream, event)))
    core.handle(Offered(put(stream, note())))

    assert seqs == [frame["seq"] for frame in written(core) if "seq" in frame]


@pytest.mark.scenario("S50", "S52")
@pytest.mark.requirement("P3")
def test_cursor_moves_past_other_threads() -> None:
    """
    With the next ping the client learns where the stream is, so that other threads do not push it out of the window.
    """
    stream = stream_of()
    core = core_of("t1", stream)
    core.handle(Offered(put(stream, started("t1"))))
    skipped = put(stream, started("t2"))
    core.handle(Offered(skipped))
    core.handle(Offered(put(stream, piece("t1"))))
    core.handle(Ticked(START + 25))
    frames = written(core, START + 25)

    assert ["ws.welcome", "agent_started", "agent_message_delta", "ws.resumed", "ws.ping"] == types(frames)
    assert {"epoch": skipped.epoch, "seq": 2, "id": skipped.id} == frames[-2]["cursor"]
    assert (0, 2) == (frames[-2]["count"], frames[-1]["seq"])
    core.handle(Offered(put(stream, started("t2"))))
    core.handle(Offered(put(stream, note())))
    core.handle(Ticked(START + 50))
    assert ["custom", "ws.ping"] == types(written(core, START + 50))


@pytest.mark.scenario("S52")
@pytest.mark.requirement("P3")
def test_replay_is_narrowed() -> None:
    """
    A replay holds the thread's events only; the cursor after it is the stream's, and what was replayed comes once.
    """
    stream = stream_of()
    entries = tuple(put(stream, event) for event in (started("t1"), started("t2"), note()))
    core = core_of("t1", stream, answer=Resumed(stream.cursor, entries))
    core.handle(Offered(entries[-1]))
    frames = written(core)

    assert ["ws.welcome", "agent_started", "custom", "ws.resumed"] == types(frames)
    assert (3, 2) == (frames[-1]["cursor"]["seq"], frames[-1]["count"])
