"""
``attach``: sockets that an application accepted itself.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any, cast

import pytest

from tests.openings import handshake
from tests.shell import Bench, note
from ws_isolation import errors
from ws_isolation.stream import Cursor
from ws_isolation.testing import RecordingTransport, make_context
from ws_isolation.testing.clock import settle


@pytest.mark.requirement("P2")
async def test_leaving_the_block() -> None:
    """
    The block is the handler: it reads messages, sends, and leaving it ends the session with 1000.
    """
    bench = Bench.new()
    transport = RecordingTransport()
    shaken = handshake()
    async with bench.factory.attach(make_context(), transport, handshake=shaken) as session:
        transport.client_sends({"type": "hello", "data": {"n": 1}})
        message = await anext(session)
        await session.manager.send(note(message.data["n"]))
        assert shaken is session.handshake

    assert ["ws.welcome", "custom", "ws.goodbye"] == transport.types()
    assert (1000, "normal") == transport.closed
    assert not session.is_open


@pytest.mark.scenario("S35", "S56")
@pytest.mark.requirement("P2")
async def test_exception_in_the_block() -> None:
    """
    What the block raises goes on, and the client reads 4300.
    """
    transport = RecordingTransport()
    with pytest.raises(LookupError):
        async with Bench.new().factory.attach(make_context(), transport):
            raise LookupError

    assert transport.closed is not None
    assert 4300 == transport.closed[0] == transport.frames[-1]["code"]


@pytest.mark.scenario("S32", "S56")
@pytest.mark.requirement("P2")
async def test_cancelled_block() -> None:
    """
    A cancelled block says 4300 first; the cancellation goes on.
    """
    transport = RecordingTransport()

    async def block() -> None:
        async with Bench.new().factory.attach(make_context(), transport):
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await settle()
    task.cancel()
    await settle()

    assert task.cancelled()
    assert transport.closed is not None
    assert 4300 == transport.closed[0]


@pytest.mark.scenario("S14", "S15")
@pytest.mark.requirement("P6")
@pytest.mark.parametrize("value", [None, {"user_id": "alice"}, object()])
async def test_wrong_context(value: object) -> None:
    """
    What is no context is refused, the transport is not touched, and nothing was allocated.
    """
    bench = Bench.new()
    transport = RecordingTransport()
    with pytest.raises(errors.ContextTypeError):
        async with bench.factory.attach(cast("Any", value), transport):
            raise AssertionError

    assert ([], None, False) == (transport.sent, transport.closed, transport.aborted)
    assert (0, 0) == (bench.factory.stats().sessions, bench.factory.stats().streams)


@pytest.mark.scenario("S61")
async def test_start_is_answered() -> None:
    """
    A cursor that was handed over is answered right after welcome.
    """
    bench = Bench.new()
    transport = RecordingTransport()
    async with bench.factory.attach(make_context(), transport, start=Cursor("other", 0, "x")):
        await settle()

    assert ["ws.welcome", "ws.gap", "ws.goodbye"] == transport.types()
    assert "epoch_changed" == transport.frames[1]["reason"]


@pytest.mark.scenario("S54")
@pytest.mark.requirement("I5")
async def test_no_context_variable_counts() -> None:
    """
    In a context that is full of another user's variables, or empty, the same happens.
    """
    current: contextvars.ContextVar[str] = contextvars.ContextVar("current_user")

    async def talk() -> list[str]:
        bench = Bench.new()
        transport = RecordingTransport()
        async with bench.factory.attach(make_context("alice"), transport) as session:
            await session.manager.send(note(session.context.user_id))
            await settle()
        return [event["data"]["value"] for event in transport.events]

    polluted = contextvars.copy_context()
    polluted.run(current.set, "mallory")
    loop = asyncio.get_running_loop()

    assert ["alice"] == await loop.create_task(talk(), context=polluted)
    assert ["alice"] == await loop.create_task(talk(), context=contextvars.Context())


@pytest.mark.scenario("S26")
@pytest.mark.requirement("P2")
@pytest.mark.parametrize("cancelled", [False, True])
async def test_attached_during_a_drain(*, cancelled: bool) -> None:
    """
    A socket that is attached while the factory stops is told 4200, whatever its block does.
    """
    bench = Bench.new()
    stalled = await bench.serve()
    stalled.transport.client_stops_reading()
    stopping = asyncio.create_task(bench.factory.stop())
    await settle()
    transport = RecordingTransport()

    async def block() -> None:
        async with bench.factory.attach(make_context("bob"), transport):
            if cancelled:
                raise asyncio.CancelledError

    await asyncio.gather(block(), return_exceptions=True)
    await bench.clock.advance(20)
    await stopping

    assert transport.closed is not None
    assert 4200 == transport.closed[0]
