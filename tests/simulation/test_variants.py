"""
Negative controls: variants of the library without what keeps a promise, each of which the schedules find out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, Final, TypeAlias

import pytest

from tests.simulation.checker import check
from tests.simulation.life import live
from ws_isolation import Handshake, ManagerFactory, UserExecutionContext, closing, runtime_following, serving, streams
from ws_isolation.access import Access
from ws_isolation.chain import Arrival, Chain
from ws_isolation.events import Envelope, Event
from ws_isolation.lifecycle import Lifecycle
from ws_isolation.runtime import Runtime
from ws_isolation.serving import Authenticate
from ws_isolation.session import Session
from ws_isolation.session_core import SessionCore, State
from ws_isolation.steps import Close, Finished, Received
from ws_isolation.stream import Cursor, Gap, Page, Resumed, Start, answer
from ws_isolation.streams import LiveStream

Spoil: TypeAlias = Callable[[pytest.MonkeyPatch], None]

BUDGET: Final = 200
"""Schedules at most; most variants are found within twenty."""


@pytest.fixture(autouse=True)
def _nobody_reads_logs() -> Iterator[None]:
    """
    Keep the library's log records of thousands of failures out of pytest's hands.
    """
    logger = logging.getLogger("ws_isolation")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(before)


def _counter(patch: pytest.MonkeyPatch) -> None:
    """Follow places and not the chain, live and at resume."""

    def follow(self: Chain, envelope: Envelope, /) -> Arrival:
        if envelope.seq > self._seq + envelope.durable:
            return Arrival.HOLE
        if envelope.durable and envelope.seq <= self._seq:
            return Arrival.DUPLICATE
        if envelope.durable:
            self._seq, self._last_id = envelope.seq, envelope.id
        return Arrival.NEXT

    def believe(start: Start, page: Page, /, *, replay: int) -> Resumed | Gap | None:
        if start is None or start == "window" or start.epoch != page.top.epoch:
            return answer(start, page, replay=replay)
        return Resumed(page.top, tuple(entry for entry in page.entries if entry.seq > start.seq))

    patch.setattr(Chain, "follow", follow)
    patch.setattr(streams, "answer", believe)
    patch.setattr(runtime_following, "answer", believe)


def _equality(patch: pytest.MonkeyPatch) -> None:
    """Take the first session off that is equal: of the same user."""

    def unsubscribe(self: LiveStream, session: Session, now: float, /) -> None:
        others = list(self.sessions)
        del others[:1]
        self.sessions = tuple(others)
        if not self.sessions:
            self.detached_at = now

    patch.setattr(LiveStream, "unsubscribe", unsubscribe)


def _broadcast(patch: pytest.MonkeyPatch) -> None:
    """Offer each event to every session, and compare no owner."""

    def offer(self: LiveStream, envelope: Envelope, /) -> tuple[int, int]:
        home: Any = self._reader
        self.last, self.counts = envelope, (sum(one.offer(envelope) for one in tuple(home.sessions)), 0)
        return self.counts

    patch.setattr(LiveStream, "offer", offer)

    def nobody_is_foreign(_core: SessionCore, _envelope: object) -> None:
        pass

    patch.setattr(SessionCore, "_breach", nobody_is_foreign)


def _no_authentication(patch: pytest.MonkeyPatch) -> None:
    """Let who comes back go on as he was: nobody asks whether he still may."""

    async def bars(_self: Access, _identity: object, /) -> bool:
        return False

    patch.setattr(Access, "bars", bars)

    def bars_here(_self: Access, _identity: object, /) -> bool:
        return False

    patch.setattr(Access, "bars_here", bars_here)


def _trusts_cursors(patch: pytest.MonkeyPatch) -> None:
    """Replay without asking again: whoever comes with a cursor of a stream goes on as the one who had it before."""
    identify = serving._identify
    known: dict[str, UserExecutionContext] = {}

    async def remembers(
        handshake: Handshake, factory: ManagerFactory, authenticate: Authenticate, caller: str
    ) -> UserExecutionContext:
        start = handshake.start
        if not isinstance(start, Cursor):
            return await identify(handshake, factory, authenticate, caller)
        if start.epoch not in known:
            known[start.epoch] = await identify(handshake, factory, authenticate, caller)
        return known[start.epoch]

    patch.setattr(serving, "_identify", remembers)


def _pops_then_awaits(patch: pytest.MonkeyPatch) -> None:
    """Take an event from the outbox, give up the write that waits, and go on with the next."""
    sent = Session._sent

    async def impatient(self: Session, sending: Awaitable[None]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await sent(self, sending)

    patch.setattr(Session, "_sent", impatient)


def _from_registration(patch: pytest.MonkeyPatch) -> None:
    """Count the time-out from the first ping, whatever the client said since."""
    handle = SessionCore.handle

    def stubborn(self: SessionCore, happened: Any, /) -> Any:
        due, effects = self._pong_due, handle(self, happened)
        if isinstance(happened, Received) and self.is_open:
            self._pong_due = due
        return effects

    patch.setattr(SessionCore, "handle", stubborn)


def _not_at_the_seat(patch: pytest.MonkeyPatch) -> None:
    """End the sessions that have been welcomed, and forget those on their way there."""
    end = Session.close

    async def bars(_self: Access, _identity: object, /) -> bool:
        return False

    def close(self: Session, code: Any = closing.NORMAL, /, **about: Any) -> None:
        if code is not closing.REVOKED or self._core.state is not State.JOINING:
            end(self, code, **about)

    patch.setattr(Access, "bars", bars)
    patch.setattr(Session, "close", close)


def _swallowed(patch: pytest.MonkeyPatch) -> None:
    """Say goodbye, and leave the socket as it is."""

    async def send_close(self: Session, _close: Close) -> None:
        self._feed(Finished())

    patch.setattr(Session, "_send_close", send_close)


def _replays_a_part(patch: pytest.MonkeyPatch) -> None:
    """Leave the first missed event out."""

    def part(start: Start, page: Page, /, *, replay: int) -> Resumed | Gap | None:
        result = answer(start, page, replay=replay)
        return Resumed(result.cursor, result.replay[1:]) if isinstance(result, Resumed) else result

    patch.setattr(runtime_following, "answer", part)


def _keeps_sessions(patch: pytest.MonkeyPatch) -> None:
    """Leave each session on its stream."""

    def stay(_live: LiveStream, _session: object, _now: float, /) -> None:
        pass

    patch.setattr(LiveStream, "unsubscribe", stay)


def _trusts_the_clock(patch: pytest.MonkeyPatch) -> None:
    """Never look at when the authority ends."""
    start: Callable[..., None] = SessionCore.__init__

    def begin(self: SessionCore, **about: Any) -> None:
        start(self, **{**about, "expires_in": None})

    patch.setattr(SessionCore, "__init__", begin)


def _no_doubt(patch: pytest.MonkeyPatch) -> None:
    """Take an event for not stored because the engine did not answer."""

    def never(_self: Runtime, _live: LiveStream, _draft: object, _error: BaseException) -> None:
        pass

    patch.setattr(Runtime, "_doubt", never)


def _counts_anew(patch: pytest.MonkeyPatch) -> None:
    """Give the error of a run that did not begin here the first place."""
    check = Lifecycle.check

    def first(self: Lifecycle, event: Event, /) -> int | None:
        number = check(self, event)
        return 1 if number is None and event.final else number

    patch.setattr(Lifecycle, "check", first)


_MISCOUNTED: Final = ("INV2: not the next place in its run", "INV2: a place in a run", "INV2: a run out of order")


@pytest.mark.scenario("S65")
@pytest.mark.requirement("P1", "P2", "P3", "P5")
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("spoil", "symptoms"),
    [
        (_counter, ("INV3: lost in silence",)),
        (_equality, ("INV3: lost in silence",)),
        (_broadcast, ("INV1: a foreign event",)),
        (_no_authentication, ("INV4: something after the user was revoked",)),
        (_trusts_cursors, ("INV4: something before its user was authenticated",)),
        (_pops_then_awaits, ("INV3: lost in silence",)),
        (_from_registration, ("INV5: no cause for 4208",)),
        (_not_at_the_seat, ("INV4: something after the user was revoked",)),
        (_swallowed, ("INV5: a close that was swallowed",)),
        (_replays_a_part, ("INV3: lost in silence",)),
        (_keeps_sessions, ("INV6: streams stay", "INV6: somebody still listens")),
        (_trusts_the_clock, ("INV4: an event after the authority ended",)),
        (_no_doubt, _MISCOUNTED),
        (_counts_anew, _MISCOUNTED),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_broken_variant_is_caught(spoil: Spoil, symptoms: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what keeps the promise, a schedule breaks the invariant that stands for it."""
    for seed in range(BUDGET):
        with monkeypatch.context() as patch:
            spoil(patch)
            try:
                check(live(seed))
            except AssertionError as error:
                if str(error).startswith(symptoms):
                    return
    pytest.fail(f"nothing noticed in {BUDGET} schedules")
