"""
What an application may implement itself: manager, transport, clock, wire.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_type

from ws_isolation import Delivery, IsolatedManager, ManagerFactory, Run, UserExecutionContext
from ws_isolation.delivery import ManagerStats
from ws_isolation.events import Envelope, Event
from ws_isolation.frames import Frame, Inbound, Message
from ws_isolation.manager import RunMixin
from ws_isolation.observe import LoggingObserver, Observer, Outcome, SpanName
from ws_isolation.testing import FakeClock, RecordingTransport, check_manager
from ws_isolation.typing import Clock, Timer, Transport
from ws_isolation.wire import DefaultWire, PlainWire, Unservable, Wire


class AuditedManager(RunMixin):
    """
    Writes down what it sends; ``run()`` comes with the mixin.
    """

    def __init__(self, inner: IsolatedManager) -> None:
        self.inner = inner
        self.sent: list[str] = []

    @property
    def context(self) -> UserExecutionContext:
        """
        Return the context that it is bound to.
        """
        return self.inner.context

    async def send(self, event: Event, /) -> Delivery:
        """
        Write down and pass on.
        """
        self.sent.append(event.type)
        return await self.inner.send(event)

    def stats(self) -> ManagerStats:
        """
        Return counts.
        """
        return self.inner.stats()


def managers(shipped: IsolatedManager) -> IsolatedManager:
    """
    A manager of one's own goes wherever a manager goes.
    """
    mine = AuditedManager(shipped)
    assert_type(mine.run("assistant"), Run)
    return mine


factory = ManagerFactory(manager=AuditedManager)


async def proved() -> None:
    """
    It is proved by the suite that proves the shipped one.
    """
    await check_manager(lambda context: AuditedManager(ManagerFactory().create_manager(context)))


class Pipe:
    """
    A transport of one's own.
    """

    async def receive(self) -> str | bytes:
        """
        Return the next message.
        """
        return ""

    async def send(self, text: str, /) -> None:
        """
        Write.
        """

    async def close(self, code: int, reason: str, /) -> None:
        """
        Close.
        """

    def abort(self) -> None:
        """
        Drop.
        """


TRANSPORTS: tuple[Transport, ...] = (Pipe(), RecordingTransport())


class Alarm:
    """
    A timer of one's own.
    """

    def cancel(self) -> None:
        """
        Forget it.
        """


class StandingClock:
    """
    A clock of one's own.
    """

    def monotonic(self) -> float:
        """
        Return seconds.
        """
        return 0.0

    def unix(self) -> float:
        """
        Return seconds since 1970.
        """
        return 0.0

    def call_at(self, when: float, callback: Callable[[], None], /) -> Alarm:
        """
        Never call it.
        """
        return Alarm()


CLOCKS: tuple[Clock, ...] = (StandingClock(), FakeClock())
TIMERS: tuple[Timer, ...] = (Alarm(), FakeClock().call_at(1.0, lambda: None))
FACTORIES = (ManagerFactory(clock=StandingClock()), ManagerFactory(clock=FakeClock(unix=0.0)))


class Lines:
    """
    A wire of one's own.
    """

    @property
    def subprotocol(self) -> str | None:
        """
        Return its name.
        """
        return "lines.v1"

    def event(self, envelope: Envelope, /) -> str | None:
        """
        Write an event.
        """
        return f"{envelope.seq} {envelope.text}"

    def control(self, _frame: Frame, /) -> str | None:
        """
        Write no control frame.
        """
        return None

    def read(self, text: str | bytes, limit: int, /) -> Inbound | Unservable:
        """
        Read a line.
        """
        return Message(type="line", data={"text": str(text)[:limit]})


WIRES: tuple[Wire, ...] = (Lines(), DefaultWire(), PlainWire(lambda envelope: envelope.text))


class Counting(Observer):
    """
    An observer of one's own overrides what it needs.
    """

    sessions = 0

    def session_opened(self) -> None:
        """
        Count.
        """
        self.sessions += 1

    def span_ended(self, name: SpanName, seconds: float, outcome: Outcome, /) -> None:
        """
        Look at how it ended.
        """
        assert_type(outcome, Outcome)


OBSERVERS: tuple[Observer, ...] = (Counting(), LoggingObserver(every_seconds=10))
WATCHED = ManagerFactory(observer=Counting())
assert_type(WATCHED.stats().hook_failures, int)
