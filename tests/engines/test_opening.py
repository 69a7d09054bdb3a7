"""
What is asked of an engine before it is used, and what becomes of answers that no engine gives.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from tests.engines.liar import Liar, bulk, hello, liar
from tests.engines.nodes import KEY, until
from tests.engines.test_parts import Ear
from tests.shell import note
from ws_isolation import errors
from ws_isolation.backplanes.base import Lease
from ws_isolation.backplanes.redis import RedisBackplane, link, restoring
from ws_isolation.backplanes.redis.line import Line
from ws_isolation.backplanes.redis.link import Link
from ws_isolation.ids import new_uuid7
from ws_isolation.keys import Identity
from ws_isolation.stream import Draft, Page

ALICE: Final = Identity(None, "alice")


def draft(size: int = 1) -> Draft:
    """
    Return an event of Alice's.
    """
    return Draft(event=note("x" * size), owner=ALICE, id=new_uuid7(), time="")


@asynccontextmanager
async def backplane(engine: Liar, **options: Any) -> AsyncGenerator[RedisBackplane]:
    """
    Return a backplane on this engine.
    """
    options = {"keys": (KEY,), "send_seconds": 0.6, "answer_seconds": 0.3, **options}
    plane = RedisBackplane(f"redis://127.0.0.1:{engine.port}", **options)
    try:
        yield plane
    finally:
        await plane.close()


async def warm(plane: RedisBackplane, engine: Liar) -> None:
    """
    Connect, and see the first beat answered; then the engine answers ``EXISTS`` no more.
    """
    await plane.bars(ALICE)
    await until(lambda: plane._link is not None and not plane._link.waiting)
    engine.answers["EXISTS"] = b""


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (hello(version="6.2.1"), "Redis 7"),
        (hello(version="new"), "Redis 7"),
        (hello(mode="cluster"), "Cluster"),
        (hello(role="replica"), "ConnectionRefused"),
        (b"+what\r\n", "Malformed"),
        (b"-WRONGPASS no\r\n", "EngineUnavailable"),
        (b"-NOAUTH no\r\n", "NOAUTH"),
        (b"*1\r\n!!\r\n", "ProtocolError"),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_engines_that_will_not_do(answer: bytes, problem: str) -> None:
    """
    What is too old, a Cluster, a replica, or no engine at all is not used, and health says why.
    """
    async with liar(HELLO=answer) as engine, backplane(engine) as plane:
        with pytest.raises(errors.EngineTimeoutError):
            await plane.publish(ALICE, draft())

        assert problem in plane.health().problem or problem == "ProtocolError"
        assert not plane.health().is_up


async def test_notes() -> None:
    """
    A policy that cannot be read and a clock that is wrong are no obstacle, and are said.
    """
    late = b"*2\r\n" + bulk(str(int(time.time()) - 100)) + bulk("0")
    async with liar(CONFIG=b"-NOSUCH no\r\n", TIME=late) as engine, backplane(engine) as plane:
        assert not plane.health().notes
        with pytest.raises(errors.EngineUnavailableError):
            await plane.bars(ALICE)

        policy, clock = plane.health().notes
        assert "noeviction" in policy
        assert "100 s" in clock or "101 s" in clock
        assert "redis 8.2.0" == plane.health().server
        assert 1 == plane.health().connections


async def test_answers_of_another_form() -> None:
    """
    An answer that no script gives is an error of the engine, whatever was asked; nobody hangs, nothing is believed.
    """
    lease = Lease(ALICE, "c", 1.0)
    for answer in (b"+OK\r\n", b"*1\r\n:1\r\n", b"*3\r\n$0\r\n\r\n$1\r\nx\r\n$1\r\ny\r\n", b"#t\r\n", b"_\r\n"):
        async with liar(EVALSHA=answer, DEL=answer, EXISTS=answer) as engine, backplane(engine) as plane:
            calls = [
                plane.publish(ALICE, draft()),
                plane.read(ALICE, None),
                plane.bars(ALICE),
                plane.lift(ALICE),
                plane.revoke(ALICE, None),
                plane.present(ALICE),
                plane.enter(lease, most=1, replace=True, seconds=1),
            ]
            results = await asyncio.gather(*calls, return_exceptions=True)
            failed = [isinstance(result, errors.EngineUnavailableError) for result in results[:-1]]

            assert [True] * 6 == failed, answer
            # Of whom the engine says that they have gone is no more than a hint: nobody of that name is here.
            assert isinstance(results[-1], errors.EngineUnavailableError | tuple)


async def test_callers_who_have_gone() -> None:
    """
    Answers and errors for callers who have gone are taken from the row, and nobody else gets them.
    """
    async with liar(EXISTS=b":0\r\n") as engine, backplane(engine, answer_seconds=5.0, send_seconds=5.0) as plane:
        await warm(plane, engine)
        calls = [asyncio.create_task(plane.bars(ALICE)) for _ in range(4)]
        await until(lambda: sum(command[0] == b"EXISTS" for command in engine.heard) == 5)
        calls[0].cancel()
        calls[1].cancel()
        await asyncio.sleep(0)
        engine.say(b":1\r\n-ERR no\r\n:1\r\n:0\r\n")

        assert [True, False] == await asyncio.gather(*calls[2:])
        assert 1 == plane.health().connections


async def test_a_caller_whose_time_is_over_keeps_the_place() -> None:
    """
    A caller who waited long enough is told; the answer that comes later is nobody else's.
    """
    async with liar(EXISTS=b":0\r\n") as engine, backplane(engine, answer_seconds=5.0, send_seconds=0.2) as plane:
        await warm(plane, engine)
        with pytest.raises(errors.EngineTimeoutError, match="may have been done"):
            await plane.bars(ALICE)
        late = asyncio.create_task(plane.bars(ALICE))
        await until(lambda: sum(command[0] == b"EXISTS" for command in engine.heard) == 3)
        engine.say(b":1\r\n:0\r\n")

        assert not await late


async def test_subscribing_in_vain() -> None:
    """
    Who cannot be subscribed is told in time, or can give up; nobody listens then, and another try works.
    """
    async with liar(SUBSCRIBE=b"") as engine, backplane(engine, answer_seconds=5.0) as plane:
        ear = Ear()
        with pytest.raises(errors.EngineTimeoutError, match="nobody listens"):
            await plane.subscribe(ALICE, ear)
        given_up = asyncio.create_task(plane.subscribe(ALICE, ear))
        channel = plane._names.stream(ALICE)[2].encode()
        await until(lambda: engine.heard.count([b"SUBSCRIBE", channel]) == 2)
        given_up.cancel()
        assert plane._link is not None
        topics = plane._link.topics_of(channel.decode())
        topic = topics.find(ALICE)
        assert topic is not None
        assert topic.joining
        topics.confirmed(channel)
        topics.confirmed(channel)
        assert not topic.joining
        await asyncio.gather(given_up, return_exceptions=True)

        assert given_up.cancelled()
        assert 0 == len(topics)
        del engine.answers["SUBSCRIBE"]
        await plane.subscribe(ALICE, ear)
        plane.announced(topics, b"nobody's", b"x")
        assert 0 == plane.health().refused
        plane.release(ALICE, ear)
        await plane.close()
        await plane.subscribe(ALICE, ear)
        await plane.close()
        assert plane.health().is_up, "somebody listens"
        plane.release(ALICE, ear)


async def test_a_line_before_its_connection() -> None:
    """
    Before it is connected nothing is written, and it can be ended.
    """
    line = Line(lambda _push: None, lambda: None)
    line.write(b"x")
    assert not line.is_open
    await line.close()
    assert line.over.done()
    line.connection_lost(None)


async def test_histories_are_read_again_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    After a reconnect everybody is told, in steps.
    """
    monkeypatch.setattr(restoring, "_RESTORE", 2)
    async with liar(EXISTS=b":0\r\n") as engine, backplane(engine, send_seconds=5.0) as plane:
        ears = [Ear() for _ in range(7)]
        for number, ear in enumerate(ears):
            await plane.subscribe(Identity(None, f"u{number}"), ear)
        for writer in engine.writers:
            writer.close()
        await until(lambda: all(ear.interruptions for ear in ears))

        assert [1] * 7 == [ear.interruptions for ear in ears]
        for number, ear in enumerate(ears):
            plane.release(Identity(None, f"u{number}"), ear)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without hiredis the import says what to install.
    """
    kept = {name: module for name, module in sys.modules.items() if name.startswith("ws_isolation.backplanes.redis")}
    try:
        for name in kept:
            del sys.modules[name]
        monkeypatch.setitem(sys.modules, "hiredis", None)
        with pytest.raises(errors.MissingExtraError, match=r"pip install 'ws-isolation\[redis\]'"):
            importlib.import_module("ws_isolation.backplanes.redis")
    finally:
        sys.modules.update(kept)


async def test_an_answer_that_nobody_asked_for() -> None:
    """
    An answer too many ends the connection: nobody gets another's.
    """
    place = b"*3\r\n" + bulk("e") + bulk("1") + bulk("0" * 36)
    async with liar(EVALSHA=place + place) as engine, backplane(engine) as plane:
        await plane.publish(ALICE, draft())
        await until(lambda: plane.health().connections > 1)

        assert plane.health().is_up


async def test_an_answer_that_is_too_big(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An answer without an end ends the connection, not the process.
    """
    monkeypatch.setattr("ws_isolation.backplanes.redis.line._MOST_BYTES", 1_000)
    async with liar(EXISTS=b"$9999999\r\n" + b"x" * 2_000) as engine, backplane(engine) as plane:
        with pytest.raises(errors.EngineTimeoutError):
            await plane.bars(ALICE)

        assert plane.health().connections > 1


@pytest.mark.parametrize(("steady", "attempts"), [(60.0, [0, 1, 2, 3]), (0.0, [0, 0, 0, 0])])
async def test_an_engine_that_lets_in_and_throws_out(
    steady: float, attempts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A connection that is lost at once counts as a failed attempt: the pauses grow. Were it none, they never would.
    """
    made: list[int] = []
    monkeypatch.setattr(link, "_STEADY_SECONDS", steady)

    def at_once(attempt: int, _fraction: float) -> float:
        made.append(attempt)
        return 0.0

    monkeypatch.setattr(link, "delay", at_once)
    async with liar(PUBLISH=b":1\r\n:1\r\n", EXISTS=b"") as engine, backplane(engine) as plane:
        asking = asyncio.create_task(plane.bars(ALICE))
        await until(lambda: len(made) >= 4)
        asking.cancel()

    assert attempts == made[:4]


async def test_histories_that_are_read_together_are_bounded() -> None:
    """
    As many histories are on their way as an engine lets a subscriber wait for; the others wait here, and not for ever.
    """
    page = b"*3\r\n" + bulk("e") + bulk("1") + bulk("0" * 36)
    async with liar(EVALSHA=b"", EXISTS=b":0\r\n") as engine, backplane(engine, answer_seconds=5.0) as plane:
        await warm(plane, engine)
        for said in (page * 8, b""):
            engine.heard.clear()
            reading = [asyncio.create_task(plane.read(ALICE, "window")) for _ in range(20)]
            await until(lambda: len(engine.heard) >= 8)
            await asyncio.sleep(0.05)  # the time in which one more would come
            assert 8 == len(engine.heard)  # 8 MiB of windows of 1 MiB
            engine.answers["EVALSHA"] = said and page
            engine.say(said)
            results = await asyncio.gather(*reading, return_exceptions=True)
            if said:
                assert [1] * 20 == [read.top.seq for read in results if isinstance(read, Page)]
            engine.answers["EVALSHA"] = b""

        assert [errors.EngineTimeoutError] * 20 == [type(error) for error in results]
        assert any("was not asked" in str(error) for error in results)


async def test_a_deaf_node_connects_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A node that is answered and hears nothing is deaf: it finds out by itself, says so, and connects again.
    """
    monkeypatch.setattr(link, "_BEAT_SECONDS", 0.1)
    async with liar(PUBLISH=b":0\r\n", EXISTS=b":0\r\n") as engine, backplane(engine) as plane:
        assert not await plane.bars(ALICE)
        await until(lambda: plane.health().connections > 1)


async def test_a_node_that_hears_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A node that hears itself keeps its connection, beat for beat.
    """
    monkeypatch.setattr(link, "_BEAT_SECONDS", 0.02)
    async with liar(EXISTS=b":1\r\n") as engine, backplane(engine) as plane:
        assert await plane.bars(ALICE)
        await until(lambda: sum(command[0] == b"PUBLISH" for command in engine.heard) > 5)

        assert 1 == plane.health().connections


async def test_full() -> None:
    """
    With too much waiting, callers wait for room in their order, and not longer than was said.
    """
    async with liar(EVALSHA=b"") as engine, backplane(engine, answer_seconds=5.0, send_seconds=0.3) as plane:
        await asyncio.gather(plane.lift(ALICE), return_exceptions=True)
        made = plane._link
        assert isinstance(made, Link)
        made._sending._pending._most = 2
        engine.answers["EXISTS"] = b":0\r\n"
        calls = [plane.bars(ALICE) for _ in range(20)]
        assert [False] * 20 == await asyncio.gather(*calls)

        gone = asyncio.get_running_loop().create_future()
        gone.cancel()
        made._sending._room.append(gone)
        made._sending._make_room()
        made._sending.line, kept = None, made._sending.line
        results = await asyncio.gather(*(plane.bars(ALICE) for _ in range(6)), return_exceptions=True)
        made._sending.line = kept
        assert [errors.EngineTimeoutError] * 6 == [type(result) for result in results]
        assert 4 == sum("too many" in str(result) for result in results)
        assert not await plane.bars(ALICE)


async def test_much_at_once() -> None:
    """
    More than the connection takes at once goes out in pieces, all of it.
    """
    place = b"*3\r\n" + bulk("e") + bulk("1") + bulk("0" * 36)
    async with liar(EVALSHA=place) as engine, backplane(engine, send_seconds=5.0, answer_seconds=5.0) as plane:
        made = await asyncio.gather(*(plane.publish(ALICE, draft(15_000)) for _ in range(200)))

        assert 200 == len(made) == sum(command[0] == b"EVALSHA" for command in engine.heard)


async def test_too_big_for_a_frame() -> None:
    """
    An event that is too big is refused here where that is certain, and by the script where the place decides.
    """
    small = draft()
    fits = Draft(event=small.event, owner=ALICE, id=small.id, time="", event_bytes=small.parts.size + 1)
    never = Draft(event=small.event, owner=ALICE, id=small.id, time="", event_bytes=small.parts.size)
    async with liar(EVALSHA=b":%d\r\n" % (small.parts.size + 2)) as engine, backplane(engine) as plane:
        for one in (fits, never):
            with pytest.raises(errors.InvalidEventError, match="bytes long"):
                await plane.publish(ALICE, one)

        assert 1 == sum(command[0] == b"EVALSHA" for command in engine.heard)


async def test_what_waits_at_the_end_fails() -> None:
    """
    Closing without an engine: who waits is told, and closing again does no harm.
    """
    plane = RedisBackplane("redis://127.0.0.1:1", keys=(KEY,), send_seconds=30.0)
    waiting = asyncio.create_task(plane.bars(ALICE))
    plane.leave(Lease(ALICE, "c", 1.0))
    await asyncio.sleep(0)
    plane.leave(Lease(ALICE, "c", 1.0))
    await plane.close()
    await plane.close()

    with pytest.raises(errors.EngineTimeoutError):
        await waiting


def test_another_loop() -> None:
    """
    Used in another event loop, it begins anew there, under another name: it may have been forked in between.
    """
    plane = RedisBackplane("redis://127.0.0.1:1", keys=(KEY,), send_seconds=0.05)
    names: set[str] = set()

    async def use() -> None:
        with pytest.raises(errors.EngineTimeoutError):
            await plane.bars(ALICE)
        names.add(plane._letters.node)
        await plane.close()

    for _ in range(2):
        asyncio.run(use())
    assert 2 == len(names)


async def test_a_unix_socket(tmp_path: Any) -> None:
    """
    A socket in the file system does as well as a port.
    """
    made = Liar({"EXISTS": b":1\r\n"})
    path = tmp_path / "s"
    server = await asyncio.start_unix_server(made.serve, path)
    plane = RedisBackplane(f"unix://{path}?db=3", keys=(KEY,))
    try:
        assert await plane.bars(ALICE)
        assert [b"SELECT", b"3"] in made.heard
    finally:
        await plane.close()
        await made.stop(server)


async def test_what_is_over_when_the_answer_comes() -> None:
    """
    A record that was lifted meanwhile is nothing to refuse, and a connection that is gone need not be ended.
    """
    async with liar(EXISTS=b":1\r\n", GET=b"_\r\n") as engine, backplane(engine) as plane:
        assert await plane.bars(ALICE)
        await until(lambda: any(command[0] == b"GET" for command in engine.heard))
        made = plane._link
        assert isinstance(made, Link)
        await until(lambda: not made.waiting)
        await plane.close()
        made.drop("EVICTS")

        assert 0 == plane.health().refused
