"""
Sessions without a server: a hand-moved clock, a transport in memory, and one that fails on demand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import attrs

from tests.openings import MemoryOpening
from ws_isolation import IsolatedManager, ManagerFactory, Session, Settings, UserExecutionContext, events
from ws_isolation.serving import Authenticate, serve_opening
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.testing.clock import settle
from ws_isolation.typing import Transport
from ws_isolation.wire import DEFAULT_WIRE, Wire

Handler: TypeAlias = Callable[[Session], Awaitable[None]]


async def until_over(session: Session) -> None:
    """
    Serve until the session ends.
    """
    async for _message in session:
        pass


def note(value: object = 1) -> events.Custom:
    """
    Return an event that belongs to no run.
    """
    return events.Custom(name="test.note", value=value)  # type: ignore[arg-type]  # whatever a test wants to see back


@attrs.define
class Bench:
    """
    A factory with a fake clock, and what it takes to put sessions on it.
    """

    clock: FakeClock
    factory: ManagerFactory

    @classmethod
    def new(cls, settings: Settings | None = None) -> Bench:
        """
        Return a bench of its own.
        """
        clock = FakeClock()
        return cls(clock, ManagerFactory(settings, clock=clock))

    def manager(self, user: str = "alice") -> IsolatedManager:
        """
        Return a manager of *user*.
        """
        return self.factory.create_manager(make_context(user))

    async def serve(
        self,
        handler: Handler | None = until_over,
        user: str | UserExecutionContext = "alice",
        *,
        transport: Transport | None = None,
        wire: Wire = DEFAULT_WIRE,
        enforce_pongs: bool = False,
        turns: int | None = None,
    ) -> Served:
        """
        Serve a new session, and give it some turns of the loop: enough to begin where None.
        """
        recording = RecordingTransport()
        session = await self.factory.open_session(
            make_context(user) if isinstance(user, str) else user,
            recording if transport is None else transport,
            wire=wire,
            start=None,
            handshake=None,
            enforce_pongs=enforce_pongs,
        )
        served = Served(self.clock, session, recording, asyncio.create_task(session.serve(handler)))
        if turns is None:
            await settle()
        for _ in range(turns or 0):
            await asyncio.sleep(0)
        return served

    async def admit(self, authenticate: Authenticate) -> Served:
        """
        Serve a new session from its handshake on, with what *authenticate* says.
        """
        sessions: list[Session] = []

        async def handler(session: Session) -> None:
            sessions.append(session)
            await session.wait_closed()

        opening = MemoryOpening()
        task = asyncio.create_task(serve_opening(opening, self.factory, authenticate, handler))
        await settle()
        return Served(self.clock, sessions[0], opening.transport, task)


@attrs.define
class Served:
    """
    A session that is being served.
    """

    clock: FakeClock
    session: Session
    transport: RecordingTransport
    task: asyncio.Task[None]

    async def over(self) -> None:
        """
        Let a minute pass by the fake clock at most, and see that the session is over.
        """
        for _ in range(60):
            await settle()
            if self.task.done():
                break
            await self.clock.advance(1)
        assert self.task.done()
        await asyncio.gather(self.task, return_exceptions=True)

    @property
    def goodbye(self) -> dict[str, Any]:
        """
        The last frame, which must be the only goodbye.
        """
        assert ["ws.goodbye"] == [kind for kind in self.transport.types() if kind == "ws.goodbye"]
        last = self.transport.frames[-1]
        assert "ws.goodbye" == last["type"]
        return last

    def ended_with(self, code: int) -> bool:
        """
        Tell whether goodbye and close frame carry *code*.
        """
        return self.transport.closed is not None and code == self.transport.closed[0] == self.goodbye["code"]


@attrs.define
class FaultyTransport:
    """
    A transport around another that raises where it is told to, as a defect of an adapter would.
    """

    inner: RecordingTransport = attrs.field(factory=RecordingTransport)
    on_send: list[Exception | None] = attrs.field(factory=list[Exception | None])
    """What the next sends raise, in order; None and the end: nothing."""
    on_receive: Exception | None = None
    on_close: Exception | None = None
    on_abort: Exception | None = None

    async def receive(self) -> str | bytes:
        """
        Raise what was asked for, or do as the inner one.
        """
        if self.on_receive is not None:
            raise self.on_receive
        return await self.inner.receive()

    async def send(self, text: str, /) -> None:
        """
        Raise what was asked for, or do as the inner one.
        """
        error = self.on_send.pop(0) if self.on_send else None
        if error is not None:
            raise error
        await self.inner.send(text)

    async def close(self, code: int, reason: str, /) -> None:
        """
        Raise what was asked for, or do as the inner one.
        """
        if self.on_close is not None:
            raise self.on_close
        await self.inner.close(code, reason)

    def abort(self) -> None:
        """
        Raise what was asked for, or do as the inner one.
        """
        self.inner.abort()
        if self.on_abort is not None:
            raise self.on_abort
