"""
A manager reaches its own user from anywhere and for as long as somebody holds it, and not longer.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import threading
import weakref
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import pytest

from tests.managers import Around
from tests.shell import note
from ws_isolation import Delivery, IsolatedManager, ManagerFactory, Run, UserExecutionContext
from ws_isolation.delivery import ManagerStats
from ws_isolation.events import Event
from ws_isolation.manager import RunMixin
from ws_isolation.parts import Tool
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.testing.clock import settle
from ws_isolation.texts import MessageText


def values(transport: RecordingTransport) -> list[object]:
    """
    Return the values of the notes that were written.
    """
    return [event["data"]["value"] for event in transport.events if event["type"] == "custom"]


@asynccontextmanager
async def users(*names: str) -> AsyncGenerator[tuple[ManagerFactory, dict[str, RecordingTransport]]]:
    """
    Yield a factory with one socket for each name.
    """
    factory = ManagerFactory(clock=FakeClock())
    transports = {name: RecordingTransport() for name in names}
    async with factory, AsyncExitStack() as stack:
        for name, transport in transports.items():
            await stack.enter_async_context(factory.attach(make_context(name.rstrip("0123456789")), transport))
        yield factory, transports


@pytest.mark.scenario("S19")
async def test_two_sessions_of_one_user() -> None:
    """Both sessions of a user get what either of two managers sends, each event with the ids of its own run."""
    async with users("alice1", "alice2", "bob") as (factory, transports):
        one = factory.create_manager(make_context("alice", thread_id="t-1"))
        two = factory.create_manager(make_context("alice", thread_id="t-2"))
        assert one is not two
        async with one.run("one") as first, two.run("two") as second:
            await first.thinking("x")
            await second.thinking("y")
        await settle()

        alice = transports["alice1"].events
        assert alice == transports["alice2"].events
        assert {(first.id, "t-1"), (second.id, "t-2")} == {(event["run_id"], event["thread_id"]) for event in alice}
        assert [] == transports["bob"].events


@pytest.mark.scenario("S19")
async def test_later_contexts_change_nothing() -> None:
    """A manager keeps its context whatever contexts, managers and children of it are made later."""
    async with users("alice", "bob") as (factory, transports):
        context = make_context("alice", thread_id="t-1")
        manager = factory.create_manager(context)
        others = [factory.create_manager(made) for made in (make_context("bob"), context.child(thread_id="t-2"))]
        for other in others:
            await other.send(note("other"))
        assert manager.context is context
        async with manager.run("a") as run:
            assert "t-1" == run.thread_id
        await manager.send(note("own"))
        await settle()

        assert ["other", "own"] == values(transports["alice"])
        assert ["other"] == values(transports["bob"])


@pytest.mark.scenario("S34")
async def test_task_that_outlives_its_request() -> None:
    """A background task sends with the context it was given, also while other users connect."""
    async with users("alice") as (factory, transports), AsyncExitStack() as stack:
        go_on = asyncio.Event()

        async def background(manager: IsolatedManager) -> Delivery:
            await go_on.wait()
            return await manager.send(note("from the task"))

        async def request() -> asyncio.Task[Delivery]:
            return asyncio.create_task(background(factory.create_manager(make_context("alice"))))

        task = await request()
        bob = RecordingTransport()
        await stack.enter_async_context(factory.attach(make_context("bob"), bob))
        go_on.set()
        await task
        await settle()

        assert ["from the task"] == values(transports["alice"])
        assert [] == values(bob)


@pytest.mark.scenario("S17", "S34")
async def test_thread_that_outlives_its_request() -> None:
    """A thread sends into the factory's loop, with the context it was given, also while other users connect."""
    async with users("alice", "bob") as (factory, transports):
        loop = asyncio.get_running_loop()
        go_on = threading.Event()

        def work(manager: IsolatedManager) -> Delivery:
            assert go_on.wait(10)
            return asyncio.run_coroutine_threadsafe(manager.send(note("from the thread")), loop).result(10)

        thread = asyncio.create_task(asyncio.to_thread(work, factory.create_manager(make_context("alice"))))
        await factory.create_manager(make_context("bob")).send(note("bob's own"))
        go_on.set()
        delivery = await thread
        await settle()

        assert (1, 1) == (delivery.seq, delivery.sessions)
        assert ["from the thread"] == values(transports["alice"])
        assert ["bob's own"] == values(transports["bob"])


@pytest.fixture(name="_no_collector")
def _no_collector() -> Generator[None]:
    """
    Switch the garbage collector off: what dies, dies by its references.
    """
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.scenario("S38")
@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize("wrapped", [False, True])
async def test_manager_that_nobody_holds(*, wrapped: bool) -> None:
    """A manager is gone with its last holder, also after sends and runs, and while its stream lives."""
    factory = ManagerFactory(manager=Around if wrapped else None, clock=FakeClock())
    async with factory:
        manager = factory.create_manager(make_context())
        await manager.send(note())
        async with manager.run("a") as run, run.tool("t"), run.thought():
            pass
        assert 1 == factory.stats().streams
        gone = weakref.ref(manager)
        del manager, run

        assert gone() is None


@pytest.mark.scenario("S38")
@pytest.mark.usefixtures("_no_collector")
async def test_run_that_nobody_holds() -> None:
    """A run that has ended is gone with its block, and so are its tools, texts and children."""
    kinds: set[type] = {Run, Tool, MessageText}

    def alive() -> int:
        return sum(any(type(thing) is kind for kind in kinds) for thing in gc.get_objects())

    factory = ManagerFactory(clock=FakeClock())
    async with factory:
        manager = factory.create_manager(make_context())
        before = alive()

        async def agent() -> None:
            async with manager.run("a") as run, run.tool("t"), run.message(), run.child("c"):
                assert before + 4 == alive()

        await agent()

        assert before == alive()


class _Plain(RunMixin):
    def __init__(self, inner: IsolatedManager) -> None:
        self.inner = inner

    @property
    def context(self) -> UserExecutionContext:
        return self.inner.context

    async def send(self, event: Event, /) -> Delivery:
        return await self.inner.send(event)

    def stats(self) -> ManagerStats:
        return self.inner.stats()


@attrs.frozen
class _Frozen(RunMixin):
    inner: IsolatedManager

    @property
    def context(self) -> UserExecutionContext:
        return self.inner.context

    async def send(self, event: Event, /) -> Delivery:
        return await self.inner.send(event)

    def stats(self) -> ManagerStats:
        return self.inner.stats()


@dataclasses.dataclass(frozen=True, slots=True)
class _Slotted(RunMixin):
    inner: IsolatedManager

    @property
    def context(self) -> UserExecutionContext:
        return self.inner.context

    async def send(self, event: Event, /) -> Delivery:
        return await self.inner.send(event)

    def stats(self) -> ManagerStats:
        return self.inner.stats()


@pytest.mark.scenario("S46")
@pytest.mark.parametrize("kind", [_Plain, _Frozen, _Slotted])
async def test_stop_finds_the_runs_of_an_own_manager(kind: type[_Plain | _Frozen | _Slotted]) -> None:
    """A client's stop ends the run of an application's own manager as that of the shipped one."""
    factory = ManagerFactory(manager=kind, clock=FakeClock())
    transport = RecordingTransport()
    async with factory.attach(make_context(), transport) as session:
        assert isinstance(session.manager, kind)
        run = session.manager.run("assistant")

        async def agent() -> None:
            async with run:
                await asyncio.Event().wait()

        task = session.spawn(agent())
        await settle()
        transport.client_sends({"type": "stop", "run_id": run.id})
        await settle()

        assert task.done()
        assert "agent_cancelled" == transport.types()[-1]
