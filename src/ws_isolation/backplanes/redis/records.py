"""
Revocations on the engine, and how it is asked for what is no event.

Rule 1: what was not answered is not known: it raises, and nobody is let in.
Rule 2: each step may be done twice. Rule 3: what is announced is a hint; the
record says what holds. Rule 4: whatever stands where a record belongs bars; one
that nobody signed who has a key is counted, so it can lift nothing.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from .jobs import Ask, MalformedError
from .letters import Letters, RefusedError, Signal
from .record_scripts import REVOKE

if TYPE_CHECKING:
    from ...keys import Identity
    from .cluster import Cluster
    from .link import Link
    from .names import Names
    from .scripts import Script

__all__ = ("Records", "milliseconds")

_T = TypeVar("_T")

_LAST_MS: Final = 2**53
_REVOKED: Final = Signal("revoked")
_BARRED: Final = Signal("barred")


def _same(reply: object) -> object:
    return reply


class Records(ABC):
    """``Revocation``, for a backplane that has the rest."""

    _names: Names
    _letters: Letters
    _say: str
    """The command that announces."""
    _link: Link | Cluster | None

    @abstractmethod
    def _connected(self) -> Link | Cluster:
        """Return the link, or the links, of the running loop."""

    @abstractmethod
    def _present(self) -> Link | Cluster | None:
        """Return them where they are there already."""

    @abstractmethod
    def _refuse(self, problem: str) -> None:
        """Count, and log, what is not to be believed."""

    async def revoke(self, identity: Identity, until: float | None, /) -> None:
        """Do the same as ``Revocation.revoke()``."""
        end = "ever" if until is None else str(max(1, min(_LAST_MS, int(until * 1_000))))
        letter = self._letters.say(identity, _REVOKED)
        words = (end, letter, self._say, self._letters.say(identity, _BARRED), self._names.stream(identity)[2])
        await self._ask("revoke()", REVOKE, (self._names.bar(identity),), words, _number)
        self._signal(identity, _REVOKED)

    async def lift(self, identity: Identity, /) -> bool:
        """Do the same as ``Revocation.lift()``."""
        return await self._count("lift()", "DEL", self._names.bar(identity)) > 0

    async def bars(self, identity: Identity, /) -> bool:
        """Do the same as ``Revocation.bars()``."""
        barred = await self._count("bars()", "EXISTS", self._names.bar(identity)) > 0
        if barred:
            bar = self._names.bar(identity)
            self._tell("bars()", bar, ("GET", bar), partial(self._look_at, identity))
        return barred

    def _look_at(self, identity: Identity, record: object) -> None:
        """See whether somebody wrote the record who has a key; it holds in any case."""
        if isinstance(record, bytes):
            try:
                if self._letters.hear(identity, record) != _BARRED:
                    self._refuse("no record of a revocation")
            except RefusedError as error:
                self._refuse(str(error))

    async def _ask(
        self,
        call: str,
        script: Script,
        keys: tuple[str, ...],
        words: tuple[bytes | str | int, ...],
        read: Callable[[object], _T],
    ) -> _T:
        command = ("EVALSHA", script.sha, len(keys), *keys, *words)
        link = self._connected()
        return await link.do(Ask(call, lambda _again: command, read, link.due(), key=keys[0]))

    async def _count(self, call: str, word: str, key: str) -> int:
        link = self._connected()
        return await link.do(Ask(call, lambda _again: (word, key), _number, link.due(), key=key))

    def _tell(
        self,
        call: str,
        key: str,
        command: tuple[bytes | str | int, ...],
        read: Callable[[object], object] = _same,
        at: Link | None = None,
    ) -> None:
        """
        Ask for something whose answer nobody awaits; *at* one node, where it is about no key.

        Nothing where there is no link in this loop: what nobody waits for opens none, which nobody would end.
        """
        link = at or self._present()
        if link is None:
            return
        job = Ask(call, lambda _again: command, read, link.due(), key=key)
        job.optional = command[0] == "CONFIG"
        job.answer.add_done_callback(_heeded)
        link.add(job)

    def _signal(self, identity: Identity, signal: Signal) -> None:
        """Tell the listeners of this process."""
        link = self._link
        topic = None if link is None else link.topics_of(self._names.stream(identity)[2]).find(identity)
        for listener in () if topic is None else topic.listeners:
            if signal.kind == "revoked":
                listener.revoked()
            elif signal.kind == "replaced":
                listener.replaced(signal.connection_id)


def _heeded(answer: asyncio.Future[object]) -> None:
    """Take the answer, whatever it is: what failed ends by its time."""
    answer.exception()


def milliseconds(seconds: float, /) -> int:
    """Return a time as the engine takes it: at least one."""
    return max(1, int(seconds * 1_000))


def _number(reply: object) -> int:
    if type(reply) is not int:
        raise MalformedError
    return reply
