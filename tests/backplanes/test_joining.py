"""
Sessions on an engine that is slow, late, deaf or broken, and on one that two nodes share.
"""

from __future__ import annotations

import asyncio

import attrs
import msgspec
import pytest

from tests.logs import TIME, NoReader, put
from tests.shell import note
from ws_isolation import ManagerFactory, Session, Settings, errors
from ws_isolation.backplanes.base import Listener
from ws_isolation.backplanes.memory import MemoryBackplane
from ws_isolation.events import Envelope
from ws_isolation.keys import Identity, identity_of
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
        assert listener is self.listener
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


@attrs.define
class Node:
    """
    A factory on an engine, and the sessions on it.
    """

    engine: Engine | MemoryBackplane
    clock: FakeClock = attrs.field(factory=FakeClock)
    factory: ManagerFactory = attrs.field(init=False)
    tasks: list[asyncio.Task[None]] = attrs.field(factory=list["asyncio.Task[None]"])

    def __attrs_post_init__(self) -> None:
        self.factory = ManagerFactory(clock=self.clock, backplane=self.engine)

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
    with pytest.raises(errors.EngineUnavailableError, match=r"subscribe\(\): the session was not opened"):
        await node.connect()
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
