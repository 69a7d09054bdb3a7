"""
The guard: whichever way a session ends, the client reads goodbye and a code, and nothing is left behind.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref

import pytest

from tests.logs import put
from tests.shell import Bench, note, until_over
from ws_isolation import Session, Settings, closing, errors
from ws_isolation.keys import identity_of
from ws_isolation.stream import Stream
from ws_isolation.testing import make_context
from ws_isolation.testing.clock import settle

pytestmark = [pytest.mark.scenario("S56"), pytest.mark.requirement("P2")]


class OddError(BaseException):
    """
    What no ``except Exception`` catches.
    """


@pytest.mark.scenario("S61", "S50")
async def test_welcome_first_and_once() -> None:
    """
    Welcome is the first frame and the only greeting, also when the handler sends before it is written.
    """

    async def handler(session: Session) -> None:
        await session.manager.send(note())
        await until_over(session)

    bench = Bench.new()
    served = await bench.serve(handler)
    await bench.manager().send(note())
    await settle()

    assert ["ws.welcome", "custom", "custom"] == served.transport.types()
    welcome, *rest = served.transport.frames
    assert served.session.connection_id == welcome["connection_id"]
    assert [welcome["cursor"]["seq"] + 1, welcome["cursor"]["seq"] + 2] == [event["seq"] for event in rest]
    assert (served.session.context.thread_id, "1.0") == (welcome["thread_id"], welcome["v"])


async def test_plain_return() -> None:
    """
    A handler that returns ends its session with 1000, after everything that it has sent.
    """

    async def handler(session: Session) -> None:
        await session.manager.send(note())

    served = await Bench.new().serve(handler)
    await served.over()

    assert served.ended_with(1000)
    assert ["ws.welcome", "custom", "ws.goodbye"] == served.transport.types()
    assert closing.NORMAL is served.session.code


@pytest.mark.scenario("S35", "S63")
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LookupError("canary"), 4300),
        (OddError("canary"), 4300),
        (asyncio.CancelledError("canary"), 4300),
        (errors.LifecycleError("L01", "canary"), 4300),
        (errors.UnauthenticatedError("canary"), 4001),
        (errors.ForbiddenError("canary"), 4003),
        (errors.ExpiredError("canary"), 4101),
        (errors.ContextExpiredError("canary"), 4101),
        (errors.SchemaViolationError("canary"), 4022),
        (errors.RateLimitedError("canary"), 4329),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
async def test_handler_raises(error: BaseException, code: int, caplog: pytest.LogCaptureFixture) -> None:
    """
    A failing handler ends its session with the code of its error, or 4300; what it says is in the log alone.
    """

    async def handler(_session: Session) -> None:
        raise error

    bench = Bench.new()
    neighbour = await bench.serve(user="bob")
    served = await bench.serve(handler)
    await served.over()

    assert served.ended_with(code)
    assert "canary" not in repr((served.transport.sent, served.transport.closed))
    assert neighbour.session.is_open
    record = next(record for record in caplog.records if record.levelno >= logging.WARNING)
    incident = served.goodbye.get("incident_id")
    assert (incident is not None) == (4300 <= code < 4400)
    assert incident is None or incident in record.getMessage()
    assert f"user_id={served.session.context.user_id}" in record.getMessage()


@pytest.mark.scenario("S32")
@pytest.mark.parametrize("turns", range(1, 16))
async def test_cancelled_at_any_time(turns: int) -> None:
    """
    Cancelled after any number of turns of the loop: goodbye and 4300, the cancellation goes on, no task is left.
    """
    bench = Bench.new()
    before = asyncio.all_tasks()
    served = await bench.serve(turns=turns)
    served.task.cancel()
    await served.over()

    assert served.task.cancelled()
    assert served.ended_with(4300)
    assert "ws.welcome" == served.transport.types()[0]
    assert before == asyncio.all_tasks()
    assert 0 == bench.factory.stats().sessions


@pytest.mark.scenario("S32")
async def test_cancelled_again_and_again() -> None:
    """
    A cancellation on the way out waits its turn: goodbye is written all the same.
    """
    served = await Bench.new().serve()
    for _ in range(5):
        served.task.cancel()
        await asyncio.sleep(0)
    await served.over()

    assert served.task.cancelled()
    assert served.ended_with(4300)


@pytest.mark.scenario("S26")
async def test_cancelled_during_a_drain() -> None:
    """
    A session that is cancelled while its factory stops says 4200; one that cannot be told anything is cut.
    """
    bench = Bench.new(Settings(close_seconds=1.0))
    served = await bench.serve()
    asleep = await bench.serve(user="bob")
    asleep.transport.client_stops_reading()
    stopping = asyncio.create_task(bench.factory.stop())
    await asyncio.sleep(0)
    served.task.cancel()
    await bench.clock.advance(20)
    await stopping

    assert served.ended_with(4200)
    assert asleep.transport.aborted


async def test_first_recorded_end_decides() -> None:
    """
    What fails on the way out changes neither code nor goodbye.
    """

    async def handler(session: Session) -> None:
        session.close(closing.FORBIDDEN)
        session.close(closing.NORMAL)
        raise LookupError

    served = await Bench.new().serve(handler)
    served.session.close(closing.SCHEMA_VIOLATION)
    served.session.end_by(LookupError())
    await served.over()

    assert served.ended_with(4003)


async def test_peer_leaves() -> None:
    """
    When the client leaves nothing more is written, the handler is told by a cancellation, and there is no code.
    """
    told: list[object] = []

    async def handler(_session: Session) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            told.extend(error.args)
            raise

    bench = Bench.new()
    served = await bench.serve(handler)
    served.transport.client_leaves()
    await settle()

    assert served.task.done()
    assert ["ws.welcome"] == served.transport.types()
    assert (None, None) == (served.session.code, served.transport.closed)
    assert ["ws_isolation:disconnect_policy"] == told
    assert {} == bench.factory.stats().closes


async def test_waiting_handler_returns_by_itself() -> None:
    """
    A handler that waits for a message is not cancelled: its loop ends, and what follows it runs.
    """
    done: list[str] = []

    async def handler(session: Session) -> None:
        await until_over(session)
        await asyncio.sleep(0)
        done.append("after the loop")

    served = await Bench.new().serve(handler)
    served.transport.client_leaves()
    await settle()

    assert ["after the loop"] == done
    assert served.task.done()


@pytest.mark.parametrize("catches", [1, 99])
async def test_handler_that_catches_its_cancellation(catches: int, caplog: pytest.LogCaptureFixture) -> None:
    """
    A handler that goes on for a while is cancelled again; one that never ends is reported and left behind.
    """
    free = asyncio.Event()

    async def handler(_session: Session) -> None:
        for _ in range(catches):
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue
            return
        await free.wait()

    served = await Bench.new().serve(handler)
    served.session.close(closing.FORBIDDEN)
    await served.over()
    ignored = [record for record in caplog.records if "the handler ignores its cancellation" in record.getMessage()]
    free.set()
    await settle()

    assert served.ended_with(4003)
    assert (catches > 1) == bool(ignored)


@pytest.mark.scenario("S38", "S25")
async def test_ended_session_is_garbage() -> None:
    """
    Session, manager and transport are collected as soon as a session is over, without any time passing.
    """
    bench = Bench.new()
    served = await bench.serve()
    weak: list[weakref.ref[object]] = [weakref.ref(served.session), weakref.ref(served.session.manager)]
    served.transport.client_leaves()
    await settle()
    await served.task
    del served
    gc.collect()

    assert [None, None] == [ref() for ref in weak]


@pytest.mark.scenario("S25", "S37")
async def test_this_very_session_is_removed() -> None:
    """
    Of two sessions of one context the one that ends is removed, and ending it twice does no harm.
    """
    bench = Bench.new()
    context = make_context()
    first, second = await bench.serve(user=context), await bench.serve(user=context)
    for _ in range(2):
        first.session.close()
        await first.over()
    delivery = await bench.manager().send(note())
    await settle()

    assert 1 == delivery.sessions
    assert ["ws.welcome", "custom"] == second.transport.types()
    assert {1000: 1} == bench.factory.stats().closes


@pytest.mark.scenario("S27", "S47")
@pytest.mark.requirement("P1", "I1")
async def test_foreign_envelope(caplog: pytest.LogCaptureFixture) -> None:
    """
    An envelope of somebody else is not written, counted, logged as critical, and ends the session; nothing follows it.
    """
    bench = Bench.new()
    served = await bench.serve()
    foreign = put(Stream(identity_of(make_context("mallory")), "epoch"), note("canary"), "f" * 36)
    served.session.offer(foreign)
    await bench.manager().send(note("own"))
    await served.over()

    assert served.ended_with(4300)
    assert ["ws.welcome", "ws.goodbye"] == served.transport.types()
    assert "mallory" not in repr(served.transport.sent)
    assert "canary" not in repr(served.transport.sent)
    assert 1 == bench.factory.stats().foreign
    (record,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert "f" * 36 in str(record.exc_info)
