"""
What each kind of step does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import msgspec

from tests.simulation.clients import Device
from tests.simulation.loop import quiet
from tests.simulation.schedule import Step
from tests.simulation.world import World

_Action: TypeAlias = Callable[[World, Device, float], Awaitable[None]]

_MANNERS: Final = ("bad", "none", "crash", "expired", "forged")
_REFRESHES: Final = ("ok", "short", "slow", "other", "elsewhere", "bad")
_SAYS: Final = ("bye", "crash", "hang", "stubborn", "unknown", "flood", "no JSON", "claims")


async def _connect(world: World, device: Device, _number: float) -> None:
    world.open_socket(device)


async def _connect_short(world: World, device: Device, number: float) -> None:
    world.open_socket(device, "short", number)


async def _connect_slowly(world: World, device: Device, number: float) -> None:
    world.open_socket(device, "slow", number)


async def _connect_badly(world: World, device: Device, number: float) -> None:
    world.open_socket(device, _MANNERS[int(number)])
    if device.socket is not None:
        device.socket._note("asked", id=_MANNERS[int(number)])


async def _send(world: World, device: Device, number: float) -> None:
    node = world.nodes[device.number // 2 % len(world.nodes)]
    for _ in range(int(number)):
        world.start(world.send(device, node))


async def _talk(world: World, device: Device, number: float) -> None:
    world.start(world.talk(device, int(number)))


async def _labour(world: World, device: Device, number: float) -> None:
    world.start(world.labour(device, int(number)))


async def _cut(_world: World, device: Device, _number: float) -> None:
    if device.socket is not None:
        device.socket.leaves(reads_all=False)


async def _leave(_world: World, device: Device, _number: float) -> None:
    if device.socket is not None:
        device.socket.leaves(reads_all=True)


async def _mute(_world: World, device: Device, _number: float) -> None:
    if device.socket is not None:
        device.socket.falls_mute()


async def _stall(_world: World, device: Device, _number: float) -> None:
    if device.socket is not None:
        device.socket.stalls()


async def _overwhelm(world: World, device: Device, number: float) -> None:
    socket = device.socket
    if socket is not None and socket.reads:
        socket.stalls()
        await _send(world, device, number)


async def _hiccup(world: World, device: Device, number: float) -> None:
    socket = device.socket
    if socket is not None and socket.reads:
        socket.stalls()
        await _send(world, device, 5)
        asyncio.get_running_loop().call_later(number, socket.reads_again)


async def _read_again(_world: World, device: Device, _number: float) -> None:
    if device.socket is not None:
        device.socket.reads_again()


def _say(device: Device, kind: str, **members: object) -> None:
    socket = device.socket
    if socket is not None and not socket.is_over:
        socket._note("asked", id=kind)
        socket.says(msgspec.json.encode({"type": kind, **members}).decode())


async def _work(_world: World, device: Device, number: float) -> None:
    if device.socket is not None:
        _say(device, "work", data={"socket": device.socket.number, "count": number})


async def _say_something(_world: World, device: Device, number: float) -> None:
    kind = _SAYS[int(number)]
    if kind == "flood":
        for _ in range(25):
            _say(device, kind)
    elif kind == "no JSON" and device.socket is not None:
        device.socket._note("asked", id="broken")
        device.socket.says("no JSON")
    elif kind == "claims":
        _say(device, "broken", user_id="mallory")
    else:
        _say(device, kind)


async def _refresh(_world: World, device: Device, number: float) -> None:
    if device.socket is not None:
        mode = _REFRESHES[int(number)]
        _say(device, "ws.refresh", credential=f"{device.socket.number}-{mode}-{5 if mode == 'slow' else 20}")
        if not device.socket.is_over:
            device.socket._note("asked", id=mode)


async def _revoke(world: World, device: Device, number: float) -> None:
    node = world.node_of(device)
    if all(one.is_up for one in world.nodes):
        told = asyncio.Event()
        world.start(world.revoke(node, device.who, number, told))
        await told.wait()  # whatever else happens, on this node it is done now


async def _lift(world: World, device: Device, _number: float) -> None:
    await world.lift(device.who)


async def _revoke_session(world: World, device: Device, _number: float) -> None:
    await world.revoke_session(device)


async def _wait(world: World, _device: Device, number: float) -> None:
    await world.wait(number)


async def _drain(world: World, device: Device, number: float) -> None:
    node = world.node_of(device)
    if world.go_down(node, "drain"):
        await world.begin(node.factory.drain(retry_after_ms=int(number) or None))


async def _restart(world: World, device: Device, _number: float) -> None:
    node = world.node_of(device)
    if world.go_down(node, "stop"):
        await world.begin(world.restart(node))


async def _fall_back(world: World, device: Device, number: float) -> None:
    world.engine.is_in_trouble("fell back")
    world.engine.is_sound_again()
    world.engine.fall_back(world.contexts[device.who], int(number))


async def _fails_over(world: World, device: Device, number: float) -> None:
    world.engine.is_in_trouble("fell back")
    world.engine.is_sound_again()
    for context in world.contexts:
        world.engine.fall_back(context, world.engine.behind(context, number))
    if device.number % 2:
        world.engine.reconnects()  # mostly nodes see that their connection went


async def _waits(world: World, _device: Device, number: float) -> None:
    world.engine.is_in_trouble()
    world.engine.waits = number


async def _fails(world: World, _device: Device, number: float) -> None:
    world.engine.is_in_trouble()
    world.engine.fails, world.engine.forgets_answers = not number, bool(number)


async def _answers_late(world: World, _device: Device, number: float) -> None:
    world.engine.is_in_trouble()
    world.engine.answers_late = number


async def _stutters(world: World, device: Device, number: float) -> None:
    world.start(world.labour(device, 6))
    await quiet()  # it has begun
    world.engine.is_in_trouble()
    world.engine.forgets_answers, world.engine.answers_late = bool(number), 0 if number else 2
    asyncio.get_running_loop().call_later(2, world.engine.is_sound_again)


async def _is_late(world: World, _device: Device, number: float) -> None:
    world.engine.is_in_trouble()
    world.engine.late = number


async def _is_deaf(world: World, _device: Device, _number: float) -> None:
    world.engine.is_in_trouble()
    world.engine.is_deaf = True


async def _repeats(world: World, _device: Device, _number: float) -> None:
    world.engine.is_in_trouble()
    world.engine.repeats = True


async def _is_sound(world: World, _device: Device, _number: float) -> None:
    world.engine.is_sound_again()


ACTIONS: Final[dict[str, _Action]] = {
    "connect": _connect,
    "connect_short": _connect_short,
    "connect_slowly": _connect_slowly,
    "connect_badly": _connect_badly,
    "send": _send,
    "send_many": _send,
    "talk": _talk,
    "work": _work,
    "labour": _labour,
    "cut": _cut,
    "leave": _leave,
    "mute": _mute,
    "stall": _stall,
    "read_again": _read_again,
    "hiccup": _hiccup,
    "overwhelm": _overwhelm,
    "say": _say_something,
    "refresh": _refresh,
    "revoke": _revoke,
    "lift": _lift,
    "revoke_session": _revoke_session,
    "wait": _wait,
    "wait_long": _wait,
    "drain": _drain,
    "restart": _restart,
    "engine_falls_back": _fall_back,
    "engine_fails_over": _fails_over,
    "engine_waits": _waits,
    "engine_fails": _fails,
    "engine_stutters": _stutters,
    "engine_answers_late": _answers_late,
    "engine_is_late": _is_late,
    "engine_is_deaf": _is_deaf,
    "engine_repeats": _repeats,
    "engine_is_sound": _is_sound,
}


async def take(world: World, step: Step) -> None:
    """
    Let one thing happen, and everybody react: at once mostly, or after the next one.
    """
    await ACTIONS[step.kind](world, world.devices[step.device], step.number)
    if step.device % 3 or step.kind == "wait":
        await quiet()
