"""
An application that says whether it can serve, and what its clients are told when it cannot.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import pytest

from tests.openings import MemoryOpening, handshake, hangs
from tests.shell import until_over
from ws_isolation import Handshake, ManagerFactory, Settings, UserExecutionContext
from ws_isolation.errors import SettingsError
from ws_isolation.serving import serve_opening
from ws_isolation.testing import make_context
from ws_isolation.testing.clock import settle


async def alice(_handshake: Handshake) -> UserExecutionContext:
    """
    Know everybody.
    """
    return make_context("alice")


async def nobody(_handshake: Handshake) -> UserExecutionContext:
    """
    Fail the test: this must not be asked.
    """
    raise AssertionError


def answering(value: object) -> Callable[[], Awaitable[bool]]:
    """
    Return a hook that answers *value*, or raises it.
    """

    async def ready() -> bool:
        if isinstance(value, BaseException):
            raise value
        return cast("bool", value)

    return ready


async def served(factory: ManagerFactory, authenticate: Any = nobody, *, auth: bool = False) -> MemoryOpening:
    """
    Serve one handshake to its end, or until its session waits for its client.
    """
    opening = MemoryOpening(handshake(subprotocols=("ws-isolation.v1",)) if auth else handshake())
    task = asyncio.create_task(serve_opening(opening, factory, authenticate, until_over))
    await settle()
    if opening.transport.closed is None and not task.done():
        opening.transport.client_leaves()
    await task
    return opening


@pytest.mark.scenario("S59")
async def test_ready() -> None:
    """
    Who is ready serves: asked once for each handshake that comes alone.
    """
    asked: list[int] = []

    async def ready() -> bool:
        asked.append(1)
        return True

    factory = ManagerFactory(ready=ready)
    first, _ = await served(factory, alice), await served(factory, alice)

    assert "ws.welcome" == first.transport.types()[0]
    assert 2 == len(asked)
    assert await factory.is_ready()


@pytest.mark.scenario("S59")
@pytest.mark.requirement("WS-30", "WS-35")
@pytest.mark.parametrize(
    "answer", [False, None, 1, "yes", [], ConnectionError("canary"), asyncio.CancelledError(), TimeoutError()], ids=repr
)
@pytest.mark.parametrize("auth_frame", [False, True])
async def test_not_ready(answer: object, *, auth_frame: bool, caplog: pytest.LogCaptureFixture) -> None:
    """
    Anything but True is 4303 with a time to come back, before anybody is authenticated; why is in the log alone.
    """
    factory = ManagerFactory(Settings(auth_frame=auth_frame), ready=answering(answer))
    with caplog.at_level(logging.INFO, "ws_isolation"):
        opening = await served(factory, auth=auth_frame)

    goodbye = opening.transport.frames[-1]
    assert ("ws.goodbye", 4303) == (goodbye["type"], goodbye["code"])
    assert goodbye["retry_after_ms"] > 0
    assert opening.transport.closed is not None
    assert 4303 == opening.transport.closed[0]
    assert "canary" not in repr(opening.transport.sent)
    assert {4303: 1} == factory.stats().closes
    assert not await factory.is_ready()


@pytest.mark.scenario("S59")
async def test_too_late() -> None:
    """
    An answer that does not come is no, within ``ready_seconds``; so is one that another client waits for.
    """
    asked: list[int] = []

    async def ready() -> bool:
        asked.append(1)
        await hangs()
        return True

    factory = ManagerFactory(Settings(ready_seconds=0.05), ready=ready)
    openings = [MemoryOpening() for _ in range(5)]
    async with asyncio.timeout(5):
        await asyncio.gather(*(serve_opening(opening, factory, nobody, None) for opening in openings))

    assert [4303] * 5 == [opening.transport.frames[-1]["code"] for opening in openings]
    assert 1 == len(asked), "a crowd asks once"


@pytest.mark.scenario("S59")
async def test_an_answer_that_will_not_be_hurried() -> None:
    """
    Code that catches its cancellation and says True in the end is too late: nobody waits for it.
    """
    go = asyncio.Event()

    async def ready() -> bool:
        while not go.is_set():
            with suppress(asyncio.CancelledError):
                await go.wait()
        return True

    factory = ManagerFactory(Settings(ready_seconds=0.05), ready=ready)
    async with asyncio.timeout(5):
        assert not await factory.is_ready()
    go.set()
    async with asyncio.timeout(5):
        await settle()
        assert await factory.is_ready()


@pytest.mark.scenario("S59")
async def test_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """
    An outage is two records, its beginning with the cause and its end; each client's refusal is its own.
    """
    answers: list[object] = [True, ConnectionError("the database"), False, True, 1]

    async def ready() -> bool:
        return await answering(answers.pop(0))()

    factory = ManagerFactory(ready=ready)
    with caplog.at_level(logging.INFO, "ws_isolation"):
        said = [await factory.is_ready() for _ in range(5)]

    assert [True, False, False, True, False] == said
    texts = [record.getMessage() for record in caplog.records]
    assert [
        "not ready: ready() failed; clients get 4303 until it is",
        "ready again",
        "not ready: ready() returned int, which is no bool; clients get 4303 until it is",
    ] == texts
    assert caplog.records[0].exc_info is not None


@pytest.mark.scenario("S59")
async def test_one_who_asks_leaves() -> None:
    """
    A client that leaves while it waits takes nobody's answer away, and is told nothing.
    """
    go = asyncio.Event()

    async def ready() -> bool:
        await go.wait()
        return True

    factory = ManagerFactory(ready=ready)
    opening = MemoryOpening()
    leaving = asyncio.create_task(serve_opening(opening, factory, nobody, None))
    staying = asyncio.create_task(factory.is_ready())
    await settle()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    go.set()

    assert await staying
    assert ([(503, 1)], []) == (opening.refused, opening.accepted)
    assert 0 == factory.stats().pending


@pytest.mark.scenario("S26", "S59")
async def test_stop_ends_the_question() -> None:
    """
    A factory that stops waits for no answer, and is not ready while it drains.
    """

    async def ready() -> bool:
        await hangs()
        return True

    factory = ManagerFactory(ready=ready)
    async with factory:
        asking = asyncio.create_task(factory.is_ready())
        await settle()

    assert not await asking
    assert not await factory.is_ready()


@pytest.mark.scenario("S26", "S59")
async def test_ready_is_who_runs() -> None:
    """
    Without a question of its own a factory is ready until it stops, and again once it is started.
    """
    factory = ManagerFactory()
    before = await factory.is_ready()
    async with factory:
        during = await factory.is_ready()
    after = await factory.is_ready()
    async with factory:
        again = await factory.is_ready()

    assert (True, True, False, True) == (before, during, after, again)


@pytest.mark.scenario("S59")
def test_each_loop_asks_for_itself() -> None:
    """
    A question that a loop left behind is nobody's.
    """

    async def ready() -> bool:
        await asyncio.sleep(0)
        return True

    factory = ManagerFactory(ready=ready)

    async def abandon() -> None:
        asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)  # type: ignore[union-attr]
        await asyncio.gather(factory.is_ready(), return_exceptions=True)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(abandon())
    assert asyncio.run(factory.is_ready())


def test_what_can_be_asked() -> None:
    """
    What cannot be called is refused where it is given.
    """
    with pytest.raises(SettingsError, match="ready must be an async callable that returns a bool, not bool"):
        ManagerFactory(ready=cast("Any", True))  # noqa: FBT003  # a wrong value on purpose
