"""
Nodes of one application on a real engine: a factory each, as each process has one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs

from tests.shell import note, until_over
from ws_isolation import IsolatedManager, ManagerFactory, Session, Settings
from ws_isolation.backplanes.redis import RedisBackplane
from ws_isolation.stream import Start
from ws_isolation.testing import RecordingTransport, make_context
from ws_isolation.wire import DEFAULT_WIRE

KEY: Final = b"0123456789abcdef0123456789abcdef"
_SECONDS: Final = 15.0


async def until(holds: Callable[[], object], what: str = "it did not happen") -> None:
    """
    Wait until *holds* returns something true.
    """
    end = asyncio.get_running_loop().time() + _SECONDS
    while not holds():
        assert asyncio.get_running_loop().time() < end, what
        await asyncio.sleep(0.005)


@attrs.define
class Client:
    """
    A client of one node.
    """

    session: Session
    transport: RecordingTransport
    task: asyncio.Task[None]

    @property
    def values(self) -> list[Any]:
        """
        The values of the events that came.
        """
        return [frame["data"]["value"] for frame in self.transport.frames if frame["type"] == "custom"]

    @property
    def gaps(self) -> list[str]:
        """
        The reasons of the gaps that it was told of.
        """
        return [frame["reason"] for frame in self.transport.frames if frame["type"] == "ws.gap"]


@attrs.define
class Node:
    """
    One factory with a connection of its own to the engine.
    """

    factory: ManagerFactory
    plane: RedisBackplane

    def manager(self, user: str = "alice") -> IsolatedManager:
        """
        Return a manager of *user*.
        """
        return self.factory.create_manager(make_context(user))

    async def send(self, value: object, user: str = "alice") -> None:
        """
        Send *value* to *user*.
        """
        await self.manager(user).send(note(value))

    async def connect(self, user: str = "alice", start: Start = None) -> Client:
        """
        Put a client on this node.
        """
        transport = RecordingTransport()
        session = await self.factory.open_session(
            make_context(user), transport, wire=DEFAULT_WIRE, start=start, handshake=None, enforce_pongs=False
        )
        client = Client(session, transport, asyncio.create_task(session.serve(until_over)))
        await until(lambda: "ws.welcome" in transport.types(), "no welcome")
        return client


@asynccontextmanager
async def nodes(
    url: str, count: int = 2, settings: Settings | None = None, **options: Any
) -> AsyncGenerator[tuple[Node, ...]]:
    """
    Run *count* nodes.
    """
    bounds = settings or Settings(drain_seconds=2.0, close_seconds=1.0)
    options.setdefault("keys", (KEY,))
    planes = [RedisBackplane(url, bounds, **options) for _ in range(count)]
    made = tuple(Node(ManagerFactory(bounds, backplane=plane), plane) for plane in planes)
    try:
        yield made
    finally:
        for node in made:
            await node.factory.stop()
            await node.plane.close()
