"""
What a handler does with its session: read, spawn, refuse, end, clean up.
"""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.shell import Bench, until_over
from ws_isolation import Message, Session, Settings, closing, errors
from ws_isolation.frozen import FrozenDict
from ws_isolation.testing.clock import settle


@pytest.mark.scenario("S36", "S58")
@pytest.mark.requirement("P1")
async def test_messages_reach_their_own_handler() -> None:
    """
    Each handler gets the messages of its own socket, once and in order, also with the same user and thread beside it.
    """
    seen: dict[str, list[object]] = {}

    async def handler(session: Session) -> None:
        mine = seen.setdefault(session.connection_id, [])
        async for message in session:
            mine.append((message.type, message.data["n"], message.id, message.run_id))  # seen at once

    bench = Bench.new()
    served = [await bench.serve(handler) for _ in range(2)] + [await bench.serve(handler, "bob")]
    for n in range(3):
        for place, one in enumerate(served):
            one.transport.client_sends({"type": "say", "data": {"n": [place, n]}})
    await settle()

    expected = [[("say", (place, n), None, None) for n in range(3)] for place in range(3)]
    assert expected == [seen[one.session.connection_id] for one in served]


async def test_one_reader_at_a_time() -> None:
    """
    A second task that reads is refused; the first goes on, and cancelling it loses no message.
    """
    served = await Bench.new().serve(lambda session: session.wait_closed())
    session = served.session
    first = asyncio.ensure_future(anext(session))
    await settle()
    with pytest.raises(errors.ConcurrencyError, match="another task is already reading it"):
        await anext(session)
    first.cancel()
    await settle()
    served.transport.client_sends({"type": "late"})

    assert "late" == (await anext(session)).type


@pytest.mark.scenario("S31")
async def test_ended_session_refuses() -> None:
    """
    After its end a session spawns nothing, takes no callback, queues nothing and yields no message.
    """

    async def work() -> None:
        raise AssertionError

    served = await Bench.new().serve()
    served.session.close()
    await served.over()
    session = served.session
    coroutine = work()
    with pytest.raises(errors.ClosedError, match=r"cannot call spawn\(\): session .* has ended"):
        session.spawn(coroutine)
    with pytest.raises(errors.ClosedError, match=r"cannot call on_end\(\)"):
        session.on_end(lambda: None)
    with pytest.raises(StopAsyncIteration):
        await anext(session)
    session.reject(Message(type="late"))
    await session.wait_closed()

    with pytest.raises(RuntimeError, match="cannot reuse"):
        await coroutine
    assert not session.is_open
    assert (0, 0) == session.waiting


@pytest.mark.scenario("S63")
async def test_repr_shows_no_claims() -> None:
    """
    A session shows its id and its context, and nothing secret.
    """
    served = await Bench.new().serve()

    assert f"<session {served.session.connection_id} of UserExecutionContext(" in repr(served.session)


@pytest.mark.scenario("S34")
async def test_spawned_work_outlives_the_socket() -> None:
    """
    Work goes on when its client is gone and reaches the session with which the client comes back.
    """
    go_on = asyncio.Event()

    async def answer(session: Session) -> str:
        async with session.manager.run("assistant") as run:
            await go_on.wait()
            await run.complete("done")
        return "answered"

    tasks: list[asyncio.Task[str]] = []

    async def handler(session: Session) -> None:
        tasks.append(session.spawn(answer(session), name="the work"))
        await until_over(session)

    bench = Bench.new()
    first = await bench.serve(handler)
    first.transport.client_leaves()
    await first.over()
    again = await bench.serve()
    go_on.set()
    await settle()

    assert "answered" == await tasks[0]
    assert "the work" == tasks[0].get_name()
    assert ["ws.welcome", "agent_completed"] == again.transport.types()
    assert 0 == bench.factory.stats().work


@pytest.mark.scenario("S46")
@pytest.mark.requirement("P5")
async def test_spawned_work_ends_after_a_while() -> None:
    """
    With nobody connected for ``detached_seconds`` spawned work is cancelled; who comes back in time keeps it.
    """
    ended: list[object] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            ended.extend(error.args)
            raise

    async def handler(session: Session) -> None:
        session.spawn(work())
        await until_over(session)

    bench = Bench.new(Settings(detached_seconds=60.0))
    first = await bench.serve(handler)
    first.transport.client_leaves()
    await first.over()
    await bench.clock.advance(59)
    back = await bench.serve()
    await bench.clock.advance(120)
    still_going = list(ended)
    back.transport.client_leaves()
    await back.over()
    await bench.clock.advance(61)

    assert [] == still_going
    assert ["ws_isolation:disconnect_policy"] == ended
    assert 0 == bench.factory.stats().work


@pytest.mark.scenario("S35", "S63")
async def test_spawned_work_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """
    Its client gets ws.error with the incident id of the log, and the session goes on.
    """

    async def work() -> None:
        raise LookupError("canary")

    async def handler(session: Session) -> None:
        session.spawn(work())
        await until_over(session)

    served = await Bench.new().serve(handler)
    (error,) = [frame for frame in served.transport.frames if frame["type"] == "ws.error"]
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]

    assert {"type", "slug", "incident_id"} == error.keys()
    assert "handler_error" == error["slug"]
    assert error["incident_id"] in record.getMessage()
    assert "canary" not in repr(served.transport.sent)
    assert served.session.is_open


@pytest.mark.scenario("S35")
async def test_spawned_work_that_fails_late() -> None:
    """
    Work that fails after its session has ended disturbs nobody.
    """
    go_on = asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        raise LookupError

    async def handler(session: Session) -> None:
        session.spawn(work())

    bench = Bench.new()
    served = await bench.serve(handler)
    await served.over()
    go_on.set()
    await settle()

    assert served.ended_with(1000)
    assert 0 == bench.factory.stats().work


@pytest.mark.requirement("WS-17")
async def test_stop_cancels_the_run() -> None:
    """
    ``stop`` with the id of an open run ends that run as cancelled by its user, and no other.
    """

    async def answer(session: Session, run_id: str) -> None:
        async with session.manager.run("assistant", run_id=run_id):
            await asyncio.Event().wait()

    async def handler(session: Session) -> None:
        for run_id in ("run-1", "run-2"):
            session.spawn(answer(session, run_id))
        await until_over(session)

    bench = Bench.new()
    served = await bench.serve(handler)
    served.transport.client_sends({"type": "stop", "run_id": "run-1"})
    await settle()

    (end,) = [event for event in served.transport.events if event.get("final")]
    assert ("agent_cancelled", "run-1", "user") == (end["type"], end["run_id"], end["data"]["reason"])
    assert 1 == bench.manager().stats().open_runs


@pytest.mark.requirement("P1")
async def test_stop_of_anything_else_is_a_message() -> None:
    """
    ``stop`` without a run, with an unknown one, or with somebody else's goes to the handler and stops nothing.
    """
    seen: list[str | None] = []

    async def handler(session: Session) -> None:
        async for message in session:
            seen.append(message.run_id)  # noqa: PERF401  # seen one by one

    bench = Bench.new()
    async with bench.manager("bob").run("assistant", run_id="bobs") as run:
        served = await bench.serve(handler)
        for run_id in (None, "unknown", "bobs"):
            served.transport.client_sends({"type": "stop", **({"run_id": run_id} if run_id else {})})
        await settle()
        assert run.is_open

    assert [None, "unknown", "bobs"] == seen


@pytest.mark.scenario("S41")
@pytest.mark.parametrize("handler", [None, "own"])
async def test_message_that_cannot_be_served(handler: str | None) -> None:
    """
    A session without handler, and ``reject``, answer with ws.error that names the message; 20 a minute, then 4022.
    """

    async def own(session: Session) -> None:
        async for message in session:
            session.reject(message, "invalid_data", path="$.data.n", problem="must be a number")

    bench = Bench.new(Settings(message_burst=100, messages_per_minute=10_000.0))
    served = await bench.serve(None if handler is None else own)
    message_id = "0192f0c3-aaaa-7bbb-8ccc-ddddeeeeffff"
    for _ in range(20):
        served.transport.client_sends({"type": "hello", "id": message_id})
        await settle()
    await bench.clock.advance(60)
    for _ in range(21):
        served.transport.client_sends({"type": "hello"})
        await settle()
    await served.over()

    answers = [frame for frame in served.transport.frames if frame["type"] == "ws.error"]
    expected = {"type": "ws.error", "slug": "unknown_type", "refused_type": "hello", "causation_id": message_id}
    if handler is not None:
        expected |= {"slug": "invalid_data", "path": "$.data.n", "problem": "must be a number"}
    assert [expected] * 20 == answers[:20]
    assert 40 == len(answers)
    assert served.ended_with(4022)


async def test_close_with_a_code_of_the_application() -> None:
    """
    An application's own code reaches goodbye and the close frame, with its wait.
    """
    moved = closing.CloseCode(4911, "moved", "resume", "")
    served = await Bench.new().serve()
    served.session.close(moved, retry_after_ms=250)
    await served.over()

    expected = {"type": "ws.goodbye", "code": 4911, "slug": "moved", "action": "resume", "retry_after_ms": 250}
    assert expected == served.goodbye
    assert (4911, "moved;r=250") == served.transport.closed


@pytest.mark.scenario("S09")
async def test_callbacks_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """
    Each callback is called once, the last one first, whatever others raise; child contexts change nothing.
    """
    called: list[str] = []

    async def slow() -> None:
        await asyncio.sleep(0)
        called.append("slow")

    def fails() -> None:
        called.append("fails")
        raise LookupError("of a callback")

    async def cancelled() -> None:
        called.append("cancelled")
        raise asyncio.CancelledError

    served = await Bench.new().serve()
    served.session.on_end(lambda: called.append("first"))
    served.session.context.child()
    for callback in (slow, fails, cancelled):
        served.session.on_end(callback)
    served.session.on_end(lambda: called.append("last"))
    served.session.close()
    before = list(called)
    await served.over()
    await served.session.wait_closed()

    assert [] == before
    assert ["last", "cancelled", "fails", "slow", "first"] == called
    assert 2 == caplog.text.count("a callback of on_end() failed")


@pytest.mark.scenario("S09")
@pytest.mark.requirement("P2")
async def test_callback_that_never_returns() -> None:
    """
    A callback that hangs is cancelled after a while: the session ends, and so do the other callbacks.
    """
    called: list[str] = []

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            called.append("hangs")

    served = await Bench.new().serve()
    served.session.on_end(lambda: called.append("first"))
    served.session.on_end(hangs)
    served.session.close()
    await served.over()

    assert ["hangs", "first"] == called
    assert served.ended_with(1000)


@pytest.mark.requirement("WS-09")
async def test_heartbeats_through_the_shell() -> None:
    """
    A session that answers its pings lives for hours; one that does not is ended 33 seconds after it fell silent.
    """
    bench = Bench.new()
    lively, silent, simple = (
        await bench.serve(enforce_pongs=True),
        await bench.serve(enforce_pongs=True),
        await bench.serve(),
    )
    for _ in range(400):
        await bench.clock.advance(5)
        if lively.transport.types()[-1] == "ws.ping":
            lively.transport.client_sends({"type": "ws.pong", "n": lively.transport.frames[-1]["n"]})
    await silent.over()

    assert silent.ended_with(4208)
    assert lively.session.is_open
    assert simple.session.is_open
    assert 75 < lively.transport.types().count("ws.ping") == simple.transport.types().count("ws.ping")
    assert ["ws.welcome", "ws.ping", "ws.goodbye"] == silent.transport.types()


@pytest.mark.requirement("P5", "WS-15")
async def test_inbox_has_a_bound() -> None:
    """
    A handler that does not read costs its own client the session, with 4329, and nobody else.
    """
    bench = Bench.new(Settings(message_burst=100))
    busy = asyncio.Event()
    served = await bench.serve(lambda _session: busy.wait())  # type: ignore[arg-type, return-value]  # any awaitable
    for _ in range(33):
        served.transport.client_sends({"type": "hello"})
    await served.over()

    assert served.ended_with(4329)


async def test_messages_of_a_frozen_kind() -> None:
    """
    A message that came without data has empty data, and data cannot be changed.
    """
    served = await Bench.new().serve(lambda session: session.wait_closed())
    served.transport.client_sends({"type": "hello"})
    message = await anext(served.session)

    assert FrozenDict() == message.data
    with pytest.raises(TypeError, match="frozen"):
        message.data["x"] = 1  # type: ignore[index]  # what must fail
