"""
Watching a factory: every hook is called, none gets what is somebody's, and one that raises disturbs nothing.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext, suppress
from typing import Any, cast

import attrs
import pytest

from tests.observers import ARGUMENTS, CANARY, KEYWORDS, Watcher, course
from tests.shell import Bench, Served, note
from ws_isolation import ManagerFactory, Session, Settings, errors
from ws_isolation.backplanes.base import Listener
from ws_isolation.backplanes.memory import MemoryBackplane
from ws_isolation.clockwork import Clockwork
from ws_isolation.events import Envelope
from ws_isolation.hooks import Guard, Span, guarded
from ws_isolation.keys import Identity
from ws_isolation.observing import HOOKS, Observer
from ws_isolation.stream import NIL_ID, Cursor, Draft, Page, Start
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.testing.clock import settle
from ws_isolation.wire import DEFAULT_WIRE


def watched(settings: Settings | None = None, error: BaseException | None = None) -> tuple[Bench, Watcher]:
    """
    Return a bench with a watcher.
    """
    clock, watcher = FakeClock(), Watcher(error)
    return Bench(clock, ManagerFactory(settings, clock=clock, observer=watcher)), watcher


def call(observer: Observer, hook: str) -> None:
    """
    Call one hook.
    """
    getattr(observer, hook)(*ARGUMENTS[hook], **KEYWORDS.get(hook, {}))


def fail_with(error: BaseException | None) -> None:
    """
    Raise *error*, if there is one.
    """
    if error is not None:
        raise error


@pytest.mark.requirement("P5")
@pytest.mark.parametrize("hook", HOOKS)
async def test_every_hook_is_called(hook: str) -> None:
    """
    In a factory's life the engine calls the hook.
    """
    watcher = Watcher()
    await course(watcher)

    assert watcher.named(hook)


async def test_what_is_told() -> None:
    """
    The numbers of a factory's life: sessions, refusals, events, gap, replay, foreign, spans.
    """
    watcher = Watcher()
    await course(watcher)

    assert [(), ()] == watcher.named("session_opened")
    assert [(4300,), (4200,)] == watcher.named("session_closed")
    assert [(403,), (4001,)] == watcher.named("handshake_refused")
    pieces = ["agent_message_delta"] * 4  # three, and the end
    assert ["custom", "agent_started", "agent_thinking", *pieces, "agent_completed"] == [
        kind for kind, _durable in watcher.named("event_published")
    ]
    assert [("epoch_changed", 1)] == watcher.named("gap")
    assert [(1,)] == watcher.named("replayed")
    assert [()] == watcher.named("foreign")
    assert {("authenticate", "refused"), ("run", "ok"), ("handler", "ok"), ("drain", "ok")} == set(watcher.spans())


@pytest.mark.scenario("S12")
@pytest.mark.requirement("WS-28", "I15")
async def test_nothing_that_is_somebodys() -> None:
    """
    No hook gets an id of a user, tenant, thread, run or event, nor an agent's or event's name, nor a payload.
    """
    watcher = Watcher()
    factory, _ = await course(watcher)

    assert watcher.calls
    assert CANARY not in repr(watcher.calls)
    assert "test.note" not in repr(watcher.calls)
    assert CANARY in repr(make_context(CANARY))
    assert 0 == factory.stats().hook_failures


@pytest.mark.requirement("P5")
async def test_observer_that_always_raises(caplog: pytest.LogCaptureFixture) -> None:
    """
    Every socket gets the same as without an observer; each failure is counted, each hook logged once.
    """
    plain, undisturbed = await course(None)
    watcher = Watcher(LookupError("defect"))
    factory, disturbed = await course(watcher)
    records = [record for record in caplog.records if record.getMessage().startswith("the observer failed")]

    assert undisturbed == disturbed
    assert attrs.evolve(plain.stats(), hook_failures=len(watcher.calls)) == factory.stats()
    assert {str(name) for name, *_ in watcher.calls} == {record.__dict__["ws_isolation"]["hook"] for record in records}
    assert len({name for name, *_ in watcher.calls}) == len(records)


@pytest.mark.requirement("P5")
@pytest.mark.parametrize("error", [LookupError("defect"), asyncio.CancelledError()])
@pytest.mark.parametrize("hook", HOOKS)
def test_guard_survives(hook: str, error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """
    What the hook raises stays in the guard, a CancelledError of its own making too; the arguments arrive unchanged.
    """
    watcher = Watcher(error)
    guard = Guard(watcher)
    call(guard, hook)
    call(guard, hook)

    assert [(hook, *ARGUMENTS[hook], *KEYWORDS.get(hook, {}).values())] * 2 == watcher.calls
    assert 2 == guard.failures
    (record,) = caplog.records
    assert (logging.ERROR, hook) == (record.levelno, record.__dict__["ws_isolation"]["hook"])
    with pytest.raises(type(error)):
        call(watcher, hook)


@pytest.mark.parametrize("hook", HOOKS)
def test_guard_lets_the_end_of_the_process_through(hook: str) -> None:
    """
    Ctrl-C in a hook is no failure of the observer.
    """
    guard = Guard(Watcher(KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        call(guard, hook)
    assert 0 == guard.failures


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_that_are_not_overridden(hook: str) -> None:
    """
    Whoever inherits from the protocol overrides what is needed; the rest does nothing.
    """

    class Idle(Observer):
        pass

    guard = guarded(Idle())
    assert guard is not None
    call(guard, hook)

    assert 0 == guard.failures


def test_observer_without_hooks() -> None:
    """
    What lacks hooks is refused when the factory is made, and the error names them.
    """

    class Partial:
        foreign = session_opened = print

    with pytest.raises(errors.SettingsError, match=r"lacks session_closed, handshake_refused, .*inherit from"):
        ManagerFactory(observer=cast("Any", Partial()))
    assert guarded(None) is None


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "ok"),
        (LookupError(), "failed"),
        (TimeoutError(), "failed"),
        (errors.ForbiddenError("x"), "refused"),
        (asyncio.CancelledError(), "cancelled"),
        (GeneratorExit(), "cancelled"),
    ],
)
async def test_span(error: BaseException | None, outcome: str) -> None:
    """
    A span swallows nothing, and tells how long its block took and how it ended.
    """
    clock, watcher = FakeClock(), Watcher()
    with pytest.raises(type(error)) if error is not None else nullcontext(), Span(watcher, clock, "handler"):
        await clock.advance(2)
        fail_with(error)

    assert [("handler", 2, outcome)] == watcher.named("span_ended")


@pytest.mark.parametrize("ending", ["completed", "failed", "cancelled"])
async def test_runs(ending: str) -> None:
    """
    A run is timed to its end, whatever end it is; a child counts as a run of its own.
    """
    bench, watcher = watched()
    async with bench.factory:
        with suppress(LookupError):
            async with bench.manager().run("assistant") as run, run.child("helper"):
                fail_with(LookupError() if ending == "failed" else None)
                if ending == "cancelled":
                    await run.cancel()

    outcome = {"completed": "ok"}.get(ending, ending)
    assert [("run", outcome), ("run", outcome)] == [span for span in watcher.spans() if span[0] == "run"]
    assert all(cast("float", seconds) >= 0 for _, seconds, _ in watcher.named("span_ended"))


@pytest.mark.scenario("S26")
async def test_drain_that_leaves_something() -> None:
    """
    A drain that had to leave a session open has failed, and took as long as it may; it is told once.
    """
    bench, watcher = watched(Settings(drain_seconds=3, close_seconds=1))
    until = asyncio.Event()

    async def stubborn(_session: Session) -> None:
        while not until.is_set():
            with suppress(asyncio.CancelledError):
                await until.wait()

    left = await bench.serve()
    left.transport.client_leaves()
    served = await bench.serve(stubborn)
    draining = asyncio.create_task(bench.factory.drain())
    await bench.clock.advance(1)
    stopping = asyncio.create_task(bench.factory.stop())
    await bench.clock.advance(5)
    await asyncio.gather(draining, stopping)
    until.set()
    await asyncio.gather(left.over(), served.over())

    assert [("drain", 3, "failed")] == [span for span in watcher.named("span_ended") if span[0] == "drain"]
    assert [(None,), (4200,)] == watcher.named("session_closed")


async def test_lag() -> None:
    """
    A timer that comes late is told with how late it came; what was due in the past, or comes early, is not late.
    """
    clock, lags = FakeClock(), list[float]()
    clockwork: Clockwork[object] = Clockwork(clock, lambda _item, _now: None, lags.append)
    began, item = clock.monotonic(), Watcher()
    clockwork.schedule(began + 1, item)
    clock._now += 3.5  # something blocked the loop
    await clock.advance(0)
    clockwork.schedule(began - 10, item)
    await clock.advance(0)
    clockwork.schedule(clock.monotonic() + 5, item)
    clockwork._tick()

    assert [2.5, 0, 0] == lags


@attrs.define
class Failover:
    """
    A backplane that falls back to an older history when it is told to.
    """

    inner: MemoryBackplane
    page: Page | None = None

    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """
        Do as the inner one.
        """
        return await self.inner.publish(identity, draft)

    async def subscribe(self, identity: Identity, listener: Listener, /) -> None:
        """
        Do as the inner one.
        """
        await self.inner.subscribe(identity, listener)

    def release(self, identity: Identity, listener: Listener, /) -> None:
        """
        Do as the inner one.
        """
        self.inner.release(identity, listener)

    async def read(self, identity: Identity, start: Start, /) -> Page:
        """
        Return the older history, or do as the inner one.
        """
        return await self.inner.read(identity, start) if self.page is None else self.page


async def test_gap_of_an_engine() -> None:
    """
    After a failover the gap is told with how many sessions hear of it; a client that comes with a cursor is one more.
    """
    clock, watcher, settings = FakeClock(), Watcher(), Settings()
    engine = Failover(MemoryBackplane(settings, monotonic=clock.monotonic))
    bench = Bench(clock, ManagerFactory(settings, clock=clock, observer=watcher, backplane=engine))
    served: list[Served] = [await bench.serve(), await bench.serve()]
    await bench.manager().send(note())
    engine.page = Page(Cursor("replica", 0, NIL_ID), ())
    await clock.advance(settings.tip_seconds * 1.25)
    told = watcher.named("gap")
    engine.page = Page(Cursor("older", 0, NIL_ID), ())
    late = await bench.factory.open_session(
        make_context(), RecordingTransport(), wire=DEFAULT_WIRE, start=Cursor("elsewhere", 1, NIL_ID), handshake=None
    )
    late.abandon()
    await clock.advance(0)
    engine.page = None
    await asyncio.gather(bench.factory.stop(), *(one.over() for one in served))

    assert [("epoch_changed", 2)] == told
    assert [("divergence", 1), ("epoch_changed", 2)] == watcher.named("gap")[1:3]


async def test_gap_while_a_session_comes() -> None:
    """
    A session that is on its way in when the gap happens is counted with the others, and once.
    """
    clock, watcher, settings = FakeClock(), Watcher(), Settings()
    engine = Failover(MemoryBackplane(settings, monotonic=clock.monotonic))
    bench = Bench(clock, ManagerFactory(settings, clock=clock, observer=watcher, backplane=engine))
    served = await bench.serve()
    (live,) = bench.factory._runtime.streams.all()
    async with live.joining:
        coming = asyncio.create_task(bench.serve())
        await settle()
        engine.page = Page(Cursor("replica", 0, NIL_ID), ())
        live.read_again()
        await settle()
        assert [("epoch_changed", 2)] == watcher.named("gap")
        engine.page = None
    other = await coming
    await asyncio.gather(bench.factory.stop(), served.over(), other.over())

    assert [("epoch_changed", 2)] == watcher.named("gap")
