"""
A measurement ends, whatever its server does, and leaves the process as it was.
"""

from __future__ import annotations

import gc
import socket

import pytest

from bench.__main__ import FULL, QUICK, stalled_ratio
from bench.load import Load
from bench.peers import PEERS
from bench.runs import FaultyRunError, answer_of, uncollected


class Silent:
    """
    A server that emits for ever.
    """

    def has_answered(self) -> bool:
        """
        Tell that it is not done.
        """
        return False


def test_a_server_that_never_answers() -> None:
    """
    It fails its run with words, and the run does not wait for it.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        load = Load(listener.getsockname()[1])
        with pytest.raises(FaultyRunError, match="is not done"):
            answer_of(Silent(), load, seconds=0.02)  # type: ignore[arg-type]  # what is asked of a server here
        load.close()


def test_collector_is_back_after_a_window() -> None:
    """
    No collection happens within the block, and they happen again after it, also where it fails.
    """
    collects: list[bool] = []
    with pytest.raises(ZeroDivisionError), uncollected():
        collects.append(gc.isenabled())
        raise ZeroDivisionError

    assert [False, True] == [*collects, gc.isenabled()]


@pytest.mark.parametrize(
    ("found", "ratio"),
    [
        ({"p99_us": 30.0, "without_p99_us": 20.0, "finished": 1.0}, 1.5),
        ({"p99_us": 30.0, "without_p99_us": 20.0, "finished": 0.0}, None),
        ({"p99_us": 30.0, "without_p99_us": 0.0, "finished": 1.0}, None),
    ],
)
def test_ratio_of_a_stalled_reader(found: dict[str, float | None], ratio: float | None) -> None:
    """
    There is a ratio only where the emitter went on.
    """
    assert ratio == stalled_ratio(found)


def test_plans() -> None:
    """
    The whole plan has every peer and the users that the goals speak of; the quick one those that the goals compare.
    """
    assert set(PEERS) == set(FULL.peers)
    assert ((1, 1_000, 10_000), (200, 2_000), 2_000) == (FULL.sizes, FULL.users, FULL.sessions)
    assert {"by_hand", "ws_isolation", "ws_isolation_frames", "socketio_redis"} <= set(QUICK.peers)
    # p99 of fewer than some thousand events is that of a few of them.
    assert 6_000 <= 2_000 * FULL.paced_seconds
