"""
Code without an event loop sends from a process without sockets: one thread, begun by use, ended in time.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from typing_extensions import override

from tests.nodes import Client, Elsewhere, Web
from tests.observers import Watcher
from tests.shell import note
from ws_isolation import Settings, errors
from ws_isolation.backplanes.memory import MemoryBackplane
from ws_isolation.blocking import BlockingManager
from ws_isolation.blocking_publisher import BlockingPublisher
from ws_isolation.events import Envelope
from ws_isolation.keys import Identity
from ws_isolation.stream import Draft
from ws_isolation.testing import make_context

RUN_TYPES = ["agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"]
LIMIT = 20.0
"""Seconds that a test waits for another thread at most."""


def threads() -> list[threading.Thread]:
    """Return the threads of publishers that are alive."""
    return [thread for thread in threading.enumerate() if thread.name == "ws-publisher"]


async def in_a_worker(web: Web, work: Callable[[BlockingPublisher], None], **options: Any) -> None:
    """Call *work* in a thread that stands for another process; everything of it must be gone afterwards."""
    loop = asyncio.get_running_loop()

    def process() -> None:
        with BlockingPublisher(lambda: Elsewhere(loop, web.engine), timeout=LIMIT, **options) as publisher:
            work(publisher)

    await asyncio.wait_for(asyncio.to_thread(process), 2 * LIMIT)
    assert [] == threads()


async def ends_of(client: Client) -> list[tuple[str, Any]]:
    """Return type and reason of the ends that a client saw."""
    return [(e["type"], e["data"].get("reason")) for e in await client.events() if e.get("final")]


@pytest.mark.scenario("S34")
@pytest.mark.requirement("P1", "P3")
async def test_whole_run_reaches_the_sockets() -> None:
    """A worker's run arrives at its user's sockets in order and without a gap, and at nobody else's."""
    web = Web()

    def work(publisher: BlockingPublisher) -> None:
        manager = publisher.create_manager(make_context())
        assert (1, 0) == ((sent := manager.send(note())).seq, sent.sessions)
        with manager.run("reporter") as run:
            run.thinking("adding it up")
            with run.tool("sum", {"of": [1, 2]}) as tool:
                tool.result = 3
            run.complete("3")

    async with web.client() as alice, web.client(make_context("bob")) as bob:
        await in_a_worker(web, work)
        events = await alice.events()
        assert list(range(1, 7)) == [event["seq"] for event in events]
        assert ["custom", *RUN_TYPES] == [event["type"] for event in events]
        assert "ws.gap" not in alice.transport.types()
        assert [] == await bob.events()


async def test_threads_share_it() -> None:
    """Threads that start it at the same time get one loop, and each keeps the order of its own events."""
    web = Web()

    def work(publisher: BlockingPublisher) -> None:
        barrier = threading.Barrier(4)

        def send(name: int) -> None:
            barrier.wait(LIMIT)
            manager = publisher.create_manager(make_context())
            for number in range(10):
                manager.send(note([name, number]))

        publisher.close()
        senders = [threading.Thread(target=send, args=(name,)) for name in range(4)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(LIMIT)
        assert 1 == len(threads())

    async with web.client() as alice:
        await in_a_worker(web, work)
        values = [event["data"]["value"] for event in await alice.events()]
        assert 40 == len(values)
        for name in range(4):
            assert list(range(10)) == [number for sender, number in values if sender == name]


@pytest.mark.requirement("P4", "P6")
def test_starts_with_the_first_user() -> None:
    """Made, it has no thread; refusing what is no context, it has none either; the first manager starts it."""
    made: list[MemoryBackplane] = []

    def make() -> MemoryBackplane:
        made.append(MemoryBackplane())
        return made[-1]

    publisher = BlockingPublisher(make)
    assert ([], []) == (made, threads())
    for value in (None, {"user_id": "alice"}, object.__new__(type(make_context()))):
        with pytest.raises(errors.ContextError, match="create_manager"):
            publisher.create_manager(value)  # type: ignore[arg-type]
    assert [] == threads()
    try:
        publisher.create_manager(make_context()).send(note())
        publisher.create_manager(make_context("bob")).send(note())
        assert 1 == len(threads())
        assert 2 == len(made[-1])
    finally:
        publisher.close()


def test_closes_and_starts_again() -> None:
    """Closed, its thread is gone and its managers say so, however often; the next manager starts it anew."""
    publisher = BlockingPublisher(MemoryBackplane)
    publisher.close()
    with publisher as same, publisher:
        assert same is publisher
        manager = publisher.create_manager(make_context())
        assert 1 == len(threads())
    publisher.close()
    assert [] == threads()
    with pytest.raises(errors.InvalidStateError, match="send"):
        manager.send(note())
    with publisher:
        assert 1 == publisher.create_manager(make_context()).send(note()).seq


async def test_open_run_ends_with_it() -> None:
    """A run that is open in another thread when it closes ends as cancelled, and that thread's next call says so."""
    web = Web()

    def work(publisher: BlockingPublisher) -> None:
        is_open, is_closed = threading.Event(), threading.Event()
        said: list[BaseException] = []

        def agent() -> None:
            try:
                with publisher.create_manager(make_context()).run("a") as run:
                    is_open.set()
                    assert is_closed.wait(LIMIT)
                    run.thinking("too late")
            except errors.InvalidStateError as error:
                said.append(error)

        thread = threading.Thread(target=agent)
        thread.start()
        assert is_open.wait(LIMIT)
        publisher.close()
        is_closed.set()
        thread.join(LIMIT)
        assert ["InvalidStateError"] == [type(error).__name__ for error in said]

    async with web.client() as alice:
        await in_a_worker(web, work)
        assert [("agent_cancelled", "shutdown")] == await ends_of(alice)


async def test_options() -> None:
    """Settings, observer and the application's own managers are those that it was given."""
    web, observer, seen = Web(), Watcher(), list[Any]()

    def work(publisher: BlockingPublisher) -> None:
        manager = publisher.create_manager(make_context())
        with pytest.raises(errors.InvalidEventError):
            manager.send(note("x" * 2_000))
        manager.send(note())

    def wrap(manager: Any) -> Any:
        seen.append(manager.context.user_id)
        return manager

    await in_a_worker(web, work, settings=Settings(event_bytes=1_024), observer=observer, manager=wrap)
    assert ["alice"] == seen
    assert 1 == len(observer.named("event_published"))


async def test_not_in_an_event_loop() -> None:
    """Where an event loop runs in the thread, its calls refuse to stop everything in it."""
    with BlockingPublisher(MemoryBackplane) as publisher:
        manager = publisher.create_manager(make_context())
        with pytest.raises(errors.ConcurrencyError, match=r"await manager\.send"):
            manager.send(note())


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (MemoryBackplane(), {}),
        (None, {}),
        (MemoryBackplane, {"timeout": 0}),
        (MemoryBackplane, {"timeout": float("inf")}),
        (MemoryBackplane, {"settings": {}}),
        (MemoryBackplane, {"manager": 1}),
        (MemoryBackplane, {"observer": object()}),
    ],
)
def test_arguments_are_checked(make: Any, options: dict[str, Any]) -> None:
    """What could not work is refused when it is made, and not by the first user."""
    with pytest.raises(errors.SettingsError):
        BlockingPublisher(make, **options)


def test_time_is_up() -> None:
    """A call ends with its time, whatever the engine does."""

    class Hanging(Elsewhere):
        @override
        async def publish(self, _identity: Identity, _draft: Draft, /) -> Envelope:
            never: asyncio.Future[Envelope] = asyncio.get_running_loop().create_future()
            return await never

    loop = asyncio.new_event_loop()
    try:
        with BlockingPublisher(lambda: Hanging(loop, MemoryBackplane()), timeout=0.05) as publisher:
            with pytest.raises(TimeoutError, match=r"0\.05 s"):
                publisher.create_manager(make_context()).send(note())
    finally:
        loop.close()


def test_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the loop cannot be made, the first user is told why, and nothing is left."""

    def no_more_files() -> asyncio.AbstractEventLoop:
        raise OSError(24, "Too many open files")

    publisher = BlockingPublisher(MemoryBackplane)
    with monkeypatch.context() as patched:
        patched.setattr("asyncio.events.new_event_loop", no_more_files)
        with pytest.raises(OSError, match="Too many open files"):
            publisher.create_manager(make_context())
    with publisher:
        assert 1 == publisher.create_manager(make_context()).send(note()).seq


def test_end_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong while it ends is in the log, and ends it all the same."""

    class Broken(Elsewhere):
        @override
        async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
            return await self.inner.publish(identity, draft)

        @override
        def release(self, _identity: Identity, _listener: Any, /) -> None:
            raise LookupError

    loop = asyncio.new_event_loop()
    try:
        with BlockingPublisher(lambda: Broken(loop, MemoryBackplane())) as publisher:
            publisher.create_manager(make_context()).send(note())
    finally:
        loop.close()
    assert ["the loop of a publisher failed"] == [record.getMessage().strip() for record in caplog.records]
    assert [] == threads()


def test_end_that_hangs_is_bounded(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that does not let itself be cancelled keeps nobody from closing; the log says what was left."""
    monkeypatch.setattr("ws_isolation.blocking_publisher._MARGIN_SECONDS", 0.0)
    ended, entered = threading.Event(), threading.Event()

    class Stubborn(Elsewhere):
        @override
        async def publish(self, _identity: Identity, _draft: Draft, /) -> Envelope:
            entered.set()
            while not ended.is_set():
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.005)
            raise LookupError

    def run(manager: BlockingManager) -> None:
        with pytest.raises((errors.IsolationError, LookupError)):
            manager.send(note())

    loop = asyncio.new_event_loop()
    publisher = BlockingPublisher(
        lambda: Stubborn(loop, MemoryBackplane()), settings=Settings(close_seconds=0.1), timeout=LIMIT
    )
    sender = threading.Thread(target=run, args=(publisher.create_manager(make_context()),))
    sender.start()
    (left,) = threads()
    try:
        assert entered.wait(LIMIT)
        publisher.close()
        assert ["the loop of a publisher did not end in time"] == [r.getMessage().strip() for r in caplog.records]
    finally:
        ended.set()
        sender.join(LIMIT)
        left.join(LIMIT)
        loop.close()
    assert not left.is_alive()
