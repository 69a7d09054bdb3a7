"""
The measurements across two nodes: what is read of an engine and of a welcome, and who takes part.
"""

from __future__ import annotations

import asyncio
import threading

import pytest

from bench.across import cursor_of
from bench.engine import Sampler, binary, figures
from bench.peers import ACROSS_BASE, PEERS
from bench.server import CROWD, Emitter
from bench.table import report


class Counted:
    """
    An engine that does 100 commands between two looks, and says when it was looked at three times.
    """

    def __init__(self) -> None:
        self.looks = 0
        self.looked = threading.Event()

    def usage(self) -> dict[str, float]:
        """
        Return the count.
        """
        self.looks += 1
        if self.looks == 3:
            self.looked.set()
        return {"commands": 100.0 * self.looks}


class Kept:
    """
    A peer that keeps what it was to emit, and gives way to others in between.
    """

    def __init__(self) -> None:
        self.emitted: list[tuple[str, int]] = []

    async def serve(self, _listener: object, /) -> None:
        """
        Serve nobody.
        """

    async def emit(self, user: str, n: int, _size: int, /) -> None:
        """
        Keep it.
        """
        await asyncio.sleep(0)
        self.emitted.append((user, n))


def test_figures_of_an_engine() -> None:
    """
    Lines with a value are read, headings and empty lines are not.
    """
    found = figures(b"# CPU\r\nused_cpu_sys:0.25\r\nused_cpu_user:1.5\r\n\r\n")

    assert {"used_cpu_sys": "0.25", "used_cpu_user": "1.5"} == found


def test_peak_is_seen_while_it_lasts() -> None:
    """
    The most commands between two looks are kept, and nobody looks any more once the measurement is over.
    """
    engine = Counted()

    with Sampler(engine, 0.001) as sampler:
        assert engine.looked.wait(10)
    looks = engine.looks

    assert 0 < sampler.peak <= 100.0
    assert looks == engine.looks


def test_cursor_of_a_welcome() -> None:
    """
    A client comes back with the place of its welcome; any other frame is an error, not a beginning.
    """
    assert "e.7.i" == cursor_of(b'{"type":"ws.welcome","cursor":{"epoch":"e","seq":7,"id":"i"}}')
    with pytest.raises(ValueError, match="first frame"):
        cursor_of(b'{"type":"ws.closing"}')


@pytest.mark.parametrize("users", [1, CROWD + 1])
async def test_crowd_emits_all_of_each_user_in_order(users: int) -> None:
    """
    Every user gets as many events as asked for, each user's one after the other.
    """
    peer = Kept()
    emitter = Emitter(peer)

    await emitter.crowd(users=users, each=3)

    assert users == len(emitter.counts)
    for name in emitter.counts:
        assert [0, 1, 2] == [n for user, n in peer.emitted if user == name]


def test_peers_with_an_engine_are_measured_nowhere_else() -> None:
    """
    Who needs an engine has no part in the measurements of one process, and their base needs one too.
    """
    needing = [entry for entry in PEERS.values() if entry.engine]

    assert PEERS[ACROSS_BASE] in needing
    assert not any(entry.sockets or entry.null or entry.app for entry in needing)


def test_engine_is_found_or_there_is_none() -> None:
    """
    The path of a server, where one is installed, is that of a file with a server's name.
    """
    found = binary()

    assert found is None or found.endswith(("redis-server", "valkey-server"))


def test_report_across_two_nodes() -> None:
    """
    CPU stands beside redis-py by hand and beside python-socketio; a comeback has no ratio.
    """
    base = {"cpu_us": 100.0, "engine_us": 10.0, "p50_us": 50.0}
    ours = {"cpu_us": 50.0, "engine_us": 20.0, "p50_us": 60.0}
    theirs = {"cpu_us": 200.0, "engine_us": 10.0, "p50_us": 100.0}
    back = {"users": 1000.0, "wall_seconds": 2.0, "engine_us": 30.0, "engine_seconds": 0.03, "peak": 700.0}
    rounds = {
        "W6": [{"redis_by_hand": base, "ws_isolation_redis": ours, "socketio_redis": theirs}],
        "W7": [{"ws_isolation_redis": back}],
    }

    text = report({"rounds": rounds, "absent": {}, "failed": {}})

    assert "`RedisBackplane` | 0.50 | 0.25 | 50 |" in text
    assert "| 20.0 | 2.00 | 60 | 1.20 |" in text
    assert "| 1,000 | 2.0 | - | 30 | 0.03 | - | 700 |" in text
