"""
A web process with sockets, and what stands between it and a worker in another thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs

from ws_isolation import ManagerFactory, Session, UserExecutionContext
from ws_isolation.backplanes.base import Listener
from ws_isolation.backplanes.memory import MemoryBackplane
from ws_isolation.events import Envelope
from ws_isolation.keys import Identity
from ws_isolation.stream import Draft, Page, Start
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.testing.clock import settle


@attrs.define
class Client:
    """
    A socket of the web process.
    """

    session: Session
    transport: RecordingTransport

    async def events(self) -> list[dict[str, Any]]:
        """
        Let what waits be written, and return all events so far.
        """
        await settle()
        return self.transport.events

    async def types(self) -> list[str]:
        """
        Same as ``events()``, but their types only.
        """
        return [str(event["type"]) for event in await self.events()]


@attrs.define
class Web:
    """
    A web process: a factory with sockets, on an engine that others publish to as well.
    """

    clock: FakeClock = attrs.field(factory=FakeClock)
    engine: MemoryBackplane = attrs.field(factory=MemoryBackplane)
    factory: ManagerFactory = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.factory = ManagerFactory(clock=self.clock, backplane=self.engine)

    @asynccontextmanager
    async def client(
        self, context: UserExecutionContext | None = None, *, start: Start = None
    ) -> AsyncGenerator[Client]:
        """
        Yield a client of the user, alice where None.
        """
        transport = RecordingTransport()
        context = make_context() if context is None else context
        async with self.factory.attach(context, transport, start=start) as session:
            yield Client(session, transport)


@attrs.define(eq=False)
class Elsewhere:
    """
    The engine of *loop*, as a process in another thread reaches it. It is only published to.
    """

    loop: asyncio.AbstractEventLoop
    inner: MemoryBackplane

    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """
        Publish in the engine's own loop.
        """
        work = self.inner.publish(identity, draft)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))

    async def subscribe(self, _identity: Identity, _listener: Listener, /) -> None:
        """
        Fail: who holds no sockets listens to nothing.
        """
        raise AssertionError

    async def read(self, _identity: Identity, _start: Start, /) -> Page:
        """
        Fail: who holds no sockets replays nothing.
        """
        raise AssertionError

    def release(self, _identity: Identity, _listener: Listener, /) -> None:
        """
        Do nothing: there was no subscription.
        """
