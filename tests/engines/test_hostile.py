"""
Somebody else on the engine: what he says, stores and listens to changes nothing for anybody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Final

import hiredis
import pytest

from tests.engines.nodes import KEY, nodes, until
from tests.engines.running import Engine
from tests.shell import note
from ws_isolation import errors
from ws_isolation.backplanes.redis import RedisBackplane
from ws_isolation.backplanes.redis.letters import Letters, Signal
from ws_isolation.backplanes.redis.line import pack
from ws_isolation.backplanes.redis.names import Names
from ws_isolation.credentials.tickets import Tickets
from ws_isolation.ids import new_uuid7
from ws_isolation.keys import Identity
from ws_isolation.stream import Draft
from ws_isolation.testing import make_context


async def told(engine: Engine, *commands: tuple[Any, ...]) -> list[Any]:
    """
    Send commands as anybody can who reaches the engine; return the answers.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
    parser = hiredis.Reader()
    answers: list[Any] = []
    for command in commands:
        writer.write(pack(command))
    while len(answers) < len(commands):
        parser.feed(await reader.read(65_536))
        while (answer := parser.gets()) is not False:
            answers.append(answer)
    writer.close()
    await writer.wait_closed()
    return answers


@pytest.mark.requirement("WS-22", "P1")
async def test_forged_announcements(shared_engine: Engine) -> None:
    """
    What is said on a user's channel without the key reaches nobody and closes nothing; it is counted.
    """
    user = f"user-{new_uuid7()}"
    whose = Identity(None, user)
    channel = Names("ws", 0).stream(whose)[2]
    attacker = Letters("attacker", (), 65_536)
    async with nodes(shared_engine.url, 1) as (node,):
        client = await node.connect(user)
        said = [
            b"",
            b"\x80\x04.",
            b"{}",
            b"x" * 100_000,
            attacker.say(whose, Signal("revoked")),
            b"\n\n",
            b"\xff\n\xff\n",
        ]
        await told(shared_engine, *(("PUBLISH", channel, one) for one in said))
        later = Letters("later", (KEY,), 65_536).say(whose, Signal("what a later version says"))
        await told(shared_engine, ("PUBLISH", channel, later))
        await node.send("true", user)
        await until(lambda: client.values)

        assert ["true"] == client.values
        assert client.session.is_open
        assert len(said) == node.plane.health().refused


@pytest.mark.requirement("WS-22", "P1")
async def test_another_users_letter_is_refused(shared_engine: Engine) -> None:
    """
    A letter that somebody copies from one user's channel to another's is refused there.
    """
    mark = new_uuid7()
    alice, bob = f"alice-{mark}", f"bob-{mark}"
    names = Names("ws", 0)
    async with nodes(shared_engine.url) as (one, two):
        client = await two.connect(bob)
        await one.send("for alice", alice)
        (entries,) = await told(shared_engine, ("XRANGE", names.stream(Identity(None, alice))[1], "-", "+"))
        letter = entries[0][1][1]
        await told(shared_engine, ("PUBLISH", names.stream(Identity(None, bob))[2], letter))
        await one.send("for bob", bob)
        await until(lambda: client.values)

        assert ["for bob"] == client.values
        assert 1 == two.plane.health().refused


@pytest.mark.requirement("WS-22", "P3")
async def test_forged_history(shared_engine: Engine) -> None:
    """
    An entry that somebody has changed in the history is not replayed: the client is told of a gap instead.
    """
    user = f"user-{new_uuid7()}"
    window = Names("ws", 0).stream(Identity(None, user))[1]
    async with nodes(shared_engine.url, 1) as (node,):
        first = await node.connect(user)
        start = (await node.plane.read(Identity(None, user), None)).top
        for number in range(3):
            await node.send(number, user)
        await until(lambda: len(first.values) == 3)
        (entries,) = await told(shared_engine, ("XRANGE", window, "-", "+"))
        forged = entries[1][1][1].replace(b'"value":1', b'"value":9')
        await told(
            shared_engine,
            ("DEL", window),
            *(("XADD", window, entry[0], "m", forged if at == 1 else entry[1][1]) for at, entry in enumerate(entries)),
        )

        client = await node.connect(user, start)
        await until(lambda: client.gaps)

        assert ["divergence"] == client.gaps
        assert [] == client.values


@pytest.mark.requirement("WS-10", "WS-22")
async def test_a_forged_record_lifts_nothing(shared_engine: Engine) -> None:
    """
    What somebody writes over or before a revocation shortens and lifts nothing, and is counted; deleting it lifts it.
    """
    user, other = (Identity(None, f"{name}-{new_uuid7()}") for name in ("alice", "bob"))
    bar, others_bar = Names("ws", 0).bar(user), Names("ws", 0).bar(other)
    async with nodes(shared_engine.url, 1) as (node,):
        plane = node.plane
        await told(shared_engine, ("SET", bar, "9999999999999", "PX", 60))
        await plane.revoke(user, time.time() + 60)
        await asyncio.sleep(0.1)
        assert await plane.bars(user), "a record with a great number in it, and a short life, stood in the way"
        await plane.revoke(user, None)
        await plane.revoke(user, time.time() + 1)
        await plane.revoke(other, None)
        assert [-1] == await told(shared_engine, ("PTTL", bar))
        assert await plane.bars(user)
        assert 0 == plane.health().refused

        others = (await told(shared_engine, ("GET", others_bar)))[0]
        announced = Letters("node", (KEY,), 65_536).say(user, Signal("revoked"))
        for count, forged in enumerate(("", "ever", "1", others, announced), 1):
            await told(shared_engine, ("SET", bar, forged))
            assert await plane.bars(user)
            await until(lambda: plane.health().refused == count)  # noqa: B023  # at once
        await told(shared_engine, ("DEL", bar))

        assert not await plane.bars(user)


@pytest.mark.requirement("WS-10", "WS-22")
async def test_a_record_outlives_its_key(shared_engine: Engine) -> None:
    """
    A record that was signed with a key that is gone bars still, and is counted until it is written again.
    """
    user = Identity(None, f"alice-{new_uuid7()}")
    async with nodes(shared_engine.url, 1) as (old,), nodes(shared_engine.url, 1, keys=(b"n" * 32, KEY)) as (both,):
        await old.plane.revoke(user, None)
        assert await both.plane.bars(user)
        async with nodes(shared_engine.url, 1, keys=(b"n" * 32,)) as (new,):
            assert await new.plane.bars(user)
            await until(lambda: new.plane.health().refused == 1)
            await both.plane.revoke(user, None)
            assert await new.plane.bars(user)
            assert not await new.plane.bars(Identity(None, "nobody"))

            assert (1, 0) == (new.plane.health().refused, both.plane.health().refused)


@pytest.mark.requirement("P3")
async def test_a_repeated_announcement_is_seen_once(shared_engine: Engine) -> None:
    """
    A true letter that somebody says again is a repetition: nobody sees it twice.
    """
    user = f"user-{new_uuid7()}"
    _, window, channel = Names("ws", 0).stream(Identity(None, user))
    async with nodes(shared_engine.url) as (one, two):
        client = await two.connect(user)
        await one.send(1, user)
        (entries,) = await told(shared_engine, ("XRANGE", window, "-", "+"))
        await told(shared_engine, *[("PUBLISH", channel, entries[0][1][1])] * 3)
        await one.send(2, user)
        await until(lambda: 2 in client.values)

        assert [1, 2] == client.values
        assert [] == client.gaps


@pytest.mark.scenario("S65")
@pytest.mark.requirement("P1")
async def test_patterns_hear_other_users(shared_engine: Engine) -> None:
    """
    Who subscribes by a pattern that was joined from an id hears others: what exact, hashed channels are there for.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", shared_engine.port)
    writer.write(pack(("PSUBSCRIBE", "joined:user:*")))  # a user whose id is "*"
    parser = hiredis.Reader()
    heard: list[Any] = []

    async def hear(count: int) -> None:
        while len(heard) < count:
            parser.feed(await asyncio.wait_for(reader.read(65_536), 5))
            while (push := parser.gets()) is not False:
                heard.append(push)

    await hear(1)
    async with nodes(shared_engine.url, 1) as (node,):
        star = await node.connect("*")
        await node.send("secret", "alice-of-patterns")
        await told(shared_engine, ("PUBLISH", "joined:user:alice", "secret"))
        await hear(2)
        await node.send("own", "*")
        await until(lambda: star.values)
    writer.close()
    await writer.wait_closed()

    assert b"secret" == heard[1][3]
    assert ["own"] == star.values


@pytest.mark.scenario("S65")
@pytest.mark.requirement("P1")
async def test_a_connection_that_is_used_again_after_a_cancellation_gives_others_answers(shared_engine: Engine) -> None:
    """
    One answer for one reader, whoever asked: after a cancellation the next one gets the answer of the one before.

    What keeping the place of a caller who has gone is there for: `test_cancelled_callers_leave_the_answers_in_order`.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", shared_engine.port)

    async def ask(text: str) -> Any:
        writer.write(pack(("ECHO", text)))
        parser = hiredis.Reader()
        parser.feed(await reader.read(65_536))
        return parser.gets()

    first = asyncio.create_task(ask("for alice"))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    answer = await ask("for bob")
    writer.close()
    await writer.wait_closed()

    assert answer == b"for alice"


async def test_an_engine_that_throws_data_away_is_refused(engine: Engine) -> None:
    """
    An eviction policy would drop streams in silence: it is found at the start, and said.
    """
    engine.ask(b"CONFIG SET maxmemory-policy allkeys-lru")
    async with nodes(engine.url, 1, send_seconds=0.5) as (node,):
        with pytest.raises(errors.EngineTimeoutError):
            await node.send(1)

        assert "noeviction" in node.plane.health().problem
        engine.ask(b"CONFIG SET maxmemory-policy noeviction")
        await until(lambda: node.plane.health().is_up)
        await node.send(2)
    assert not node.plane.health().is_up


@pytest.mark.parametrize("kill", [b"CLIENT KILL TYPE pubsub", b"CLIENT KILL TYPE normal SKIPME yes"])
async def test_cut_connections(engine: Engine, kill: bytes) -> None:
    """
    Connections that the engine cuts are made again, and nothing is lost or seen twice.
    """
    async with nodes(engine.url) as (one, two):
        client = await two.connect()
        for number in range(30):
            if number % 10 == 5:
                engine.ask(kill)
            await one.send(number)
        await until(lambda: len(client.values) >= 30)

        assert list(range(30)) == client.values
        assert [] == client.gaps


RIGHTS: Final = (
    b"resetkeys resetchannels ~{ws.0.* &{ws.0.* -@all +hello +auth +client|setname +select +time +script|load +evalsha "
    b"+publish +subscribe +unsubscribe +exists +get +getdel +set +del +expire +pexpire +pexpireat +pexpiretime "
    b"+xadd +xrange +xrevrange +zadd +zcard +zrange +zrevrange +zscore +zrem +zremrangebyscore +zremrangebyrank "
    b"+hget +hset +hdel +hgetall"
)
"""As the documentation has them."""


@pytest.mark.requirement("WS-23")
async def test_few_rights_are_enough(engine: Engine) -> None:
    """
    A user of the engine with no more rights than are needed can do everything, and is told what could not be checked.
    """
    assert engine.ask(b"ACL SETUSER app on >secret " + RIGHTS).startswith(b"+OK")
    url = f"redis://app:secret@127.0.0.1:{engine.port}/0"
    async with nodes(url) as (one, two):
        client = await two.connect()
        await one.send(1)
        await until(lambda: client.values)
        resumed = await one.connect("alice", "window")
        await until(lambda: resumed.values)
        await one.factory.presence(make_context())
        await one.factory.revoke(Identity(None, "alice"))
        await until(lambda: client.transport.closed)
        assert await two.factory.lift(Identity(None, "alice"))
        ticket = await Tickets(one.plane).issue(make_context("bob"))
        assert "bob" == (await Tickets(two.plane).redeem(ticket.value)).user_id
        (note,) = two.plane.notes()
        denied = engine.ask(b"ACL LOG").count(b"reason")

        assert "noeviction" in note
        assert 1 == two.plane.health().connections
        assert b"config|get" in engine.ask(b"ACL LOG")
        assert 1 == denied


@pytest.mark.requirement("WS-28")
async def test_a_password_is_asked_for(engine: Engine) -> None:
    """
    With the password it works, with a wrong one it does not, and no log holds either.
    """
    engine.ask(b"CONFIG SET requirepass right-one")
    right, wrong = (f"redis://:{word}@127.0.0.1:{engine.port}/1" for word in ("right-one", "wrong-one"))
    whose = Identity(None, "alice")
    for url, works in ((right, True), (wrong, False)):
        plane = RedisBackplane(url, keys=(KEY,), send_seconds=0.3)
        begin = time.monotonic()
        try:
            draft = Draft(event=note(), owner=whose, id=new_uuid7(), time="")
            work: Awaitable[Any] = plane.publish(whose, draft)
            if works:
                await work
            else:
                with pytest.raises(errors.EngineTimeoutError):
                    await work
            assert works is plane.health().is_up
        finally:
            await plane.close()
        assert time.monotonic() - begin < 3.0
