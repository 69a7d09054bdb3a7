"""
What is asked where a slot is on its way to, before it is there, without any I/O.

A node that gives a slot away says ``ASK`` for what it has not any more; whoever
goes where it says has to say ``ASKING`` right before
(https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/, "ASK redirection").

Rule: there, a call may be refused until all that it is about has come, and the
next one may not be: so the first call about a key goes alone, and the others
follow once it was done. Calls are never done in another order than they were made.
"""

from __future__ import annotations

from typing import Final, final

from .pending import Job

__all__ = ("Moving", "asked_place")

_ASKED_SECONDS: Final = 10.0
"""How long a node that was asked is kept, though it serves nothing yet."""
_PORTS: Final = range(1, 65_536)


def asked_place(error: str, /) -> tuple[str, int] | None:
    """Return host and port out of ``ASK slot host:port``; the host is empty where it is the one that says so."""
    words = error.split(" ")
    if len(words) != 3 or words[0] != "ASK":  # noqa: PLR2004  # ASK, slot, place
        return None
    host, _, port = words[2].rpartition(":")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) in _PORTS):  # noqa: PLR2004
        return None
    return host.strip("[]"), int(port)


@final
class Moving:
    """What is known of slots on their way. Lives as long as its Cluster."""

    __slots__ = ("_first", "_nodes", "_open")

    def __init__(self) -> None:
        self._first: dict[str, Job] = {}
        """The first call about a key, as long as nobody knows whether it is done there."""
        self._open: set[str] = set()
        """Keys about which something was done there."""
        self._nodes: dict[tuple[str, int], float] = {}

    def may_go(self, job: Job, node: tuple[str, int], now: float, /) -> bool:
        """Tell whether *job* may be asked at *node*; where True, it goes."""
        self._nodes[node] = now
        if job.key in self._open:
            return True
        first = self._first.get(job.key)
        if first is not None and not first.is_over:
            return False
        self._first[job.key] = job
        return True

    def came_back(self, job: Job, /) -> None:
        """Hear that *job* was not done where it was asked, there or where it belonged before."""
        job.asking = False
        self._open.discard(job.key)
        if self._first.get(job.key) is job:
            del self._first[job.key]

    def done(self, job: Job, /) -> bool:
        """Hear that *job* was answered; True where others may have waited for that."""
        if self._first.get(job.key) is not job:
            return False
        del self._first[job.key]
        self._open.add(job.key)
        return True

    def begin_anew(self) -> None:
        """Hear that who serves what was asked for again: what was done before proves nothing."""
        self._open.clear()

    def keeps(self, node: tuple[str, int], now: float, /) -> bool:
        """Tell whether *node* was asked not long ago."""
        return now - self._nodes.get(node, float("-inf")) < _ASKED_SECONDS
