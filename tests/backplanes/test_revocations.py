"""
Revocations on nodes that share an engine: at once, everywhere, and never by a message alone.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

import pytest

from tests.backplanes.shared import SharedEngine, nodes
from tests.openings import MemoryOpening
from tests.shell import Bench, note
from ws_isolation import Settings, closing, errors
from ws_isolation.keys import Identity
from ws_isolation.testing import RecordingTransport, make_context
from ws_isolation.testing.clock import settle

ALICE = Identity(None, "alice")


@pytest.mark.scenario("S37")
@pytest.mark.requirement("WS-10", "I13")
async def test_on_every_node() -> None:
    """Revoked on one node, sessions end on the other with 4010, and neither lets the user in until it is lifted."""
    _, (a, b) = nodes()
    there, bob = await b.visit(), await b.visit("bob")
    told = await a.factory.revoke(ALICE, until=a.factory.utc_now() + timedelta(seconds=60))
    await settle()
    await a.factory.create_manager(make_context()).send(note("canary"))
    codes = [(await node.visit()).code for node in (a, b)]
    assert await b.factory.bars(ALICE)
    assert await b.factory.lift(ALICE)
    back = [await node.visit() for node in (a, b)]

    assert (0, 4010, None) == (told, there.code, bob.code)
    assert [] == there.socket.events
    assert [4010, 4010] == codes
    assert [None, None] == [visit.code for visit in back]
    assert not await a.factory.lift(ALICE)
    for node in (a, b):
        await node.stop()


@pytest.mark.requirement("WS-10")
async def test_an_announcement_that_was_lost() -> None:
    """A node that did not hear of it finds the record when it looks at the tip, or hears that it was away."""
    for look in ("tip", "interrupted"):
        engine, (a, b) = nodes()
        there, bob = await b.visit(), await b.visit("bob")
        engine.deaf = True
        await a.factory.revoke(ALICE)
        await settle()
        assert there.session.is_open
        if look == "tip":
            await engine.clock.advance(Settings().tip_seconds * 1.25)
        else:
            engine.interrupt()
            await settle()

        assert (4010, True) == (there.code, bob.session.is_open)
        for node in (a, b):
            await node.stop()


@pytest.mark.requirement("WS-10")
async def test_an_announcement_is_only_a_hint() -> None:
    """One that comes after the record was lifted, or without one, ends nobody."""
    engine, (a, b) = nodes()
    there = await b.visit()
    held = engine.hold("bars")
    await a.factory.revoke(ALICE)
    await a.factory.lift(ALICE)
    held.set()
    await settle()

    assert there.session.is_open
    for node in (a, b):
        await node.stop()


@pytest.mark.requirement("WS-10", "WS-30")
async def test_first_step() -> None:
    """Whatever the engine does, sessions here are over and the way back is shut before revoke() waits for it."""
    engine, (a, b) = nodes()
    here, there = await a.visit(), await b.visit()
    work = here.session.spawn(asyncio.Event().wait())
    held = engine.hold("revoke")
    revoking = asyncio.create_task(a.factory.revoke(ALICE))
    await asyncio.sleep(0)
    at_once = (here.session.code, a.factory.bars_here(make_context()))
    await settle()
    assert (closing.REVOKED, True) == at_once
    assert work.cancelled()
    assert (4010, None) == ((await a.visit()).code, there.code)
    assert await a.factory.bars(ALICE)
    held.set()
    assert 1 == await revoking
    await settle()

    assert 4010 == there.code
    for node in (a, b):
        await node.stop()


@pytest.mark.requirement("WS-10", "WS-30")
async def test_a_record_that_cannot_be_written() -> None:
    """An engine that fails makes revoke() say what holds: this node bars, others need not; again, it is written."""
    engine, (a, b) = nodes()
    here, there = await a.visit(), await b.visit()
    engine.failing = {"revoke", "lift"}
    with pytest.raises(errors.EngineUnavailableError, match=r"revoke\(\).*barred here, not on others.*again") as caught:
        await a.factory.revoke(ALICE)
    with pytest.raises(errors.EngineUnavailableError, match=r"lift\(\): the identity may be revoked or not"):
        await a.factory.lift(ALICE)
    await settle()
    assert (4010, None) == (here.code, there.code)
    assert "canary" not in str(caught.value)
    assert [4010, None] == [(await node.visit()).code for node in (a, b)]
    engine.failing.clear()
    await a.factory.revoke(ALICE)
    await settle()

    assert 4010 == there.code
    assert await b.factory.lift(ALICE)
    assert (await a.visit()).code is None
    for node in (a, b):
        await node.stop()


@pytest.mark.requirement("WS-10")
async def test_from_inside() -> None:
    """Called in the identity's own run or work, the record is written before the caller is left or cancelled."""
    engine, (a, b) = nodes()
    here, there = await a.visit(), await b.visit()
    held = engine.hold("revoke")

    async def in_a_run() -> None:
        async with here.session.manager.run("assistant"):
            await a.factory.revoke(ALICE)

    running = asyncio.create_task(in_a_run())
    await settle()
    assert not running.done()
    held.set()
    await running
    assert await b.factory.bars(ALICE)
    assert await b.factory.lift(ALICE)
    again = await a.visit()

    async def revoke() -> None:
        await a.factory.revoke(ALICE)

    held.clear()
    work = again.session.spawn(revoke())
    await settle()
    assert not work.done()
    held.set()
    await settle()

    assert (True, True) == (work.cancelled(), await b.factory.bars(ALICE))
    assert 4010 == there.code
    for node in (a, b):
        await node.stop()


async def _delay(engine: SharedEngine, until: asyncio.Event) -> None:
    engine.slow["bars"] = until


@pytest.mark.requirement("WS-10", "WS-30")
@pytest.mark.parametrize("on", ["this node", "the other"])
async def test_while_somebody_comes_in(on: str) -> None:
    """Revoked while the engine's answer is on its way, a client is told 4010 wherever it was, and gets no event."""
    for call in ("bars", "bars again", "enter", "read"):
        engine, (a, b) = nodes()
        slow = asyncio.Event()
        opening = MemoryOpening()
        if call == "read":
            engine.held[call] = slow
        elif call == "bars again":
            opening.before_accept = partial(_delay, engine, slow)
        else:
            engine.slow[call] = slow
        coming = await a.visit(opening=opening)
        assert not coming.task.done()
        await (a if on == "this node" else b).factory.revoke(ALICE)
        slow.set()
        await settle()
        await b.factory.create_manager(make_context()).send(note("canary"))
        await settle()

        assert (4010, []) == (coming.code, coming.socket.events), call
        for node in (a, b):
            await node.stop()


@pytest.mark.requirement("WS-10", "WS-30")
async def test_an_older_answer_is_not_a_newer_one() -> None:
    """Revoked here while the engine's no is on its way, or while its record is being written, bars() says yes."""
    for written in (True, False):
        engine, (a,) = nodes(1)
        slow = engine.slow["bars"] = asyncio.Event()
        asking = asyncio.create_task(a.factory.bars(ALICE))
        await settle()
        held = engine.hold("revoke")
        revoking = asyncio.create_task(a.factory.revoke(ALICE))
        await settle()
        if written:
            held.set()
            await revoking
        slow.set()

        assert (True, True) == (await asking, a.factory.bars_here(make_context()))
        held.set()
        await revoking


@pytest.mark.requirement("WS-10")
async def test_a_shorter_record_does_not_end_a_longer_one() -> None:
    """What could not be written bars here for as long as was said, also after a shorter record was written."""
    engine, (a,) = nodes(1)
    engine.failing = {"revoke"}
    with pytest.raises(errors.EngineUnavailableError):
        await a.factory.revoke(ALICE)
    engine.failing = set()
    await a.factory.revoke(ALICE, until=a.factory.utc_now() + timedelta(seconds=100))
    await engine.clock.advance(200)

    assert not await engine.bars(ALICE)
    assert await a.factory.bars(ALICE)
    assert await a.factory.lift(ALICE)
    assert not await a.factory.bars(ALICE)


@pytest.mark.requirement("WS-10")
async def test_lifted_elsewhere_is_lifted_here() -> None:
    """What this node noted of a record does not outlive the record, and a note is not for another identity."""
    _, (a, b) = nodes()
    await a.factory.revoke(ALICE)
    await b.factory.lift(ALICE)

    assert a.factory.bars_here(make_context())
    assert not a.factory.bars_here(make_context("bob"))
    assert not await a.factory.bars(ALICE)
    assert not a.factory.bars_here(make_context())


@pytest.mark.requirement("WS-30")
async def test_an_engine_that_does_not_answer_lets_nobody_in() -> None:
    """Down or hanging, at authentication or later, the client gets 4302 or 4304; open sessions stay, and no seat."""
    settings = Settings(engine_seconds=0.1)
    engine, (a,) = nodes(1, settings)
    open_before = await a.visit()
    for call in ("bars", "enter"):
        engine.failing = {call}
        assert 4302 == (await a.visit()).code
        engine.failing = set()
        engine.hold(call)
        hanging = await a.visit()
        await asyncio.wait({hanging.task}, timeout=5)
        assert 4304 == hanging.code
        engine.held.clear()
    engine.failing = {"bars"}
    with pytest.raises(errors.EngineUnavailableError, match=r"bars\(\).*nobody is let in"):
        await a.factory.bars(ALICE)
    await engine.clock.advance(60)
    engine.failing = set()

    assert open_before.session.is_open
    assert 1 == len(await a.factory.presence(make_context()))
    assert (await a.visit()).code is None
    await a.stop()


@pytest.mark.requirement("WS-30")
async def test_down_after_the_accept() -> None:
    """An engine that fails between authentication and seat closes the accepted socket with 4302."""
    engine, (a,) = nodes(1)

    async def fails() -> None:
        engine.failing = {"bars"}

    coming = await a.visit(opening=MemoryOpening(before_accept=fails))

    assert 4302 == coming.code
    assert () == await a.factory.presence(ALICE)
    await a.stop()


@pytest.mark.requirement("WS-10", "WS-30")
async def test_refresh_while_the_engine_is_down() -> None:
    """A refresh that cannot be checked ends the session with 4302: it comes back, and is checked then."""
    engine, (a,) = nodes(1)
    there = await a.visit()
    engine.failing = {"bars"}
    there.socket.client_sends({"type": "ws.refresh", "credential": "new"})
    await settle()

    assert 4302 == there.code
    await a.stop()


@pytest.mark.requirement("WS-10")
async def test_a_socket_of_one_s_own() -> None:
    """``attach()`` of an identity that another node revoked ends with 4010, and nothing that is sent reaches it."""
    _, (a, b) = nodes()
    socket = RecordingTransport()
    await b.factory.revoke(ALICE)
    async with a.factory.attach(make_context(), socket) as session:
        await session.manager.send(note("canary"))
        await settle()

    assert (4010, []) == (socket.closed and socket.closed[0], socket.events)
    for node in (a, b):
        await node.stop()


@pytest.mark.requirement("WS-10")
async def test_no_room_here_is_no_reason() -> None:
    """Where an engine keeps the records, this node needs no room for one; an engine without room says so."""
    engine, (a,) = nodes(1, Settings(revocations=1))
    engine.failing = {"revoke"}
    for user in ("bob", "alice"):
        with pytest.raises(errors.EngineUnavailableError):
            await a.factory.revoke(Identity(None, user))
    assert a.factory.bars_here(make_context())
    engine.failing = set()
    await a.factory.revoke(ALICE)
    assert await a.factory.bars(ALICE)
    engine.inner._revocations._most = 1
    with pytest.raises(errors.InvalidStateError, match="1 revocations already"):
        await a.factory.revoke(Identity(None, "carol"))


async def test_notes_are_bounded() -> None:
    """Notes of records that nobody asked about again are forgotten in time."""
    engine, (a,) = nodes(1)
    for _ in range(3):
        for number in range(600):
            await a.factory.revoke(Identity(None, f"user-{number}-{engine.clock.monotonic()}"))
        await engine.clock.advance(61)

    assert len(a.factory._runtime.access._notes) <= 1_001
    await a.stop()


@pytest.mark.requirement("WS-10")
async def test_no_room_in_one_process() -> None:
    """Without an engine and without room, sessions end, and the error says that the user may come back."""
    bench = Bench.new(Settings(revocations=1))
    served = await bench.serve()
    await bench.factory.revoke(Identity(None, "bob"))
    with pytest.raises(errors.InvalidStateError, match="1 revocations already"):
        await bench.factory.revoke(ALICE)
    await served.over()

    assert served.ended_with(4010)
    assert not await bench.factory.bars(ALICE)
