"""
The factory's clockwork: its loop, its start and stop, and how long streams and work are kept.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import attrs
import pytest

from tests.shell import Bench, Served, note, until_over
from ws_isolation import (
    Delivery,
    IsolatedManager,
    ManagerFactory,
    Session,
    Settings,
    UserExecutionContext,
    errors,
    events,
)
from ws_isolation.delivery import ManagerStats
from ws_isolation.manager import RunMixin
from ws_isolation.reports import Report
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.testing.clock import settle

STREAM = 300.0
"""What ``Settings.stream_seconds`` is by default."""


@attrs.define(eq=False)
class Recorder(RunMixin):
    """
    A manager of the application's own, which keeps what it was told to send.
    """

    inner: IsolatedManager
    sent: list[events.Event] = attrs.field(factory=list[events.Event])

    @property
    def context(self) -> UserExecutionContext:
        """
        Same as the inner one's.
        """
        return self.inner.context

    async def send(self, event: events.Event, /) -> Delivery:
        """
        Keep it and send it.
        """
        delivery = await self.inner.send(event)
        self.sent.append(event)
        return delivery

    def stats(self) -> ManagerStats:
        """
        Same as the inner one's.
        """
        return self.inner.stats()


def armed(clock: FakeClock) -> int:
    """
    Return how many timers are waiting.
    """
    return sum(timer.callback is not None for _, _, timer in clock._heap)


async def stop(bench: Bench, seconds: float = 60) -> None:
    """
    Stop the factory while *seconds* pass.
    """
    stopping = asyncio.create_task(bench.factory.stop())
    await bench.clock.advance(seconds)
    await asyncio.wait_for(stopping, 1)


async def forever() -> None:
    """
    Work until cancelled.
    """
    await asyncio.Event().wait()


async def stubborn(until: asyncio.Event) -> None:
    """
    Work until the event, whoever cancels it.
    """
    while not until.is_set():
        try:
            await until.wait()
        except asyncio.CancelledError:
            continue


# Its loop.


@pytest.mark.scenario("S16")
@pytest.mark.requirement("P4")
async def test_nothing_before_the_first_use() -> None:
    """
    Neither making a factory nor making a manager starts a task, a thread or a timer.
    """
    tasks, threads = asyncio.all_tasks(), threading.active_count()
    clock = FakeClock()
    settings = Settings(drain_seconds=5)
    factory = ManagerFactory(settings, clock=clock)
    factory.create_manager(make_context())

    assert (tasks, threads, 0) == (asyncio.all_tasks(), threading.active_count(), armed(clock))
    assert (settings, clock, False) == (factory.settings, factory.clock, factory.is_draining)
    assert (0, 0, 0, 0, 0, {}, 0) == attrs.astuple(factory.stats())


CALLS: dict[str, Callable[[ManagerFactory], Any]] = {
    "send()": lambda factory: factory.create_manager(make_context()).send(note()),
    "__aenter__()": lambda factory: factory.__aenter__(),
    "open_session()": lambda factory: factory.attach(make_context(), RecordingTransport()).__aenter__(),
}


@pytest.mark.scenario("S17")
@pytest.mark.parametrize("call", CALLS)
def test_without_a_loop(call: str) -> None:
    """
    Outside of an event loop each call raises an error that names it and says what to use.
    """
    coroutine = CALLS[call](ManagerFactory())

    with pytest.raises(errors.ConcurrencyError, match=r"outside an event loop.*threads\.Portal") as refusal:
        coroutine.send(None)
    assert call in str(refusal.value)


@pytest.mark.scenario("S17")
@pytest.mark.parametrize("call", CALLS)
async def test_in_another_loop(call: str) -> None:
    """
    In another thread's loop each call raises an error that names it and says what to use; nothing changes.
    """
    factory = ManagerFactory()
    await factory.create_manager(make_context()).send(note())
    before = factory.stats()

    def elsewhere() -> None:
        async def use() -> None:
            await CALLS[call](factory)

        with pytest.raises(errors.ConcurrencyError, match=r"another event loop.*threads\.Portal") as refusal:
            asyncio.run(use())
        assert call in str(refusal.value)

    await asyncio.to_thread(elsewhere)

    assert before == factory.stats()
    await factory.stop()


@pytest.mark.scenario("S17")
def test_loop_after_loop() -> None:
    """
    When its loop has closed, the factory and its managers work in the next one, with new streams.
    """
    factory = ManagerFactory()
    manager = factory.create_manager(make_context())

    async def use() -> tuple[int, int]:
        assert factory.begin_handshake(None) is None
        return (await manager.send(note())).seq, factory.stats().pending

    assert [(1, 1), (1, 1)] == [asyncio.run(use()) for _ in range(2)]


@pytest.mark.scenario("S26")
def test_stop_after_the_loop() -> None:
    """
    Stopping a factory whose loop has closed does no harm, and the next loop finds it stopped or starts it again.
    """
    factory = ManagerFactory()
    manager = factory.create_manager(make_context())

    async def use() -> int:
        async with factory.attach(make_context(), RecordingTransport()) as session:
            session.spawn(forever())
            return (await manager.send(note())).seq

    async def again() -> int:
        async with factory:
            return (await manager.send(note())).seq

    assert 1 == asyncio.run(use())
    asyncio.run(factory.stop())
    assert 1 == asyncio.run(again())


@pytest.mark.scenario("S17", "S26")
async def test_stop_from_another_loop() -> None:
    """
    Stopping it from another thread's loop raises, and the factory goes on.
    """
    factory = ManagerFactory()
    transport = RecordingTransport()
    async with factory.attach(make_context(), transport) as session:

        def elsewhere() -> None:
            with pytest.raises(errors.ConcurrencyError, match="another event loop"):
                asyncio.run(factory.stop())

        await asyncio.to_thread(elsewhere)

        assert session.is_open
        assert not factory.is_draining


# Its end.


@pytest.mark.scenario("S26")
@pytest.mark.requirement("P2")
async def test_stop() -> None:
    """
    Stopping says goodbye with 4200 to every session, then cancels the work: a run in it ends as cancelled.
    """
    clock = FakeClock()
    recorders: list[Recorder] = []

    def record(manager: IsolatedManager) -> IsolatedManager:
        recorders.append(Recorder(manager))
        return recorders[-1]

    bench = Bench(clock, ManagerFactory(manager=record, clock=clock))
    seen: list[int | None] = []

    async def work(session: Session) -> None:
        async with session.manager.run("a") as run, run.tool("search"):
            try:
                await forever()
            finally:
                seen.append(None if session.code is None else session.code.code)

    async def handler(session: Session) -> None:
        session.spawn(work(session))
        await until_over(session)

    served = [await bench.serve(handler, user) for user in ("alice", "bob")]
    await stop(bench)

    assert all(one.ended_with(4200) and one.task.done() for one in served)
    assert [4200, 4200] == seen
    for recorder in recorders:
        kinds = [event.type for event in recorder.sent]
        assert ["agent_started", "tool_executing", "tool_completed", "agent_cancelled"] == kinds
        last = recorder.sent[-1]
        assert isinstance(last, events.AgentCancelled)
        assert "shutdown" == last.reason
    assert (0, 0, 0, 0, 0, {4200: 2}, 0) == attrs.astuple(bench.factory.stats())
    assert (0, False) == (armed(clock), bench.factory.is_draining)


@pytest.mark.scenario("S31")
async def test_after_the_stop() -> None:
    """
    Afterwards managers raise the library's own error, stopping again does no harm, and it can start again.
    """
    bench = Bench.new()
    manager = bench.manager()
    async with bench.factory as entered:
        assert entered is bench.factory
        await manager.send(note())
    for _ in range(2):
        with pytest.raises(errors.InvalidStateError, match=r"cannot call send\(\): the factory has stopped; start it"):
            await manager.send(note())
        with pytest.raises(errors.InvalidStateError):
            await bench.serve()
        await bench.factory.stop()
    assert (0, 0) == (armed(bench.clock), bench.factory.stats().streams)

    async with bench.factory:
        assert 1 == (await manager.send(note())).seq
    with pytest.raises(errors.InvalidStateError):
        await manager.send(note())


async def test_stop_before_the_start() -> None:
    """
    A factory that was never used can be stopped; its first use starts it.
    """
    bench = Bench.new()
    await bench.factory.stop()

    assert 1 == (await bench.manager().send(note())).seq
    await bench.factory.stop()


@pytest.mark.scenario("S31")
async def test_run_over_the_stop() -> None:
    """
    A run whose factory stops under its feet raises at its end, and does not hang.
    """
    bench = Bench.new()
    with pytest.raises(errors.InvalidStateError, match="the factory has stopped"):
        async with bench.manager().run("a"):
            await bench.factory.stop()


@pytest.mark.scenario("S26")
async def test_stop_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """
    A session and work that ignore everything keep the stop no longer than the settings say, and it is reported.
    """
    bench = Bench.new(Settings(drain_seconds=3, close_seconds=1))
    until = asyncio.Event()

    async def handler(session: Session) -> None:
        session.spawn(stubborn(until), name="stubborn")
        await stubborn(until)

    served = await bench.serve(handler)
    polite = await bench.serve(user="bob")
    stopping = asyncio.create_task(bench.factory.stop())
    await bench.clock.advance(2.9)
    assert not stopping.done()
    assert bench.factory.is_draining
    assert "a drain goes on" == bench.factory.begin_handshake(None)
    await bench.clock.advance(1.2)

    assert stopping.done()
    assert polite.ended_with(4200)
    assert 2 == caplog.text.count("the stop left something open")
    with pytest.raises(errors.InvalidStateError):
        await bench.manager().send(note())
    until.set()
    await served.over()
    assert served.ended_with(4200)


@pytest.mark.scenario("S26")
async def test_cancelled_stop() -> None:
    """
    A stop that was cancelled can be finished by another.
    """
    bench = Bench.new()
    served = await bench.serve()
    served.transport.client_stops_reading()
    stopping = asyncio.create_task(bench.factory.stop())
    await settle()
    stopping.cancel()
    await settle()
    assert stopping.cancelled()
    assert bench.factory.is_draining

    await stop(bench)
    assert (False, 0) == (bench.factory.is_draining, armed(bench.clock))
    await served.over()


@pytest.mark.scenario("S26")
async def test_two_stops_at_once() -> None:
    """
    Two stops at once end together.
    """
    bench = Bench.new()
    served = await bench.serve()
    await asyncio.gather(stop(bench), bench.factory.stop())

    assert served.ended_with(4200)
    assert {4200: 1} == bench.factory.stats().closes


@pytest.mark.scenario("S26")
@pytest.mark.requirement("P2")
async def test_attached_sessions() -> None:
    """
    A block of ``attach`` is told of the stop like any session, one that begins during it at once; errors go on.
    """
    bench = Bench.new()
    early, late = RecordingTransport(), RecordingTransport()

    async def block() -> None:
        async with bench.factory.attach(make_context(), early) as session:
            await until_over(session)
            async with bench.factory.attach(make_context("bob"), late) as second:
                await until_over(second)
            raise LookupError

    task = asyncio.create_task(block())
    await settle()
    await stop(bench)

    with pytest.raises(LookupError):
        await task
    for transport in (early, late):
        assert transport.closed is not None
        assert 4200 == transport.closed[0] == transport.frames[-1]["code"]


# What it makes and counts.


@pytest.mark.requirement("P6")
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"settings": {"drain_seconds": 1}}, "settings must be a Settings, not"),
        ({"settings": Settings}, "settings must be a Settings, not"),
        ({"manager": "Recorder"}, "manager must be callable with the shipped manager, not"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], problem: str) -> None:
    """
    A wrong argument fails where it is given, and the message says what is wanted.
    """
    with pytest.raises(errors.SettingsError, match=problem):
        ManagerFactory(**arguments)


async def test_own_manager() -> None:
    """
    The application's own manager is what a session gets as well; one with another context is refused.
    """
    clock = FakeClock()
    factory = ManagerFactory(manager=Recorder, clock=clock)
    served = await Bench(clock, factory).serve()
    manager = served.session.manager

    assert isinstance(manager, Recorder)
    await manager.send(note())
    assert 1 == manager.stats().sessions
    await factory.stop()

    stranger = make_context("mallory")
    careless = ManagerFactory(manager=lambda _: ManagerFactory().create_manager(stranger))
    with pytest.raises(errors.InvalidStateError, match="has another context"):
        careless.create_manager(make_context())
    with pytest.raises(errors.InvalidStateError, match="has another context"):
        await Bench(clock, careless).serve()
    assert (0, 0) == (careless.stats().sessions, careless.stats().streams)


@pytest.mark.scenario("S16")
@pytest.mark.requirement("P4")
async def test_self_check() -> None:
    """
    A healthy process has no problem, switched-off validators are one, and looking makes nothing.
    """
    bench = Bench.new()
    report = bench.factory.self_check()
    report.raise_for_problems()
    attrs.validators.set_disabled(True)
    try:
        ill = bench.factory.self_check()
    finally:
        attrs.validators.set_disabled(False)

    assert ((), True) == (report.problems, report.ok)
    assert not ill.ok
    with pytest.raises(errors.SettingsError, match="attrs validators are switched off"):
        ill.raise_for_problems()
    assert (0, (0, 0, 0, 0, 0, {}, 0)) == (armed(bench.clock), attrs.astuple(bench.factory.stats()))


def test_every_problem_is_named() -> None:
    """
    All problems stand in one error.
    """
    with pytest.raises(errors.SettingsError, match="one; two"):
        Report(("one", "two"), "1").raise_for_problems()


async def test_stats() -> None:
    """
    Sessions, streams, work, handshakes, foreign envelopes and closes are counted, and no id is in it.
    """
    bench = Bench.new(Settings(pending_handshakes=2, sessions_per_identity=2))
    one, two, bob = await bench.serve(), await bench.serve(), await bench.serve(user="bob")
    work = bob.session.spawn(forever())
    assert [True, True, False] == [bench.factory.begin_handshake(None) is None for _ in range(3)]
    bench.factory.end_handshake(None)
    bench.factory._runtime.count_foreign()
    bench.factory.count_close(503)

    assert (3, 2, 1, 1, 1, {503: 1}, 0) == attrs.astuple(bench.factory.stats())
    assert [False, True, True] == [bench.factory.has_room(make_context(user)) for user in ("alice", "bob", "carol")]
    one.transport.client_leaves()
    two.session.close()
    await two.over()
    assert (1, 2, 1, 1, 1, {503: 1, 1000: 1}, 0) == attrs.astuple(bench.factory.stats())
    assert bench.factory.has_room(make_context())
    work.cancel()
    await settle()
    assert 0 == bench.factory.stats().work
    await stop(bench)


async def test_work_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """
    Work that raises is logged with the incident id that its client gets, and counted no longer.
    """
    bench = Bench.new()
    served = await bench.serve()

    async def work() -> None:
        raise LookupError

    served.session.spawn(work())
    await settle()

    frame = served.transport.frames[-1]
    assert ("ws.error", "handler_error") == (frame["type"], frame["slug"])
    assert frame["incident_id"] in caplog.text
    assert 0 == bench.factory.stats().work
    await bench.factory.stop()


def test_plain_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """
    Unencrypted sockets from other machines are warned of once for each factory.
    """
    for factory in (ManagerFactory(), ManagerFactory()):
        caplog.clear()
        for _ in range(3):
            factory.warn_plain()
        assert [logging.WARNING] == [record.levelno for record in caplog.records]
        assert "Settings.require_tls" in caplog.text


@pytest.mark.scenario("S31")
async def test_expired_context() -> None:
    """
    When the context has expired nothing more is said for it, but what is open can still be closed.
    """
    bench = Bench.new()
    now = datetime.fromtimestamp(bench.clock.unix(), UTC)
    assert now == bench.factory.utc_now()
    manager = bench.factory.create_manager(make_context(expires_at=now + timedelta(seconds=60)))
    served = await bench.serve()
    async with manager.run("a") as run:
        await run.thinking("in time")
        await bench.clock.advance(61)
        for late in (run.thinking("late"), run.complete(), manager.send(note())):
            with pytest.raises(errors.ContextExpiredError):
                await late
        await run.cancel("timeout")
    await settle()

    assert ["agent_started", "agent_thinking", "agent_cancelled"] == [e["type"] for e in served.transport.events]
    assert 0 == manager.stats().open_runs
    await bench.factory.stop()


# How long streams and work are kept.


async def test_stream_of_events_alone() -> None:
    """
    A stream that nobody listened to is kept for ``stream_seconds`` after its last event, and its timer goes with it.
    """
    bench = Bench.new()
    manager = bench.manager()
    await manager.send(note())
    await bench.clock.advance(STREAM - 1)
    assert 2 == (await manager.send(note())).seq
    await bench.clock.advance(STREAM - 1)
    assert (1, 1) == (bench.factory.stats().streams, armed(bench.clock))

    await bench.clock.advance(2)
    assert (0, 0) == (bench.factory.stats().streams, armed(bench.clock))
    assert 1 == (await manager.send(note())).seq


@pytest.mark.parametrize("refused", ["illegal", "too big"])
async def test_stream_of_nothing(refused: str) -> None:
    """
    An event that is refused leaves no stream behind for longer than any other.
    """
    bench = Bench.new(Settings(event_bytes=1_024))
    illegal = events.AgentThinking(run_id="r", thread_id="t", thought_id="x", mode="summary", text="x")
    for user in ("alice", "bob"):
        with pytest.raises(errors.EventError):
            await bench.manager(user).send(illegal if refused == "illegal" else note("x" * 2_000))

    await bench.clock.advance(STREAM + 1)
    assert (0, 0) == (bench.factory.stats().streams, armed(bench.clock))


@pytest.mark.parametrize("detached_seconds", [5.0, STREAM, 2 * STREAM])
async def test_stream_of_a_session(detached_seconds: float) -> None:
    """
    A stream lasts as long as a session and ``stream_seconds`` more; a session that returns finds it.
    """
    bench = Bench.new(Settings(detached_seconds=detached_seconds))
    first = await bench.serve()
    await bench.clock.advance(3 * STREAM)
    assert 1 == bench.factory.stats().streams
    await bench.manager().send(note())
    await bench.clock.advance(3 * STREAM)
    assert 1 == bench.factory.stats().streams

    first.session.close()
    await first.over()
    await bench.clock.advance(STREAM / 2)
    second = await bench.serve()
    assert 1 == second.transport.frames[0]["cursor"]["seq"]
    await bench.clock.advance(STREAM)
    second.transport.client_leaves()
    await bench.clock.advance(STREAM - 1)
    assert 1 == bench.factory.stats().streams
    await bench.clock.advance(2)
    assert (0, 0) == (bench.factory.stats().streams, armed(bench.clock))


async def test_stream_of_a_run() -> None:
    """
    A stream is not forgotten while a run is open.
    """
    bench = Bench.new()
    async with bench.manager().run("a") as run:
        await bench.clock.advance(5 * STREAM)
        assert 2 == (await run.thinking("slow")).seq
        assert 1 == bench.manager().stats().open_runs
    await bench.clock.advance(STREAM + 1)

    assert (0, 0) == (bench.factory.stats().streams, armed(bench.clock))


@pytest.mark.parametrize("seconds", [0.0, 5.0, STREAM, 2 * STREAM])
async def test_detached_work(seconds: float) -> None:
    """
    Work goes on for ``detached_seconds`` after the last session, not from the first, and is cancelled then.
    """
    bench = Bench.new(Settings(detached_seconds=seconds))
    one, two = await bench.serve(), await bench.serve()
    work = one.session.spawn(forever())
    one.transport.client_leaves()
    await bench.clock.advance(3 * STREAM)
    assert not work.done()

    two.transport.client_leaves()
    await bench.clock.advance(max(0.0, seconds - 1))
    assert work.done() is (seconds == 0)
    await bench.clock.advance(2)
    assert work.cancelled()
    await bench.clock.advance(STREAM + 1)
    assert (0, 0) == (bench.factory.stats().streams, armed(bench.clock))


async def test_detached_work_that_is_fetched() -> None:
    """
    A session that comes back in time keeps the work going.
    """
    bench = Bench.new(Settings(detached_seconds=5))
    first = await bench.serve()
    work = first.session.spawn(forever())
    first.transport.client_leaves()
    await bench.clock.advance(4)
    second = await bench.serve()
    await bench.clock.advance(60)
    assert not work.done()

    second.transport.client_leaves()
    await bench.clock.advance(6)
    assert work.cancelled()
    await bench.factory.stop()


async def test_work_that_ignores_its_end() -> None:
    """
    Work that ignores its cancellation is asked again, and its stream stays until it is done.
    """
    bench = Bench.new(Settings(detached_seconds=5))
    until = asyncio.Event()
    served = await bench.serve()
    work = served.session.spawn(stubborn(until))
    served.transport.client_leaves()
    await bench.clock.advance(5 * STREAM)
    assert (False, 1, 1) == (work.done(), bench.factory.stats().streams, bench.factory.stats().work)
    assert work.cancelling() > 1

    until.set()
    await bench.clock.advance(2 * STREAM)
    assert work.done()
    assert (0, 0) == (bench.factory.stats().streams, armed(bench.clock))


@pytest.mark.requirement("P5")
async def test_one_timer() -> None:
    """
    However many sessions, streams and heartbeats there are, one timer is armed; in the end none.
    """
    bench = Bench.new()
    served: list[Served] = []
    for number in range(20):
        served.append(await bench.serve(user=f"user-{number % 7}"))
        await bench.manager(f"other-{number}").send(note())
        await bench.clock.advance(1)
        assert 1 == armed(bench.clock)
    for one in served:
        one.session.close()
        await settle()
    await bench.clock.advance(1)
    assert 1 == armed(bench.clock)

    await bench.clock.advance(2 * STREAM)
    assert (0, 0) == (armed(bench.clock), bench.factory.stats().streams)


@pytest.mark.scenario("S38")
@pytest.mark.requirement("P5")
async def test_managers_are_garbage() -> None:
    """
    A manager that nobody holds is gone, also one that has sent; ten thousand of them register nothing.
    """
    bench = Bench.new()
    manager = bench.manager()
    await manager.send(note())
    async with manager.run("a"):
        pass
    gone = weakref.ref(cast("object", manager))
    del manager
    gc.collect()
    assert gone() is None

    before = bench.factory.stats()
    managers = [bench.manager(f"user-{number}") for number in range(10_000)]
    assert (before, 1) == (bench.factory.stats(), armed(bench.clock))
    left = [weakref.ref(cast("object", one)) for one in managers]
    del managers
    gc.collect()
    assert not any(one() for one in left)
    await bench.factory.stop()
