"""
How an engine is named, and how it is found: urls, Sentinels, the map of a Cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from tests.engines.liar import Liar, hello, liar
from tests.engines.nodes import until
from tests.engines.test_parts import Ear
from ws_isolation import errors
from ws_isolation.backplanes.base import Lease
from ws_isolation.backplanes.redis import RedisBackplane
from ws_isolation.backplanes.redis.cluster import Cluster
from ws_isolation.backplanes.redis.finding import Finder, NotFoundError
from ws_isolation.backplanes.redis.jobs import MalformedError
from ws_isolation.backplanes.redis.names import Names
from ws_isolation.backplanes.redis.slots import SlotMap, slot_of
from ws_isolation.backplanes.redis.where import Where
from ws_isolation.keys import Identity

ALICE = Identity(None, "alice")


@pytest.mark.parametrize(
    ("url", "kind", "seeds", "master"),
    [
        ("redis://h:1/2", "server", [("h", 1, 2)], ""),
        ("redis+sentinel://a,b:7/main", "sentinel", [("a", 26379, 0), ("b", 7, 0)], "main"),
        ("redis+sentinel://u:p@a/my%20main/3", "sentinel", [("a", 26379, 0)], "my main"),
        ("redis+sentinel://[::1],[::2]:7/main", "sentinel", [("::1", 26379, 0), ("::2", 7, 0)], "main"),
        ("rediss+cluster://u:p@a:1,b:2", "cluster", [("a", 1, 0), ("b", 2, 0)], ""),
        ("redis+cluster://a/0", "cluster", [("a", 6379, 0)], ""),
    ],
)
def test_urls_of_many(url: str, kind: str, seeds: list[tuple[str, int, int]], master: str) -> None:
    """
    A url names one server, Sentinels and a master, or nodes of a Cluster.
    """
    where = Where.parse(url)

    assert (kind, master) == (where.kind, where.master)
    assert seeds == [(seed.host, seed.port, seed.database) for seed in where.seeds]
    assert url.startswith("rediss") is (where.at("x", 9).tls is not None)
    assert ("x", 9) == (where.at("x", 9).host, where.at("x", 9).port)


def test_login_is_the_servers() -> None:
    """
    User, password and database are said to the master, not to Sentinels; to every node of a Cluster.
    """
    watched = Where.parse("redis+sentinel://u:p@a,b/main/3")
    cluster = Where.parse("redis+cluster://u:p@a,b")

    assert [(None, None)] * 2 == [(seed.username, seed.password) for seed in watched.seeds]
    assert ("u", "p", 3) == (watched.node.username, watched.node.password, watched.node.database)
    assert [("u", "p")] * 2 == [(seed.username, seed.password) for seed in cluster.seeds]
    assert "'p'" not in repr(watched)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis+other://a", "must begin with redis+sentinel://"),
        ("unix+cluster:///a", "must begin with redis+sentinel://"),
        ("redis+cluster://", "must name 1 to 64 hosts"),
        ("redis+cluster://a,,b", "must name 1 to 64 hosts"),
        ("redis+cluster://" + ",".join("a" * 65), "must name 1 to 64 hosts"),
        ("redis+cluster://a/1", "a Cluster has none but 0"),
        ("redis+sentinel://a", "must name the master"),
        ("redis+sentinel://a/", "must name the master"),
        ("redis+sentinel://a/main/x", "must name the database by its number"),
        ("redis+cluster://a:port", "is no URL"),
        (7, "must be a str"),
    ],
)
def test_urls_that_are_none(url: str, problem: str) -> None:
    """
    What cannot be right is refused in words, without the url: it may hold a password.
    """
    with pytest.raises(errors.SettingsError) as caught:
        Where.parse(url)

    assert problem in str(caught.value)
    assert "a,," not in str(caught.value)


def test_seeds_have_to_be_safe() -> None:
    """
    A host on another machine needs TLS and keys, each of several as well as one.
    """
    with pytest.raises(errors.SettingsError, match="rediss://"):
        RedisBackplane("redis+cluster://127.0.0.1:1,10.0.0.1:2")
    with pytest.raises(errors.SettingsError, match="keys="):
        RedisBackplane("rediss+sentinel://10.0.0.1/main")


@pytest.mark.parametrize(
    "reply",
    [
        b"x",
        [b"x"],
        [[0, 1, [b"h", 0]]],
        [[5, 1, [b"h", 1]]],
        [[0, 16_384, [b"h", 1]]],
        [[0, 1, [7, 1]]],
        [[0, 1]],
        [[0, 1, [b"h", b"1"]]],
    ],
)
def test_maps_that_are_none(reply: object) -> None:
    """
    A map of another form is refused whole.
    """
    with pytest.raises(MalformedError):
        SlotMap.parse(reply, "asked")


def test_a_node_may_not_know_its_name() -> None:
    """
    Where a node leaves out its host, it is the one that was asked; a slot in no run has nobody.
    """
    found = SlotMap.parse([[0, 9, [None, 1, b"id"]], [10, 19, [b"", 2], [b"replica", 3]], [30, 39, [b"h", 4]]], "asked")

    assert [("asked", 1), ("asked", 2), ("h", 4), None] == [found.find(slot) for slot in (0, 10, 39, 20)]
    assert {("asked", 1), ("asked", 2), ("h", 4)} == found.masters


def bulk(text: str) -> bytes:
    """
    Return *text* as the protocol writes it.
    """
    return b"$%d\r\n%b\r\n" % (len(text), text.encode())


def finder(kind: str, *ports: int, safe: bool = True) -> Finder:
    """
    Return a finder that asks these ports; with *safe* off, whatever it finds may not be spoken to.
    """

    def require_safe(_address: object) -> None:
        if not safe:
            msg = "not safe"
            raise errors.SettingsError(msg)

    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return Finder(Where.parse(f"redis+{kind}://{hosts}" + ("/main" if kind == "sentinel" else "")), require_safe, 1.0)


async def test_the_first_sentinel_that_answers() -> None:
    """
    One that is away and one that knows nobody are passed over, and asked last the next time.
    """
    known = b"*2\r\n" + bulk("127.0.0.1") + bulk("7")
    async with liar(SENTINEL=b"_\r\n") as empty, liar(SENTINEL=known) as knows:
        asks = finder("sentinel", 1, empty.port, knows.port)

        assert 7 == (await asks.server()).port
        assert 7 == (await asks.server()).port
    assert 1 == sum(command[0] == b"SENTINEL" for command in empty.heard)
    assert 2 == sum(command[0] == b"SENTINEL" for command in knows.heard)


@pytest.mark.parametrize(
    "said", [b"*1\r\n" + bulk("h"), b"*2\r\n" + bulk("h") + bulk("x"), b"*2\r\n" + bulk("h") + bulk("0")]
)
async def test_a_sentinel_that_says_nonsense(said: bytes) -> None:
    """
    What is no address is not connected to.
    """
    async with liar(SENTINEL=said) as odd:
        with pytest.raises(NotFoundError, match="no Sentinel knows a master"):
            await finder("sentinel", odd.port).server()


async def test_what_is_found_has_to_be_safe() -> None:
    """
    A Sentinel or a node of a Cluster cannot lead anybody to where he would not have gone.
    """
    async with liar(SENTINEL=b"*2\r\n" + bulk("10.0.0.1") + bulk("7")) as engine:
        with pytest.raises(errors.SettingsError, match="not safe"):
            await finder("sentinel", engine.port, safe=False).server()
    with pytest.raises(errors.SettingsError, match="not safe"):
        finder("cluster", 1, safe=False).node("10.0.0.1", 7)


async def test_nobody_answers() -> None:
    """
    Where nobody answers, or what answers is no engine, that is said.
    """
    with pytest.raises(NotFoundError, match="no Sentinel knows a master of this name"):
        await finder("sentinel", 1).server()
    async with liar(HELLO=b"+OK\r\n") as odd:
        with pytest.raises(NotFoundError, match="no node of the Cluster answers"):
            await finder("cluster", odd.port).slots((), ())


def slots(*ports: int) -> bytes:
    """
    Return a map in which these ports on loopback have an equal share each.
    """
    size = 16_384 // len(ports)
    runs = b"".join(
        b"*3\r\n:%d\r\n:%d\r\n*2\r\n" % (at * size, (at + 1) * size - 1) + bulk("127.0.0.1") + b":%d\r\n" % port
        for at, port in enumerate(ports)
    )
    return b"*%d\r\n" % len(ports) + runs


async def test_a_cluster_that_cannot_be_spoken_to() -> None:
    """
    A Cluster that names a node on another machine, which nobody may speak to in the clear, is said to be the problem.
    """
    elsewhere = slots(1).replace(b"$9\r\n127.0.0.1", b"$8\r\n10.0.0.1")
    async with liar(CLUSTER=elsewhere) as engine:
        plane = RedisBackplane(f"redis+cluster://127.0.0.1:{engine.port}", send_seconds=0.3)
        with pytest.raises(errors.EngineTimeoutError, match="it was not asked"):
            await plane.bars(ALICE)
        assert "rediss://" in plane.health().problem
        assert not plane.health().is_up
        await plane.close()


async def test_a_cluster_that_is_none() -> None:
    """
    A single server under a url of a Cluster is refused in words, and the other way round.
    """
    async with liar() as engine:
        engine.answers["CLUSTER"] = slots(engine.port)
        plane = RedisBackplane(f"redis+cluster://127.0.0.1:{engine.port}", send_seconds=0.3)
        with pytest.raises(errors.EngineTimeoutError):
            await plane.bars(ALICE)
        assert "no node of a Cluster: write redis://" in plane.health().problem
        await plane.close()


async def test_too_much_waits_for_a_cluster() -> None:
    """
    What has no node waits so long, and so much of it, as was said; what is closed fails at once.
    """
    plane = RedisBackplane("redis+cluster://127.0.0.1:1", send_seconds=0.4)
    first = asyncio.create_task(plane.bars(ALICE))
    await until(lambda: plane.health().waiting == 1)
    made = plane._link
    assert made is not None
    made._held._most = 1  # type: ignore[union-attr]
    with pytest.raises(errors.EngineTimeoutError, match="it was not asked"):
        await plane.bars(ALICE)
    with pytest.raises(errors.EngineTimeoutError, match="it was not asked"):
        await first
    last = asyncio.create_task(plane.bars(ALICE))
    await until(lambda: plane.health().waiting == 1)
    await plane.close()
    with pytest.raises(errors.EngineTimeoutError, match="it was not asked"):
        await last


@asynccontextmanager
async def pair(**answers: bytes) -> AsyncGenerator[tuple[Liar, Liar, RedisBackplane]]:
    """
    Run two nodes of a Cluster, of which the first serves all slots and answers like this, and a backplane.
    """
    node = hello(mode="cluster")
    async with liar(HELLO=node, **answers) as one, liar(HELLO=node, EXISTS=b":0\r\n", DEL=b":1\r\n") as two:
        serving(one, two, one.port)
        plane = RedisBackplane(f"redis+cluster://127.0.0.1:{one.port}")
        try:
            yield one, two, plane
        finally:
            await plane.close()


def serving(one: Liar, two: Liar, *ports: int) -> None:
    """
    Have both say who serves what.
    """
    one.answers["CLUSTER"] = two.answers["CLUSTER"] = slots(*ports)


MOVED = b"-MOVED 1 127.0.0.1:1\r\n"


async def test_what_a_node_does_not_serve_goes_to_another() -> None:
    """
    Calls and a subscription that a node refuses are made at the one that the others name; nobody gets another's answer.
    """
    async with pair(EXISTS=MOVED, SSUBSCRIBE=MOVED, TIME=b"+time\r\n") as (one, two, plane):
        barred = asyncio.create_task(plane.bars(ALICE))
        heard = asyncio.create_task(plane.subscribe(ALICE, Ear()))
        lifted = asyncio.create_task(plane.lift(ALICE))
        one.answers["DEL"] = MOVED
        await until(lambda: any(command[0] == b"SSUBSCRIBE" for command in one.heard))
        serving(one, two, two.port)

        assert [False, None, True] == list(await asyncio.gather(barred, heard, lifted))
        assert [b"EXISTS", b"DEL"] == [command[0] for command in two.heard if command[0] in (b"EXISTS", b"DEL")]
        assert 1 == plane.health().listening
        assert plane.health().is_up
        assert 2 == plane.health().connections


async def test_a_subscription_is_refused_once() -> None:
    """
    A node that refuses a subscription and is named again, since the others do not know better yet, is asked again.
    """
    async with pair(SSUBSCRIBE=MOVED, TIME=b"+time\r\n") as (one, _, plane):
        heard = asyncio.create_task(plane.subscribe(ALICE, Ear()))
        await until(lambda: any(command[0] == b"SSUBSCRIBE" for command in one.heard))
        del one.answers["SSUBSCRIBE"]
        await heard

        assert 1 == plane.health().connections


async def test_a_subscription_ends_unasked() -> None:
    """
    A node that stops announcing a channel is asked again; for one that nobody listens to it does not matter.
    """
    async with pair(TIME=b"+time\r\n") as (one, _, plane):
        ear = Ear()
        await plane.subscribe(ALICE, ear)
        channel = next(command[1] for command in one.heard if command[0] == b"SSUBSCRIBE").decode()
        one.say(b">3\r\n" + bulk("sunsubscribe") + bulk("nobody's") + b":0\r\n")
        one.say(b">3\r\n" + bulk("sunsubscribe") + bulk(channel) + b":0\r\n")
        await until(lambda: ear.interruptions == 1)

        assert 2 == sum(command[0] == b"SSUBSCRIBE" for command in one.heard)


async def test_keys_that_are_on_their_way() -> None:
    """
    While a slot moves key by key, a call waits until its key is there.
    """
    async with pair(EXISTS=b"-TRYAGAIN not yet\r\n") as (one, _, plane):
        barred = asyncio.create_task(plane.bars(ALICE))
        await until(lambda: sum(command[0] == b"EXISTS" for command in one.heard) == 2)
        one.answers["EXISTS"] = b":0\r\n"

        assert not await barred


async def test_a_call_waits_for_the_one_before_it() -> None:
    """
    What is on its way to a former node is answered before anything else of its slot is asked elsewhere.
    """
    async with pair(DEL=b":1\r\n", EXISTS=b":0\r\n") as (one, two, plane):
        serving(one, two, one.port, two.port)
        several = [Identity(None, f"user-{n}") for n in range(80)]
        users = [user for user in several if slot_of(Names("ws", 0).bar(user)) < 8_192]  # those of the first node
        await asyncio.gather(*(plane.lift(user) for user in several))
        await until(lambda: not plane.health().waiting)
        one.heard.clear()
        two.heard.clear()
        one.goes_on.clear()
        first = [asyncio.create_task(plane.bars(user)) for user in users]
        await until(lambda: plane.health().waiting >= len(users))
        await asyncio.sleep(0)  # they are on their way
        serving(one, two, two.port, one.port)
        made = plane._link
        assert isinstance(made, Cluster)
        made._learn(
            SlotMap.parse([[0, 8_191, [b"127.0.0.1", two.port]], [8_192, 16_383, [b"127.0.0.1", one.port]]], "")
        )
        second = [asyncio.create_task(plane.lift(user)) for user in users]
        await asyncio.sleep(0.05)  # time enough for the second node, which answers at once
        assert not any(command[0] == b"DEL" for command in two.heard)
        one.goes_on.set()

        assert [False] * len(users) == await asyncio.gather(*first)
        assert [True] * len(users) == await asyncio.gather(*second)
        assert not any(command[0] == b"EXISTS" for command in two.heard)


async def test_a_node_that_left_gives_back_what_it_was_asked() -> None:
    """
    What was asked of a node that is no part of the Cluster any more is asked again of the one that serves it now.
    """
    async with pair(DEL=b":1\r\n") as (one, two, plane):
        await plane.lift(ALICE)
        await until(lambda: not plane.health().waiting)
        one.goes_on.clear()
        barred = asyncio.create_task(plane.bars(ALICE))
        await until(lambda: plane.health().waiting)
        await asyncio.sleep(0)
        made = plane._link
        assert isinstance(made, Cluster)
        serving(one, two, two.port)
        made._learn(SlotMap.parse([[0, 16_383, [b"127.0.0.1", two.port]]], ""))

        assert not await barred
        assert any(command[0] == b"EXISTS" for command in two.heard)


async def test_more_waits_than_a_cluster_may_hold_up() -> None:
    """
    Something that nobody awaits is held as well while there is no node, and goes out when there is one.
    """
    async with pair(EXISTS=b":1\r\n", GET=b"_\r\n") as (one, two, plane):
        one.answers["CLUSTER"] = two.answers["CLUSTER"] = b"-ERR not yet\r\n"
        plane.leave(Lease(ALICE, "before anything was asked", 1.0))
        barred = asyncio.create_task(plane.bars(ALICE))
        await until(lambda: plane.health().waiting)
        plane.leave(Lease(ALICE, "c", 1.0))
        serving(one, two, one.port)

        assert await barred
        await until(lambda: any(command[0] == b"EVALSHA" for command in one.heard))


async def test_noise_while_asking() -> None:
    """
    What a Sentinel announces on its own is of no interest.
    """
    noise = b">2\r\n" + bulk("message") + bulk("x")
    async with liar(SENTINEL=noise + b"*2\r\n" + bulk("127.0.0.1") + bulk("7")) as engine:
        assert 7 == (await finder("sentinel", engine.port).server()).port


async def test_what_was_not_sent_yet_goes_with_its_slot() -> None:
    """
    What waits for a node that cannot be reached goes to the one that serves its slot from now on.
    """
    async with pair() as (one, two, plane):
        some = [Identity(None, f"user-{n}") for n in range(80)]
        low = next(user for user in some if slot_of(Names("ws", 0).bar(user)) < 8_192)
        high = next(user for user in some if slot_of(Names("ws", 0).bar(user)) >= 8_192)
        one.answers["EXISTS"] = b":0\r\n"
        serving(one, two, 1, one.port)
        assert not await plane.bars(high)
        barred = asyncio.create_task(plane.bars(low))
        await until(lambda: plane.health().waiting)
        serving(one, two, one.port, 1)

        assert not await barred


async def test_a_node_with_an_odd_map_is_passed_over() -> None:
    """
    A node whose map cannot be read is passed over for the next, and a node that cannot be spoken to is asked last.
    """
    async with (
        liar(CLUSTER=b"*1\r\n+odd\r\n") as odd,
        liar(CLUSTER=slots(7)) as sound,
        liar(CLUSTER=slots(8)) as cut_off,
    ):
        asks = finder("cluster", odd.port, sound.port)
        where = [("127.0.0.1", odd.port), ("127.0.0.1", cut_off.port)]

        assert {("127.0.0.1", 8)} == (await asks.slots(where, ())).masters
        assert {("127.0.0.1", 7)} == (await asks.slots(where[:1], where[1:])).masters


@pytest.mark.requirement("P1")
async def test_nobody_gets_the_answer_of_a_subscription() -> None:
    """
    An error to a subscription ends the connection, whatever it says: no call behind it is given another's answer.
    """
    async with liar(SUBSCRIBE=b"", EXISTS=b":0\r\n") as engine:
        plane = RedisBackplane(f"redis://127.0.0.1:{engine.port}")
        assert not await plane.bars(ALICE)
        engine.answers["SUBSCRIBE"] = b"-BUSY running a script\r\n"
        heard = asyncio.create_task(plane.subscribe(ALICE, Ear()))
        calls = [asyncio.create_task(plane.bars(ALICE)) for _ in range(3)]
        await until(lambda: "BUSY" in plane.health().problem)
        engine.answers["SUBSCRIBE"] = b""
        assert [False] * 3 == await asyncio.gather(*calls)
        heard.cancel()
        await asyncio.gather(heard, return_exceptions=True)
        await plane.close()
