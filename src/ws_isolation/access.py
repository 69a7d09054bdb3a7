"""
Who may not come in: as this node knows it, and as its engine's records say where it has some.

Rule 1: a revocation holds here in its first step, whatever the engine does.
Rule 2: what the engine does not answer is not guessed: nobody is let in. Rule
3: ``bars_here()`` waits for nothing. It knows of each revocation that was made
or heard of here while somebody waited for the engine, so an older answer is
never taken for a newer one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final, TypeVar, final

from .errors import EngineTimeoutError, EngineUnavailableError, InvalidStateError, IsolationError
from .revocations import MemoryRevocations

if TYPE_CHECKING:
    from .backplanes.base import Revocation
    from .keys import Identity
    from .typing import Clock

__all__ = ("Access", "answered")

_T = TypeVar("_T")

_NOTED_SECONDS: Final = 60.0
"""How long a record of the engine is known here without asking: longer than anybody's way in takes from its answer."""
_MOST_NOTED: Final = 1_000
"""Notes above which those that are over are looked for."""

_UNKNOWN: Final = "whether the identity may come in is not known, and nobody is let in; try again"


@final
class Access:
    """
    The revocations of one factory. Lives as long as it, across stop and start.

    Args:
        most: Records that may be kept here.
        engine: Where records are kept for all nodes; None: here alone.
        clock: Where time comes from.
        seconds: How long the engine may take.
    """

    __slots__ = ("_clock", "_engine", "_here", "_notes", "_seconds")

    def __init__(self, most: int, engine: Revocation | None, clock: Clock, seconds: float) -> None:
        self._here = MemoryRevocations(most)
        """All there are, where there is no engine; else those that the engine has not confirmed."""
        self._engine = engine
        self._clock = clock
        self._seconds = seconds
        self._notes: dict[str, list[float]] = {}
        """When each note of an engine's record ends, by the identity's key; a newer note is another object."""

    @property
    def is_shared(self) -> bool:
        """Whether records are kept for other nodes as well."""
        return self._engine is not None

    def bars_here(self, identity: Identity, /) -> bool:
        """Tell whether this node knows that *identity* is revoked, without asking the engine."""
        if self._here.bars(identity, self._clock.unix()):
            return True
        note = self._notes.get(identity.key)
        return note is not None and note[0] > self._clock.monotonic()

    def bar(self, identity: Identity, until: float | None, /) -> None:
        """
        Bar *identity* here, at once.

        Raises:
            InvalidStateError: There is no room, and no engine that may have some. Nothing was recorded.
        """
        try:
            self._here.add(identity, until, self._clock.unix())
        except InvalidStateError:
            if self._engine is None:
                raise
            self._note(identity)

    async def record(self, identity: Identity, until: float | None, /) -> None:
        """
        Write what ``bar()`` did to the engine, where there is one.

        Raises:
            InvalidStateError: The engine has no room. It is barred here.
            EngineUnavailableError: The engine failed. It is barred here.
        """
        if self._engine is None:
            return
        state = "its sessions on this node have ended and it is barred here, not on others for sure; call it again"
        await answered(self._engine.revoke(identity, until), "revoke()", state, self._seconds)
        self._note(identity)
        self._here.settle(identity, until)  # one that ends later, and was not written, holds here

    async def lift(self, identity: Identity, /) -> bool:
        """
        Let *identity* come back; False where it was not revoked.

        Raises:
            EngineUnavailableError: The engine failed; it may be revoked or not.
        """
        was_barred = False
        if self._engine is not None:
            state = "the identity may be revoked or not; call it again"
            was_barred = await answered(self._engine.lift(identity), "lift()", state, self._seconds)
        self._notes.pop(identity.key, None)
        return self._here.lift(identity) or was_barred

    async def bars(self, identity: Identity, /) -> bool:
        """
        Tell whether *identity* is revoked now; what is found is known here for a while.

        Raises:
            EngineUnavailableError: The engine failed: nobody knows.
        """
        if self._engine is None or self._here.bars(identity, self._clock.unix()):
            return self.bars_here(identity)
        noted = self._notes.get(identity.key)
        barred = await answered(self._engine.bars(identity), "bars()", _UNKNOWN, self._seconds)
        if barred:
            self._note(identity)
            return True
        if self._notes.get(identity.key) is noted:
            # What was noted before the engine was asked has been lifted since.
            self._notes.pop(identity.key, None)
        return self.bars_here(identity)

    def _note(self, identity: Identity) -> None:
        now = self._clock.monotonic()
        if len(self._notes) >= _MOST_NOTED:
            self._notes = {key: note for key, note in self._notes.items() if note[0] > now}
        self._notes[identity.key] = [now + _NOTED_SECONDS]


async def answered(work: Awaitable[_T], call: str, state: str, seconds: float, /) -> _T:
    """
    Return what the engine answers within *seconds*.

    Raises:
        EngineTimeoutError: It took longer.
        EngineUnavailableError: It raised anything but an error of this library, which goes on as it is.
    """
    try:
        async with asyncio.timeout(seconds):
            return await work
    except IsolationError:
        raise
    except TimeoutError as error:
        raise EngineTimeoutError(call, state) from error
    except Exception as error:
        raise EngineUnavailableError(call, state) from error
