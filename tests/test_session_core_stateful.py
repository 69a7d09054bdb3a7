"""
Random inputs in any order, and what must hold after each of them.
"""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec
import pytest
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.cores import START, envelope_of, make_core, stream_of
from ws_isolation import Settings, closing
from ws_isolation.errors import InvalidStateError
from ws_isolation.frames import ErrorFrame
from ws_isolation.outbox import Outbox
from ws_isolation.session_core import SessionCore, State
from ws_isolation.steps import (
    Abort,
    Close,
    Consumed,
    Deliver,
    Draining,
    Effect,
    Ended,
    Finished,
    Input,
    Offered,
    PeerGone,
    Received,
    Refused,
    Renewed,
    Report,
    Stop,
    Ticked,
    Write,
    WriteFailed,
    WriterReady,
)
from ws_isolation.testing import make_context

SETTINGS: Final = Settings(
    outbox_events=8,
    outbox_bytes=4_096,
    event_bytes=4_096,
    inbox_messages=4,
    message_burst=8,
    messages_per_minute=60.0,
    heartbeat_seconds=5.0,
    pong_timeout_seconds=3.0,
)
OPEN: Final = (State.LIVE, State.REFRESHING, State.DRAINING)
TEXTS: Final = (
    '{"type":"ws.refresh","credential":"new"}',
    '{"type":"hello"}',
    '{"type":"hello","unknown":1}',
    '{"type":"ws.pong","n":1}',
    '{"type":"ws.ack","seq":1}',
    '{"type":"hello","user_id":"bob"}',
    "{",
    b"{}",
)


class CoreMachine(RuleBasedStateMachine):
    """
    A core, what it has written, and the invariants of a session.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.own, self.foreign = stream_of("alice"), stream_of("mallory")
        self.core = self.make()
        self.written: list[dict[str, Any]] = []
        self.offered: list[str] = []
        self.foreign_ids: set[str] = set()
        self.ended: closing.CloseCode | None = None
        self.stops = 0
        self.closes = 0
        self.delivered = 0
        self.alarms = 0
        self.over = False

    def make(self) -> SessionCore:
        """
        Return the core under test; a broken variant overrides this.
        """
        return make_core(settings=SETTINGS, expires_in=60.0)

    def feed(self, happened: Input) -> None:
        """
        Hand an input over and look at its effects.
        """
        was = self.core.state
        try:
            effects = self.core.handle(happened)
        except InvalidStateError:
            assert isinstance(happened, Finished if was is not State.LIVE else Finished | Renewed)
            assert was in OPEN
            return
        for effect in effects:
            self.look_at(effect)
        if was in OPEN and self.core.state not in OPEN:
            assert 1 == self.stops
            self.ended = self.core.code

    def look_at(self, effect: Effect) -> None:
        """
        Check one effect.
        """
        assert not self.over, f"{effect} after the close"
        match effect:
            case Write():
                frame = msgspec.json.decode(effect.text)
                goodbyes = [earlier for earlier in self.written if earlier["type"] == "ws.goodbye"]
                assert not goodbyes, f"{frame['type']} after goodbye"
                assert "mallory" not in effect.text, "a foreign event was written"
                # An end that clears the outbox may come before welcome was written.
                assert self.written or frame["type"] in {"ws.welcome", "ws.goodbye"}
                assert not self.written or frame["type"] != "ws.welcome"
                self.written.append(frame)
            case Close():
                self.closes += 1
                assert "ws.goodbye" == self.written[-1]["type"]
                assert effect.code.code == self.written[-1]["code"]
            case Stop():
                self.stops += 1
            case Deliver():
                self.delivered += 1
            case Report():
                self.alarms += effect.alarm
            case Abort():
                self.over = True
            case _:
                pass

    @rule(padding=st.sampled_from([0, 10, 1_000]))
    def offer_own(self, padding: int) -> None:
        """
        The stream has an event.
        """
        envelope = envelope_of(self.own, ["alice", "x" * padding])
        if self.core.state in OPEN:
            self.offered.append(envelope.id)
        self.feed(Offered(envelope))

    @rule()
    def offer_foreign(self) -> None:
        """
        Somebody else's event gets into the path.
        """
        self.feed(Offered(envelope_of(self.foreign, "mallory")))

    @rule(text=st.sampled_from(TEXTS))
    def receive(self, text: str | bytes) -> None:
        """
        The client sends something.
        """
        self.feed(Received(text, self.now))

    @precondition(lambda self: self.delivered > 0)
    @rule()
    def consume(self) -> None:
        """
        The handler takes a message.
        """
        self.delivered -= 1
        self.feed(Consumed())

    @rule()
    def refuse(self) -> None:
        """
        The application cannot serve a message.
        """
        self.feed(Refused(ErrorFrame(slug="not_allowed"), self.now))

    @rule(times=st.integers(1, 4))
    def write(self, times: int) -> None:
        """
        The writer is ready.
        """
        for _ in range(times):
            self.feed(WriterReady(self.now))

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.5, 6.0, 30.0]))
    def wait(self, seconds: float) -> None:
        """
        Time passes; the clock looks at what is due.
        """
        self.now += seconds
        due = self.core.next_deadline()
        if due is not None and due <= self.now:
            self.feed(Ticked(self.now))

    @rule(code=st.sampled_from([closing.NORMAL, closing.DRAIN, closing.INTERNAL_ERROR, closing.CONTEXT_REJECTED]))
    def end(self, code: closing.CloseCode) -> None:
        """
        The session is ended by somebody.
        """
        self.feed(Ended(code, self.now))

    @rule(seconds=st.sampled_from([0.0, 4.0]))
    def drain(self, seconds: float) -> None:
        """
        The server is going away.
        """
        self.feed(Draining(self.now + seconds, self.now))

    @rule(user=st.sampled_from(["alice", "alice", "bob"]))
    def renew(self, user: str) -> None:
        """
        The application has checked the new credential.
        """
        self.feed(Renewed(make_context(user), 60.0, self.now))
        assert "alice" == self.core.context.user_id

    @precondition(lambda self: self.now > START + 20)
    @rule(happened=st.sampled_from([PeerGone(1006), Finished()]))
    def connection_ends(self, happened: Input) -> None:
        """
        The peer leaves, or the transport is closed.
        """
        self.feed(happened)

    @precondition(lambda self: bool(self.written))
    @rule()
    def write_fails(self) -> None:
        """
        A text got lost on the way.
        """
        if self.written[-1]["type"] != "ws.goodbye":
            self.feed(WriteFailed(self.now))

    @invariant()
    def nothing_is_too_much(self) -> None:
        """
        What waits stays within its bounds; control frames are few.
        """
        events, size = self.core.waiting
        assert events <= SETTINGS.outbox_events, "more events wait than may"
        assert size <= SETTINGS.outbox_bytes, "more bytes wait than may"
        assert len(self.core._outbox) <= SETTINGS.outbox_events + 20 + 20 + 4
        assert self.core._inbox <= SETTINGS.inbox_messages

    @invariant()
    def first_end_decides(self) -> None:
        """
        The code does not change once it is recorded.
        """
        assert self.ended is None or self.ended is self.core.code, "the recorded end changed"
        assert self.stops == (self.core.state not in OPEN)

    @invariant()
    def own_events_in_order(self) -> None:
        """
        What was written is the beginning of what was offered while the session lived, without a hole.
        """
        got = [frame["id"] for frame in self.written if frame["type"] == "custom"]
        assert got == self.offered[: len(got)]

    @invariant()
    def has_a_deadline(self) -> None:
        """
        A session that is not closed is looked at again; a closed one is not.
        """
        assert (self.core.next_deadline() is None) == (self.core.state is State.CLOSED)


def run(machine: type[CoreMachine], *, max_examples: int = 150, **options: Any) -> None:
    """
    Run a machine: the core's, or that of a broken variant.
    """
    budget = hypothesis_settings(max_examples=max_examples, stateful_step_count=30, **options)
    run_state_machine_as_test(machine, settings=budget)


@pytest.mark.requirement("P1", "P2", "P5", "I1", "I16")
@pytest.mark.scenario("S27", "S56")
def test_whatever_happens() -> None:
    """
    At most one goodbye, last; nothing foreign; bounds hold; close only after goodbye; no other exception.
    """
    run(CoreMachine)


# Broken variants: what the machine above must catch.


class _Around:
    """
    A core with something before its ``handle``.
    """

    def __init__(self, inner: SessionCore) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def handle(self, happened: Input, /) -> tuple[Effect, ...]:
        """
        Do as the core.
        """
        return self.inner.handle(happened)


class _Relabels(_Around):
    def handle(self, happened: Input, /) -> tuple[Effect, ...]:
        """
        Give each envelope the session's own identity, which is what a missing owner check comes to.
        """
        if isinstance(happened, Offered):
            happened = Offered(msgspec.structs.replace(happened.envelope, owner=self.inner.identity))
        return super().handle(happened)


class _Forgets(_Around):
    def handle(self, happened: Input, /) -> tuple[Effect, ...]:
        """
        Take each end for the first.
        """
        if isinstance(happened, Ended) and self.inner.state is State.CLOSING:
            self.inner.code = happened.code
        return super().handle(happened)


class _NoOwnerCheck(CoreMachine):
    def make(self) -> SessionCore:
        """
        Return a core that sends what it is given.
        """
        return cast("SessionCore", _Relabels(super().make()))


class _NoMemoryOfTheFirstEnd(CoreMachine):
    def make(self) -> SessionCore:
        """
        Return a core whose code is that of the last end.
        """
        return cast("SessionCore", _Forgets(super().make()))


class _NoBound(CoreMachine):
    def make(self) -> SessionCore:
        """
        Return a core with an outbox that takes everything.
        """
        core = super().make()
        core._outbox = Outbox(events=10**6, size=10**9)
        return core


@pytest.mark.scenario("S65")
@pytest.mark.requirement("P1", "P2", "P5", "I1", "I16")
@pytest.mark.parametrize(
    ("machine", "symptom"),
    [
        (_NoOwnerCheck, "a foreign event was written"),
        (_NoMemoryOfTheFirstEnd, "the recorded end changed"),
        (_NoBound, "more events wait than may|more bytes wait than may"),
    ],
)
def test_broken_variant_is_caught(machine: type[CoreMachine], symptom: str) -> None:
    """
    Without the owner check, the memory of the first end or the outbox's bound, the machine goes red for that reason.
    """
    # A search stops at its first find, so a generous budget costs nothing; one schedule in fifty finds the rarest.
    with pytest.raises(AssertionError, match=symptom):
        run(
            machine,
            max_examples=5_000,
            phases=[Phase.generate],
            database=None,
            print_blob=False,
            report_multiple_bugs=False,
        )
