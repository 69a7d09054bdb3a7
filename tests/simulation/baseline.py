"""
INV6: in the end nothing is left: no session, stream, task, timer, descriptor or object that belonged to a user.
"""

from __future__ import annotations

import gc
from pathlib import Path

import attrs

from tests.simulation.world import World


def at_the_baseline(world: World) -> None:
    """
    Hold it for what one schedule can tell of: counts of its own factories, engine and loop, and what nobody caught.
    """
    for node in world.nodes:
        stats, runtime = node.factory.stats(), node.factory._runtime
        left = (stats.sessions, stats.streams, stats.work, stats.pending, stats.foreign, stats.hook_failures)
        assert (0,) * 6 == left, f"INV6: something is left: {stats}"
        assert not runtime.entering, "INV6: an entrance is left"
        assert not runtime._readings, "INV6: a reading is left"
    assert not world.engine.lines, "INV6: somebody still listens to the engine"
    assert not world.engine.inner._heard, "INV6: the engine still has listeners"
    assert world.left == (0, 0), f"INV6: tasks and timers are left: {world.left}"
    assert not world.loop.failures, f"INV6: an exception that nobody caught: {world.loop.failures[0]}"


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


@attrs.define
class Baseline:
    """
    What many schedules together must come back to. Objects are known by weak references: those of others do not count.
    """

    descriptors: int = attrs.field(factory=_descriptors)

    def hold(self, worlds: list[World]) -> None:
        """
        Hold that descriptors are what they were, and that sessions, streams and contexts of *worlds* are gone.

        Empties *worlds*: their own histories and sockets hold nothing of the library.
        """
        seen = [one for world in worlds for one in world.seen]
        count = len(seen)
        worlds.clear()
        gc.collect()
        left = [type(one()).__name__ for one in seen if one() is not None]
        assert count, "the schedules made nothing"
        assert not left, f"INV6: of {count} objects {len(left)} are still held: {sorted(set(left))}"
        assert self.descriptors == _descriptors(), "INV6: descriptors are left open"
