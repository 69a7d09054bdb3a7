"""
A slot on its way from one node of a Cluster to another: nothing waits that need not, nothing is lost, order is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.engines.liar import Liar
from tests.engines.many import ClusterOfThree, cluster, told
from tests.engines.nodes import Node, nodes, until
from tests.engines.running import Engine, found
from tests.engines.test_cluster import slot_of_user, user_at
from tests.engines.test_finding import ALICE, pair
from tests.engines.test_nodes import piece
from tests.engines.test_parts import Note
from ws_isolation import errors
from ws_isolation.backplanes.redis.cluster import Cluster
from ws_isolation.backplanes.redis.moving import Moving, asked_place
from ws_isolation.backplanes.redis.pending import Job
from ws_isolation.events import AgentStarted
from ws_isolation.keys import Identity

pytestmark = [pytest.mark.scenario("S51"), pytest.mark.requirement("P3")]


@pytest.fixture(params=found())
def fragile(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfThree]:
    """
    Run a Cluster of each kind that the test may break.
    """
    with cluster(tmp_path_factory.mktemp("moving"), request.param) as it:
        yield it


def begin(at: ClusterOfThree, slot: int, source: Engine, target: Engine) -> None:
    """
    Let a slot be on its way, with nothing moved yet.
    """
    told(target, b"CLUSTER SETSLOT %d IMPORTING %b" % (slot, at.name(source)))
    told(source, b"CLUSTER SETSLOT %d MIGRATING %b" % (slot, at.name(target)))


def move_keys(at: ClusterOfThree, slot: int, source: Engine, target: Engine) -> None:
    """
    Move what is in it.
    """
    for key in at.keys(slot, source):
        answer = source.ask(b"MIGRATE 127.0.0.1 %d %b 0 5000" % (target.port, key))
        assert answer[:1] == b"+", answer


def end(at: ClusterOfThree, slot: int, target: Engine) -> None:
    """
    Let the target have it.
    """
    for engine in (target, *at.masters):
        told(engine, b"CLUSTER SETSLOT %d NODE %b" % (slot, at.name(target)))


def waits(*_: object) -> bool:
    """
    Wait until the slot has come, however long that takes: how it was before.
    """
    return False


@pytest.mark.parametrize("broken", [False, True])
async def test_whoever_is_asked_for_this_once_is_asked(
    fragile: ClusterOfThree, monkeypatch: pytest.MonkeyPatch, *, broken: bool
) -> None:
    """
    With everything moved and the slot still the source's, sends and looks are answered by the target at once, in order.
    """
    if broken:
        monkeypatch.setattr(Cluster, "_is_asked", waits)
    source, target, _ = fragile.masters
    user = user_at(fragile, source)
    slot = slot_of_user(user)
    async with nodes(fragile.url, send_seconds=2.0) as (one, two):
        here, there = await one.connect(user), await two.connect(user)
        await one.send("before", user)
        await until(lambda: here.values and there.values)
        await asyncio.to_thread(begin, fragile, slot, source, target)
        await asyncio.to_thread(move_keys, fragile, slot, source, target)
        start = time.monotonic()
        calls = [one.send(number, user) for number in range(30)]
        results = await asyncio.gather(*calls, one.plane.bars(Identity(None, user)), return_exceptions=True)
        took = time.monotonic() - start
        await asyncio.to_thread(end, fragile, slot, target)
        if broken:
            assert {errors.EngineTimeoutError} == {type(result) for result in results}
            return
        assert took < 1.0
        assert [None] * 30 + [False] == results
        assert ["before", *range(30)] == here.values
        await two.send("after", user)
        await until(lambda: "after" in here.values and "after" in there.values)

        assert ["before", *range(30), "after"] == here.values == there.values
        assert [] == here.gaps == there.gaps


async def flood(node: Node, user: str, name: str, stop: asyncio.Event) -> int:
    """
    Send events, several at a time, until told to stop; return how many.
    """
    sent = 0
    while not stop.is_set():
        await asyncio.gather(*(node.send(f"{name}{sent + n}", user) for n in range(4)))
        sent += 4
        await asyncio.sleep(0.003)
    return sent


async def test_slots_move_back_and_forth_under_load(fragile: ClusterOfThree) -> None:
    """
    A slot moves there and back, slowly, under load from two processes: each event comes once, in its sender's order.
    """
    source, target, _ = fragile.masters
    user, newcomer = user_at(fragile, source), user_at(fragile, source, "new")
    slot = slot_of_user(user)
    async with nodes(fragile.url, send_seconds=8.0) as (one, two):
        clients = [await node.connect(user) for node in (one, two)]
        stop = asyncio.Event()
        floods = [asyncio.create_task(flood(node, user, name, stop)) for node, name in ((one, "a"), (two, "b"))]
        for here, there in ((source, target), (target, source)):
            await asyncio.sleep(0.1)
            await asyncio.to_thread(begin, fragile, slot, here, there)
            await asyncio.sleep(0.1)
            await asyncio.to_thread(move_keys, fragile, slot, here, there)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(move_keys, fragile, slot, here, there)
            await asyncio.to_thread(end, fragile, slot, there)
        await asyncio.sleep(0.1)
        stop.set()
        counts = await asyncio.gather(*floods)
        await one.send("end", newcomer)
        await until(lambda: all(len(client.values) >= sum(counts) for client in clients))

        for client in clients:
            assert len(set(client.values)) == len(client.values) == sum(counts)
            for name, count in zip("ab", counts, strict=True):
                assert [f"{name}{n}" for n in range(count)] == [one for one in client.values if one[0] == name]
            assert [] == client.gaps
            assert client.session.is_open


async def test_a_stream_that_begins_on_the_way(fragile: ClusterOfThree) -> None:
    """
    What is not there at all yet waits until the slot has come: then it goes out, pieces in their order.
    """
    source, target, _ = fragile.masters
    user = user_at(fragile, source)
    slot = slot_of_user(user)
    async with nodes(fragile.url, send_seconds=10.0) as (one, two):
        await one.send("warm", user_at(fragile, target, "other"))
        await asyncio.to_thread(begin, fragile, slot, source, target)
        manager = one.manager(user)
        start = asyncio.create_task(manager.send(AgentStarted(agent_name="a", run_id="r", thread_id="t")))
        await asyncio.sleep(0.4)
        assert not start.done()
        await asyncio.to_thread(end, fragile, slot, target)
        await start
        client = await two.connect(user)
        await asyncio.gather(*(manager.send(piece(index)) for index in range(20)))
        await one.send("end", user)
        await until(lambda: "end" in client.values)
        pieces = [frame["data"]["delta"] for frame in client.transport.frames if frame["type"] == "agent_message_delta"]

        assert "".join(f"{index} " for index in range(20)) == "".join(pieces)


async def test_a_node_that_has_nothing_yet(fragile: ClusterOfThree) -> None:
    """
    A slot goes to a node that serves nothing so far: it is connected to when it is named, and kept as long as needed.
    """
    source, target, third = fragile.masters
    user = user_at(fragile, source)
    slot = slot_of_user(user)
    first, last = 16_384 // 3, 16_384 * 2 // 3 - 1
    for engine in fragile.masters:
        engine.ask(b"CLUSTER DELSLOTSRANGE %d %d" % (first, last))
    await asyncio.to_thread(told, third, b"CLUSTER ADDSLOTSRANGE %d %d" % (first, last))
    async with nodes(fragile.url, 1, send_seconds=5.0) as (one,):
        client = await one.connect(user)
        await one.send(0, user)
        await asyncio.to_thread(begin, fragile, slot, source, target)
        await asyncio.to_thread(move_keys, fragile, slot, source, target)
        await asyncio.gather(*(one.send(number, user) for number in range(1, 20)))
        await asyncio.to_thread(end, fragile, slot, target)
        await one.send(20, user)
        await until(lambda: 20 in client.values)

        assert [*range(21)] == client.values
        assert [] == client.gaps


# What is decided without an engine.


def goes(_moving: Moving, _job: Job, _node: tuple[str, int], _now: float, /) -> bool:
    """
    Let every call go at once.
    """
    return True


def asks(engine: Liar, host: str = "127.0.0.1") -> bytes:
    """
    Return how a node says that *engine* is to be asked this once.
    """
    return b"-ASK 7 %b:%d\r\n" % (host.encode(), engine.port)


async def test_a_node_that_does_not_know_its_host() -> None:
    """
    Where no host is named, it is the one that said so.
    """
    async with pair(EXISTS=b"") as (one, two, plane):
        one.answers["EXISTS"] = asks(two, "")

        assert not await plane.bars(ALICE)
        assert [b"ASKING", b"EXISTS"] == [one[0] for one in two.heard if one[0] in (b"ASKING", b"EXISTS")]


@pytest.mark.parametrize("broken", [False, True])
async def test_a_refused_first_call_is_not_overtaken(monkeypatch: pytest.MonkeyPatch, *, broken: bool) -> None:
    """
    While the first call about a key is not done at the new node, no later one is asked there; let go, one overtakes.
    """
    if broken:
        monkeypatch.setattr(Moving, "may_go", goes)
    async with pair(EXISTS=b"", DEL=b"") as (one, two, plane):
        one.answers["EXISTS"] = one.answers["DEL"] = asks(two)
        two.answers["EXISTS"], two.answers["DEL"] = b"-TRYAGAIN not yet\r\n", b":1\r\n"
        calls = [asyncio.create_task(call) for call in (plane.bars(ALICE), plane.lift(ALICE))]
        await until(lambda: [b"EXISTS"] in [command[:1] for command in two.heard])
        await until(lambda: sum(command[0] == b"EXISTS" for command in one.heard) > 1)
        assert broken is any(command[0] == b"DEL" for command in two.heard)
        two.answers["EXISTS"] = b":0\r\n"

        assert [False, True] == await asyncio.gather(*calls)
        heard = [command[0] for command in two.heard if command[0] in (b"ASKING", b"EXISTS", b"DEL")]
        assert [b"ASKING"] * (len(heard) // 2) == heard[::2], "each is asked with ASKING right before"
        assert broken or heard[1::2][-1] == b"DEL"


@pytest.mark.requirement("WS-28")
async def test_whom_to_ask_has_to_be_safe() -> None:
    """
    A node on another machine, or one that is no place, is not asked: the call waits until the slot has come.
    """
    for said in (b"-ASK 7 10.0.0.1:7\r\n", b"-ASK 7 nowhere\r\n", b"-ASK\r\n"):
        async with pair(EXISTS=said) as (one, _, plane):
            barred = asyncio.create_task(plane.bars(ALICE))
            await until(lambda one=one: sum(command[0] == b"EXISTS" for command in one.heard) > 1)  # type: ignore[misc]
            one.answers["EXISTS"] = b":1\r\n"

            assert await barred


async def test_who_may_not_ask_waits() -> None:
    """
    An engine's user without the right to ``ASKING`` waits until the slot has come, on the same connections.
    """
    async with pair(EXISTS=b"") as (one, two, plane):
        one.answers["EXISTS"] = asks(two)
        two.answers["ASKING"] = b"-NOPERM no rights for asking\r\n"
        two.answers["EXISTS"] = b"-MOVED 7 127.0.0.1:%d\r\n" % one.port
        barred = asyncio.create_task(plane.bars(ALICE))
        await until(lambda: sum(command[0] == b"EXISTS" for command in two.heard) > 1)
        one.answers["EXISTS"] = b":1\r\n"

        assert await barred


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ("ASK 7 10.0.0.1:6379", ("10.0.0.1", 6379)),
        ("ASK 7 [::1]:1", ("::1", 1)),
        ("ASK 7 ::1:1", ("::1", 1)),
        ("ASK 7 :9", ("", 9)),
        ("ASK 7 host:0", None),
        ("ASK 7 host:123456", None),
        ("ASK 7 host:x", None),
        ("ASK 7", None),
        ("MOVED 7 host:1", None),
    ],
)
def test_places(said: str, place: tuple[str, int] | None) -> None:
    """
    Only who is named by ``ASK`` is asked this once, and only where it is a place.
    """
    assert place == asked_place(said)


def test_the_first_goes_alone() -> None:
    """
    One call about a key at a time until one is done there; who has gone holds nobody up; coming back begins anew.
    """
    moving, node = Moving(), ("h", 1)
    first, second, other = Note("first"), Note("second"), Note("other")
    first.key = second.key = "k"
    other.key = "o"
    assert [True, False, True] == [moving.may_go(job, node, 0.0) for job in (first, second, other)]
    assert not moving.done(second)
    first.is_gone = True
    assert moving.may_go(second, node, 0.0)
    assert moving.done(second)
    assert not moving.done(second)
    assert moving.may_go(first, node, 0.0)
    moving.came_back(first)
    assert moving.may_go(second, node, 0.0)
    moving.came_back(second)
    assert moving.may_go(first, node, 1.0)
    assert moving.done(first)
    moving.begin_anew()
    assert moving.may_go(second, node, 1.0)
    second.is_gone = False
    assert not moving.may_go(first, node, 1.0)

    assert [True, False, False] == [
        moving.keeps(node, 10.9), moving.keeps(node, 11.0), moving.keeps(("other", 1), 0.0),
    ]  # fmt: skip
