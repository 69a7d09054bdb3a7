"""
What an operator wants to know of the link to the engine.
"""

from __future__ import annotations

from typing import final

import attrs

__all__ = ("Health",)


@final
@attrs.frozen(kw_only=True)
class Health:
    """
    How one process stands with its engine: for a readiness probe, and for metrics. No id in it.

    Attributes:
        is_up: Whether there is a connection that answers and on which the node hears itself; to each
            master of a Cluster.
        problem: Why there is none, in a few words; empty while there is one.
        server: What the engine said it is, when it was connected to last.
        notes: What ought to be mended: a clock that is wrong, a policy that cannot be read.
        listening: Identities whose announcements this process has asked for.
        waiting: Calls that wait for the engine.
        connections: Connections that were made; each after the first is a reconnect.
        refused: What stood on the bus or in a history and was not to be believed. Anything but 0 wants a look.
    """

    is_up: bool
    problem: str = ""
    server: str = ""
    notes: tuple[str, ...] = ()
    listening: int = 0
    waiting: int = 0
    connections: int = 0
    refused: int = 0
