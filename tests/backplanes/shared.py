"""
An engine that several nodes share, whose calls a test holds up, lets fail or leaves unannounced, and those nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import attrs

from tests.openings import MemoryOpening
from tests.shell import until_over
from ws_isolation import Handshake, ManagerFactory, Session, Settings, UserExecutionContext
from ws_isolation.backplanes.base import Lease, Listener
from ws_isolation.backplanes.memory import MemoryBackplane
from ws_isolation.events import Envelope
from ws_isolation.keys import Identity
from ws_isolation.serving import serve_opening
from ws_isolation.stream import Draft, Page, Start
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.testing.clock import settle


@attrs.define(eq=False)
class _Relay:
    """
    Stands between the engine and a listener.
    """

    engine: SharedEngine
    listener: Listener

    def arrived(self, envelope: Envelope, /) -> None:
        """
        Pass on, or not.
        """
        if not self.engine.silent:
            self.listener.arrived(envelope)

    def revoked(self) -> None:
        """
        Pass on, or not.
        """
        if not self.engine.deaf:
            self.listener.revoked()

    def replaced(self, connection_id: str, /) -> None:
        """
        Pass on, or not.
        """
        if not self.engine.deaf:
            self.listener.replaced(connection_id)

    def interrupted(self) -> None:
        """
        Pass on.
        """
        self.listener.interrupted()


@attrs.define(eq=False)
class SharedEngine:
    """
    The engine in memory, behind a network.
    """

    clock: FakeClock
    inner: MemoryBackplane = attrs.field(init=False)
    deaf: bool = False
    """Announcements of records and leases are lost."""
    silent: bool = False
    """Announcements of events are lost."""
    held: dict[str, asyncio.Event] = attrs.field(factory=dict[str, asyncio.Event])
    """Calls that wait, by name, before the engine hears of them."""
    slow: dict[str, asyncio.Event] = attrs.field(factory=dict[str, asyncio.Event])
    """Calls whose answers wait, by name, on their way back."""
    failing: set[str] = attrs.field(factory=set[str])
    forgetting: set[str] = attrs.field(factory=set[str])
    """Calls that are done and whose answers get lost, by name."""
    loses_with: Exception = attrs.field(factory=lambda: ConnectionError("canary: the answer is lost"))
    relays: dict[int, _Relay] = attrs.field(factory=dict[int, _Relay])
    renewals: list[int] = attrs.field(factory=list[int])
    """How many leases each renewal had."""

    def __attrs_post_init__(self) -> None:
        self.inner = MemoryBackplane(monotonic=self.clock.monotonic, unix=self.clock.unix)

    def hold(self, call: str) -> asyncio.Event:
        """
        Let *call* wait until the event is set.
        """
        return self.held.setdefault(call, asyncio.Event())

    def interrupt(self) -> None:
        """
        Tell everybody that announcements may have been lost.
        """
        for relay in tuple(self.relays.values()):
            relay.interrupted()

    async def _reached(self, call: str) -> None:
        if call in self.held:
            await self.held[call].wait()
        if call in self.failing:
            msg = "canary: the engine is down"
            raise ConnectionError(msg)

    async def _answered(self, call: str) -> None:
        if call in self.slow:
            await self.slow[call].wait()
        if call in self.forgetting:
            raise self.loses_with

    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """
        Pass on.
        """
        await self._reached("publish")
        envelope = await self.inner.publish(identity, draft)
        await self._answered("publish")
        return envelope

    async def subscribe(self, identity: Identity, listener: Listener, /) -> None:
        """
        Stand in between.
        """
        await self._reached("subscribe")
        relay = self.relays[id(listener)] = _Relay(self, listener)
        await self.inner.subscribe(identity, relay)

    def release(self, identity: Identity, listener: Listener, /) -> None:
        """
        Stand there no more.
        """
        relay = self.relays.pop(id(listener), None)
        if relay is not None:
            self.inner.release(identity, relay)

    async def read(self, identity: Identity, start: Start, /) -> Page:
        """
        Pass on.
        """
        await self._reached("read")
        page = await self.inner.read(identity, start)
        await self._answered("read")
        return page

    async def revoke(self, identity: Identity, until: float | None, /) -> None:
        """
        Pass on.
        """
        await self._reached("revoke")
        await self.inner.revoke(identity, until)

    async def lift(self, identity: Identity, /) -> bool:
        """
        Pass on.
        """
        await self._reached("lift")
        return await self.inner.lift(identity)

    async def bars(self, identity: Identity, /) -> bool:
        """
        Pass on.
        """
        await self._reached("bars")
        barred = await self.inner.bars(identity)
        await self._answered("bars")
        return barred

    async def enter(
        self, lease: Lease, /, *, most: int | None, replace: bool, seconds: float
    ) -> tuple[str, ...] | None:
        """
        Pass on.
        """
        await self._reached("enter")
        gone = await self.inner.enter(lease, most=most, replace=replace, seconds=seconds)
        await self._answered("enter")
        return gone

    async def renew(self, leases: Sequence[Lease], /, *, seconds: float) -> tuple[str, ...]:
        """
        Pass on.
        """
        await self._reached("renew")
        self.renewals.append(len(leases))
        return await self.inner.renew(leases, seconds=seconds)

    def leave(self, lease: Lease, /) -> None:
        """
        Pass on.
        """
        self.inner.leave(lease)

    async def present(self, identity: Identity, /) -> tuple[Lease, ...]:
        """
        Pass on.
        """
        await self._reached("present")
        return await self.inner.present(identity)


@attrs.define
class Visit:
    """
    One handshake, and what became of it.
    """

    opening: MemoryOpening
    task: asyncio.Task[None]
    sessions: list[Session]

    @property
    def socket(self) -> RecordingTransport:
        """
        Its socket.
        """
        return self.opening.transport

    @property
    def code(self) -> int | None:
        """
        The code that it was closed with, None while it is open.
        """
        return None if self.socket.closed is None else self.socket.closed[0]

    @property
    def session(self) -> Session:
        """
        Its session.
        """
        (session,) = self.sessions
        return session


@attrs.define
class Node:
    """
    A factory on a shared engine.
    """

    engine: SharedEngine
    settings: Settings | None = None
    factory: ManagerFactory = attrs.field(init=False)
    visits: list[Visit] = attrs.field(factory=list[Visit])

    def __attrs_post_init__(self) -> None:
        self.factory = ManagerFactory(self.settings, clock=self.engine.clock, backplane=self.engine)

    async def visit(self, user: str = "alice", *, opening: MemoryOpening | None = None) -> Visit:
        """
        Let a client of *user* connect, and give it time to come in.
        """

        async def authenticate(_handshake: Handshake) -> UserExecutionContext:
            return make_context(user)

        sessions: list[Session] = []

        async def handler(session: Session) -> None:
            sessions.append(session)
            await until_over(session)

        opening = opening or MemoryOpening()
        task = asyncio.create_task(serve_opening(opening, self.factory, authenticate, handler))
        visit = Visit(opening, task, sessions)
        self.visits.append(visit)
        await settle()
        return visit

    async def stop(self) -> None:
        """
        End everything.
        """
        stopping = asyncio.create_task(self.factory.stop())
        await settle()
        await self.engine.clock.advance(30)
        await stopping
        await asyncio.gather(*(visit.task for visit in self.visits))


def nodes(count: int = 2, settings: Settings | None = None) -> tuple[SharedEngine, list[Node]]:
    """
    Return an engine and nodes on it, which have one clock.
    """
    engine = SharedEngine(FakeClock())
    return engine, [Node(engine, settings) for _ in range(count)]
