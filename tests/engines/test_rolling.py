"""
Two versions on one engine, as while a release is rolled out: both read each other, and nothing is lost.
"""

from __future__ import annotations

import asyncio
import logging

import pytest
from typing_extensions import override

from tests.engines.nodes import Node, nodes, until
from tests.engines.running import Engine
from ws_isolation.backplanes.redis import backplane
from ws_isolation.backplanes.redis.letters import Letters, Signal
from ws_isolation.backplanes.redis.scripts import Script
from ws_isolation.ids import new_uuid7
from ws_isolation.keys import Identity
from ws_isolation.stream import Cursor

READABLE = '{"v":2,"r":1,"later":{"said":[1]},'
"""How the next version begins what it writes, where this one is to read it."""
CLOSED = '{"v":2,"r":2,"later":{"said":[1]},'
"""And where it is not."""


class Later(Letters):  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]  # what the next release may write
    """
    Writes the next version.
    """

    __slots__ = ()
    start = READABLE

    def __init__(self, node: str, keys: tuple[bytes, ...], event_bytes: int) -> None:
        super().__init__(node, keys, event_bytes)
        self.own = self.own.replace(b'{"v":1,', self.start.encode())

    @override
    def say(self, stream: Identity, signal: Signal, /) -> bytes:
        return super().say(stream, signal).replace(b'{"v":1,', self.start.encode())


class Closed(Later):  # type: ignore[misc]  # as above
    """
    Writes a next version that this one cannot read.
    """

    __slots__ = ()
    start = CLOSED


async def upgrade(node: Node, monkeypatch: pytest.MonkeyPatch, kind: type[Later] = Later) -> None:
    """
    Let *node*, which was not used yet, write the next version: events, signals, records, and the top of its streams.
    """
    text = node.plane._publish.text.replace('{"v":1,', kind.start)
    text = text.replace("' ' .. due, 'EX'", "' ' .. due .. ' later', 'EX'").replace(
        "prev .. '\"}", 'prev .. \'","x":1}'
    )
    assert text.count(kind.start) == text.count("' later'") == text.count('"x":1') == 1
    node.plane._publish = Script(text)
    with monkeypatch.context() as patch:
        patch.setattr(backplane, "Letters", kind)
        await node.plane.read(Identity(None, "nobody"), None)


@pytest.mark.scenario("S22")
@pytest.mark.requirement("P3")
async def test_a_rolling_restart(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Old and new nodes send in turn, an old one is replaced, its client resumes on the new one: all came, in one order.
    """
    async with nodes(engine.url) as (old, new):
        await upgrade(new, monkeypatch)
        clients = [await node.connect() for node in (old, new)]
        for number in range(0, 40, 2):
            await asyncio.gather(old.send(number), new.send(number + 1))
        await until(lambda: all(len(client.values) == 40 for client in clients))
        assert clients[0].values == clients[1].values
        seen = [frame for frame in clients[0].transport.frames if "seq" in frame][-1]
        epoch = clients[0].transport.frames[0]["cursor"]["epoch"]
        await old.factory.stop()
        await new.send("while it restarts")

        async with nodes(engine.url, 1) as (third,):
            await upgrade(third, monkeypatch)
            resumed = await third.connect("alice", Cursor(epoch, seen["seq"], seen["id"]))
            await new.send("after")
            await until(lambda: "after" in resumed.values and "after" in clients[1].values)

            assert ["while it restarts", "after"] == resumed.values
            assert sorted(clients[0].values) == [*range(40)]
            assert [[], [], []] == [client.gaps for client in (*clients, resumed)]
            assert [0, 0, 0] == [node.plane.health().refused for node in (old, new, third)]


@pytest.mark.scenario("S22")
@pytest.mark.requirement("P3", "WS-10")
async def test_an_old_node_after_a_new_one(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A release that is taken back: the old version reads what the new one left, records of revocations as well.
    """
    user = f"alice-{new_uuid7()}"
    async with nodes(engine.url) as (old, new):
        await upgrade(new, monkeypatch)
        for number in range(5):
            await new.send(number, user)
        client = await old.connect(user, "window")
        await old.send(5, user)
        await until(lambda: len(client.values) == 6)
        assert [*range(6)] == client.values
        assert [] == client.gaps

        await new.factory.revoke(Identity(None, user))
        await until(lambda: client.transport.closed)
        assert (4010, "revoked") == client.transport.closed
        assert await old.plane.bars(Identity(None, user))
        await until(lambda: old.plane._link is not None and not old.plane._link.waiting)
        assert 0 == old.plane.health().refused


@pytest.mark.requirement("P3", "WS-22")
async def test_what_cannot_be_read_is_counted_and_a_gap(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A next version that leaves ours out is dropped, counted and logged, and the client is told of a gap: no silent loss.
    """
    async with nodes(engine.url) as (old, new):
        await upgrade(new, monkeypatch, Closed)
        client = await old.connect()
        with caplog.at_level(logging.ERROR, "ws_isolation"):
            await new.send("unreadable")
            await old.send("readable")
            await until(lambda: client.gaps or "readable" in client.values)
        await old.send("later")
        await until(lambda: "later" in client.values)

        assert client.gaps
        assert "unreadable" not in client.values
        assert old.plane.health().refused
        assert "security: refused what stood on the bus" in caplog.text
        assert "another version" in caplog.text
