"""
How an event gets its place in its identity's stream, and what is done where nobody knows whether it did.

Rule: nothing of a run is checked before what was sent earlier has its place, or is known to have none.
"""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING

from msgspec import UNSET

from .delivery import Delivery
from .doubts import was_stored, what_closes, what_ends
from .errors import InvalidEventError
from .events.envelope import Unplaced, format_unix
from .ids import new_uuid7
from .oplog import report
from .runtime_following import FollowingRuntime
from .stream import Draft

if TYPE_CHECKING:
    from .events import Event
    from .events.envelope import Envelope
    from .keys import Identity
    from .observing import Outcome
    from .run_home import WatchedRun
    from .streams import LiveStream

__all__ = ("PublishingRuntime",)


class PublishingRuntime(FollowingRuntime):
    """The part of a runtime that managers and runs see."""

    __slots__ = ()

    def publish_at_once(self, identity: Identity, event: Event, /) -> Delivery | None:
        """Do the same as ``publish`` without waiting; None, and nothing is done, where the engine has to be awaited."""
        place = self._place
        if place is None:
            return None
        clock, settings = self.clock, self.settings
        now = clock.monotonic()
        live = self.streams.open(identity, now)
        if now + settings.stream_seconds < live.due:
            self._look_by(live, now)
        # From here to the place it is one step: nothing else of the run can come between.
        run_seq = live.lifecycle.check(event, durable := event.durable)
        when = format_unix(clock.unix())
        draft = Unplaced(event, identity, new_uuid7(), when, run_seq, settings.event_bytes, durable)
        envelope = place(identity, draft)
        live.lifecycle.apply(event, durable)
        return self._published(live, envelope, now)

    async def publish(self, identity: Identity, event: Event, /) -> Delivery:
        """Append the event to the identity's stream, waiting for the engine, and offer it to its sessions."""
        now = self.clock.monotonic()
        live = self.streams.open(identity, now)
        self._look_by(live, now)
        is_of_run = event.run_id is not UNSET
        # Nothing else of a run is checked until this has its place, or two ends would both be legal.
        async with live.turn() if is_of_run else nullcontext():
            if is_of_run and live.doubt is not None:
                await self._settle(live)
            run_seq = live.lifecycle.check(event)
            when = format_unix(self.clock.unix())
            draft = Draft(event, identity, new_uuid7(), when, run_seq, self.settings.event_bytes)
            try:
                envelope = await self.backplane.publish(identity, draft)
            except BaseException as error:
                if is_of_run:
                    self._doubt(live, draft, error)
                raise
            live.lifecycle.apply(event)
        return self._published(live, envelope, now)

    def _look_by(self, live: LiveStream, now: float) -> None:
        """See that the stream ends. Before the append, which may refuse its event: a new one must not stay for good."""
        self._look_at(live, now + self.settings.stream_seconds)

    def _published(self, live: LiveStream, envelope: Envelope, now: float) -> Delivery:
        """Say what the event came to, now that it has its place."""
        live.touched = now
        if live.last is not envelope and envelope.durable and live.chain is not None:
            live.arrived(envelope)  # an engine that announces it later: then it is a repetition; a piece would be two
        if self.observer is not None:
            self.observer.event_published(envelope.event.type, durable=envelope.durable)
        queued, refused = live.counts if live.last is envelope else (0, 0)
        return Delivery(envelope.id, envelope.seq, queued, refused)

    def _doubt(self, live: LiveStream, draft: Draft, error: BaseException) -> None:
        """Note that an event of a run may be in the stream or not; the turn is held."""
        if draft.event.durable and not isinstance(error, InvalidEventError):
            live.doubt = draft
            self._look_at(live, self._next_tip())

    async def _settle(self, live: LiveStream) -> None:
        """
        Find out what became of the event in doubt, before anything else of a run gets its place; the turn is held.

        Raises what the engine raises, or is cancelled: the doubt stays, and nothing was sent.
        """
        draft = live.doubt
        if draft is None:
            return
        page = await self.backplane.read(live.identity, "window")
        live.doubt = None
        is_stored = was_stored(draft, page)
        if is_stored:
            live.lifecycle.apply(draft.event)
        event = what_closes(draft.event, is_stored=is_stored)
        if event is not None:
            await self._repair(live, event)

    async def _repair(self, live: LiveStream, event: Event) -> None:
        """Close what its sender cannot close any more; the turn is held."""
        repair = Draft(
            event=event,
            owner=live.identity,
            id=new_uuid7(),
            time=format_unix(self.clock.unix()),
            run_seq=live.lifecycle.check(event),
            event_bytes=self.settings.event_bytes,
        )
        try:
            envelope = await self.backplane.publish(live.identity, repair)
        except BaseException as error:
            self._doubt(live, repair, error)
            raise
        live.lifecycle.apply(event)
        if live.last is not envelope and live.chain is not None:
            live.arrived(envelope)
        if self.observer is not None:
            self.observer.event_published(event.type, durable=event.durable)

    async def _settle_soon(self, live: LiveStream) -> None:
        try:
            async with live.turn():
                await self._settle(live)
                while live.unended:
                    run_id = next(iter(live.unended))
                    while (event := what_ends(live.lifecycle, run_id)) is not None:
                        await self._repair(live, event)
                    del live.unended[run_id]
        except Exception as error:  # noqa: BLE001  # an engine may raise anything; the next look asks again
            report(logging.WARNING, "a run could not be mended yet", error=error)
            self._look_at(live, self._next_tip())

    def run_opened(self, identity: Identity, run: WatchedRun, /) -> None:
        """Note an open run of the identity, for a client's ``stop``."""
        live = self.streams.open(identity, self.clock.monotonic())
        live.runs[run.id] = run
        if self.access.is_shared and not live.sessions:
            self._attend_soon(live)

    def run_ended(self, identity: Identity, run: WatchedRun, seconds: float, outcome: Outcome, /) -> None:
        """Forget a run of the identity: this very run, not another of the same id."""
        if self.observer is not None:
            self.observer.span_ended("run", seconds, outcome)
        live = self.streams.find(identity)
        if live is not None and live.runs.get(run.id) is run:
            del live.runs[run.id]
            if live.lifecycle.thread_of(run.id) is not None:
                live.unended[run.id] = None  # it is over, and its end did not get there, or nobody knows
                self._look_at(live, self._next_tip())
            self._leave(live)
