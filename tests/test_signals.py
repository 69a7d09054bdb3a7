"""
A signal that ends the process drains the factory first, and then goes to whoever handled it before.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType

import attrs
import pytest

from tests.openings import MemoryOpening
from ws_isolation import Handshake, ManagerFactory, Session, UserExecutionContext
from ws_isolation.serving import serve_opening
from ws_isolation.signals import SIGNALS, drain_first, drained
from ws_isolation.testing import FakeClock, make_context
from ws_isolation.testing.clock import settle

pytestmark = [pytest.mark.requirement("P2", "WS-32"), pytest.mark.scenario("S26")]

Heard = list[tuple[str, bool]]


async def admit(_handshake: Handshake) -> UserExecutionContext:
    """
    Admit everybody as Alice.
    """
    return make_context()


async def wait(session: Session) -> None:
    """
    Serve until the client leaves.
    """
    async for _message in session:
        pass


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> Generator[None]:
    """
    Handle the signals as a server does, and as before when the block is left.
    """
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@attrs.define
class Server:
    """
    A server with one open socket, which notes when it hears of a signal, and whether the socket was closed by then.
    """

    factory: ManagerFactory
    opening: MemoryOpening = attrs.field(factory=MemoryOpening)
    heard: Heard = attrs.field(factory=list[tuple[str, bool]])

    def hears(self, number: int, _frame: FrameType | None) -> None:
        """
        Note the signal.
        """
        self.heard.append((signal.Signals(number).name, self.opening.transport.closed is not None))


@asynccontextmanager
async def serving() -> AsyncGenerator[Server]:
    """
    Serve one socket of a factory that only the block's server can stop.
    """
    async with ManagerFactory(clock=FakeClock()) as factory:
        server = Server(factory)
        with handled(server.hears):
            socket = asyncio.create_task(serve_opening(server.opening, factory, admit, wait))
            await settle()
            yield server
            server.opening.transport.client_reads_again()
            server.opening.transport.client_leaves()
            await socket


@pytest.mark.parametrize("number", SIGNALS)
async def test_drain_comes_first(number: signal.Signals) -> None:
    """
    The server hears of the signal when its socket has been closed with 4200; without the block, while it is open.
    """
    async with serving() as server:
        async with drain_first(server.factory):
            signal.raise_signal(number)
            await settle()
        closed = server.opening.transport.closed
    async with serving() as by_hand:
        signal.raise_signal(number)
        await settle()

    assert (4200, "drain") == closed
    assert [(number.name, True)] == server.heard
    assert [(number.name, False)] == by_hand.heard


async def test_second_signal_waits_for_nothing() -> None:
    """
    While a stalled client holds the drain up, the next signal goes to the server at once.
    """
    async with serving() as server:
        server.opening.transport.client_stops_reading()
        async with drain_first(server.factory):
            signal.raise_signal(signal.SIGTERM)
            await settle()
            heard = [*server.heard]
            signal.raise_signal(signal.SIGINT)
            await settle()

    assert [] == heard
    assert [("SIGINT", False)] == server.heard


async def test_as_before_after_the_block() -> None:
    """
    The server's handlers are back when the block is left; what somebody else installed meanwhile stays.
    """
    others: list[int] = []
    async with serving() as server:
        async with drain_first(server.factory):
            inside = [signal.getsignal(number) for number in SIGNALS]
        after = [signal.getsignal(number) for number in SIGNALS]
        async with drain_first(server.factory):
            signal.signal(signal.SIGINT, lambda number, _frame: others.append(number))
        signal.raise_signal(signal.SIGINT)

    assert server.hears not in inside
    assert [server.hears] * 2 == after
    assert [signal.SIGINT] == others


@pytest.mark.parametrize("nobody", [signal.SIG_DFL, signal.SIG_IGN])
async def test_what_nobody_handles_is_left_alone(nobody: signal.Handlers) -> None:
    """
    A signal that no function handles does what it did: the block installs nothing.
    """
    async with ManagerFactory() as factory:
        with handled(nobody):
            async with drain_first(factory):
                inside = [signal.getsignal(number) for number in SIGNALS]

    assert [nobody] * 2 == inside


async def test_another_thread_installs_nothing() -> None:
    """
    Outside of the main thread the block is harmless, and drained() says why it cannot serve.
    """
    before = [signal.getsignal(number) for number in SIGNALS]

    async def elsewhere() -> None:
        async with ManagerFactory() as factory:
            async with drain_first(factory):
                assert before == [signal.getsignal(number) for number in SIGNALS]
            with pytest.raises(ValueError, match="main thread"):
                await drained(factory)

    await asyncio.to_thread(asyncio.run, elsewhere())


async def test_a_drain_that_fails_stops_no_shutdown(caplog: pytest.LogCaptureFixture) -> None:
    """
    A drain that is refused, here since the factory runs in another loop, is logged, and the server hears all the same.
    """
    elsewhere = asyncio.new_event_loop()
    stranger = ManagerFactory()
    await asyncio.to_thread(elsewhere.run_until_complete, stranger.__aenter__())
    async with serving() as server, drain_first(stranger):
        signal.raise_signal(signal.SIGTERM)
        await settle()
        heard = [*server.heard]
    await asyncio.to_thread(elsewhere.run_until_complete, stranger.stop())
    elsewhere.close()

    logged = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [("SIGTERM", False)] == heard
    assert 1 == len(logged)
    assert "the drain before the shutdown failed" in logged[0]


def test_a_handler_that_outlives_its_loop() -> None:
    """
    Where somebody has kept our handler and calls it after the loop was closed, the server hears of the signal at once.
    """
    heard: list[int] = []
    kept: list[Callable[[int, None], None]] = []

    async def main() -> None:
        async with ManagerFactory() as factory, drain_first(factory):
            handler = signal.getsignal(signal.SIGTERM)
            assert callable(handler)
            kept.append(handler)

    with handled(lambda number, _frame: heard.append(number)):
        asyncio.run(main())
        kept[0](signal.SIGTERM, None)

    assert [signal.SIGTERM] == heard


async def test_trigger_returns_after_the_drain() -> None:
    """
    drained() returns when everybody was told goodbye; the signal goes to nobody else, and handlers are as before.
    """
    async with serving() as server:
        trigger = asyncio.create_task(drained(server.factory))
        await settle()
        signal.raise_signal(signal.SIGTERM)
        await settle()
        over = (trigger.done(), server.opening.transport.closed)
        after = [signal.getsignal(number) for number in SIGNALS]

    assert (True, (4200, "drain")) == over
    assert [] == server.heard
    assert [server.hears] * 2 == after


async def test_trigger_and_a_second_signal() -> None:
    """
    A second signal, or a third, ends the waiting of drained() while a stalled client holds the drain up.
    """
    async with serving() as server:
        server.opening.transport.client_stops_reading()
        trigger = asyncio.create_task(drained(server.factory))
        await settle()
        signal.raise_signal(signal.SIGTERM)
        await settle()
        before = trigger.done()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        await settle()
        after = trigger.done()

    assert (False, True) == (before, after)


async def test_trigger_is_cancelled() -> None:
    """
    Cancelling drained() takes its handlers back; nothing is drained.
    """
    async with serving() as server:
        trigger = asyncio.create_task(drained(server.factory))
        await settle()
        trigger.cancel()
        await asyncio.wait({trigger})
        after = [signal.getsignal(number) for number in SIGNALS]
        draining = server.factory.is_draining

    assert [server.hears] * 2 == after
    assert draining is False
