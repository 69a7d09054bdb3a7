"""
What a factory has while it runs in an event loop: streams, sessions, work, deadlines.

Rule: it keeps a stream only as long as there is a reason to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, final

from . import closing
from .ids import new_incident_id
from .oplog import report
from .places import Places
from .runtime_publishing import PublishingRuntime
from .session import Session
from .stopping import CANCEL_PREFIX
from .streams import LiveStream

__all__ = ("Runtime",)

_T = TypeVar("_T")


@final
class Runtime(PublishingRuntime):
    """Where the streams of one factory live; the arguments are those of ``RuntimeState``."""

    __slots__ = ()

    def add_session(self, live: LiveStream, session: Session, /) -> None:
        """Put a session on its identity's stream; what is published from now on is offered to it."""
        live.subscribe(session)
        self.sessions[session] = self.clock.unix()
        if self.observer is not None:
            self.observer.session_opened()
        if self.access.bars_here(live.identity):
            session.close(closing.REVOKED)

    def session_ended(self, live: LiveStream, session: Session, /) -> None:
        """Take this very session off its stream; its work may go on for a while."""
        now = self.clock.monotonic()
        self.sessions.pop(session, None)
        live.unsubscribe(session, now)
        self.leaving[session] = None
        if self.places is not None:
            self.places.give_back(session.connection_id)
        code = None if session.code is None else session.code.code
        if code is not None:
            self._count_close(code)
        if self.observer is not None:
            self.observer.session_closed(code)
        if not live.sessions:
            self._look_at(live, now + min(self.settings.stream_seconds, self.settings.detached_seconds))

    def session_closed(self, session: Session, /) -> None:
        """Forget a session whose transport is closed."""
        self.leaving.pop(session, None)

    def start_work(
        self, live: LiveStream, work: Coroutine[Any, Any, _T], name: str | None, failed: Callable[[str], None], /
    ) -> asyncio.Task[_T]:
        """Start work that belongs to the identity, and keep it until it is done."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        live.work.add(task)

        def done(finished: asyncio.Task[_T]) -> None:
            live.work.discard(finished)
            if not finished.cancelled() and (error := finished.exception()) is not None:
                incident = new_incident_id()
                report(logging.ERROR, "spawned work failed", error=error, incident_id=incident)
                failed(incident)

        task.add_done_callback(done)
        return task

    def _look(self, item: Session | LiveStream | Places, now: float) -> None:
        if isinstance(item, Session):
            item.due(now)
        elif isinstance(item, LiveStream):
            self._look_at_stream(item, now)
        elif item.due():
            self._in_background(item.renew(), "ws-leases")

    def _look_at_stream(self, live: LiveStream, now: float) -> None:
        if now < live.due:
            return  # an earlier look has been scheduled since, and has scheduled the next
        live.due = float("inf")
        if live.doubt is not None or live.unended:
            self._in_background(self._settle_soon(live), "ws-doubt")
        if live.sessions or live.runs:
            self._look_at_tip(live, now)
        if live.sessions:
            return  # the end of the last session schedules the next look
        detached_until = live.detached_at + self.settings.detached_seconds
        if live.work and now >= detached_until:
            for task in live.work:
                task.cancel(CANCEL_PREFIX + "disconnect_policy")
        idle_until = max(live.touched, live.detached_at) + self.settings.stream_seconds
        if live.is_idle and now >= idle_until:
            self.streams.drop(live)
            self.backplane.release(live.identity, live)
            return
        following = [moment for moment in (detached_until, idle_until) if moment > now]
        self._look_at(live, min(following, default=now + self.settings.stream_seconds))

    def _look_at_tip(self, live: LiveStream, now: float) -> None:
        """Ask the engine for more than was announced: the last message of all leaves no hole behind it."""
        if now >= live.tip_due:
            live.tip_due = self._next_tip()
            if live.chain is None:
                self._attend_soon(live)
            else:
                live.read_again()
                if self.access.is_shared:
                    self.check_soon(live)
        self._look_at(live, live.tip_due)
