"""
What waits for the engine, in its order, without any I/O.

Rule 1: what was asked first goes out first, also after a connection was lost:
what had been sent on it goes back to the front, marked as perhaps done. Rule 2:
nothing waits for ever, and nobody's job who has gone is sent. Rule 3: it is
bounded in number and bytes; whoever finds it full waits outside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Final, final

__all__ = ("Job", "Pending")


_numbers: Final = count()


class Job(ABC):
    """
    Something that is asked of the engine, and what is done with the answer.

    Attributes:
        due: Seconds, monotonic, until which an answer is of use.
        size: Bytes, about.
        sent_at: When it was sent on the present connection.
        again: Whether it may have been done already.
        asking: Whether it goes to a node that its slot is on its way to.
        optional: Whether it may be denied: then that is its answer, and not the end of the connection.
        key: A key or channel that it is about, by which a Cluster knows its node.
        number: Jobs are numbered in the order of the calls.
        is_mark: Whether it stands behind a command that has no place in the row.
    """

    __slots__ = ("again", "asking", "due", "is_mark", "key", "number", "optional", "sent_at", "size")

    def __init__(self, due: float, size: int, key: str = "") -> None:
        self.due: float = due
        self.size: int = size
        self.sent_at: float = 0.0
        self.again: bool = False
        self.asking: bool = False
        self.optional: bool = False
        self.is_mark: bool = False
        self.key: str = key
        self.number: int = next(_numbers)

    @property
    @abstractmethod
    def is_over(self) -> bool:
        """Whether nobody waits any more."""

    @abstractmethod
    def packed(self) -> bytes:
        """Return the command as the engine takes it."""

    @abstractmethod
    def answered(self, reply: object, /) -> None:
        """Take the engine's answer."""

    @abstractmethod
    def failed(self, error: Exception, /) -> None:
        """Hear that there will be no answer."""

    @abstractmethod
    def expired(self) -> None:
        """Hear that the time is over."""


@final
class Pending:
    """
    The jobs that are not sent yet.

    Args:
        most: How many there may be.
        size: How many bytes.
    """

    __slots__ = ("_jobs", "_most", "_most_bytes", "size")

    def __init__(self, most: int, size: int) -> None:
        self._jobs: deque[Job] = deque()
        self._most = most
        self._most_bytes = size
        self.size: int = 0
        """Bytes that wait."""

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        """Yield them in their order, as they are now."""
        return iter(tuple(self._jobs))

    @property
    def is_full(self) -> bool:
        """Whether there is no room for one more."""
        return len(self._jobs) >= self._most or self.size >= self._most_bytes

    def add(self, job: Job, /) -> None:
        """Put *job* at the end."""
        self._jobs.append(job)
        self.size += job.size

    def put_back(self, jobs: Iterable[Job], /) -> None:
        """Put what was sent on a connection that is lost to the front, in its order."""
        for job in reversed(tuple(jobs)):
            if not job.is_over:
                job.again = True
                self._jobs.appendleft(job)
                self.size += job.size

    def take(self) -> Job | None:
        """Return the next one that somebody waits for."""
        while self._jobs:
            job = self._jobs.popleft()
            self.size -= job.size
            if not job.is_over:
                return job
        return None

    def take_all(self) -> list[Job]:
        """Take off, and return, all that somebody waits for."""
        return self.sift(lambda _job: False)

    def sift(self, keep: Callable[[Job], bool], /) -> list[Job]:
        """Take off, and return, those that *keep* does not tell to stay; what is over goes as well."""
        jobs, self._jobs, self.size = tuple(self._jobs), deque(), 0
        out: list[Job] = []
        for job in jobs:
            if job.is_over:
                continue
            if keep(job):
                self.add(job)
            else:
                out.append(job)
        return out

    def expire(self, now: float, /) -> list[Job]:
        """Take off, and return, those whose time is over: they stand in front, all wait for the same time."""
        over: list[Job] = []
        while self._jobs and (self._jobs[0].due <= now or self._jobs[0].is_over):
            job = self._jobs.popleft()
            self.size -= job.size
            over.append(job)
        return over
