"""
A schedule that breaks an invariant: cut down, printed, and how to run it alone.
"""

from __future__ import annotations

from tests.simulation.checker import check
from tests.simulation.life import live
from tests.simulation.schedule import Step, is_shuffled, profile_of, schedule_of

_TRIES = 200


def failure_of(seed: int, steps: tuple[Step, ...]) -> str:
    """
    Return what a schedule breaks, empty where it breaks nothing.
    """
    try:
        check(live(seed, steps))
    except AssertionError as error:
        return str(error) or "assert"
    return ""


def shrunk(seed: int, steps: tuple[Step, ...], invariant: str) -> tuple[Step, ...]:
    """
    Leave out what the failure of *invariant* does not need: halves, then quarters, then single steps.
    """
    size, tries = max(1, len(steps) // 2), 0
    while tries < _TRIES:
        at, before = 0, len(steps)
        while at < len(steps) and tries < _TRIES:
            fewer, tries = steps[:at] + steps[at + size :], tries + 1
            if failure_of(seed, fewer).startswith(invariant):
                steps = fewer
            else:
                at += size
        if size == 1 and len(steps) == before:
            break
        size = max(1, size // 2)
    return steps


def explain(seed: int, error: AssertionError) -> str:
    """
    Return the failure of *seed* with the steps that it takes, and the command that runs it alone.
    """
    invariant = str(error)[:5]
    steps = shrunk(seed, schedule_of(seed), invariant)
    lines = [
        f"seed {seed}, profile {profile_of(seed).name!r}{', in drawn order' * is_shuffled(seed)}: {error}",
        f"steps that are enough ({len(steps)} of {len(schedule_of(seed))}): {' '.join(map(str, steps))}",
        f"again: python -m tests.simulation --first {seed} --seeds 1 --show",
    ]
    return "\n".join(lines)
