"""
Somebody else writes where leases are: he takes nobody's place, ends nobody's session, and is counted.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.engines.liar import bulk, liar
from tests.engines.nodes import KEY, nodes, until
from tests.engines.running import Engine
from tests.engines.test_hostile import told
from tests.engines.test_opening import backplane
from tests.engines.test_parts import Ear
from ws_isolation import errors
from ws_isolation.backplanes.base import Lease
from ws_isolation.backplanes.redis import RedisBackplane, presence
from ws_isolation.backplanes.redis.letters import Letters
from ws_isolation.backplanes.redis.names import Names
from ws_isolation.ids import new_uuid7
from ws_isolation.keys import Identity

FAR: Final = 9_999_999_999_999
"""A time in milliseconds that does not come."""
pytestmark = pytest.mark.requirement("P5", "WS-22")


def somebody() -> Identity:
    """
    Return an identity that no other test has.
    """
    return Identity(None, f"alice-{new_uuid7()}")


def forged(whose: Identity, connection_id: str, since: str = "1.0", end: float | str = FAR) -> list[tuple[Any, ...]]:
    """
    Return commands that write a lease as somebody can who has no key.
    """
    ends, leases = Names("ws", 0).leases(whose)
    seal = Letters("attacker", (), 65_536).seal(whose, "lease", connection_id, since)
    return [("ZADD", ends, end, connection_id), ("HSET", leases, connection_id, f"{since} 1 {seal}")]


def believes(*_: object) -> bool:
    """
    Believe everything: as it was while nobody signed.
    """
    return True


def lease(whose: Identity, name: str, since: float = 100.0) -> Lease:
    """
    Return a lease.
    """
    return Lease(whose, name, since)


async def names(plane: RedisBackplane, whose: Identity) -> list[str]:
    """
    Return the connection ids that are there.
    """
    return [one.connection_id for one in await plane.present(whose)]


@pytest.mark.parametrize("broken", [False, True])
async def test_a_forged_lease_takes_no_place(
    shared_engine: Engine, monkeypatch: pytest.MonkeyPatch, *, broken: bool
) -> None:
    """
    With three forged leases and room for two, two are let in and the third is not; believed, nobody is.
    """
    if broken:
        monkeypatch.setattr(Letters, "is_sealed", believes)
    whose = somebody()
    async with nodes(shared_engine.url, 1) as (node,):
        plane = node.plane
        for number in range(3):
            await told(shared_engine, *forged(whose, f"forged-{number}"))
        results = [
            await plane.enter(lease(whose, name), most=2, replace=False, seconds=60) for name in ("one", "two", "three")
        ]

        assert ([None] * 3 if broken else [(), (), None]) == results
        assert broken is (0 == plane.health().refused)
        assert broken or ["one", "two"] == await names(plane, whose)


@pytest.mark.parametrize("broken", [False, True])
async def test_a_forged_lease_ends_no_session(
    shared_engine: Engine, monkeypatch: pytest.MonkeyPatch, *, broken: bool
) -> None:
    """
    With ``replace_oldest`` and younger forged leases the user's own session stays; believed, it is ended with 4009.
    """
    if broken:
        monkeypatch.setattr(Letters, "is_sealed", believes)
    whose, ear = somebody(), Ear()
    async with nodes(shared_engine.url) as (one, two):
        await one.plane.subscribe(whose, ear)
        assert () == await one.plane.enter(lease(whose, "first", 1.0), most=2, replace=True, seconds=60)
        await told(shared_engine, *forged(whose, "forged", since=f"{FAR}.0"))
        gone = await two.plane.enter(lease(whose, "second", 2.0), most=2, replace=True, seconds=60)
        again = await two.plane.enter(lease(whose, "third", 3.0), most=2, replace=True, seconds=60)
        await until(lambda: ear.gone)
        one.plane.release(whose, ear)

        assert ((("first",), ("second",)) if broken else ((), ("first",))) == (gone, again)
        assert (0 if broken else 1) == two.plane.health().refused


@pytest.mark.parametrize("value", ["gone", "gone {seal}", "gone " + "x" * 300, "gone \udcff"])
async def test_who_is_said_to_be_gone_stays(shared_engine: Engine, value: str) -> None:
    """
    A session that somebody says was replaced is not ended by the next renewal: its lease is written anew.
    """
    whose = somebody()
    ends, leases = Names("ws", 0).leases(whose)
    seal = Letters("attacker", (), 65_536).seal(whose, "gone", "mine")
    async with nodes(shared_engine.url, 1) as (node,):
        plane, mine = node.plane, lease(whose, "mine")
        assert () == await plane.enter(mine, most=1, replace=True, seconds=60)
        text = value.replace("{seal}", seal).encode("utf-8", "surrogateescape")
        await told(shared_engine, ("HSET", leases, "mine", text), ("ZADD", ends, FAR, "mine"))
        assert () == await plane.renew([mine], seconds=60)

        assert (mine,) == await plane.present(whose)
        assert (1 if value != "gone" else 0) == plane.health().refused


async def test_who_is_gone_goes(shared_engine: Engine) -> None:
    """
    One that was taken for a newer session on another node hears it from its renewal; a copy for another id does not do.
    """
    whose = somebody()
    _, leases = Names("ws", 0).leases(whose)
    async with nodes(shared_engine.url) as (one, two):
        old, new, other = lease(whose, "old", 1.0), lease(whose, "new", 2.0), lease(whose, "other", 3.0)
        await one.plane.enter(old, most=1, replace=True, seconds=60)
        assert ("old",) == await two.plane.enter(new, most=1, replace=True, seconds=60)
        assert () == await two.plane.enter(new, most=1, replace=True, seconds=60), "asked twice"
        await one.plane.enter(other, most=None, replace=True, seconds=60)
        (copy,) = await told(shared_engine, ("HGET", leases, "old"))
        await told(shared_engine, ("HSET", leases, "other", copy))

        assert ("old",) == await one.plane.renew([old, other], seconds=60)
        assert ["new", "other"] == await names(one.plane, whose)
        assert 1 == one.plane.health().refused


async def test_what_is_there_is_what_was_signed(shared_engine: Engine) -> None:
    """
    Forged, changed and copied leases are not told as present; each look counts them. Whatever is an end does no harm.
    """
    alice, bob = somebody(), somebody()
    async with nodes(shared_engine.url, 1) as (node,):
        plane = node.plane
        await plane.enter(lease(bob, "bob"), most=9, replace=False, seconds=60)
        await plane.enter(lease(alice, "true"), most=9, replace=False, seconds=60)
        ends, leases = Names("ws", 0).leases(alice)
        (bobs,) = await told(shared_engine, ("HGET", Names("ws", 0).leases(bob)[1], "bob"))
        (own,) = await told(shared_engine, ("HGET", leases, "true"))
        odd: dict[bytes, bytes] = {
            b"bob": bobs,
            b"copied": own,
            b"changed": own.replace(b"100.0", b"1.0"),
            b"short": b"x",
            b"number": own.replace(b" 1 ", b" one "),
            b"\xff\xfe": b"\xff 1 \xff",
            b"long": b"1.0 1 " + b"a" * 10_000,
            b"i" * 1_000: own,
            b"two\nlines": own,
            b"great": b"inf 99999999999999999999 aa",
        }
        for name, value in odd.items():
            await told(shared_engine, ("ZADD", ends, "inf", name), ("HSET", leases, name, value))
        assert ["true"] == await names(plane, alice)
        assert len(odd) == plane.health().refused

        assert () == await plane.enter(lease(alice, "second"), most=2, replace=False, seconds=60)
        assert 2 * len(odd) == plane.health().refused
        assert [2] == await told(shared_engine, ("HLEN", leases))
        assert ["true", "second"] == await names(plane, alice)


async def test_an_altered_lease_of_ones_own(shared_engine: Engine) -> None:
    """
    What somebody wrote under an id before its session came is written over, and so is what was deleted.
    """
    whose = somebody()
    _, leases = Names("ws", 0).leases(whose)
    async with nodes(shared_engine.url, 1) as (node,):
        plane, mine = node.plane, lease(whose, "mine")
        await told(shared_engine, *forged(whose, "mine"))
        assert () == await plane.enter(mine, most=1, replace=False, seconds=60)
        assert (mine,) == await plane.present(whose)
        await told(shared_engine, ("HDEL", leases, "mine"))
        assert () == await plane.renew([mine], seconds=60)
        assert (mine,) == await plane.present(whose)
        assert 0 == plane.health().refused


async def test_keys_change_under_leases(shared_engine: Engine) -> None:
    """
    While keys rotate leases of both sides hold; each renewal signs with the newest key.
    """
    whose = somebody()
    new = b"n" * 32
    async with (
        nodes(shared_engine.url, 1, keys=(KEY, new)) as (before,),
        nodes(shared_engine.url, 1, keys=(new, KEY)) as (after,),
    ):
        one, two = lease(whose, "one", 1.0), lease(whose, "two", 2.0)
        assert () == await before.plane.enter(one, most=2, replace=False, seconds=60)
        assert () == await after.plane.enter(two, most=2, replace=False, seconds=60)
        assert None is await before.plane.enter(lease(whose, "x"), most=2, replace=False, seconds=60)
        assert (one, two) == await before.plane.present(whose) == await after.plane.present(whose)
        assert () == await after.plane.renew([one], seconds=60)
        async with nodes(shared_engine.url, 1, keys=(new,)) as (last,):
            assert (one, two) == await last.plane.present(whose)
            assert [0, 0, 0] == [node.plane.health().refused for node in (before, after, last)]


async def test_more_than_can_be_looked_at(shared_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A flood of forged leases lets nobody in past the limit, is cleared some at a time, and then it works again.
    """
    monkeypatch.setattr(presence, "_LOOKS", 3)
    whose = somebody()
    ends, leases = Names("ws", 0).leases(whose)
    script = (
        "for n = 1, 2500 do redis.call('ZADD', KEYS[1], ARGV[1], 'f' .. n) "
        "redis.call('HSET', KEYS[2], 'f' .. n, '1.0 1 aa') end return 1"
    )
    async with nodes(shared_engine.url, 1) as (node,):
        await told(shared_engine, ("EVAL", script, 2, ends, leases, FAR))
        with pytest.raises(errors.EngineUnavailableError, match="nobody was let in"):
            await node.plane.enter(lease(whose, "mine"), most=2, replace=False, seconds=60)
        assert () == await node.plane.enter(lease(whose, "mine"), most=2, replace=False, seconds=60)
        assert ["mine"] == await names(node.plane, whose)
        assert node.plane.health().refused >= 2_500


async def test_who_forges_without_end_ends_nobody() -> None:
    """
    An engine that says at each renewal that a lease is gone, unsigned, or one that was not asked for, ends no session.
    """
    answer = b"*4\r\n" + bulk("mine") + bulk("gone x") + bulk("other") + bulk("gone y")
    async with liar(EVALSHA=answer) as engine, backplane(engine) as plane:
        assert () == await plane.renew([lease(somebody(), "mine")], seconds=60)

        assert 3 == plane.health().refused


@pytest.mark.parametrize("answer", [b"*1\r\n:1\r\n", b"*1\r\n*1\r\n:1\r\n", b"*1\r\n*1\r\n$1\r\nx\r\n", b"+OK\r\n"])
async def test_answers_of_another_form(answer: bytes) -> None:
    """
    What no script of ours answers lets nobody in.
    """
    async with liar(EVALSHA=answer) as engine, backplane(engine) as plane:
        with pytest.raises(errors.EngineUnavailableError, match="another form"):
            await plane.enter(lease(somebody(), "mine"), most=1, replace=False, seconds=60)
        with pytest.raises(errors.EngineUnavailableError, match="another form"):
            await plane.renew([lease(somebody(), "mine")], seconds=60)
