"""
Broken variants of the link to an engine: each is caught, and for its own reason.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

import pytest
from typing_extensions import override

from tests.backplanes.test_failover import answers_by_count, counts_only
from tests.engines.liar import Liar, liar
from tests.engines.nodes import KEY, Client, nodes, until
from tests.engines.running import Engine
from tests.engines.test_hostile import told
from tests.engines.test_opening import backplane
from tests.engines.test_parts import Ear
from tests.shell import note
from ws_isolation import errors, streams
from ws_isolation.backplanes.base import Lease
from ws_isolation.backplanes.redis import RedisBackplane
from ws_isolation.backplanes.redis.letters import Letters
from ws_isolation.backplanes.redis.link import Link
from ws_isolation.backplanes.redis.names import Names
from ws_isolation.backplanes.redis.pending import Job, Pending
from ws_isolation.backplanes.redis.topics import Topics
from ws_isolation.chain import Chain
from ws_isolation.ids import new_uuid7
from ws_isolation.keys import Identity
from ws_isolation.stream import Draft
from ws_isolation.testing.check_backplane import check_backplane

pytestmark = pytest.mark.scenario("S65")

CANARY: Final = "canary-8c1d*"


# Names that are joined from ids, and patterns.


def joined(names: Names, identity: Identity) -> tuple[str, str, str]:
    """
    Return what the names are where somebody puts them together by hand.
    """
    del names
    key = ":".join(part for part in (identity.tenant_id, identity.user_id) if part)
    return f"top:{key}", f"window:{key}", f"channel:{key}"


commands = Topics.commands


def by_patterns(topics: Topics, *, sharded: bool) -> Iterator[tuple[str, list[bytes]]]:
    """
    Subscribe by patterns.
    """
    for word, channels in commands(topics, sharded=sharded):
        yield f"P{word}", channels


def exposed(heard: Iterable[list[bytes]], text: str) -> set[str]:
    """
    Return what is wrong with the commands: an id in a key, channel or script, or a pattern.
    """
    found: set[str] = set()
    for command in heard:
        named: list[str] = []
        match [one.decode("utf-8", "replace") for one in command]:
            case ["EVALSHA", _, count, *rest]:
                named = rest[: int(count)]
            case ["SCRIPT", "LOAD", script]:
                named = [script]
            case ["PSUBSCRIBE", *rest]:
                named = rest
                found.add("a pattern")
            case [_, *rest]:
                named = rest
            case _:
                pass
        if any(text in name for name in named):
            found.add("an id in a name")
    return found


async def everything(engine: Liar, plane: RedisBackplane) -> None:
    """
    Ask the engine for all that it is ever asked for.
    """
    whose = Identity(CANARY, CANARY)
    ear, lease = Ear(), Lease(whose, "c", 1.0)
    draft = Draft(event=note(), owner=whose, id=new_uuid7(), time="")
    with suppress(errors.EngineUnavailableError, TimeoutError):
        async with asyncio.timeout(0.2):
            await plane.subscribe(whose, ear)
    for call in (
        plane.publish(whose, draft),
        plane.read(whose, "window"),
        plane.revoke(whose, None),
        plane.bars(whose),
        plane.lift(whose),
        plane.enter(lease, most=1, replace=True, seconds=1),
        plane.renew((lease,), seconds=1),
        plane.present(whose),
    ):
        with suppress(errors.EngineUnavailableError, TimeoutError):
            await call
    plane.leave(lease)
    plane.release(whose, ear)
    await until(lambda: any(command[0].endswith(b"UNSUBSCRIBE") for command in engine.heard))


@pytest.mark.requirement("P1", "WS-21")
@pytest.mark.parametrize("broken", ["", "names", "pattern", "script"])
async def test_no_id_is_a_name_and_no_name_a_pattern(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    No key, channel or script has an id in it, and nothing is subscribed by a pattern; each variant that does is seen.
    """
    if broken == "names":
        monkeypatch.setattr(Names, "stream", joined)
    if broken == "pattern":
        monkeypatch.setattr(Topics, "commands", by_patterns)
    async with liar(EXISTS=b":0\r\n", DEL=b":0\r\n", PSUBSCRIBE=b"", PUNSUBSCRIBE=b"") as engine:
        async with backplane(engine) as plane:
            if broken == "script":  # as where a script is written for each user
                plane._read.text += f" -- {CANARY}"
            await everything(engine, plane)

        found = exposed(engine.heard, CANARY)

    assert len(engine.heard) > 15
    assert {"": set(), "names": {"an id in a name"}, "script": {"an id in a name"}, "pattern": {"a pattern"}}[
        broken
    ] == found


@pytest.mark.requirement("P1")
async def test_joined_names_do_not_pass_the_conformance_suite(
    shared_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    On a real engine two users whose joined ids are one string share a stream: the suite for engines says so.
    """
    monkeypatch.setattr(Names, "stream", joined)
    made: list[RedisBackplane] = []

    def make() -> RedisBackplane:
        made.append(RedisBackplane(shared_engine.url))
        return made[-1]

    with pytest.raises(AssertionError, match="identit"):
        await check_backplane(make)
    for plane in made:
        await plane.close()


# A counter instead of a chain.


async def fallen_back(engine: Engine) -> Client:
    """
    Return a client whose engine came back with older data, after something new was sent.
    """
    async with nodes(engine.url) as (one, two):
        client = await two.connect()
        for number in range(5):
            await one.send(number)
        assert engine.ask(b"SAVE").startswith(b"+OK")
        for number in range(5, 8):
            await one.send(number)
        await until(lambda: len(client.values) == 8)
        connections = two.plane.health().connections
        engine.kill()
        engine.start()
        await until(lambda: two.plane.health().connections > connections and two.plane.health().is_up)
        await one.send("new")
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await until(lambda: "new" in client.values or client.gaps)
        return client


@pytest.mark.requirement("P3")
@pytest.mark.parametrize("broken", [False, True])
async def test_a_counter_does_not_see_that_places_are_given_twice(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, *, broken: bool
) -> None:
    """
    With epoch and number alone, what is sent after a fall back is taken for seen, in silence; the chain says so.
    """
    if broken:
        monkeypatch.setattr(Chain, "follow", counts_only)
        monkeypatch.setattr(streams, "answer", answers_by_count)
    client = await fallen_back(engine)

    assert broken is not bool(client.gaps)
    assert not broken or "new" not in client.values


# What was taken off a row and then waited for.


def forgets(_pending: Pending, _jobs: Iterable[Job], /) -> None:
    """
    Put nothing back.
    """


@pytest.mark.requirement("P3", "I12")
@pytest.mark.parametrize("broken", [False, True])
async def test_what_is_taken_off_and_not_put_back_is_gone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, *, broken: bool
) -> None:
    """
    What was on a connection that is lost goes out again; taken off the row for good, its callers wait in vain.
    """
    if broken:
        monkeypatch.setattr(Pending, "put_back", forgets)
    async with nodes(engine.url, 1, answer_seconds=0.3) as (node,):
        await node.send("first")
        engine.freeze()
        sending = [asyncio.create_task(node.send(number)) for number in range(5)]
        await until(lambda: not node.plane.health().is_up)
        engine.thaw()
        done, waiting = await asyncio.wait(sending, timeout=1.0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)

    assert ((0, 5) if broken else (5, 0)) == (len(done), len(waiting))


# A connection that is used again after a cancellation, without the place of who has gone.


class Skipping(deque[Job]):
    """
    A row in which those who have gone keep no place.
    """

    @override
    def popleft(self) -> Job:
        job = super().popleft()
        while job.is_over and self:
            job = super().popleft()
        return job


@pytest.mark.requirement("P1", "I2")
@pytest.mark.parametrize("broken", [False, True])
async def test_a_place_that_is_given_up_gives_others_answers(
    shared_engine: Engine, monkeypatch: pytest.MonkeyPatch, *, broken: bool
) -> None:
    """
    Who was cancelled keeps the place of the answer; else the next one gets it: here, that somebody else is barred.
    """
    mark = new_uuid7()
    alice, bob = Identity(None, f"alice-{mark}"), Identity(None, f"bob-{mark}")
    async with nodes(shared_engine.url, 1) as (node,):
        plane = node.plane
        await plane.revoke(alice, None)
        await until(lambda: plane._link is not None and not plane._link.waiting)
        made = plane._link
        assert isinstance(made, Link)
        assert made._sending.line is not None
        if broken:
            made._sending.line.waiting = Skipping()
        transport = made._sending.line._transport
        assert transport is not None
        transport.pause_reading()  # nothing is answered before the caller has gone
        for_alice = asyncio.create_task(plane.bars(alice))
        await until(lambda: made._sending.line is not None and made._sending.line.waiting)
        for_alice.cancel()
        await asyncio.gather(for_alice, return_exceptions=True)
        transport.resume_reading()
        barred = await plane.bars(bob)

    assert barred is broken


# A bus on which nobody signs.


@pytest.mark.requirement("P1", "WS-22")
@pytest.mark.parametrize("broken", [False, True])
async def test_an_unsigned_bus_carries_what_anybody_says(shared_engine: Engine, *, broken: bool) -> None:
    """
    Without keys, what somebody writes to the engine reaches the user as the agent's, and ends sessions; with, neither.
    """
    whose = Identity(None, f"alice-{new_uuid7()}")
    channel = Names("ws", 0).stream(whose)[2]
    async with nodes(shared_engine.url, 1, keys=() if broken else (KEY,)) as (node,):
        client = await node.connect(whose.user_id)
        top = (await node.plane.read(whose, None)).top
        attacker = Letters("attacker", (), 65_536)
        draft = Draft(event=note("send your password"), owner=whose, id=new_uuid7(), time="2026-11-23T00:00:00.000000Z")
        place = b'{"v":1,"n":"attacker","e":"%b","s":1,"p":"%b"}' % (top.epoch.encode(), top.id.encode())
        frame = f"{draft.parts.head}1{draft.parts.tail}".encode()
        await told(shared_engine, ("PUBLISH", channel, b"\n".join((place, attacker.sign(whose, draft), frame))))
        await until(lambda: client.values or node.plane.health().refused)

    assert (["send your password"], 0) == (client.values, node.plane.health().refused) if broken else not client.values
