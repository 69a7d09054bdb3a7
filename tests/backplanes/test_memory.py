"""
The engine in memory: one bound for all windows, streams that end, and listeners by object.
"""

from __future__ import annotations

from typing import Final, cast

import attrs
import pytest

from tests.shell import note
from ws_isolation import ManagerFactory
from ws_isolation.backplanes.base import Backplane
from ws_isolation.backplanes.memory import MemoryBackplane
from ws_isolation.events import Envelope
from ws_isolation.ids import new_uuid7
from ws_isolation.keys import Identity
from ws_isolation.settings import Settings
from ws_isolation.stream import Cursor, Draft
from ws_isolation.testing import make_context

ALICE: Final = Identity(None, "alice")
BOB: Final = Identity(None, "bob")
TIME: Final = "2026-11-22T21:09:00.123456Z"


@attrs.define
class Time:
    """
    A clock that is set by hand.
    """

    now: float = 1_000.0

    def __call__(self) -> float:
        """
        Return the seconds that it shows.
        """
        return self.now


@attrs.define(eq=False)
class Ear:
    """
    Keeps what it hears.
    """

    heard: list[Envelope] = attrs.field(factory=list[Envelope])

    def revoked(self) -> None:
        """
        Hear nothing of it.
        """

    def replaced(self, connection_id: str, /) -> None:
        """
        Hear nothing of it.
        """

    def interrupted(self) -> None:
        """
        Hear nothing of it.
        """

    def arrived(self, envelope: Envelope, /) -> None:
        """
        Keep it.
        """
        self.heard.append(envelope)


async def publish(plane: MemoryBackplane, whose: Identity) -> Envelope:
    """
    Publish something.
    """
    return await plane.publish(whose, Draft(event=note("x" * 100), owner=whose, id=new_uuid7(), time=TIME))


@pytest.mark.requirement("P2")
async def test_one_bound_for_all_windows() -> None:
    """
    Above the bound, the window that was appended to longest ago is forgotten; the top and the others stay.
    """
    plane = MemoryBackplane(Settings(streams_bytes=700))
    old = await publish(plane, ALICE)
    for _ in range(2):
        await publish(plane, BOB)

    assert plane.size <= 700
    page = await plane.read(ALICE, "window")
    assert (Cursor(old.epoch, 1, old.id), ()) == (page.top, page.entries)
    assert 2 == len((await plane.read(BOB, "window")).entries)


@attrs.define
class Counting:
    """
    Another engine around the one in memory: it has a say in each publish.
    """

    inner: MemoryBackplane = attrs.field(factory=MemoryBackplane)
    published: int = 0

    def __getattr__(self, name: str) -> object:
        """
        Return what the inner one has.
        """
        return getattr(self.inner, name)

    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """
        Count it.
        """
        self.published += 1
        return await self.inner.publish(identity, draft)


@pytest.mark.requirement("P3")
async def test_another_engine_is_awaited() -> None:
    """
    The one in memory answers at once, alone or given; one around it is asked by its own publish for each event.
    """
    counting, places = Counting(), list[list[int]]()
    for plane in (None, MemoryBackplane(), cast("Backplane", counting)):
        async with ManagerFactory(backplane=plane) as factory:
            manager = factory.create_manager(make_context("alice"))
            async with manager.run("assistant") as run:
                places.append([(await run.thinking("a thought")).seq for _ in range(20)])

    assert [list(range(2, 22))] * 3 == places
    assert 22 == counting.published


@pytest.mark.requirement("P2")
async def test_the_last_window_stays() -> None:
    """
    A single window is bounded by its own settings, not by the bound of all.
    """
    plane = MemoryBackplane(Settings(streams_bytes=1))
    await publish(plane, ALICE)

    assert 1 == len((await plane.read(ALICE, "window")).entries)


@pytest.mark.requirement("P2")
async def test_size_follows_age() -> None:
    """
    What is too old is taken off the size, whether it is read, or another stream is written to.
    """
    for whose in (ALICE, BOB):
        time = Time()
        plane = MemoryBackplane(monotonic=time)
        await publish(plane, ALICE)
        time.now += 300
        if whose is ALICE:
            await plane.read(whose, "window")
            assert 0 == plane.size
        else:
            made = await publish(plane, whose)
            assert made.size == plane.size


@pytest.mark.requirement("P2", "I11")
async def test_a_stream_ends_when_nobody_listens() -> None:
    """
    A stream without listeners goes when its time is over, with its epoch and its bytes; one with listeners stays.
    """
    time, ear = Time(), Ear()
    plane = MemoryBackplane(Settings(stream_seconds=60.0), monotonic=time)
    await plane.subscribe(BOB, ear)
    first = await publish(plane, ALICE)
    time.now += 30
    assert 2 == len(plane)
    plane.release(ALICE, ear)  # not there
    assert 2 == len(plane)
    time.now += 60
    plane.release(ALICE, ear)
    assert (1, 0) == (len(plane), plane.size)
    assert first.epoch != (await publish(plane, ALICE)).epoch
    plane.release(BOB, ear)
    assert 1 == len(plane)


@pytest.mark.requirement("I11")
async def test_release_by_object() -> None:
    """
    One of two listeners goes; the other hears on, and the stream stays for its time after both.
    """
    plane, ears = MemoryBackplane(), (Ear(), Ear())
    for ear in ears:
        await plane.subscribe(ALICE, ear)
    plane.release(ALICE, ears[0])
    made = await publish(plane, ALICE)
    for _ in range(2):
        plane.release(ALICE, ears[1])
    await publish(plane, ALICE)

    assert [[], [made]] == [ear.heard for ear in ears]
    assert 1 == len(plane)
