"""
Hundreds of schedules on the real factory keep every invariant; without what keeps one, they find out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

import pytest

from tests.simulation.checker import check
from tests.simulation.world import live
from ws_isolation import runtime
from ws_isolation.events import Envelope
from ws_isolation.runtime import Runtime
from ws_isolation.session import Session
from ws_isolation.session_core import SessionCore
from ws_isolation.stream import Resumed, answer
from ws_isolation.streams import LiveStream

SEEDS: Final = 100


@pytest.mark.scenario("S20", "S21")
@pytest.mark.requirement("P1", "P3", "P5")
async def test_histories() -> None:
    """Nothing foreign, nothing twice or out of order, nothing lost in silence, every close explained, nothing left."""
    before = len(asyncio.all_tasks())
    ends: set[int] = set()
    for seed in range(SEEDS):
        world = await live(seed)
        check(world)
        ends.update(world.factory.stats().closes)

    assert {4101, 4200, 4213} <= ends, "the schedules do not reach every end"
    assert before == len(asyncio.all_tasks())


def _replays_a_part(start: Any, page: Any, /, *, replay: int) -> Any:
    result = answer(start, page, replay=replay)
    return Resumed(result.cursor, result.replay[1:]) if isinstance(result, Resumed) else result


def _to_all(self: LiveStream, envelope: Envelope, /) -> tuple[int, int]:
    sessions: tuple[Session, ...] = tuple(cast("Runtime", self._reader).sessions)
    self.last, self.counts = envelope, (sum(session.offer(envelope) for session in sessions), 0)
    return self.counts


def _parts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(runtime, "answer", _replays_a_part)


def _sees_nothing(_core: SessionCore, _envelope: Envelope) -> None:
    pass


def _broadcasts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LiveStream, "offer", _to_all)
    patch.setattr(SessionCore, "_breach", _sees_nothing)


@pytest.mark.scenario("S65")
@pytest.mark.requirement("P1", "P3")
@pytest.mark.parametrize(
    ("spoil", "symptom"), [(_parts, "lost in silence"), (_broadcasts, "a foreign event")], ids=["parts", "broadcast"]
)
async def test_broken_variant_is_caught(
    spoil: Callable[[pytest.MonkeyPatch], None], symptom: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay with a hole, and a broadcast without recipient, do not survive a few schedules."""
    spoil(monkeypatch)

    with pytest.raises(AssertionError, match=symptom):
        for seed in range(20):
            check(await live(seed))
