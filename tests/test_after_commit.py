"""
Events of a transaction are sent after its commit, in order, and never after a rollback.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress

import pytest

from tests.managers import Failing, Slow
from tests.runs import desk
from tests.shell import note
from ws_isolation import errors
from ws_isolation.after_commit import COLLECTED, AfterCommit, send_after_commit
from ws_isolation.blocking import BlockingManager
from ws_isolation.events import Custom, Event
from ws_isolation.threads import Portal


@contextmanager
def table() -> Generator[sqlite3.Connection]:
    """Yield a database with a table of unique names."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("create table names (name unique)")
        yield database


def names(database: sqlite3.Connection) -> list[str]:
    """Return what a rollback leaves."""
    database.rollback()
    return [name for (name,) in database.execute("select name from names")]


@pytest.mark.requirement("P3")
async def test_commit_sends() -> None:
    """Nothing is sent inside the block; after the commit everything is, in order."""
    async with desk() as here:
        with table() as database:
            async with AfterCommit(here.manager) as later:
                with database:
                    database.execute("insert into names values ('a')")
                    for n in range(20):
                        later.send(note(n))
                assert 20 == len(later)
                assert [] == await here.events()
            assert ["a"] == names(database)
        assert list(range(20)) == [event["data"]["value"] for event in await here.events()]
        assert list(range(1, 21)) == [delivery.seq for delivery in later.deliveries]


async def test_rollback_drops() -> None:
    """A transaction that fails sends nothing, and its error goes on. Sent at once, the event would be out."""
    async with desk() as here:
        with table() as database:
            database.execute("insert into names values ('a')")
            database.commit()
            later = AfterCommit(here.manager)
            with pytest.raises(sqlite3.IntegrityError):
                async with later:
                    with database:
                        later.send(note("dropped"))
                        await here.manager.send(note("too early"))  # the negative control
                        database.execute("insert into names values ('a')")
        assert ["too early"] == [event["data"]["value"] for event in await here.events()]
        assert (0, ()) == (len(later), later.deliveries)


@contextmanager
def nested(database: sqlite3.Connection) -> Generator[None]:
    """A savepoint: released, or rolled back."""
    database.execute("savepoint one")
    try:
        yield
    except BaseException:
        database.execute("rollback to one")
        raise
    finally:
        database.execute("release one")


@pytest.mark.requirement("P3")
async def test_savepoints() -> None:
    """What a savepoint takes back is not sent, what it keeps is; without ``savepoint()`` both would be."""
    async with desk() as here:
        with table() as database:
            database.execute("insert into names values ('a')")
            database.commit()
            async with AfterCommit(here.manager) as later:
                with database:
                    database.execute("insert into names values ('b')")
                    later.send(note("outer"))
                    with later.savepoint(), nested(database):
                        later.send(note("kept"))
                    with suppress(sqlite3.IntegrityError), later.savepoint(), nested(database):
                        later.send(note("taken back"))
                        with later.savepoint(), nested(database):
                            later.send(note("taken back, inside"))
                        database.execute("insert into names values ('a')")
                    with suppress(sqlite3.IntegrityError), nested(database):  # the negative control
                        later.send(note("nobody told"))
                        database.execute("insert into names values ('a')")
                    later.send(note("last"))
            assert ["a", "b"] == names(database)
        assert ["outer", "kept", "nobody told", "last"] == [event["data"]["value"] for event in await here.events()]


async def test_a_savepoint_of_what_is_rolled_back() -> None:
    """A savepoint that was kept is dropped with its transaction."""
    async with desk() as here:
        with pytest.raises(LookupError):
            async with AfterCommit(here.manager) as later:
                with later.savepoint():
                    later.send(note())
                raise LookupError
        assert [] == await here.events()


async def test_limit() -> None:
    """A block collects as many events as its limit says; one more raises, and so rolls back."""
    async with desk() as here:
        with pytest.raises(errors.InvalidStateError, match="3 events wait for one transaction"):
            async with AfterCommit(here.manager, limit=3) as later:
                for _ in range(4):
                    later.send(note())
        assert [] == await here.events()
        async with AfterCommit(here.manager) as later:
            for _ in range(COLLECTED):
                later.send(note())
        assert COLLECTED == len(later.deliveries)


async def test_failure_after_the_commit(caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be sent after the commit is logged and raised, with how many were sent; none is sent after it."""

    def second(event: Event) -> BaseException | None:
        return ValueError("broken") if isinstance(event, Custom) and event.value == 1 else None

    async with desk() as here:
        with pytest.raises(ValueError, match="broken") as raised:
            async with AfterCommit(Failing(here.manager, second)) as later:
                for n in range(3):
                    later.send(note(n))
        assert [0] == [event["data"]["value"] for event in await here.events()]
    assert ["the transaction has committed, but not all of its events were sent: 1 of 3"] == raised.value.__notes__
    assert ["the transaction has committed, but not all of its events were sent sent=1 total=3"] == caplog.messages[:1]


async def test_cancelled_after_the_commit() -> None:
    """A task that is cancelled while the events go out sends them all, and is cancelled."""
    async with desk() as here:

        async def work() -> None:
            async with AfterCommit(Slow(here.manager, before=5)) as later:
                later.send(note(0))
                later.send(note(1))

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [0, 1] == [event["data"]["value"] for event in await here.events()]


async def test_wrong_use() -> None:
    """No event, a send outside of the block, a second block and no limit are refused where they stand."""
    async with desk() as here:
        later = AfterCommit(here.manager)
        with pytest.raises(errors.InvalidStateError, match="inside the block"):
            later.send(note())
        async with later:
            with pytest.raises(errors.EventTypeError):
                later.send({"type": "custom"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        with pytest.raises(errors.InvalidStateError, match="entered before"):
            await later.__aenter__()
        for wrong in (0, True):
            with pytest.raises(errors.SettingsError, match="at least 1"):
                AfterCommit(here.manager, limit=wrong)


async def test_on_commit(caplog: pytest.LogCaptureFixture) -> None:
    """A callback that is called sends, one that is dropped does not; a failure is logged and raised."""
    async with desk() as here:
        portal = Portal(here.factory)
        manager = BlockingManager(portal, here.manager)
        failing = BlockingManager(portal, Failing(here.manager, lambda _: ValueError("broken")))
        registered: list[Callable[[], None]] = []

        def work() -> None:
            for n in range(3):
                send_after_commit(manager, note(n), registered.append)
            send_after_commit(failing, note(), registered.append)
            with pytest.raises(errors.EventTypeError):
                send_after_commit(manager, 1, registered.append)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            assert 0 == here.manager.stats().sent
            for callback in registered[:2]:
                callback()
            with pytest.raises(ValueError, match="broken"):
                registered[3]()

        await asyncio.to_thread(work)
        assert [0, 1] == [event["data"]["value"] for event in await here.events()]
    assert "sent=0 total=1" in caplog.text
