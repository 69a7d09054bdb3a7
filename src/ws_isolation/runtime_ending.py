"""
How sessions, runs and work of a factory end: revoked, replaced, drained, stopped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from . import closing
from .backplanes.base import Closing, Lease
from .finishing import finish
from .hooks import Span
from .ids import new_fractions
from .keys import Identity, identity_of
from .oplog import report
from .runtime_state import RuntimeState
from .session import Session
from .spreading import closing_delays
from .stopping import CANCEL_PREFIX
from .streams import LiveStream

if TYPE_CHECKING:
    from .entrance import Entrance

__all__ = ("EndingRuntime",)


def _heeded(gathered: asyncio.Future[Any]) -> None:
    """Take the cancellation of what was given up: nobody awaits it, and asyncio would log it as forgotten."""
    with suppress(asyncio.CancelledError):
        gathered.exception()


class EndingRuntime(RuntimeState):
    """The part of a runtime that ends what is open."""

    __slots__ = ()

    async def stop(self) -> None:
        """Same as ``ManagerFactory.stop()``."""
        if self._loop is None or self._stopped:
            self._stopped = True
            return
        await self.drain(None)
        work = [*self.adopted, *(task for live in self.streams.all() for task in live.work)]
        for task in work:
            task.cancel(CANCEL_PREFIX + "shutdown")
        await self._within(self.settings.close_seconds, work)
        await self._within(self.settings.close_seconds, self._readings)
        for live in self.streams.all():
            self.backplane.release(live.identity, live)
        if self.places is not None:
            self.places.stop()
        # Before the engine's connections end: nothing is asked any more that would open new ones.
        self._clockwork.stop()
        self._clear()
        self._stopped = True
        given: object = self._given
        if isinstance(given, Closing):
            await given.close()

    async def drain(self, retry_after_ms: int | None) -> None:
        """Same as ``ManagerFactory.drain()``."""
        if self._stopped:
            return
        self.require_running("drain()")
        settings, sessions = self.settings, tuple(self.sessions)
        observer = None if self.is_draining else self.observer  # a drain that several wait for is told once
        if not self.is_draining:
            self.is_draining = True
            now = self.clock.monotonic()
            within = settings.drain_seconds - settings.close_seconds
            delays = closing_delays(new_fractions(len(sessions)), share=settings.drain_share, within=within)
            for session, delay in zip(sessions, delays, strict=True):
                session.drain(now + delay, retry_after_ms)
            for entrance in self.entering:
                entrance.close(closing.DRAIN)
        leaving: tuple[Session | Entrance, ...] = (*sessions, *self.leaving, *self.entering)
        with Span(observer, self.clock, "drain") as span:
            span.is_ok = await self._within(settings.drain_seconds, [one.wait_closed() for one in leaving])

    async def _within(self, seconds: float, all_of: Iterable[Coroutine[Any, Any, Any] | asyncio.Task[Any]]) -> bool:
        tasks = [asyncio.ensure_future(one) for one in all_of]
        if not tasks:
            return True
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def time_is_up() -> None:
            with suppress(asyncio.InvalidStateError):
                over.set_result(None)

        timer = self.clock.call_at(self.clock.monotonic() + seconds, time_is_up)
        everything = asyncio.gather(*tasks, return_exceptions=True)
        either: set[asyncio.Future[Any]] = {everything, over}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            left = sum(not task.done() for task in tasks)
            if everything.cancel():
                everything.add_done_callback(_heeded)
        if left:
            report(logging.ERROR, "the stop left something open", count=left)
        return not left

    async def revoke(self, identity: Identity, until: float | None) -> int:
        """Same as ``ManagerFactory.revoke()`` of an identity; up to the engine it is one step."""
        live = self.streams.find(identity)
        here: asyncio.CancelledError | None = None
        count = 0
        try:
            self.access.bar(identity, until)
        finally:
            if live is not None:
                count, here = self._end_all(live)
        try:
            # Whoever revokes from the identity's own work is cancelled by now.
            await finish(self.access.record(identity, until))
        except asyncio.CancelledError as error:
            here = here or error
        if here is not None:
            raise here
        return count

    def _end_all(self, live: LiveStream) -> tuple[int, asyncio.CancelledError | None]:
        """End sessions, runs and work; return how many sessions, and what the caller has to raise at last."""
        sessions = [one for one in live.sessions if isinstance(one, Session)]
        # Those that end for another reason already may have events left to say.
        leaving = [one for one in self.leaving if identity_of(one.context) == live.identity]
        for session in (*sessions, *leaving):
            session.close(closing.REVOKED)
        here: asyncio.CancelledError | None = None
        for run in tuple(live.runs.values()):
            try:
                run.stop("revoked")
            except asyncio.CancelledError as error:
                here = error  # the caller is in this very run: it leaves once the others are told
        for task in live.work:
            task.cancel(CANCEL_PREFIX + "revoked")
        return len(sessions), here

    def check_soon(self, live: LiveStream, /) -> None:
        """Read whether the identity is revoked, in a task of its own."""
        self._in_background(self._check(live), "ws-access")

    async def _check(self, live: LiveStream) -> None:
        try:
            barred = await self.access.bars(live.identity)
        except Exception as error:  # noqa: BLE001  # an engine may raise anything; the next look asks again
            report(logging.ERROR, "a revocation could not be read", error=error)
        else:
            if barred:
                self._end_all(live)

    def replaced(self, live: LiveStream, connection_id: str, /) -> None:
        """End this very session, if it is here: a newer one of its identity took its place."""
        if self.places is not None:
            self.places.lose(live.identity, connection_id)

    def _end_replaced(self, lease: Lease) -> None:
        live = self.streams.find(lease.identity)
        for session in () if live is None else live.sessions:
            if isinstance(session, Session) and session.connection_id == lease.connection_id:
                session.close(closing.REPLACED)

    def end_oldest(self, identity: Identity, /) -> None:
        """Make room for one more session of the identity: end its own oldest, by the order in which they came."""
        live = self.streams.find(identity)
        sessions = [] if live is None else [one for one in live.sessions if isinstance(one, Session)]
        for session in sessions[: len(sessions) - self.settings.sessions_per_identity + 1]:
            session.close(closing.REPLACED)
