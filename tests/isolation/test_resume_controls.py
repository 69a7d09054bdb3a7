"""
Checks of a resume, run over the library and over what is written by hand instead: those must fail.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Protocol

import attrs
import pytest

from tests.shell import note, until_over
from ws_isolation import ManagerFactory
from ws_isolation.backplanes.memory import MemoryBackplane
from ws_isolation.keys import Identity
from ws_isolation.stream import Cursor, Page, Start
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.testing.clock import settle
from ws_isolation.typing import Transport
from ws_isolation.wire import DEFAULT_WIRE


class Service(Protocol):
    """
    What has users' events and sockets.
    """

    async def send(self, value: str, user: str) -> None:
        """
        Send an event to *user*.
        """
        ...

    async def connect(self, socket: Transport, user: str, start: Cursor | None, /) -> asyncio.Task[None]:
        """
        Serve a socket of *user*.
        """
        ...


@attrs.define
class Library:
    """
    The library, on an engine.
    """

    engine: Any = attrs.field(factory=MemoryBackplane)
    factory: ManagerFactory = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.factory = ManagerFactory(clock=FakeClock(), backplane=self.engine)

    async def send(self, value: str, user: str) -> None:
        """
        Send by the manager.
        """
        await self.factory.create_manager(make_context(user)).send(note(value))

    async def connect(self, socket: Transport, user: str, start: Cursor | None, /) -> asyncio.Task[None]:
        """
        Open a session and serve it.
        """
        session = await self.factory.open_session(
            make_context(user), socket, wire=DEFAULT_WIRE, start=start, handshake=None
        )
        return asyncio.create_task(session.serve(until_over))


class Mailbox:
    """
    A queue for each user that outlives the socket: an event is taken out, then written.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, deque[str]] = {}
        self.more = asyncio.Event()

    async def send(self, value: str, user: str) -> None:
        """
        Queue.
        """
        self.waiting.setdefault(user, deque()).append(value)
        self.more.set()

    async def connect(self, socket: Transport, user: str, _start: Cursor | None, /) -> asyncio.Task[None]:
        """
        Write what waits, wherever the client stands.
        """

        async def write() -> None:
            while True:
                while self.waiting.get(user):
                    await socket.send('{"type":"custom","data":{"value":"' + self.waiting[user].popleft() + '"}}')
                self.more.clear()
                await self.more.wait()

        return asyncio.create_task(write())


def seen(socket: RecordingTransport) -> list[str]:
    """
    Return the values that a client got.
    """
    return [frame["data"]["value"] for frame in socket.events]


def stands_at(socket: RecordingTransport) -> Cursor | None:
    """
    Return the cursor of a client: the welcome's epoch, the last event's place.
    """
    frames = socket.frames
    if not frames or frames[0]["type"] != "ws.welcome":
        return None
    last = ([frames[0]["cursor"]] + [frame for frame in socket.events if "seq" in frame])[-1]
    return Cursor(frames[0]["cursor"]["epoch"], last["seq"], last["id"])


async def end(tasks: list[asyncio.Task[None]]) -> None:
    """
    Cut what still goes on.
    """
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def check_cut_while_writing(service: Service) -> None:
    """
    Prove that an event whose write was cut is not lost.
    """
    first, second = RecordingTransport(), RecordingTransport()
    tasks = [await service.connect(first, "alice", None)]
    await settle()
    await service.send("one", "alice")
    await settle()
    first.client_stops_reading()
    await service.send("two", "alice")
    await settle()
    first.client_leaves(1006)
    await end(tasks)
    await service.send("three", "alice")
    tasks = [await service.connect(second, "alice", stands_at(first))]
    await settle()
    got = seen(first) + seen(second)
    await end(tasks)

    assert got == ["one", "two", "three"], f"lost without a word: {got}"


async def check_cursor_is_no_credential(service: Service) -> None:
    """
    Prove that somebody else's cursor opens nothing of theirs.
    """
    hers, his = RecordingTransport(), RecordingTransport()
    tasks = [await service.connect(hers, "alice", None)]
    await settle()
    cursor = stands_at(hers)
    await service.send("canary", "alice")
    tasks.append(await service.connect(his, "mallory", cursor))
    await settle()
    types = his.types()
    await end(tasks)

    assert types[:2] == ["ws.welcome", "ws.gap"], f"another's history was read: {types}"
    assert seen(his) == [], "another's event arrived"


class _ByEpoch:
    """
    An engine that finds a stream by what the client's cursor says, as a session id in a cookie is trusted.
    """

    def __init__(self) -> None:
        self.inner = MemoryBackplane()
        self.by_epoch: dict[str, Identity] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def read(self, identity: Identity, start: Start, /) -> Page:
        """
        Read the stream that the cursor names, whoever asks.
        """
        whose = self.by_epoch.get(start.epoch, identity) if isinstance(start, Cursor) else identity
        page = await self.inner.read(whose, start)
        self.by_epoch.setdefault(page.top.epoch, whose)
        return page


class _Unchecked(Library):
    """
    The library without the check that a history belongs to the stream that a session follows.
    """

    async def connect(self, socket: Transport, user: str, start: Cursor | None, /) -> asyncio.Task[None]:
        """
        Resume on the stream that the cursor names.
        """
        whose = self.engine.by_epoch[start.epoch].user_id if start is not None else user
        return await super().connect(socket, whose, start)


@pytest.mark.scenario("S52", "S65")
@pytest.mark.requirement("P3")
async def test_cut_while_writing() -> None:
    """
    A client that was cut in the middle of a write gets that event when it comes back.
    """
    await check_cut_while_writing(Library())


@pytest.mark.scenario("S52", "S65")
@pytest.mark.requirement("P3")
async def test_pop_then_await_is_caught() -> None:
    """
    A queue that gives an event up before it is written loses it, and the check says which.
    """
    with pytest.raises(AssertionError, match=r"lost without a word: \['one', 'three'\]"):
        await check_cut_while_writing(Mailbox())


@pytest.mark.scenario("S27", "S52")
@pytest.mark.requirement("P1", "I9")
@pytest.mark.parametrize("engine", [MemoryBackplane, _ByEpoch])
async def test_cursor_is_no_credential(engine: type[MemoryBackplane | _ByEpoch]) -> None:
    """
    Somebody else's cursor is answered with a gap, also on an engine that would read any history.
    """
    await check_cursor_is_no_credential(Library(engine()))


@pytest.mark.scenario("S27", "S65")
@pytest.mark.requirement("P1", "I9")
async def test_resume_without_authentication_is_caught() -> None:
    """
    A resume that takes the user from the cursor hands out another's history, and the check sees it.
    """
    with pytest.raises(AssertionError, match="another's history was read"):
        await check_cursor_is_no_credential(_Unchecked(_ByEpoch()))
