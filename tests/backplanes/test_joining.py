"""
Sessions on an engine that is slow, late, deaf or broken, and on one that two nodes share.
"""

from __future__ import annotations

import asyncio

import attrs
import msgspec
import pytest
from typing_extensions import override

from tests.logs import TIME, NoReader, put
from tests.openings import MemoryOpening
from tests.shell import note
from ws_isolation import Handshake, ManagerFactory, Session, Settings, UserExecutionContext, closing
from ws_isolation.backplanes.base import Listener
from ws_isolation.backplanes.memory import MemoryBackplane
from ws_isolation.errors import EngineTimeoutError, EngineUnavailableError
from ws_isolation.events import Envelope
from ws_isolation.keys import Identity, identity_of
from ws_isolation.serving import serve_opening
from ws_isolation.stream import Cursor, Draft, Gap, Page, Start, Stream
from ws_isolation.streams import LiveStream
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.testing.clock import settle
from ws_isolation.wire import DEFAULT_WIRE


@attrs.define(eq=False)
class Engine:
    """
    An engine in memory behind a network that a test holds up.
    """

    inner: MemoryBackplane = attrs.field(factory=MemoryBackplane)
    opens: asyncio.Event = attrs.field(factory=asyncio.Event)
    """Cleared: reads wait."""
    fails: bool = False
    deaf: bool = False
    """Announcements are lost."""
    late: list[Envelope] | None = None
    """A list: announcements wait there."""
    top: Cursor | None = None
    """What reads say of the top, where it is another."""
    listener: Listener | None = None
    subscribed: int = 0
    reads: int = 0

    def __attrs_post_init__(self) -> None:
        self.opens.set()

    def arrived(self, envelope: Envelope, /) -> None:
        """
        Pass an announcement on, or not.
        """
        if self.late is not None:
            self.late.append(envelope)
        elif not self.deaf and self.listener is not None:
            self.listener.arrived(envelope)

    def revoked(self) -> None:
        """
        Pass on.
        """
        if self.listener is not None:
            self.listener.revoked()

    def replaced(self, connection_id: str, /) -> None:
        """
        Pass on.
        """
        if self.listener is not None:
            self.listener.replaced(connection_id)

    def interrupted(self) -> None:
        """
        Pass on.
        """
        if self.listener is not None:
            self.listener.interrupted()

    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """
        Pass on.
        """
        return await self.inner.publish(identity, draft)

    async def subscribe(self, identity: Identity, listener: Listener, /) -> None:
        """
        Stand in between.
        """
        self.subscribed += 1
        self.listener = listener
        await self.inner.subscribe(identity, self)

    def release(self, identity: Identity, listener: Listener, /) -> None:
        """
        Stand there no more.
        """
        assert self.listener in (None, listener)
        self.listener = None
        self.inner.release(identity, self)

    async def read(self, identity: Identity, start: Start, /) -> Page:
        """
        Read when it may.
        """
        self.reads += 1
        await self.opens.wait()
        if self.fails:
            msg = "the engine is down"
            raise ConnectionError(msg)
        page = await self.inner.read(identity, start)
        return page if self.top is None else Page(self.top, ())


class Refusing(Engine):
    """
    An engine that says what is wrong.
    """

    @override
    async def read(self, identity: Identity, start: Start, /) -> Page:
        """
        Say it.
        """
        call = "read"
        raise EngineUnavailableError(call, "it evicts what it should keep")


@attrs.define
class Node:
    """
    A factory on an engine, and the sessions on it.
    """

    engine: Engine | MemoryBackplane
    clock: FakeClock = attrs.field(factory=FakeClock)
    settings: Settings | None = None
    factory: ManagerFactory = attrs.field(init=False)
    tasks: list[asyncio.Task[None]] = attrs.field(factory=list["asyncio.Task[None]"])

    def __attrs_post_init__(self) -> None:
        self.factory = ManagerFactory(self.settings, clock=self.clock, backplane=self.engine)

    async def connect(self, start: Start = None) -> RecordingTransport:
        """
        Connect alice.
        """
        socket = RecordingTransport()
        session = await self.factory.open_session(
            make_context(), socket, wire=DEFAULT_WIRE, start=start, handshake=None
        )
        self.tasks.append(asyncio.create_task(session.serve(_listen)))
        await settle()
        return socket

    async def send(self, *values: int) -> None:
        """
        Send events to alice.
        """
        for value in values:
            await self.factory.create_manager(make_context()).send(note(value))
        await settle()

    async def stop(self) -> None:
        """
        End everything.
        """
        await self.factory.stop()
        await asyncio.gather(*self.tasks)


async def _admit(_handshake: Handshake) -> UserExecutionContext:
    return make_context()


async def _listen(session: Session) -> None:
    async for _ in session:
        pass


def values(socket: RecordingTransport) -> list[object]:
    """
    Return what the client saw: values of events, and the types of control frames but the first and the last.
    """
    return [
        frame["data"]["value"] if frame["type"] == "custom" else frame["type"]
        for frame in socket.frames
        if frame["type"] not in ("ws.welcome", "ws.goodbye", "ws.ping")
    ]


@pytest.mark.scenario("S22")
@pytest.mark.requirement("P3")
async def test_two_nodes() -> None:
    """What is sent on one node reaches the session on the other, which resumes on the first without a loss."""
    engine = MemoryBackplane()
    a, b = Node(engine), Node(engine)
    socket = await b.connect()
    await a.send(1, 2)
    await b.send(3)
    cursor = Cursor(**socket.frames[0]["cursor"])
    resumed = await a.connect(cursor)
    await b.send(4)

    assert [1, 2, 3, 4] == values(socket)
    assert [1, 2, 3, "ws.resumed", 4] == values(resumed)
    await a.stop()
    await b.stop()


@pytest.mark.requirement("P3")
async def test_two_join_at_once() -> None:
    """Two sessions that join on a slow engine subscribe once, and miss nothing that is sent meanwhile."""
    node = Node(engine := Engine())
    engine.opens.clear()
    joining = [asyncio.create_task(node.connect()) for _ in range(2)]
    await settle()
    await node.send(1)
    engine.opens.set()
    sockets = await asyncio.gather(*joining)
    await node.send(2)

    # Sent before the engine said where the stream stands: that is before welcome's cursor, or after it as an event.
    assert [[2], [2]] == [[value for value in values(socket) if value != 1] for socket in sockets]
    assert all(1 in values(socket) or 1 == socket.frames[0]["cursor"]["seq"] for socket in sockets)
    assert 1 == engine.subscribed
    await node.stop()


@pytest.mark.requirement("P3", "I11")
async def test_cut_while_joining() -> None:
    """A session whose client is cut while it joins leaves nobody on the stream, and the next one joins."""
    node = Node(engine := Engine())
    engine.opens.clear()
    joining = asyncio.create_task(node.connect())
    await settle()
    joining.cancel()
    await asyncio.wait({joining})
    assert (True, None, 0) == (joining.cancelled(), engine.listener, node.factory.stats().sessions)
    engine.opens.set()
    socket = await node.connect()
    await node.send(1)

    assert [1] == values(socket)
    await node.stop()


@pytest.mark.requirement("P3")
async def test_engine_that_raises_while_joining() -> None:
    """An engine that is down lets nobody in and keeps nobody; once it is up, sessions join."""
    node = Node(engine := Engine(fails=True))
    with pytest.raises(
        EngineUnavailableError, match="failed in joining a stream: ConnectionError; nobody was let in"
    ) as e:
        await node.connect()
    assert "the engine is down" == str(e.value.__cause__)
    assert (None, 0) == (engine.listener, node.factory.stats().sessions)
    engine.fails = False

    socket = await node.connect()
    await node.send(1)
    assert [1] == values(socket)
    await node.stop()


@pytest.mark.requirement("P3")
async def test_late_announcement_is_a_repetition() -> None:
    """An engine that announces after publish has returned delivers each event once."""
    node = Node(engine := Engine(late=[]))
    socket = await node.connect()
    await node.send(1, 2)
    late, engine.late = engine.late or [], None
    assert [1, 2] == values(socket)
    for envelope in late:
        engine.arrived(envelope)
    await node.send(3)

    assert [1, 2, 3] == values(socket)
    await node.stop()


@pytest.mark.scenario("S22")
@pytest.mark.requirement("P3")
async def test_hole_is_read_again() -> None:
    """Announcements that were lost are made up for in place; the client notices nothing."""
    inner = MemoryBackplane()
    node, other = Node(engine := Engine(inner)), Node(inner)
    socket = await node.connect()
    engine.deaf = True
    await other.send(1, 2)
    engine.deaf = False
    await other.send(3)

    assert [1, 2, 3] == values(socket)
    await node.stop()
    await other.stop()


@pytest.mark.scenario("S22")
@pytest.mark.requirement("P3")
async def test_lost_last_message() -> None:
    """The last message of all leaves no hole: the look at the tip finds it, also after one that failed."""
    inner = MemoryBackplane()
    node, other = Node(engine := Engine(inner)), Node(inner)
    socket = await node.connect()
    engine.deaf = True
    await other.send(1)
    engine.fails = True
    for _ in range(2):
        await node.clock.advance(25)
    assert ([], True) == (values(socket), engine.reads > 1)
    engine.fails = False
    for _ in range(2):
        await node.clock.advance(25)

    assert [1] == values(socket)
    await node.stop()
    await other.stop()


@pytest.mark.scenario("S22")
@pytest.mark.requirement("P3")
async def test_engine_that_fell_back() -> None:
    """A join that finds the engine behind tells the old session and the new one, before any later event."""
    node = Node(engine := Engine())
    first = await node.connect()
    await node.send(1, 2)
    cursor = Cursor(**first.frames[0]["cursor"])
    engine.top = msgspec.structs.replace(cursor, seq=1, id="0192f0c3-0000-7000-8000-000000000099")
    second = await node.connect(cursor)

    assert [1, 2, "ws.gap"] == values(first)
    assert "ws.gap" == values(second)[0]
    assert "divergence" in next(text for text in first.sent if "ws.gap" in text)
    await node.stop()


@pytest.mark.scenario("S20", "S59")
@pytest.mark.requirement("P2", "P5", "WS-10")
@pytest.mark.parametrize("happens", ["revoke", "drain", "stop"])
@pytest.mark.parametrize("events", [0, 2])
async def test_ended_while_joining(happens: str, events: int) -> None:
    """
    Whoever is revoked, or meets a drain, while a slow engine is asked hears goodbye at once, and no event.
    """
    node = Node(engine := Engine())
    engine.opens.clear()
    joining = asyncio.create_task(node.connect("window"))
    await settle()
    await node.send(*range(events))
    ending: list[asyncio.Task[None]] = []
    if happens == "revoke":
        assert 1 == await node.factory.revoke(make_context())
    else:
        ending.append(asyncio.create_task(node.factory.drain() if happens == "drain" else node.factory.stop()))
    await settle()
    socket = await joining
    await asyncio.gather(*ending, *node.tasks)

    code = 4010 if happens == "revoke" else 4200
    assert [("ws.goodbye", code)] == [(frame["type"], frame["code"]) for frame in socket.frames]
    assert (code, 0) == (socket.closed and socket.closed[0], node.factory.stats().sessions)
    assert engine.listener is None or happens == "drain"
    engine.opens.set()
    await node.stop()


@pytest.mark.requirement("P2", "WS-10")
async def test_two_reasons_to_stop_joining() -> None:
    """
    Revoked around the moment at which the engine's time is over, in whatever turn of the loop: one of both is told.
    """
    outcomes: set[type] = set()
    for turns in range(80):
        node = Node(engine := Engine())
        engine.opens.clear()
        joining = asyncio.create_task(node.connect())
        await settle()
        (session,) = node.factory._runtime.sessions
        advancing = asyncio.create_task(node.clock.advance(node.factory.settings.engine_seconds))
        for _ in range(turns):
            await asyncio.sleep(0)
        session.close(closing.REVOKED)
        outcome = (await asyncio.gather(joining, advancing, return_exceptions=True))[0]
        outcomes.add(type(outcome))
        engine.opens.set()
        await node.stop()

        assert 0 == node.factory.stats().sessions
        assert isinstance(outcome, EngineTimeoutError) or closing.REVOKED is session.code

    assert {EngineTimeoutError, RecordingTransport} == outcomes


@pytest.mark.requirement("P2", "P5", "WS-10")
@pytest.mark.parametrize("happens", ["revoke", "drain"])
async def test_ended_before_it_is_served(happens: str) -> None:
    """
    The same through the way in of an adapter: between the last check and welcome nothing slips through.
    """
    node = Node(engine := Engine())
    engine.opens.clear()
    opening = MemoryOpening()
    served = asyncio.create_task(serve_opening(opening, node.factory, _admit, _listen))
    await settle()
    assert [None] == opening.accepted
    drain = None
    if happens == "revoke":
        await node.factory.revoke(make_context())
    else:
        drain = asyncio.create_task(node.factory.drain())
    await settle()
    await served
    if drain is not None:
        await drain

    assert ["ws.goodbye"] == [frame["type"] for frame in opening.transport.frames]
    assert (4010 if happens == "revoke" else 4200) == opening.transport.frames[0]["code"]
    engine.opens.set()
    await node.stop()


@pytest.mark.scenario("S59")
@pytest.mark.requirement("P2", "WS-30")
@pytest.mark.parametrize(("fails", "code"), [(True, 4302), (False, 4304)])
async def test_engine_that_lets_nobody_in(fails: bool, code: int) -> None:  # noqa: FBT001  # a case of the table
    """
    An engine that is down, or slower than its bound, costs a client a close code to come back with, and nothing else.
    """
    node = Node(engine := Engine(fails=fails))
    if not fails:
        engine.opens.clear()
    opening = MemoryOpening()
    served = asyncio.create_task(serve_opening(opening, node.factory, _admit, _listen))
    await settle()
    await node.clock.advance(0.9)
    assert fails == served.done()
    await node.clock.advance(0.2)
    await served

    (goodbye,) = opening.transport.frames
    assert ("ws.goodbye", code, "back_off", 1_000) == (
        goodbye["type"],
        goodbye["code"],
        goodbye["action"],
        goodbye["retry_after_ms"],
    )
    assert (None, 0) == (engine.listener, node.factory.stats().sessions)
    engine.opens.set()
    engine.fails = False
    socket = await node.connect()
    await node.send(1)
    assert [1] == values(socket)
    await node.stop()


@pytest.mark.requirement("P2")
@pytest.mark.parametrize("draining", [False, True])
async def test_cancelled_while_joining(draining: bool) -> None:  # noqa: FBT001  # a case of the table
    """
    A server that cancels while a slow engine is asked leaves no client without a word.
    """
    node = Node(engine := Engine())
    engine.opens.clear()
    opening = MemoryOpening()
    served = asyncio.create_task(serve_opening(opening, node.factory, _admit, _listen))
    await settle()
    node.factory._runtime.is_draining = draining
    served.cancel()
    await asyncio.wait({served})

    assert served.cancelled()
    assert [4200 if draining else 4300] == [frame["code"] for frame in opening.transport.frames]
    assert (None, 0) == (engine.listener, node.factory.stats().sessions)
    await node.stop()


@pytest.mark.requirement("P2")
async def test_attach_to_an_engine_that_is_slow() -> None:
    """
    A socket that the application accepted itself is not touched where the engine does not answer.
    """
    node = Node(engine := Engine())
    engine.opens.clear()
    socket = RecordingTransport()

    async def attach() -> None:
        async with node.factory.attach(make_context(), socket):
            pytest.fail("there is no session")

    attaching = asyncio.create_task(attach())
    await settle()
    await node.clock.advance(1.1)
    with pytest.raises(EngineTimeoutError, match=r"joining a stream: no answer in 1 s \(Settings.engine_seconds\)"):
        await attaching
    assert ([], None) == (socket.sent, socket.closed)
    await node.stop()


@pytest.mark.requirement("P2")
async def test_engine_that_says_itself_what_is_wrong() -> None:
    """
    An engine's own error goes on as it is.
    """
    node = Node(Refusing())
    with pytest.raises(EngineUnavailableError, match="failed in read: it evicts what it should keep"):
        await node.connect()
    await node.stop()


@pytest.mark.scenario("S50")
@pytest.mark.requirement("P3")
async def test_what_comes_while_joining() -> None:
    """
    What a node makes up for or loses while a session joins reaches it: as events, or as a gap before later ones.
    """
    node = Node(engine := Engine())
    first = await node.connect()
    engine.opens.clear()
    joining = [asyncio.create_task(node.connect("window")) for _ in range(2)]
    await settle()
    live = node.factory._runtime.streams.all()[0]
    await node.send(1)
    live.sessions[1].missed(Gap("divergence", Cursor("elsewhere", 7, "0" * 36)))
    engine.opens.set()
    second, third = await asyncio.gather(*joining)

    assert [1] == values(first)
    assert [1, "ws.resumed", "ws.gap"] == values(second)
    assert [1, "ws.resumed"] == values(third)
    await node.stop()


@pytest.mark.requirement("P5")
async def test_held_is_bounded() -> None:
    """
    While a history is being read, at most a thousand events are held; the rest is left to the next reading.
    """
    live = LiveStream(identity_of(make_context()), 0.0, NoReader())
    stream = Stream(live.identity, "epoch")
    live.reading = True
    for _ in range(1_100):
        live.arrived(put(stream, note()))

    assert 1_024 == len(live._held)


async def test_no_window() -> None:
    """
    With a window of no events nothing is kept, and a client behind the top gets a gap.
    """
    plane = MemoryBackplane(Settings(window_events=0))
    identity = identity_of(make_context())
    before = (await plane.read(identity, None)).top
    stream = Stream(identity, "other")
    for _ in range(2):
        await plane.publish(identity, Draft(event=note(), owner=identity, id=f"{stream.seq:036d}", time=TIME))

    assert 0 == plane.size
    assert () == (await plane.read(identity, before)).entries


@attrs.define(eq=False)
class Slow(Engine):
    """
    An engine that takes its time for what is published.
    """

    takes: asyncio.Event = attrs.field(factory=asyncio.Event)

    @override
    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """
        Publish when it may.
        """
        await self.takes.wait()
        return await self.inner.publish(identity, draft)


@pytest.mark.requirement("P3")
async def test_a_run_that_begins_as_its_stream_ends() -> None:
    """
    A stream whose time is over is kept while the engine is asked about a run's event: the run's order is known on.
    """
    node = Node(engine := Slow())
    engine.takes.set()
    await node.send(1)
    await node.clock.advance(node.factory.settings.stream_seconds - 1)
    engine.takes.clear()

    async def work() -> None:
        async with node.factory.create_manager(make_context()).run("assistant") as run:
            await run.thinking("begun late")

    working = asyncio.create_task(work())
    await node.clock.advance(2)
    engine.takes.set()
    await working
    assert 1 == node.factory.stats().streams
    await node.clock.advance(2 * node.factory.settings.stream_seconds)

    assert 0 == node.factory.stats().streams
    await node.stop()


@pytest.mark.requirement("P3")
async def test_a_history_that_never_comes() -> None:
    """
    An engine that hangs while a history is read again is asked again in ``tip_seconds``: what came is late, not lost.
    """
    node = Node(engine := Engine(), settings=Settings(tip_seconds=1.0))
    socket = await node.connect()
    engine.opens.clear()
    await node.clock.advance(2 * node.factory.settings.tip_seconds)
    await node.send(1)
    assert [] == values(socket)
    await asyncio.wait(node.factory._runtime._readings)
    engine.opens.set()
    await node.send(2)

    assert [1, 2] == values(socket)
    await node.stop()
