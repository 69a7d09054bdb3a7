"""
Observers that record or raise, and a course through the engine that meets every hook.
"""

from __future__ import annotations

import asyncio
from typing import TypeAlias

import attrs

from tests.logs import put
from tests.openings import MemoryOpening, handshake
from tests.shell import note, until_over
from ws_isolation import Handshake, ManagerFactory, Settings, UserExecutionContext, errors
from ws_isolation.keys import identity_of
from ws_isolation.observing import Observer, Outcome, SpanName
from ws_isolation.serving import serve_opening
from ws_isolation.stream import NIL_ID, Cursor, Start, Stream
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.wire import DEFAULT_WIRE

Call: TypeAlias = tuple[object, ...]
"""A hook's name and its arguments."""

ARGUMENTS: dict[str, Call] = {
    "session_opened": (),
    "session_closed": (4200,),
    "handshake_refused": (403,),
    "event_published": ("custom",),
    "coalesced": ("agent_message_delta",),
    "gap": ("trimmed", 3),
    "replayed": (7,),
    "write_time": (0.5,),
    "foreign": (),
    "loop_lag": (0.25,),
    "span_ended": ("run", 1.5, "ok"),
}
"""What each hook can be called with, beside its keywords."""

KEYWORDS: dict[str, dict[str, object]] = {"event_published": {"durable": True}}


@attrs.define
class Watcher(Observer):
    """
    Writes down every call, then raises what it is told to.
    """

    error: BaseException | None = None
    calls: list[Call] = attrs.field(factory=list[Call])

    def _note(self, *call: object) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error

    def named(self, hook: str) -> list[Call]:
        """
        Return the arguments of the calls of one hook.
        """
        return [call[1:] for call in self.calls if call[0] == hook]

    def spans(self) -> list[Call]:
        """
        Return name and outcome of each span.
        """
        return [(name, outcome) for name, _seconds, outcome in self.named("span_ended")]

    def session_opened(self) -> None:
        """
        Note it.
        """
        self._note("session_opened")

    def session_closed(self, code: int | None, /) -> None:
        """
        Note it.
        """
        self._note("session_closed", code)

    def handshake_refused(self, code: int, /) -> None:
        """
        Note it.
        """
        self._note("handshake_refused", code)

    def event_published(self, event_type: str, /, *, durable: bool) -> None:
        """
        Note it.
        """
        self._note("event_published", event_type, durable)

    def coalesced(self, event_type: str, /) -> None:
        """
        Note it.
        """
        self._note("coalesced", event_type)

    def gap(self, reason: str, sessions: int, /) -> None:
        """
        Note it.
        """
        self._note("gap", reason, sessions)

    def replayed(self, count: int, /) -> None:
        """
        Note it.
        """
        self._note("replayed", count)

    def write_time(self, seconds: float, /) -> None:
        """
        Note it.
        """
        self._note("write_time", seconds)

    def foreign(self) -> None:
        """
        Note it.
        """
        self._note("foreign")

    def loop_lag(self, seconds: float, /) -> None:
        """
        Note it.
        """
        self._note("loop_lag", seconds)

    def span_ended(self, name: SpanName, seconds: float, outcome: Outcome, /) -> None:
        """
        Note it.
        """
        self._note("span_ended", name, seconds, outcome)


CANARY = "canary-7f"


async def _refuse(_handshake: Handshake) -> UserExecutionContext:
    raise errors.UnauthenticatedError(CANARY)


async def course(observer: Observer | None) -> tuple[ManagerFactory, list[list[str]]]:
    """
    Live a factory's life from the first refusal to the drain.

    Returns:
        The stopped factory, and the types that each socket got.
    """
    clock = FakeClock()
    factory = ManagerFactory(Settings(), clock=clock, observer=observer)
    context = make_context(CANARY, tenant_id=CANARY, thread_id=CANARY)
    manager = factory.create_manager(context)
    sockets: list[RecordingTransport] = []
    serving: list[asyncio.Task[None]] = []

    async def connect(start: Start) -> None:
        sockets.append(RecordingTransport())
        session = await factory.open_session(context, sockets[-1], wire=DEFAULT_WIRE, start=start, handshake=None)
        serving.append(asyncio.create_task(session.serve(until_over)))
        await clock.advance(1)

    async with factory:
        knock = MemoryOpening(handshake(("origin", "https://elsewhere.example")))
        await serve_opening(knock, factory, _refuse, None)
        opening = MemoryOpening(handshake())
        await serve_opening(opening, factory, _refuse, None)
        sockets.append(opening.transport)
        first = await manager.send(note(CANARY))
        await connect("window")
        await connect(Cursor("elsewhere", 3, NIL_ID))
        async with manager.run(CANARY, run_id=CANARY) as run:
            await run.thinking("hm")
            sockets[-1].client_stops_reading()
            async with run.message() as said:
                for piece in ("a", "b", "c"):
                    await said.write(piece)
                sockets[-1].client_reads_again()
                await clock.advance(1)
        session = factory._runtime.streams.find(identity_of(context))
        assert session is not None
        session.sessions[0].offer(put(Stream(identity_of(make_context("mallory")), "epoch"), note(), first.event_id))
        await clock.advance(factory.settings.heartbeat_seconds + 1)
        stop = asyncio.create_task(factory.stop())
        await clock.advance(factory.settings.drain_seconds)
        await stop
    await asyncio.gather(*serving)
    return factory, [socket.types() for socket in sockets]
