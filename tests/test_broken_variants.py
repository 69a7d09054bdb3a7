"""
Checks of one session, run over the library and over variants without what keeps the promise: those must fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias, cast

import attrs
import msgspec
import pytest

from tests.cores import START, envelope_of, make_core, stream_of, text, types, written
from tests.logs import NoReader
from ws_isolation import Settings, closing
from ws_isolation.errors import OwnerMismatchError
from ws_isolation.events.envelope import Envelope
from ws_isolation.outbox import Outbox
from ws_isolation.session_core import SessionCore, State
from ws_isolation.steps import (
    Close,
    Effect,
    Ended,
    Input,
    Offered,
    Received,
    Report,
    Ticked,
    Write,
    WriteFailed,
    WriterReady,
)
from ws_isolation.stream import Gap
from ws_isolation.streams import LiveStream

Wrap: TypeAlias = Callable[[SessionCore], SessionCore]


def real(core: SessionCore) -> SessionCore:
    """
    Return the library's core as it is.
    """
    return core


class Around:
    """
    A core with something before or behind its ``handle``; a variant says what.
    """

    def __init__(self, inner: SessionCore) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @classmethod
    def of(cls, core: SessionCore) -> SessionCore:
        """
        Return the variant in the place of *core*.
        """
        return cast("SessionCore", cls(core))

    def handle(self, happened: Input, /) -> tuple[Effect, ...]:
        """
        Do as the core.
        """
        return self.inner.handle(happened)


# What each promise comes to, as a check over any implementation.


def check_owner(wrap: Wrap) -> None:
    """
    Prove that a foreign envelope is not written, ends the session with 4300, and raises an alarm.
    """
    core = wrap(make_core())
    written(core)
    core.handle(Offered(envelope_of(stream_of("mallory"), "canary")))
    core.handle(Offered(envelope_of(stream_of(), "own")))
    effects = core.handle(WriterReady(START))
    assert "canary" not in repr(effects), "a foreign envelope was written"
    assert [effect for effect in effects if isinstance(effect, Report) and effect.alarm], "nobody is alarmed"
    assert not [effect for effect in effects if isinstance(effect, Write)], "something follows it"
    assert ["ws.goodbye"] == types(written(core)), "the session goes on"
    assert closing.INTERNAL_ERROR is core.code, "the code is another"


def check_bounds(wrap: Wrap) -> None:
    """
    Prove that what waits is bounded in events and in bytes, and that one more ends the session with 4213.
    """
    for settings, size in (
        (Settings(outbox_events=8), 1),
        (Settings(outbox_bytes=8_192, event_bytes=8_192), 2_000),
    ):
        core, stream = wrap(make_core(settings=settings)), stream_of()
        for _ in range(20):
            core.handle(Offered(envelope_of(stream, "x" * size)))
            events, waiting = core.waiting
            assert events <= settings.outbox_events, "too many events wait"
            assert waiting <= settings.outbox_bytes, "too many bytes wait"
        assert closing.SLOW_CONSUMER is core.code, "the slow reader may stay"


def check_goodbye(wrap: Wrap) -> None:
    """
    Prove that before each close there is one goodbye with the same code, the last text of all.
    """
    for code in closing.CODES.values():
        core = wrap(make_core())
        core.handle(Offered(envelope_of(stream_of())))
        core.handle(Ended(code, START))
        frames: list[dict[str, Any]] = written(core)
        effects = core.handle(WriterReady(START))
        assert ["ws.goodbye"] == types(frames)[-1:], "no goodbye before the close"
        assert 1 == types(frames).count("ws.goodbye"), "more than one goodbye"
        assert code.code == frames[-1]["code"], "goodbye says another code"
        assert [code] == [effect.code for effect in effects if isinstance(effect, Close)], "the close has another code"


def check_first_end(wrap: Wrap) -> None:
    """
    Prove that a failure on the way out does not hide what the session was ended for.
    """
    core = wrap(make_core())
    core.handle(Ended(closing.FORBIDDEN, START))
    core.handle(Ended(closing.INTERNAL_ERROR, START))
    core.handle(WriteFailed(START))
    (goodbye,) = written(core)
    assert closing.FORBIDDEN.code == goodbye["code"], "a later end hides the first"


def check_active_client_stays(wrap: Wrap) -> None:
    """
    Prove that a client that answers every ping, or speaks instead, is never ended for silence.
    """
    core = wrap(make_core())
    frames = [text(type="ws.pong", n=1), text(type="hello"), text(type="ws.ack", seq=0)]
    for n in range(40):
        now = START + (n + 1) * 25
        core.handle(Ticked(now))
        written(core, now)
        core.handle(Received(frames[n % 3], now + 7))
        core.handle(Ticked(now + 8))
        if n % 3 == 1:
            core._inbox = 0  # the handler took it
        assert State.LIVE is core.state, "a client that lives was ended"


def check_silent_client_goes(wrap: Wrap) -> None:
    """
    Prove that a silent client is ended a time-out after the first ping that it left unanswered.
    """
    for settings in (Settings(), Settings(heartbeat_seconds=5.0, pong_timeout_seconds=8.0)):
        core = wrap(make_core(settings=settings))
        written(core)
        end = START + settings.heartbeat_seconds + settings.pong_timeout_seconds
        for second in range(1, int(end - START)):
            core.handle(Ticked(START + second))
            written(core, START + second)
            assert State.LIVE is core.state, "it was ended too early"
        core.handle(Ticked(end))
        assert closing.HEARTBEAT_TIMEOUT is core.code, "a silent client may stay"


def check_expiry(wrap: Wrap) -> None:
    """
    Prove that no event is written once the authority has ended, whether the clock has said so or not.
    """
    core = wrap(make_core(expires_in=60.0))
    written(core)
    core.handle(Offered(envelope_of(stream_of())))
    assert ["ws.goodbye"] == types(written(core, START + 90)), "an event after the authority ended"
    assert closing.TOKEN_EXPIRED is core.code, "the code is another"


# The variants.


class SendsAllTheSame(Around):
    """
    Notes a foreign envelope, and relabels it so that it goes out.
    """

    def handle(self, happened: Input, /) -> tuple[Effect, ...]:
        """
        Report and send.
        """
        if isinstance(happened, Offered) and happened.envelope.owner.key != self.inner.identity.key:
            error = OwnerMismatchError(happened.envelope.id, self.inner.connection_id)
            relabelled = msgspec.structs.replace(happened.envelope, owner=self.inner.identity)
            return (Report("foreign envelope", error, alarm=True), *self.inner.handle(Offered(relabelled)))
        return self.inner.handle(happened)


class DropsInSilence(Around):
    """
    Leaves a foreign envelope out and goes on as if nothing had happened.
    """

    def handle(self, happened: Input, /) -> tuple[Effect, ...]:
        """
        Drop and say nothing.
        """
        if isinstance(happened, Offered) and happened.envelope.owner.key != self.inner.identity.key:
            return ()
        return self.inner.handle(happened)


def no_bound(core: SessionCore) -> SessionCore:
    """
    Give the core an outbox that takes everything.
    """
    core._outbox = Outbox(events=10**9, size=10**12)
    return core


def bound_in_bytes_only(core: SessionCore) -> SessionCore:
    """
    Give the core an outbox that does not count events.
    """
    core._outbox = Outbox(events=10**9, size=core._settings.outbox_bytes)
    return core


def bound_in_events_only(core: SessionCore) -> SessionCore:
    """
    Give the core an outbox that does not count bytes.
    """
    core._outbox = Outbox(events=core._settings.outbox_events, size=10**12)
    return core


class DropsTheOldest(Around):
    """
    Makes room for a new event by dropping the oldest in silence.
    """

    def handle(self, happened: Input, /) -> tuple[Effect, ...]:
        """
        Make room first.
        """
        outbox = self.inner._outbox
        if isinstance(happened, Offered):
            room = self.inner._settings.outbox_bytes - happened.envelope.size
            while outbox.events >= self.inner._settings.outbox_events or outbox.size > room:
                outbox.take()
        return self.inner.handle(happened)


class SaysNoGoodbye(Around):
    """
    Closes without a word.
    """

    def handle(self, happened: Input, /) -> tuple[Effect, ...]:
        """
        Leave goodbye out.
        """
        effects = self.inner.handle(happened)
        if any(isinstance(effect, Write) and "ws.goodbye" in effect.text for effect in effects):
            return self.inner.handle(happened)
        return effects


class SaysAnotherCode(Around):
    """
    Closes everything with 1000, whatever goodbye said.
    """

    def handle(self, happened: Input, /) -> tuple[Effect, ...]:
        """
        Change the close.
        """
        effects = self.inner.handle(happened)
        return tuple(Close(closing.NORMAL, "") if isinstance(effect, Close) else effect for effect in effects)


class LastEndDecides(Around):
    """
    Takes each end for the first one.
    """

    def handle(self, happened: Input, /) -> tuple[Effect, ...]:
        """
        Overwrite the recorded end.
        """
        if isinstance(happened, Ended) and self.inner.state is State.CLOSING:
            self.inner.code = happened.code
        return self.inner.handle(happened)


class CountsFromRegistration(Around):
    """
    Ends a session a time-out after it began, whatever the client did since.
    """

    def handle(self, happened: Input, /) -> tuple[Effect, ...]:
        """
        Look at the age instead of the activity.
        """
        if isinstance(happened, Ticked) and happened.now >= START + 25 + 8:
            return self.inner.handle(Ended(closing.HEARTBEAT_TIMEOUT, happened.now))
        return self.inner.handle(happened)


class CountsPongsOnly(Around):
    """
    Takes only the answer to a ping for a sign of life.
    """

    def handle(self, happened: Input, /) -> tuple[Effect, ...]:
        """
        Forget what other frames proved.
        """
        due = self.inner._pong_due
        effects = self.inner.handle(happened)
        if isinstance(happened, Received) and '"ws.pong"' not in str(happened.text):
            self.inner._pong_due = due
        return effects


class EachPingForgives(Around):
    """
    Starts the time-out anew with every ping, so that one longer than the heartbeat never comes.
    """

    def handle(self, happened: Input, /) -> tuple[Effect, ...]:
        """
        Move the deadline.
        """
        effects = self.inner.handle(happened)
        if any(isinstance(effect, Write) and "ws.ping" in effect.text for effect in effects):
            self.inner._pong_due = cast("WriterReady", happened).now + self.inner._settings.pong_timeout_seconds
        return effects


class TrustsTheClock(Around):
    """
    Lets the tick alone end what has expired: the writer does not look.
    """

    def handle(self, happened: Input, /) -> tuple[Effect, ...]:
        """
        Hide the time from the writer.
        """
        return self.inner.handle(WriterReady(START) if isinstance(happened, WriterReady) else happened)


CHECKS: Final[tuple[Callable[[Wrap], None], ...]] = (
    check_owner,
    check_bounds,
    check_goodbye,
    check_first_end,
    check_active_client_stays,
    check_silent_client_goes,
    check_expiry,
)


@pytest.mark.scenario("S27", "S47", "S56")
@pytest.mark.requirement("P1", "P2", "P5", "I1")
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("wrap", [real, Around.of], ids=["real", "wrapped"])
def test_library_passes(check: Callable[[Wrap], None], wrap: Wrap) -> None:
    """
    The library keeps each promise, and a wrapper that changes nothing breaks none.
    """
    check(wrap)


@pytest.mark.scenario("S65")
@pytest.mark.requirement("P1", "P2", "P5", "I1")
@pytest.mark.parametrize(
    ("check", "broken", "symptom"),
    [
        (check_owner, SendsAllTheSame.of, "a foreign envelope was written"),
        (check_owner, DropsInSilence.of, "nobody is alarmed"),
        (check_bounds, no_bound, "too many events wait"),
        (check_bounds, bound_in_bytes_only, "too many events wait"),
        (check_bounds, bound_in_events_only, "too many bytes wait"),
        (check_bounds, DropsTheOldest.of, "the slow reader may stay"),
        (check_goodbye, SaysNoGoodbye.of, "no goodbye before the close"),
        (check_goodbye, SaysAnotherCode.of, "the close has another code"),
        (check_first_end, LastEndDecides.of, "a later end hides the first"),
        (check_active_client_stays, CountsFromRegistration.of, "a client that lives was ended"),
        (check_active_client_stays, CountsPongsOnly.of, "a client that lives was ended"),
        (check_silent_client_goes, EachPingForgives.of, "a silent client may stay"),
        (check_expiry, TrustsTheClock.of, "an event after the authority ended"),
    ],
)
def test_broken_variant_is_caught(check: Callable[[Wrap], None], broken: Wrap, symptom: str) -> None:
    """
    Without what keeps the promise its check fails, for that reason.
    """
    with pytest.raises(AssertionError, match=symptom):
        check(broken)


# Leaving a stream: this very session, by object.


class Listens(Protocol):
    """
    The part of a live stream that knows its sessions.
    """

    def subscribe(self, session: Tab, /) -> None:
        """
        Add a session.
        """
        ...

    def unsubscribe(self, session: Tab, now: float, /) -> None:
        """
        Remove a session.
        """
        ...

    def offer(self, envelope: Envelope, /) -> tuple[int, int]:
        """
        Offer an envelope to all.
        """
        ...


@attrs.define
class Tab:
    """
    A subscriber that equals every other one of the same user.
    """

    user: str
    got: list[str] = attrs.field(factory=list[str], eq=False)

    def offer(self, envelope: Envelope, /) -> bool:
        """
        Take it.
        """
        self.got.append(envelope.id)
        return True

    def missed(self, gap: Gap, /) -> None:
        """
        Fail: nothing is missed here.
        """
        raise AssertionError(gap)


class ByEquality:
    """
    Removes what is equal.
    """

    def __init__(self) -> None:
        self.sessions: list[Tab] = []

    def subscribe(self, session: Tab, /) -> None:
        """
        Add a session.
        """
        self.sessions.append(session)

    def unsubscribe(self, session: Tab, _now: float, /) -> None:
        """
        Remove the first that is equal.
        """
        if session in self.sessions:
            self.sessions.remove(session)

    def offer(self, envelope: Envelope, /) -> tuple[int, int]:
        """
        Offer an envelope to all.
        """
        return sum(session.offer(envelope) for session in self.sessions), 0


class TheLatestWins(ByEquality):
    """
    Has one place for each user.
    """

    def subscribe(self, session: Tab, /) -> None:
        """
        Take the place of whoever had it.
        """
        self.sessions = [session]


class WhileIterating(ByEquality):
    """
    Removes by object, from the list that a publish is walking over.
    """

    def unsubscribe(self, session: Tab, _now: float, /) -> None:
        """
        Remove this very session in place.
        """
        for place, other in enumerate(self.sessions):
            if other is session:
                del self.sessions[place]
                return


def library_stream() -> Listens:
    """
    Return the library's own.
    """
    return LiveStream(stream_of().identity, START, NoReader())


@attrs.define
class LeavesOnFirst(Tab):
    """
    A tab whose connection breaks when the first event comes.
    """

    listens: Listens | None = attrs.field(default=None, eq=False)

    def offer(self, envelope: Envelope, /) -> bool:
        """
        Leave instead.
        """
        assert self.listens is not None
        self.listens.unsubscribe(self, START)
        return False


def check_leaving(make: Callable[[], Listens]) -> None:
    """
    Prove that the tab that left gets nothing more and its equals everything; also twice, also during a publish.
    """
    stream, listens = stream_of(), make()
    first, second, third = Tab("alice"), Tab("alice"), Tab("alice")
    for tab in (first, second, third):
        listens.subscribe(tab)
    for _ in range(2):
        listens.unsubscribe(second, START)
    assert 2 == listens.offer(envelope_of(stream))[0], "another one left as well"
    assert [1, 0, 1] == [len(tab.got) for tab in (first, second, third)], "the wrong one left"

    during = make()
    breaking, behind = LeavesOnFirst("alice", listens=during), Tab("alice")
    during.subscribe(breaking)
    during.subscribe(behind)
    during.offer(envelope_of(stream))
    assert 1 == len(behind.got), "the one behind it missed an event"


@pytest.mark.scenario("S25", "S30")
@pytest.mark.requirement("I11")
def test_library_removes_this_very_session() -> None:
    """
    The library removes by object.
    """
    check_leaving(library_stream)


@pytest.mark.scenario("S65")
@pytest.mark.requirement("I11")
@pytest.mark.parametrize(
    ("make", "symptom"),
    [
        (ByEquality, "another one left as well"),
        (TheLatestWins, "another one left as well"),
        (WhileIterating, "the one behind it missed an event"),
    ],
)
def test_wrong_removal_is_caught(make: Callable[[], Listens], symptom: str) -> None:
    """
    Removing what is equal, keeping one place for each user, or removing under a publish is caught.
    """
    with pytest.raises(AssertionError, match=symptom):
        check_leaving(make)
