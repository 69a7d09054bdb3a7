"""
Limits on nodes that share an engine: hard, by leases, and nobody is cut by a guess.
"""

from __future__ import annotations

import asyncio

import attrs
import pytest

from tests.backplanes.shared import Node, SharedEngine, nodes
from tests.backplanes.test_joining import Engine
from tests.shell import Bench, until_over
from ws_isolation import IsolatedManager, ManagerFactory, Settings, errors
from ws_isolation.backplanes.base import Lease
from ws_isolation.keys import Identity, identity_of
from ws_isolation.leases import Leases
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.testing.clock import settle
from ws_isolation.wire import DEFAULT_WIRE

ALICE = Identity(None, "alice")
TWO = Settings(sessions_per_identity=2)
REPLACE = Settings(sessions_per_identity=2, session_limit="replace_oldest")


async def ids(node: Node, user: str = "alice") -> list[str]:
    """
    Return the connection ids of *user*, as *node* is told them.
    """
    return [lease.connection_id for lease in await node.factory.presence(make_context(user))]


async def stop(*some: Node) -> None:
    """
    Stop all of them.
    """
    for node in some:
        await node.stop()


@pytest.mark.scenario("S20")
@pytest.mark.requirement("P5")
async def test_the_limit_holds_for_all_nodes() -> None:
    """The next one is refused with 4029 on whatever node it knocks; a place that is given back is free everywhere."""
    engine, (a, b) = nodes(settings=TWO)
    inside = [await a.visit(), await b.visit()]
    refused = [(await node.visit()).code for node in (a, b)]
    other = await a.visit("bob")
    since = [lease.since for lease in await a.factory.presence(ALICE)]
    assert [visit.session.connection_id for visit in inside] == await ids(a) == await ids(b)
    inside[0].session.close()
    await settle()
    again = await b.visit()

    assert [4029, 4029] == refused
    assert [1_700_000_000.0] * 2 == since
    assert (None, None) == (other.code, again.code)
    assert inside[1].session.is_open
    await stop(a, b)
    assert () == await engine.present(ALICE)


@pytest.mark.scenario("S20", "S23")
@pytest.mark.requirement("P5", "WS-12")
async def test_the_last_place_is_given_once() -> None:
    """Of ten that come at once on two nodes of a slow engine, two are let in, and the others get 4029."""
    engine, (a, b) = nodes(settings=TWO)
    held = engine.hold("enter")
    visits = [await node.visit() for _ in range(5) for node in (a, b)]
    held.set()
    await settle()

    assert [None] * 2 + [4029] * 8 == sorted((visit.code for visit in visits), key=lambda code: code or 0)
    assert 2 == len(await ids(a)) == len(a.factory._runtime.sessions) + len(b.factory._runtime.sessions)
    await stop(a, b)


@pytest.mark.scenario("S20", "S23")
@pytest.mark.requirement("P5")
@pytest.mark.parametrize("announced", [True, False])
async def test_the_oldest_goes_wherever_it_is(*, announced: bool) -> None:
    """The engine names the oldest and its node ends it with 4009: when it hears of it, else when it renews."""
    engine, (a, b) = nodes(settings=REPLACE)
    oldest, bob = await b.visit(), await b.visit("bob")
    await engine.clock.advance(1)
    second = await a.visit()
    engine.deaf = not announced
    newest = await a.visit()
    if not announced:
        assert oldest.session.is_open
        await engine.clock.advance(REPLACE.lease_seconds / 3)

    assert (4009, None, None, None) == (oldest.code, second.code, newest.code, bob.code)
    assert [second.session.connection_id, newest.session.connection_id] == await ids(b)
    await stop(a, b)


@pytest.mark.requirement("P5")
async def test_what_is_not_here_is_not_ended() -> None:
    """An announcement names a connection of its own identity, or nobody is ended."""
    _, (a, b) = nodes()
    alice, bob = await a.visit(), await a.visit("bob")
    live = a.factory._runtime.streams.find(ALICE)
    assert live is not None
    for connection_id in (bob.session.connection_id, "nobody"):
        live.replaced(connection_id)
    await settle()
    plain = Bench.new()
    served = await plain.serve()
    there = plain.factory._runtime.streams.find(ALICE)
    assert there is not None
    there.replaced(served.session.connection_id)  # nobody counts for that factory

    assert (True, True) == (alice.session.is_open, bob.session.is_open)
    assert served.session.is_open
    await stop(a, b)


@pytest.mark.scenario("S20")
@pytest.mark.requirement("P5")
async def test_replaced_on_its_way_in() -> None:
    """One whose place is taken before it has its session gets 4009 and no session."""
    engine, (a, b) = nodes(settings=attrs.evolve(REPLACE, sessions_per_identity=1))
    held = engine.hold("read")
    first = await a.visit()
    await engine.clock.advance(0.5)
    engine.held.clear()
    second = await b.visit()
    held.set()
    await settle()

    assert (4009, None) == (first.code, second.code)
    assert [second.session.connection_id] == await ids(a)
    await stop(a, b)


@pytest.mark.scenario("S20")
@pytest.mark.requirement("P5")
async def test_replaced_before_the_engine_has_answered() -> None:
    """One whose place is taken again while the answer is on its way gets 4009; another user's id is no key."""
    engine, (a, b) = nodes(settings=attrs.evolve(REPLACE, sessions_per_identity=1))
    there = await a.visit()  # so that node hears of what is announced
    await engine.clock.advance(1)
    slow = engine.slow["enter"] = asyncio.Event()
    coming = await a.visit()
    await engine.clock.advance(1)
    engine.slow.clear()
    newest = await b.visit()
    places = a.factory._runtime.places
    assert places is not None
    for connection_id in tuple(places._coming):
        places.lose(Identity(None, "bob"), connection_id)
    slow.set()
    await settle()

    assert [4009, 4009, None] == [visit.code for visit in (there, coming, newest)]
    assert [newest.session.connection_id] == await ids(a)
    await stop(a, b)


@pytest.mark.requirement("P5")
async def test_a_renewal_lets_nobody_in() -> None:
    """One that waits for the engine's answer is not renewed: it would take a place that nobody gave it."""
    engine, (a,) = nodes(1, settings=attrs.evolve(TWO, sessions_per_identity=1))
    inside = await a.visit()
    held = engine.hold("enter")
    coming = await a.visit()
    await engine.clock.advance(TWO.lease_seconds / 3)
    assert ([1], [inside.session.connection_id]) == (engine.renewals, await ids(a))
    held.set()
    await settle()

    assert 4029 == coming.code
    assert [inside.session.connection_id] == await ids(a)
    await stop(a)


@pytest.mark.requirement("P5")
async def test_a_node_that_died() -> None:
    """Its places come back when their leases end, and not before; those of a living node are renewed for good."""
    engine, (a, dead) = nodes(settings=TWO)
    lives, gone = await a.visit(), await dead.visit()
    dead.factory._runtime._clockwork.stop()  # from here it renews nothing
    await engine.clock.advance(TWO.lease_seconds - 1)
    before = (await a.visit()).code
    await engine.clock.advance(2)
    after = (await a.visit()).code
    await engine.clock.advance(10 * TWO.lease_seconds)

    assert (4029, None) == (before, after)
    assert lives.session.connection_id in await ids(a)
    assert gone.session.is_open
    await stop(a, dead)


@pytest.mark.requirement("P5")
async def test_a_slow_node_is_not_cut() -> None:
    """Leases that ended while renewals failed are taken again, above the limit as well; nobody is ended for it."""
    engine, (a, b) = nodes(settings=TWO)
    slow = [await a.visit(), await a.visit()]
    engine.failing = {"renew"}
    await engine.clock.advance(2 * TWO.lease_seconds)
    assert [] == await ids(b)
    others = [await b.visit(), await b.visit()]
    engine.failing = set()
    await engine.clock.advance(TWO.lease_seconds / 3)

    assert [None] * 4 == [visit.code for visit in (*slow, *others)]
    assert 4 == len(await ids(b))
    assert 4029 == (await b.visit()).code
    await stop(a, b)


@pytest.mark.requirement("P5")
async def test_one_renewal_for_a_node() -> None:
    """A node renews all its leases together, a thousand at once, none that left, and nothing when nobody is there."""
    engine, (a,) = nodes(1)
    visits = [await a.visit(f"user-{number}") for number in range(5)]
    await engine.clock.advance(Settings().lease_seconds / 3)
    assert [5] == engine.renewals
    places = a.factory._runtime.places
    assert places is not None
    for number in range(1_500):
        await places.take(ALICE, f"connection-{number}", is_limited=False)
    engine.renewals.clear()
    await engine.clock.advance(Settings().lease_seconds / 3)
    for number in range(1_500):
        places.give_back(f"connection-{number}")
    assert [1_000, 505] == engine.renewals

    held = engine.hold("renew")
    await engine.clock.advance(Settings().lease_seconds / 3)
    visits[0].session.close()
    await settle()
    held.set()
    await settle()
    assert [] == await ids(a, "user-0")
    for visit in visits[1:]:
        visit.session.close()
    await engine.clock.advance(Settings().lease_seconds)
    engine.renewals.clear()
    await engine.clock.advance(10 * Settings().lease_seconds)
    assert ([], 0) == (engine.renewals, len(places))
    await stop(a)


@pytest.mark.requirement("P5", "I11")
@pytest.mark.parametrize("call", ["enter", "read"])
async def test_cut_on_its_way_in(call: str) -> None:
    """A client that is cut while it comes in leaves no lease behind, whether the engine had given it or not."""
    engine, (a,) = nodes(1)
    for waiting in (engine.held, engine.slow):
        waiting[call] = asyncio.Event()
        coming = await a.visit()
        coming.task.cancel()
        await asyncio.wait({coming.task}, timeout=1)
        waiting.clear()
        a.visits.remove(coming)
        assert [] == await ids(a)
    await stop(a)


@pytest.mark.requirement("P5")
async def test_no_lease_without_a_session() -> None:
    """A session that cannot be opened gives its place back, and so does one that a drain overtakes."""

    def fails(_manager: IsolatedManager) -> IsolatedManager:
        raise LookupError

    engine, (a,) = nodes(1)
    a.factory._wrapper = fails
    assert 4300 == (await a.visit()).code
    a.factory._wrapper = None
    engine.failing = {"read"}
    assert 4302 == (await a.visit()).code
    engine.failing = set()
    held = engine.hold("enter")
    coming = await a.visit()
    stopping = asyncio.create_task(a.factory.drain())
    await settle()
    held.set()
    await settle()
    await stopping

    assert 4200 == coming.code
    assert [] == await ids(a)
    await stop(a)


@pytest.mark.requirement("P5")
async def test_no_lease_after_the_stop() -> None:
    """One whose place is given once its factory has stopped gets no session, and no lease stays or is renewed."""
    engine, (a,) = nodes(1)
    slow = engine.slow["enter"] = asyncio.Event()
    coming = await a.visit()
    stopping = asyncio.create_task(a.factory.stop())
    await settle()
    await engine.clock.advance(30)
    await stopping
    slow.set()
    await coming.task

    assert 4300 == coming.code
    assert () == await engine.present(ALICE)
    await engine.clock.advance(100)
    assert [] == engine.renewals


@pytest.mark.requirement("P5")
async def test_no_lease_for_a_socket_that_was_too_late() -> None:
    """Revoked in whatever turn of the loop in which the engine's answer comes, a socket of one's own keeps no lease."""
    for turns in range(12):
        engine, (a,) = nodes(1)
        slow = engine.slow["enter"] = asyncio.Event()

        async def attached(node: Node) -> None:
            async with node.factory.attach(make_context(), RecordingTransport()) as session:
                await until_over(session)

        attaching = asyncio.create_task(attached(a))
        await settle()
        slow.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        await a.factory.revoke(ALICE)
        await attaching

        assert (0, ()) == (len(a.factory._runtime.places or ()), await engine.present(ALICE))
        await stop(a)


@pytest.mark.requirement("P5")
async def test_a_socket_of_one_s_own_counts() -> None:
    """``attach()`` is held back by no limit, and counts for it while it lasts."""
    _, (a, b) = nodes(settings=attrs.evolve(TWO, sessions_per_identity=1))
    async with (
        a.factory.attach(make_context(), RecordingTransport()) as one,
        a.factory.attach(make_context(), RecordingTransport()) as two,
    ):
        there = await ids(b)
        assert {one.connection_id, two.connection_id} == set(there)
        assert 4029 == (await b.visit()).code

    assert (await b.visit()).code is None
    await stop(a, b)


@pytest.mark.requirement("P5", "WS-30")
async def test_an_engine_that_does_not_say() -> None:
    """Who is there is not guessed: an engine that fails makes presence() raise."""
    engine, (a,) = nodes(1)
    engine.failing = {"present"}
    with pytest.raises(errors.EngineUnavailableError, match=r"present\(\): nothing was changed"):
        await a.factory.presence(ALICE)


async def test_presence_of_one_process() -> None:
    """Without a backplane that counts, presence() knows this process's sessions; of others nothing is said."""
    bench = Bench.new()
    first = await bench.serve()
    await bench.clock.advance(5)
    second, _bob = await bench.serve(), await bench.serve(user="bob")
    there = await bench.factory.presence(make_context())

    assert [(first.session.connection_id, 0), (second.session.connection_id, 5)] == [
        (lease.connection_id, lease.since - 1_700_000_000) for lease in there
    ]
    assert () == await bench.factory.presence(Identity("tenant", "alice"))


async def test_what_an_engine_lacks_is_said() -> None:
    """self_check() notes in words what holds for the process alone, and is no problem; such an engine still works."""
    lacking = ManagerFactory(clock=(clock := FakeClock()), backplane=Engine()).self_check()
    assert lacking.ok
    assert ["Engine keeps no revocations", "Engine counts no sessions"] == [
        " ".join(note.rsplit(".", 1)[1].split(":")[0].split()) for note in lacking.notes
    ]
    assert () == ManagerFactory(clock=clock).self_check().notes
    assert () == ManagerFactory(clock=clock, backplane=SharedEngine(clock)).self_check().notes
    factory = ManagerFactory(TWO, clock=clock, backplane=Engine())
    session = await factory.open_session(
        make_context(), RecordingTransport(), wire=DEFAULT_WIRE, start=None, handshake=None
    )
    assert 1 == await factory.revoke(make_context())
    await session.leave()
    assert await factory.bars(identity_of(make_context()))


def test_who_lost_a_lease_is_remembered_for_a_while() -> None:
    """A lease that was taken cannot be renewed for as long as it would have held; then nothing is kept of it."""
    leases = Leases()
    first, second = (Lease(ALICE, name, 0.0) for name in ("first", "second"))
    leases.enter(first, most=1, replace=True, now=0.0, seconds=10.0)
    assert ("first",) == leases.enter(second, most=1, replace=True, now=5.0, seconds=10.0)
    assert not leases.renew(first, now=14.9, seconds=10.0)
    assert (second,) == leases.present(14.9)
    leases.leave("second", 14.9)
    assert 1 == len(leases)
    assert () == leases.present(15.0)

    assert 0 == len(leases)
