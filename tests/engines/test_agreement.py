"""
Processes that are not set alike are told of it, and go on; an engine whose settings change is noticed.
"""

from __future__ import annotations

import json
from typing import Final

import pytest

from tests.engines.liar import bulk, liar
from tests.engines.nodes import KEY, nodes, until
from tests.engines.running import Engine
from tests.engines.test_opening import ALICE, backplane
from ws_isolation import ManagerFactory, Settings, errors
from ws_isolation.backplanes.base import Noting
from ws_isolation.backplanes.redis import RedisBackplane, link
from ws_isolation.backplanes.redis.agreement import differences, statement
from ws_isolation.backplanes.redis.letters import Letters

OTHER: Final = b"o" * 32
OWN: Final = statement(Settings())


def letters(*keys: bytes) -> Letters:
    """
    Return the post of a process with these keys.
    """
    return Letters("node", keys or (KEY,), 65_536)


def differing(changed: bytes, *keys: bytes) -> tuple[str, ...]:
    """
    Return what a process with the defaults says of one that says *changed*.
    """
    return differences(OWN, [letters(*keys).vouch(changed), letters().vouch(OWN)], letters())


def test_alike() -> None:
    """
    Processes with the same settings say the same, whatever else they are set to; nothing is said of them.
    """
    assert OWN == statement(Settings(heartbeat_seconds=10.0))
    assert () == differing(OWN)
    assert () == differing(statement(Settings(tip_seconds=40)))


def test_another_setting() -> None:
    """
    A setting that differs is named with both values.
    """
    (note,) = differing(statement(Settings(window_events=256)))

    assert "window_events=256" in note
    assert "this one 512" in note


@pytest.mark.requirement("WS-22")
def test_another_key() -> None:
    """
    A process that signs with a key that this one was not given is noted; one that has both keys is not.
    """
    (note,) = differing(OWN, OTHER)
    assert "key" in note

    rolled = Letters("node", (OTHER, KEY), 65_536)
    assert () == differences(OWN, [letters().vouch(OWN), rolled.vouch(OWN)], rolled)


@pytest.mark.requirement("WS-22")
def test_another_version() -> None:
    """
    What a later version says besides is passed over; another wire, or another form, is said. Nothing is refused.
    """
    said = json.loads(OWN)
    later = {**said, "more": 1, "settings": {**said["settings"], "later_seconds": 1}}
    assert () == differing(json.dumps(later).encode())
    assert () == differing(json.dumps({**said, "settings": {}}).encode())
    assert "version 2" in differing(json.dumps({**said, "wire": 2}).encode())[0]
    assert "another form" in differing(b'{"wire":"\xff"}')[0]
    assert "another form" in differing(b"[]")[0]


@pytest.mark.requirement("WS-22")
@pytest.mark.parametrize("forged", [b"", b"x", b"\xff" * 64 + b" {}", b"0" * 2_000])
def test_what_nobody_signed(forged: bytes) -> None:
    """
    What nobody signed is not read, and noted like a process with another key.
    """
    assert "key" in differences(OWN, [forged], letters())[0]


async def test_processes_that_are_not_set_alike(shared_engine: Engine) -> None:
    """
    Each process that comes finds out in what it differs from those that are there: health and self_check say so.
    """
    async with (
        nodes(shared_engine.url, 1, app="agree") as (one,),
        nodes(shared_engine.url, 1, Settings(replay_events=10, event_bytes=2_048), app="agree") as (two,),
        nodes(shared_engine.url, 1, app="agree", keys=(OTHER,)) as (three,),
    ):
        for node in (one, two, three):
            await node.send(1, "alice-agree")
        await until(lambda: len(two.plane.health().notes) == 1 and three.plane.health().notes)
        await one.plane.close()
        await one.send(2, "alice-agree")
        await until(lambda: len(one.plane.health().notes) == 2)

        assert "event_bytes=65536" in two.plane.health().notes[0]
        assert two.plane.health().notes == two.factory.self_check().notes
        assert any("key" in note for note in one.plane.notes())
        assert two.factory.self_check().ok


async def test_nothing_is_noted_unused() -> None:
    """
    A backplane that was not used yet has nothing to say, and can be asked.
    """
    plane = RedisBackplane("redis://127.0.0.1:1", keys=(KEY,))

    assert isinstance(plane, Noting)
    assert () == plane.notes() == ManagerFactory(backplane=plane).self_check().notes


async def test_it_is_said_once_and_taken_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A difference is logged when it is found and when it is gone, not with each look.
    """
    monkeypatch.setattr(link, "_BEAT_SECONDS", 0.01)
    monkeypatch.setattr(link, "_LOOK_BEATS", 2)
    said = letters().vouch(statement(Settings(tip_seconds=10))).decode()
    async with liar(EXISTS=b":0\r\n") as engine, backplane(engine) as plane:
        engine.agreed = b"*1\r\n" + bulk(said)
        await plane.bars(ALICE)
        await until(plane.notes)
        engine.agreed = b"+what\r\n"
        await until(lambda: not plane.notes())
        looks = [command for command in engine.heard if command[0] == b"CONFIG"]

    assert len(looks) > 2
    logged = [record.getMessage() for record in caplog.records if "set alike" in record.getMessage()]
    assert 2 == len(logged)
    assert "tip_seconds=10" in logged[0]
    assert "again" in logged[1]


@pytest.mark.requirement("P3", "WS-10")
async def test_a_policy_that_is_changed_at_run_time(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An engine that is told to evict is found out at the next look and not used until it is set back.
    """
    monkeypatch.setattr(link, "_BEAT_SECONDS", 0.05)
    monkeypatch.setattr(link, "_LOOK_BEATS", 2)
    async with nodes(engine.url, 1, send_seconds=0.5) as (node,):
        client = await node.connect()
        await node.send(1)
        engine.ask(b"CONFIG SET maxmemory-policy allkeys-lru")
        await until(lambda: "noeviction" in node.plane.health().problem, "nobody noticed")
        with pytest.raises(errors.EngineTimeoutError):
            await node.send(2)
        engine.ask(b"CONFIG SET maxmemory-policy noeviction")
        await until(lambda: node.plane.health().is_up)
        await node.send(3)
        await until(lambda: 3 in client.values)

        assert [1, 3] == client.values
        assert client.session.is_open
