"""
Users with several devices that connect, are cut, stall and come back, on the real factory.
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Final

import attrs

from tests.shell import note
from ws_isolation import ManagerFactory, Session
from ws_isolation.stream import Cursor, Start
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.testing.clock import settle
from ws_isolation.wire import DEFAULT_WIRE

USERS: Final = (("a", "b"), (None, "a:b"), (None, "b"))
"""Tenant and user: alike where a key is joined, or without its tenant."""


@attrs.define(eq=False)
class Device:
    """
    One client of one user, over all its connections. It keeps its cursor.
    """

    who: int
    sockets: list[RecordingTransport] = attrs.field(factory=list[RecordingTransport])
    sessions: list[Session] = attrs.field(factory=list[Session])
    cursor: Cursor | None = None
    read: int = 0
    """Frames of the last socket that were looked at."""
    got: list[str] = attrs.field(factory=list[str])
    reloaded: int = 0
    """What had been sent to its user when it was last told of a gap, or first connected."""

    @property
    def is_online(self) -> bool:
        """
        Whether its last session is open.
        """
        return bool(self.sessions) and self.sessions[-1].is_open


@attrs.define
class World:
    """
    One schedule.
    """

    dice: random.Random
    clock: FakeClock = attrs.field(factory=FakeClock)
    factory: ManagerFactory = attrs.field(init=False)
    devices: list[Device] = attrs.field(init=False)
    sent: list[list[str]] = attrs.field(init=False)
    tasks: list[asyncio.Task[None]] = attrs.field(factory=list["asyncio.Task[None]"])

    def __attrs_post_init__(self) -> None:
        self.factory = ManagerFactory(clock=self.clock)
        self.devices = [Device(who) for who in range(len(USERS)) for _ in range(2)]
        self.sent = [[] for _ in USERS]

    async def connect(self, device: Device, *, lives: float | None = None) -> None:
        """
        Come back with the cursor, or for the first time.
        """
        if device.is_online:
            return
        self.look(device)
        tenant, user = USERS[device.who]
        expires = None if lives is None else datetime.fromtimestamp(self.clock.unix() + lives, UTC)
        start: Start = device.cursor
        socket = RecordingTransport()
        session = await self.factory.open_session(
            make_context(user, tenant_id=tenant, expires_at=expires),
            socket,
            wire=DEFAULT_WIRE,
            start=start,
            handshake=None,
        )
        if start is None:
            device.reloaded = len(self.sent[device.who])
        device.sockets.append(socket)
        device.sessions.append(session)
        device.read = 0
        self.tasks.append(asyncio.create_task(session.serve(_listen)))
        await settle()
        self.look(device)

    async def send(self, who: int) -> None:
        """
        Send an event that carries its user's mark.
        """
        tenant, user = USERS[who]
        mark = f"mark-{who}-{len(self.sent[who])}"
        await self.factory.create_manager(make_context(user, tenant_id=tenant)).send(note(mark))
        self.sent[who].append(mark)

    def look(self, device: Device) -> None:
        """
        Read what has come, as a client does: events, and cursors.
        """
        if not device.sockets:
            return
        frames = device.sockets[-1].frames
        for frame in frames[device.read :]:
            if frame["type"] == "custom":
                device.got.append(frame["data"]["value"])
                assert device.cursor is not None
                device.cursor = Cursor(device.cursor.epoch, frame["seq"], frame["id"])
            elif frame["type"] == "ws.gap" or (frame["type"] == "ws.welcome" and device.cursor is None):
                device.cursor = Cursor(**frame["cursor"])
                device.reloaded = len(self.sent[device.who]) if frame["type"] == "ws.gap" else device.reloaded
        device.read = len(frames)

    async def step(self) -> None:
        """
        Let something happen. Revocation belongs here as one more case.
        """
        device = self.dice.choice(self.devices)
        socket = device.sockets[-1] if device.sockets else RecordingTransport()
        match self.dice.randrange(12):
            case 0 | 1:
                await self.connect(device)
            case 2:
                await self.connect(device, lives=float(self.dice.randrange(1, 60)))
            case 3:
                socket.client_leaves()
            case 4:
                socket.client_stops_reading()
            case 5:
                socket.client_reads_again()
            case 6:
                await self.clock.advance(self.dice.choice((0.0, 1.0, 15.0, 40.0)))
            case _:
                await self.send(device.who)
        if self.dice.random() < 0.3:
            await settle()

    async def finish(self) -> None:
        """
        Everybody comes back, reads all, and the factory stops.
        """
        for device in self.devices:
            if device.sockets:
                device.sockets[-1].client_leaves()
                device.sockets[-1].client_reads_again()
        await self.clock.advance(1)
        for device in self.devices:
            await self.connect(device)
        await settle()
        for device in self.devices:
            self.look(device)
        stopping = asyncio.create_task(self.factory.stop())
        while not stopping.done():
            await self.clock.advance(1)
        await asyncio.gather(*self.tasks)


async def _listen(session: Session) -> None:
    async for _ in session:
        pass


async def live(seed: int, steps: int = 60) -> World:
    """
    Return the world of *seed* when all is over.
    """
    world = World(random.Random(seed))
    for _ in range(steps):
        await world.step()
    await world.finish()
    return world
