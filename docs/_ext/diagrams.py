"""
Where the state machines go: each change of state with the inputs that make it.

A test runs every input from every state and holds what came out against these
tables, so that a change of the code without a change here fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from ws_isolation import admission, steps
from ws_isolation.admission import Step
from ws_isolation.session_core import State

Changes: TypeAlias = Mapping[tuple[State, State], tuple[type, ...]] | Mapping[tuple[Step, Step], tuple[type, ...]]

_ENDING: Final = (
    steps.Offered,
    steps.Received,
    steps.Refused,
    steps.WriterReady,
    steps.WriteFailed,
    steps.Ticked,
    steps.Draining,
    steps.Ended,
)
_LEAVING: Final = (steps.Ticked, steps.PeerGone)

SESSION: Final[dict[tuple[State, State], tuple[type, ...]]] = {
    (State.JOINING, State.LIVE): (steps.Joined,),
    (State.JOINING, State.CLOSING): (steps.Joined, steps.Ticked, steps.Draining, steps.Ended),
    (State.JOINING, State.CLOSED): (steps.PeerGone,),
    (State.LIVE, State.REFRESHING): (steps.Received,),
    (State.LIVE, State.DRAINING): (steps.Draining,),
    (State.LIVE, State.CLOSING): _ENDING,
    (State.LIVE, State.CLOSED): _LEAVING,
    (State.REFRESHING, State.LIVE): (steps.Renewed,),
    (State.REFRESHING, State.DRAINING): (steps.Draining,),
    (State.REFRESHING, State.CLOSING): (*_ENDING, steps.Renewed),
    (State.REFRESHING, State.CLOSED): _LEAVING,
    (State.DRAINING, State.CLOSING): (*_ENDING, steps.Renewed),
    (State.DRAINING, State.CLOSED): _LEAVING,
    (State.CLOSING, State.CLOSED): (*_LEAVING, steps.Finished),
}
"""Of a session: from where to where, and by which inputs."""

WAY_IN: Final[dict[tuple[Step, Step], tuple[type, ...]]] = {
    (Step.WAITING, Step.ASKING): (admission.Heard,),
    (Step.WAITING, Step.OVER): (admission.Heard, steps.Ticked, steps.Ended, steps.PeerGone),
    (Step.ASKING, Step.OVER): (admission.Answered,),
}
"""Of a client that sends ``ws.auth``."""


def rows(changes: Changes, /) -> list[list[str]]:
    """
    Return a row for each change: from, to, by what.
    """
    return [
        [before.value, f"**{after.value}**", ", ".join(f"`{kind.__name__}`" for kind in kinds)]
        for (before, after), kinds in changes.items()
    ]
