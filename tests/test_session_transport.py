"""
Transports that stall or fail: the session ends in time, says what it still can, and disturbs nobody.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import attrs
import pytest

from tests.shell import Bench, FaultyTransport, note
from ws_isolation import Delivery, PlainWire, Settings, errors, events
from ws_isolation.errors import TransportClosedError
from ws_isolation.events import Envelope
from ws_isolation.frames import Frame, Inbound
from ws_isolation.testing import RecordingTransport
from ws_isolation.testing.clock import settle
from ws_isolation.typing import Transport
from ws_isolation.wire import DEFAULT_WIRE, DefaultWire, Unservable

pytestmark = pytest.mark.requirement("P2", "P5")


class BrokenError(Exception):
    """
    What no transport is expected to raise.
    """


@pytest.mark.scenario("S29", "S30")
@pytest.mark.requirement("WS-16")
async def test_stalled_reader_is_cut() -> None:
    """
    A write that does not return is cut at its deadline with 4213; the user's other session and others get everything.
    """
    bench = Bench.new()
    stalled, well, bobs = await bench.serve(), await bench.serve(), await bench.serve(user="bob")
    stalled.transport.client_stops_reading()
    deliveries = [await bench.manager().send(note(n)) for n in range(5)]
    await bench.manager("bob").send(note())
    await bench.clock.advance(9.9)
    before = stalled.transport.aborted
    await bench.clock.advance(0.2)

    assert [2, 2, 2, 2, 2] == [delivery.sessions for delivery in deliveries]
    assert (False, True) == (before, stalled.transport.aborted)
    assert 4213 == (stalled.session.code.code if stalled.session.code else None)
    assert ["ws.welcome"] == stalled.transport.types()
    assert list(range(5)) == [event["data"]["value"] for event in well.transport.events]
    assert 1 == len(bobs.transport.events)
    assert stalled.task.done()
    assert {4213: 1} == bench.factory.stats().closes
    assert 1 == (await bench.manager().send(note())).sessions


@pytest.mark.scenario("S30", "S23")
async def test_full_outbox() -> None:
    """
    What does not fit ends that session with 4213 and a goodbye; the send tells that it was refused.
    """
    bench = Bench.new(Settings(outbox_events=8))
    full, well = await bench.serve(), await bench.serve()
    full.transport.client_stops_reading()
    deliveries: list[Delivery] = []
    for n in range(10):  # the first is being written, eight wait
        deliveries.append(await bench.manager().send(note(n)))
        await settle()
    waited = full.session.waiting
    full.transport.client_reads_again()
    await full.over()

    assert full.ended_with(4213)
    assert [(2, 0)] * 9 + [(1, 1)] == [(delivery.sessions, delivery.refused) for delivery in deliveries]
    assert (0, 0) == waited
    assert 10 == len(well.transport.events)


@pytest.mark.scenario("S29")
@pytest.mark.parametrize("size", [1, 60_000])
async def test_burst_to_a_reader_that_reads(size: int) -> None:
    """
    A task that sends thousands of events and never waits fills nobody's outbox, and lets others run meanwhile.
    """
    bench = Bench.new()
    served = await bench.serve()
    manager = bench.manager()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    for _ in range(2_000):
        await manager.send(note("x" * size))
    running.cancel()
    await settle()

    assert served.session.is_open
    assert 2_000 == len(served.transport.events)
    assert turns > 100


async def test_goodbye_that_cannot_be_written() -> None:
    """
    A peer that does not take its goodbye is cut when the time for it is over, and the first code stays.
    """
    bench = Bench.new()
    served = await bench.serve()
    served.transport.client_stops_reading()
    served.session.close()
    await bench.clock.advance(1.9)
    before = served.transport.aborted
    await bench.clock.advance(0.2)

    assert (False, True) == (before, served.transport.aborted)
    assert served.task.done()
    assert {1000: 1} == bench.factory.stats().closes


async def test_peer_gone_frees_a_parked_write() -> None:
    """
    A write that waits for ever is given up as soon as the reader sees that the peer is gone.
    """
    served = await Bench.new().serve()
    served.transport.client_stops_reading()
    await served.session.manager.send(note())
    await settle()
    served.transport.client_leaves()
    await settle()

    assert served.task.done()


async def test_peer_gone_while_writing() -> None:
    """
    A send that finds the peer gone ends the session without a code.
    """
    bench = Bench.new()
    faulty = FaultyTransport(on_send=[None, TransportClosedError(1006)])
    served = await bench.serve(transport=faulty)
    await bench.manager().send(note())
    await served.over()

    assert served.session.code is None
    assert ["ws.welcome"] == faulty.inner.types()


class WatchedTransport(FaultyTransport):
    """
    A transport that knows whether somebody waits for a message.
    """

    waits = False
    waited: bool | None = None

    async def receive(self) -> str | bytes:
        """
        Do as the other one, and know of it.
        """
        self.waits = True
        try:
            return await super().receive()
        finally:
            self.waits = False

    async def close(self, code: int, reason: str, /) -> None:
        """
        Do as the other one, after a turn of the loop.
        """
        await asyncio.sleep(0)
        self.waited = self.waits
        await super().close(code, reason)


@pytest.mark.requirement("WS-31")
async def test_nobody_reads_while_the_close_is_sent() -> None:
    """
    The reader is cancelled before the close frame: granian sends none while a receive() waits.
    """
    watched = WatchedTransport()
    served = await Bench.new().serve(transport=watched)
    before = watched.waits
    served.session.close()
    await served.over()

    assert (True, False) == (before, watched.waited)
    assert (1000, "normal") == watched.inner.closed


async def test_peer_gone_while_closing() -> None:
    """
    A peer that leaves during the close frame changes nothing.
    """
    faulty = FaultyTransport(on_close=TransportClosedError(1006))
    served = await Bench.new().serve(transport=faulty)
    served.session.close()
    await served.over()

    assert ["ws.welcome", "ws.goodbye"] == faulty.inner.types()
    assert not faulty.inner.aborted


@pytest.mark.scenario("S56")
async def test_send_fails(caplog: pytest.LogCaptureFixture) -> None:
    """
    A send that raises loses its event, so nothing follows but goodbye and 4300, if those can be written.
    """
    bench = Bench.new()
    faulty = FaultyTransport(on_send=[None, BrokenError("canary")])
    served = await bench.serve(transport=faulty)
    for _ in range(3):
        await bench.manager().send(note())
    await served.over()

    assert ["ws.welcome", "ws.goodbye"] == faulty.inner.types()
    assert (4300, True) == (faulty.inner.frames[-1]["code"], faulty.inner.closed is not None)
    assert "the transport's send() failed" in caplog.text
    assert "canary" in caplog.text


@pytest.mark.scenario("S56")
async def test_every_send_fails() -> None:
    """
    Where nothing can be written the close frame still says why.
    """
    faulty = FaultyTransport(on_send=[BrokenError()] * 20)
    served = await Bench.new().serve(transport=faulty)
    await served.over()

    assert [] == faulty.inner.sent
    assert faulty.inner.closed is not None
    assert 4300 == faulty.inner.closed[0]
    assert 18 == len(faulty.on_send)


@pytest.mark.scenario("S56")
async def test_send_fails_on_the_way_out() -> None:
    """
    What waits when a session ends is given up with the first send that fails; the recorded code stays.
    """
    bench = Bench.new()
    faulty = FaultyTransport(on_send=[None, None, BrokenError()])
    served = await bench.serve(transport=faulty)
    faulty.inner.client_stops_reading()
    for _ in range(3):
        await bench.manager().send(note())
    served.session.close()
    faulty.inner.client_reads_again()
    await served.over()

    assert ["ws.welcome", "custom", "ws.goodbye"] == faulty.inner.types()
    assert faulty.inner.closed is not None
    assert 1000 == faulty.inner.closed[0]


async def test_close_fails(caplog: pytest.LogCaptureFixture) -> None:
    """
    A close frame that raises drops the connection, and the session is over.
    """
    faulty = FaultyTransport(on_close=BrokenError(), on_abort=BrokenError())
    served = await Bench.new().serve(transport=faulty)
    served.session.close()
    await served.over()

    assert faulty.inner.aborted
    assert "the transport's close() failed" in caplog.text
    assert "the transport's abort() failed" in caplog.text


@pytest.mark.scenario("S29")
async def test_abort_that_fails_disturbs_nobody() -> None:
    """
    When cutting one stalled reader raises, the others that are due in the same tick are cut all the same.
    """
    bench = Bench.new()
    faulty = FaultyTransport(on_abort=BrokenError())
    first = await bench.serve(transport=faulty)
    second = await bench.serve()
    for transport in (faulty.inner, second.transport):
        transport.client_stops_reading()
    await bench.manager().send(note())
    await bench.clock.advance(11)

    assert (True, True) == (faulty.inner.aborted, second.transport.aborted)
    assert (True, True) == (first.task.done(), second.task.done())


@pytest.mark.scenario("S56")
async def test_receive_fails(caplog: pytest.LogCaptureFixture) -> None:
    """
    What cannot be read from is told goodbye and 4300.
    """
    faulty = FaultyTransport(on_receive=BrokenError("canary"))
    served = await Bench.new().serve(transport=faulty)
    await served.over()

    assert ["ws.welcome", "ws.goodbye"] == faulty.inner.types()
    assert 4300 == faulty.inner.frames[-1]["code"]
    assert "the transport's receive() failed" in caplog.text


@pytest.mark.scenario("S41")
@pytest.mark.requirement("P2", "WS-14")
@pytest.mark.parametrize(
    ("error", "code"), [(errors.MessageTooBigError("too big"), 4013), (errors.BadFrameError("no UTF-8"), 4000)]
)
async def test_server_takes_no_such_message(
    error: errors.PeerError, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """
    What the server below refuses to read is the client's fault: goodbye with the error's own code, and no alarm.
    """
    faulty = FaultyTransport(on_receive=error)
    served = await Bench.new().serve(transport=faulty)
    await served.over()

    assert ["ws.welcome", "ws.goodbye"] == faulty.inner.types()
    assert code == faulty.inner.frames[-1]["code"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_transport_that_ignores_its_cancellation(caplog: pytest.LogCaptureFixture) -> None:
    """
    A send that swallows its cancellation is reported, and the session is over all the same.
    """
    free = asyncio.Event()

    class Stubborn:
        """
        A transport whose sends cannot be cancelled.
        """

        def __init__(self) -> None:
            self.aborted = False

        async def receive(self) -> str:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(self, _text: str, /) -> None:
            while not free.is_set():
                try:
                    await free.wait()
                except asyncio.CancelledError:
                    continue

        async def close(self, _code: int, _reason: str, /) -> None:
            raise AssertionError

        def abort(self) -> None:
            self.aborted = True

    stubborn = Stubborn()
    bench = Bench.new()
    served = await bench.serve(transport=stubborn)
    await served.over()
    free.set()
    await settle()

    assert stubborn.aborted
    assert "the transport ignores its cancellation" in caplog.text


@pytest.mark.scenario("S63")
@pytest.mark.parametrize("waiting", [0, 1_000])
async def test_plain_wire_that_raises(waiting: int, caplog: pytest.LogCaptureFixture) -> None:
    """
    An application's encode that raises ends its session with 4300; no event follows the lost one, however many wait.
    """

    def encode(_envelope: Envelope) -> str | None:
        raise BrokenError("canary")

    bench = Bench.new()
    served = await bench.serve(wire=PlainWire(encode))
    well = await bench.serve()
    for _ in range(1 + waiting):
        await bench.manager().send(note())
    await served.over()

    assert [] == served.transport.sent
    assert served.transport.closed is not None
    assert 4300 == served.transport.closed[0]
    assert "canary" not in served.transport.closed[1]
    assert "canary" in caplog.text
    assert 1 + waiting == len(well.transport.events)


class BrokenWire:
    """
    A wire of an application's own, with a defect wherever one can be.
    """

    subprotocol: str | None = None

    def event(self, envelope: Envelope, /) -> str | None:
        """
        Do as the default one.
        """
        return DEFAULT_WIRE.event(envelope)

    def control(self, frame: Frame, /) -> str | None:
        """
        Raise.
        """
        raise BrokenError

    def read(self, text: str | bytes, limit: int, /) -> Inbound | Unservable:
        """
        Raise.
        """
        raise BrokenError


async def test_wire_that_cannot_say_goodbye() -> None:
    """
    A wire whose control frames raise ends its session with a close frame of 4300, if without goodbye.
    """
    served = await Bench.new().serve(wire=BrokenWire())
    await served.over()

    assert [] == served.transport.sent
    assert served.transport.closed is not None
    assert 4300 == served.transport.closed[0]


async def test_wire_that_cannot_read() -> None:
    """
    A wire whose read raises ends its session with goodbye and 4300: it is no fault of the client.
    """

    class HalfBroken(BrokenWire):
        """
        A wire that writes as it should.
        """

        def control(self, frame: Frame, /) -> str | None:
            """
            Do as the default one.
            """
            return DefaultWire().control(frame)

    served = await Bench.new().serve(wire=HalfBroken())
    served.transport.client_sends({"type": "hello"})
    await served.over()

    assert served.ended_with(4300)


async def test_plain_wire_leaves_events_out() -> None:
    """
    An event for which encode gives None is left out, a text goes out as it is, and no control frame appears.
    """

    def encode(envelope: Envelope) -> str | None:
        assert isinstance(envelope.event, events.Custom)
        return "ready text" if envelope.event.value else None

    bench = Bench.new()
    served = await bench.serve(wire=PlainWire(encode), enforce_pongs=True)
    for value in (False, True, False):
        await bench.manager().send(note(value))
    await bench.clock.advance(60)

    assert ["ready text"] == served.transport.sent
    assert served.session.is_open


def test_logs_stay_quiet(caplog: pytest.LogCaptureFixture) -> None:
    """
    Nothing here logs as critical: that is for breaches alone.
    """
    assert [] == [record for record in caplog.records if record.levelno >= logging.CRITICAL]


@attrs.define
class CancelsItself:
    """
    A transport in which something is cancelled when it writes an event, as a cancelled scope of a middleware would.
    """

    inner: RecordingTransport = attrs.field(factory=RecordingTransport)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def send(self, text: str, /) -> None:
        """
        Write control frames only.
        """
        if '"custom"' in text:
            raise asyncio.CancelledError
        await self.inner.send(text)


@pytest.mark.requirement("P2", "P5")
async def test_cancellation_inside_a_write_is_not_the_senders() -> None:
    """
    Whoever sends is not cancelled by what is cancelled inside one socket's write; that session ends with 4300.
    """
    bench = Bench.new()
    broken = CancelsItself()
    sound, served = await bench.serve(), await bench.serve(transport=cast("Transport", broken))
    delivery = await bench.manager().send(note())
    await served.over()

    assert (1, 1) == (delivery.sessions, delivery.refused)
    assert ["ws.welcome", "ws.goodbye"] == broken.inner.types()
    assert broken.inner.closed is not None
    assert 4300 == broken.inner.closed[0]
    assert ["ws.welcome", "custom"] == sound.transport.types()
    sound.session.close()
    await sound.over()


@pytest.mark.requirement("P2", "P5")
async def test_cut_before_the_writer_took_over() -> None:
    """
    A write that had to wait is let go of where the session is cut before the writer has taken it over.
    """
    bench = Bench.new()
    served = await bench.serve()
    served.transport.client_stops_reading()
    await bench.manager().send(note())
    begun = served.session._parked
    assert begun is not None
    served.session.due(bench.clock.monotonic() + 60)
    await served.over()

    assert served.session._parked is None
    assert [] == served.transport.events


@attrs.define
class DirectTransport:
    """
    Takes a text at once as long as *takes* holds, and notes which way each came; a failure to come is raised.
    """

    inner: RecordingTransport = attrs.field(factory=RecordingTransport)
    takes: bool = True
    failure: Exception | None = None
    ways: list[str] = attrs.field(factory=list[str])

    def write_at_once(self, text: str, /) -> bool:
        """
        Write, raise, or say that ``send`` has to.
        """
        if self.failure is not None:
            raise self.failure
        if self.takes:
            self.ways.append("at once")
            self.inner.sent.append(text)
        return self.takes

    async def send(self, text: str, /) -> None:
        """
        Write as the one inside does.
        """
        self.ways.append("sent")
        await self.inner.send(text)

    async def receive(self) -> str | bytes:
        """
        Read from the one inside.
        """
        return await self.inner.receive()

    async def close(self, code: int, reason: str, /) -> None:
        """
        Close the one inside.
        """
        await self.inner.close(code, reason)

    def abort(self) -> None:
        """
        Drop the one inside.
        """
        self.inner.abort()


class Wrapper:
    """
    Counts what is sent, and passes on whatever else is asked for.
    """

    def __init__(self, inner: DirectTransport) -> None:
        self.inner = inner
        self.sent = 0

    async def send(self, text: str, /) -> None:
        """
        Count and send.
        """
        self.sent += 1
        await self.inner.send(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.mark.scenario("S29")
async def test_transport_that_can_tell_whether_it_waits() -> None:
    """
    It is asked first, and ``send`` only has to do what waits; nothing overtakes that, and the deadline holds for it.
    """
    bench, transport = Bench.new(), DirectTransport()
    served = await bench.serve(transport=transport)
    transport.ways.clear()
    await bench.manager().send(note(0))
    transport.takes = False
    transport.inner.client_stops_reading()
    await bench.manager().send(note(1))
    transport.takes = True
    await bench.manager().send(note(2))
    held = [event["data"]["value"] for event in transport.inner.events]
    transport.inner.client_reads_again()
    await settle()
    came = [event["data"]["value"] for event in transport.inner.events]
    transport.takes = False
    transport.inner.client_stops_reading()
    await bench.manager().send(note(3))
    await bench.clock.advance(10.1)

    assert ([0], [0, 1, 2]) == (held, came)
    assert ["at once", "sent"] == transport.ways[:2]
    assert 4213 == (served.session.code.code if served.session.code else None)
    assert transport.inner.aborted


@pytest.mark.parametrize(("failure", "code"), [(BrokenError(), 4300), (TransportClosedError(), None)])
async def test_write_at_once_that_fails(failure: Exception, code: int | None) -> None:
    """
    What it raises ends that session as the same from ``send`` would, and does not reach the emitter.
    """
    bench, transport = Bench.new(), DirectTransport()
    served = await bench.serve(transport=transport)
    transport.failure = failure
    await bench.manager().send(note())
    await settle()

    assert code == (served.session.code.code if served.session.code else None)
    assert not served.session.is_open


async def test_wrapped_transport_is_not_passed_by() -> None:
    """
    The ``send`` of what wraps a transport is called for each text, although it passes on the shorter way too.
    """
    wrapper = Wrapper(DirectTransport())
    bench = Bench.new()
    await bench.serve(transport=cast("Transport", wrapper))
    before = wrapper.sent
    await bench.manager().send(note())

    assert 1 == wrapper.sent - before
    assert "at once" not in wrapper.inner.ways
