"""
How a node follows its identities' streams: on the engine, from the first who listens to the last.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from . import closing
from .access import answered
from .errors import EngineTimeoutError, EngineUnavailableError, type_name
from .oplog import report
from .runtime_ending import EndingRuntime
from .stream import Cursor, Gap, Resumed, answer

if TYPE_CHECKING:
    from .chain import Chain
    from .session import Session
    from .stream import Start
    from .streams import LiveStream

__all__ = ("FollowingRuntime",)

_JOIN: Final = "joining a stream"
_NEXT_LOOK: Final = "what is missing waits; the next look asks again"


class FollowingRuntime(EndingRuntime):
    """The part of a runtime that reads streams and listens to them."""

    __slots__ = ()

    async def join(self, live: LiveStream, session: Session, start: Start, /, *, has_place: bool) -> None:
        """
        Follow the identity's stream, and tell *session* where it stands and what its client gets.

        The session is on the stream already: nothing that is published meanwhile is missed.

        Raises:
            EngineTimeoutError: It took longer than ``Settings.engine_seconds``.
            EngineUnavailableError: The engine failed.
        """
        try:
            await session.join(self._placed(live, session, start, has_place=has_place), self.settings.engine_seconds)
        except EngineUnavailableError:
            raise
        except TimeoutError:
            state = f"no answer in {self.settings.engine_seconds:g} s (Settings.engine_seconds); nobody was let in"
            raise EngineTimeoutError(_JOIN, state) from None
        except Exception as error:
            raise EngineUnavailableError(_JOIN, f"{type_name(type(error))}; nobody was let in") from error
        if session.is_open:
            self._look_after(live)

    async def _placed(
        self, live: LiveStream, session: Session, start: Start, *, has_place: bool
    ) -> tuple[Cursor, Resumed | Gap | None]:
        """
        Return where the stream stands, and what a client that begins at *start* gets.

        The engine is asked for a revocation after this node has begun to listen: none falls between.
        """
        if self.places is not None and not has_place:
            await self.places.take(live.identity, session.connection_id, is_limited=False)
            if not session.is_open:  # it ended as the answer came: nobody else gives the place back
                self.places.give_back(session.connection_id)
        async with live.joining:
            chain = live.chain or await self._follow(live)
            live.attends = False
        if await self.access.bars(live.identity):
            session.close(closing.REVOKED)
        elif self.places is not None and not self.places.holds(session.connection_id):
            session.close(closing.REPLACED)
        if start is None:
            return chain.cursor, None
        known = chain.cursor.seq  # what is announced while the engine is asked may be newer than its answer
        page = await self.backplane.read(live.identity, start)
        if page.top.epoch != chain.cursor.epoch or page.top.seq < known:
            live.read_again()  # the engine fell back to older data: the others must hear of it as well
            return chain.cursor, self._noted(Gap("divergence", chain.cursor))
        return page.top, self._noted(answer(start, page, replay=self.settings.replay_events))

    def _noted(self, result: Resumed | Gap | None, sessions: int = 1) -> Resumed | Gap | None:
        """Tell the observer what clients that were away get, and return it."""
        if self.observer is not None and result is not None:
            if isinstance(result, Gap):
                self.observer.gap(result.reason, sessions)
            else:
                self.observer.replayed(len(result.replay))
        return result

    async def _follow(self, live: LiveStream) -> Chain:
        """Put this node on the identity's stream."""
        live.reading = True
        try:
            await self.backplane.subscribe(live.identity, live)
            return live.begin(await self.backplane.read(live.identity, None))
        except BaseException:
            live.reading = False
            self.backplane.release(live.identity, live)
            raise

    def _attend_soon(self, live: LiveStream) -> None:
        """See that this node hears of a revocation: a run of the identity is here, and no session that would."""
        self._in_background(self._attend(live), "ws-run")
        self._look_after(live)

    async def _attend(self, live: LiveStream) -> None:
        try:
            await self._listen(live)
        except Exception as error:  # noqa: BLE001  # an engine may raise anything; the next look asks again
            report(logging.ERROR, "a run cannot hear of a revocation", error=error)
        else:
            await self._check(live)
            self._leave(live)

    async def _listen(self, live: LiveStream) -> None:
        """Listen where nobody does yet."""
        async with live.joining:
            if live.chain is not None:
                return
            await self._follow(live)
            live.attends = True

    def _leave(self, live: LiveStream) -> None:
        """Listen no more where that was for runs alone, and none is left."""
        if live.attends and live.is_idle:
            self.backplane.release(live.identity, live)
            live.leave()

    def _look_after(self, live: LiveStream, /) -> None:
        """See that the stream's tip is asked for, now that somebody follows it."""
        if live.tip_due == float("inf"):
            live.tip_due = self._next_tip()
        self._look_at(live, live.tip_due)

    def read_soon(self, live: LiveStream, /) -> None:
        """Read the history of *live* again, in a task of its own."""
        self._in_background(self._read_again(live), "ws-history")

    async def _read_again(self, live: LiveStream) -> None:
        try:
            chain = live.chain
            reading = self.backplane.read(live.identity, None if chain is None else chain.cursor)
            page = await answered(reading, "read()", _NEXT_LOOK, self.settings.tip_seconds)
        except Exception as error:  # noqa: BLE001  # an engine may raise anything; the next look asks again
            live.reading = False
            report(logging.ERROR, "a history could not be read", error=error)
        else:
            # Where everybody has left meanwhile, it is nobody's history any more.
            gap = live.caught_up(page, self.settings.replay_events) if live.chain is chain else None
            if gap is not None:
                report(logging.WARNING, f"gap: {gap.reason}", count=len(live.sessions))
                self._noted(gap, len(live.sessions))
