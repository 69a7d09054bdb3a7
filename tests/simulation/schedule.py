"""
What happens in one schedule, drawn from its seed: plain data, so that it can be printed and cut down.
"""

from __future__ import annotations

import random
from typing import Final

import attrs

from ws_isolation import Settings

STEPS: Final = 26

USERS: Final = ((None, "a:b"), ("a", "b"), (None, "b"))
"""Tenant and user: alike where a key is joined, or without its tenant."""


@attrs.frozen
class Step:
    """
    One step: what, by which device, and a number that says how much or which.
    """

    kind: str
    device: int
    number: float

    def __str__(self) -> str:
        """
        Show it as a call.
        """
        return f"{self.kind}({self.device}, {self.number:g})"


@attrs.frozen
class Profile:
    """
    What the steps of a schedule meet.
    """

    name: str
    settings: Settings
    nodes: int = 1
    devices: int = 2
    """Of each user."""
    is_troubled: bool = False
    """Whether the engine may fail; two nodes share it then."""


_PLAIN: Final = Settings(tip_seconds=20.0)
"""The tip is looked at often, so that the end of a schedule, when all is mended, need not be long."""
_TIGHT: Final = attrs.evolve(
    _PLAIN,
    outbox_events=8,
    window_events=12,
    replay_events=8,
    message_burst=4,
    inbox_messages=3,
    heartbeat_seconds=20.0,
)
_THREADS: Final = attrs.evolve(_PLAIN, session_scope="thread", max_age_seconds=90.0)
_FEW: Final = attrs.evolve(_PLAIN, sessions_per_identity=2, session_limit="replace_oldest", stream_seconds=60.0)
_FULL: Final = attrs.evolve(
    _PLAIN, sessions_per_identity=2, detached_seconds=5.0, window_seconds=30.0, drain_seconds=4.0
)

PROFILES: Final = (
    Profile("plain", _PLAIN),
    Profile("troubled", _PLAIN, nodes=2, is_troubled=True),
    Profile("tight", _TIGHT),
    Profile("troubled and tight", _TIGHT, nodes=2, is_troubled=True),
    Profile("threads", _THREADS),
    Profile("two nodes", _PLAIN, nodes=2),
    Profile("few, the oldest goes", _FEW, devices=3),
    Profile("troubled threads", _THREADS, nodes=2, is_troubled=True),
    Profile("few, the next may not", _FULL, devices=3),
)

# How often each kind of step comes, and what its number may be.
_COMMON: Final[dict[str, tuple[int, tuple[float, ...]]]] = {
    "connect": (18, (0,)),
    "connect_short": (3, (1, 10, 40)),
    "connect_slowly": (3, (0.5, 5, 12)),
    "connect_badly": (2, (0, 1, 2, 3, 4)),
    "send": (26, (1, 1, 1, 2, 5)),
    "send_many": (2, (9, 20)),
    "talk": (5, (2, 5)),
    "work": (4, (2, 6)),
    "labour": (6, (5, 15)),
    "cut": (6, (0,)),
    "leave": (2, (0,)),
    "mute": (2, (0,)),
    "stall": (5, (0,)),
    "read_again": (6, (0,)),
    "hiccup": (4, (0.2, 2, 5)),
    "overwhelm": (2, (12, 20)),
    "say": (6, (0, 1, 2, 3, 4, 5, 6, 7)),
    "refresh": (4, (0, 1, 2, 3, 4, 5)),
    "revoke": (2, (0, 0, 20)),
    "lift": (3, (0,)),
    "revoke_session": (1, (0,)),
    "wait": (12, (0, 0.5, 3, 15, 45)),
    "wait_long": (1, (100, 330)),
    "drain": (1, (0, 1500)),
    "restart": (1, (0, 1)),
}
_TROUBLE: Final[dict[str, tuple[int, tuple[float, ...]]]] = {
    "engine_falls_back": (6, (1, 2, 4)),
    "engine_fails_over": (4, (0.4, 2, 10)),
    "engine_waits": (3, (0.01, 2, 15)),
    "engine_fails": (4, (0, 1, 1)),
    "engine_stutters": (5, (0, 1, 1)),
    "engine_answers_late": (3, (0.5, 3)),
    "engine_is_late": (2, (0.5, 20)),
    "engine_is_deaf": (2, (0,)),
    "engine_repeats": (1, (0,)),
    "engine_is_sound": (6, (0,)),
}


def profile_of(seed: int) -> Profile:
    """
    Return what the schedule of *seed* meets.
    """
    return PROFILES[seed % len(PROFILES)]


def is_shuffled(seed: int) -> bool:
    """
    Tell whether what is ready at the same time runs in a drawn order: of each profile every third schedule.
    """
    return seed // len(PROFILES) % 3 == 2


def schedule_of(seed: int, steps: int = STEPS) -> tuple[Step, ...]:
    """
    Draw the steps of *seed*.
    """
    dice = random.Random(seed)
    profile = profile_of(seed)
    table = {**_COMMON, **_TROUBLE} if profile.is_troubled else _COMMON
    kinds = dice.choices(list(table), [weight for weight, _ in table.values()], k=steps)
    devices = profile.devices * len(USERS)
    return tuple(Step(kind, dice.randrange(devices), dice.choice(table[kind][1])) for kind in kinds)
