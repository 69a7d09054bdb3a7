"""
One schedule from beginning to end.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

import attrs
import pytest

from tests.simulation.loop import LoopClock, VirtualLoop, in_virtual_time, quiet
from tests.simulation.schedule import Profile, Step, is_shuffled, profile_of, schedule_of
from tests.simulation.steps import take
from tests.simulation.world import World
from ws_isolation import ids

_HEALING: Final = 26.0
"""Seconds after which whoever missed something has found out: the tip is looked at within 25."""
_MENDING: Final = 35.0
"""Seconds after which whatever goes on has ended: two stops, the slowest credential, a write that waits."""


def live(seed: int, steps: tuple[Step, ...] | None = None) -> World:
    """
    Return the world of *seed* when all is over; with *steps* in place of its own where they are given.
    """
    profile, chosen = profile_of(seed), schedule_of(seed) if steps is None else steps
    random.seed(seed)  # the jitter of the looks at the tip
    dice = random.Random(f"order of {seed}") if is_shuffled(seed) else None

    async def main(loop: VirtualLoop) -> World:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ids, "time", _Stamps(loop))
            return await _live(loop, seed, profile, chosen)

    return in_virtual_time(main, dice)


@attrs.define
class _Stamps:
    """
    Where new ids take their time from.
    """

    loop: VirtualLoop

    def time_ns(self) -> int:
        """
        Return the virtual time.
        """
        return int(LoopClock(self.loop).unix() * 1_000_000_000)


async def _live(loop: VirtualLoop, seed: int, profile: Profile, steps: tuple[Step, ...]) -> World:
    world = World(loop, profile, seed)
    for step in steps:
        await take(world, step)
    await _mend(world, everybody=seed % 2 == 0)
    await _settle_down(world)
    await _end(world, stops=seed % 3 != 0)
    return world


async def _mend(world: World, *, everybody: bool) -> None:
    """
    End all trouble: engine, network and bars. *everybody* connects anew, or who is not connected.
    """
    world.engine.is_sound_again()
    for node in world.nodes:
        if node.is_draining and world.go_down(node, "stop"):
            await world.begin(world.restart(node))
    for device in world.devices:
        if device.socket is not None:
            device.socket.reads_again()
            if everybody or device.socket.is_mute:
                device.socket.leaves(reads_all=False)
    await asyncio.sleep(_MENDING)
    for who in range(len(world.contexts)):
        await world.lift(who)


async def _settle_down(world: World) -> None:
    """
    Bring every device back that may come back, and wait until the last one has found out what it missed.
    """
    for device in world.devices:
        world.open_socket(device)
        await quiet()
    for device in world.devices[:: world.profile.devices]:
        if device.socket is not None:
            device.socket.leaves(reads_all=False)  # one of each user, whose others go on
        await quiet()
        await world.send(device, world.node_of(device))
    await asyncio.sleep(_HEALING)
    for device in world.devices:
        world.open_socket(device)
        await quiet()
    for device in world.devices:
        if device.socket is not None and not device.socket.is_over:
            world.history.note("final", who=device.who, device=device.number, socket=device.socket.number)


async def _end(world: World, *, stops: bool) -> None:
    """
    Let everybody leave, or stop the factories; then nothing is left.
    """
    settings = world.profile.settings
    if not stops:
        for device in world.devices:
            if device.socket is not None:
                device.socket.leaves(reads_all=True)
        await asyncio.sleep(2 * (settings.stream_seconds + settings.detached_seconds) + _MENDING)
        assert [0] * len(world.nodes) == [node.factory.stats().streams for node in world.nodes], "INV6: streams stay"
    for node in world.nodes:
        world.history.note("drain", node=node.number)
        await node.factory.stop()
    if world.tasks:
        await asyncio.wait(world.tasks, timeout=_MENDING)
    await quiet()
    # Also those whose client read nothing any more: nobody saw their goodbye.
    world.closes |= {code for node in world.nodes for code in node.factory.stats().closes}
    world.left = len(asyncio.all_tasks()) - 1, world.loop.timers
