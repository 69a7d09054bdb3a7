"""
One session's decisions: what is legal, what goes out next, what is too much, too late or foreign.
"""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.cores import START, envelope_of, joining_core, make_core, one_of_each, stream_of, text, types, written
from tests.logs import put
from ws_isolation import PlainWire, Settings, closing, errors, events
from ws_isolation.events.envelope import Envelope
from ws_isolation.frames import ErrorFrame, Frame, Goodbye, Inbound, Message
from ws_isolation.session_core import TRANSITIONS, SessionCore, State
from ws_isolation.steps import (
    Abort,
    Close,
    Consumed,
    Deliver,
    Draining,
    Ended,
    Finished,
    Input,
    Joined,
    Missed,
    Offered,
    PeerGone,
    Received,
    Refused,
    Renewed,
    Report,
    Stop,
    Ticked,
    Wake,
    Write,
    WriteFailed,
    WriterReady,
    WriteWaits,
)
from ws_isolation.stream import Cursor, Gap, Resumed
from ws_isolation.testing import make_context
from ws_isolation.wire import DEFAULT_WIRE, Unservable, Wire

PATHS: dict[State, list[Input]] = {
    State.JOINING: [],
    State.LIVE: [],
    State.REFRESHING: [Received(text(type="ws.refresh", credential="new"), START)],
    State.DRAINING: [Draining(START + 5, START)],
    State.CLOSING: [Ended(closing.NORMAL, START)],
    State.CLOSED: [PeerGone(1001)],
}
"""How to get into each state."""


def core_in(state: State, **options: Any) -> SessionCore:
    """
    Return a core that is in *state*.
    """
    core = joining_core(**options) if state is State.JOINING else make_core(**options)
    for happened in PATHS[state]:
        core.handle(happened)
    assert state is core.state
    return core


def slug_of(core: SessionCore) -> str:
    """
    Return the name of the recorded end, empty where there is none.
    """
    return "" if core.code is None else core.code.slug


# What is legal.


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("happened", one_of_each(), ids=lambda happened: type(happened).__name__)
def test_every_pair(state: State, happened: Input) -> None:
    """
    Each input is handled in each state, or refused as a bug of the shell where the table has no entry.
    """
    core = core_in(state)
    if isinstance(happened, Consumed) and state is not State.CLOSED:
        core._inbox = 1
    if (state, type(happened)) in TRANSITIONS:
        core.handle(happened)
    else:
        assert state is State.JOINING or (state, type(happened)) in {
            (State.LIVE, Joined),
            (State.REFRESHING, Joined),
            (State.DRAINING, Joined),
            (State.LIVE, Finished),
            (State.REFRESHING, Finished),
            (State.DRAINING, Finished),
            (State.LIVE, Renewed),
        }
        what = f"cannot handle {type(happened).__name__} in state {state.value}"
        with pytest.raises(errors.InvalidStateError, match=rf"{what} \(session connection-1\)"):
            core.handle(happened)
        assert state is core.state
        due = START + 5 if state is State.DRAINING else START + 25
        assert (None, due, 0) == (core.code, core.next_deadline(), core.written)
        if state is State.JOINING:
            core.handle(Joined(stream_of().cursor, None, START))
        assert ["ws.welcome"] == types(written(core))


@pytest.mark.requirement("WS-10", "P5")
@pytest.mark.parametrize(
    ("later", "left"),
    [(closing.REVOKED, ["ws.goodbye"]), (closing.DRAIN, ["ws.welcome", "custom", "ws.goodbye"])],
)
def test_revoked_on_the_way_out(later: closing.CloseCode, left: list[str]) -> None:
    """
    A revocation on the way out keeps the code of the first end, and lets nothing out but goodbye.
    """
    core = make_core()
    core.handle(Offered(envelope_of(stream_of())))
    core.handle(Ended(closing.NORMAL, START))
    core.handle(Ended(later, START))
    frames = written(core)

    assert left == types(frames)
    assert ("normal", 1000) == (slug_of(core), frames[-1]["code"])


@pytest.mark.requirement("WS-10", "P2")
def test_revoked_after_goodbye() -> None:
    """
    A revocation after goodbye was written adds nothing.
    """
    core = make_core()
    core.handle(Ended(closing.NORMAL, START))
    assert ["ws.welcome", "ws.goodbye"] == types(written(core))
    core.handle(Ended(closing.REVOKED, START))

    assert [] == types(written(core))


@pytest.mark.requirement("P3")
def test_kept_while_joining() -> None:
    """
    What is published before the engine has answered comes after welcome, in order, less what the answer covers.
    """
    core, stream = joining_core(), stream_of()
    made = [envelope_of(stream, value) for value in range(3)]
    for envelope in made[1:]:
        assert () == core.handle(Offered(envelope))
    core.handle(Joined(Cursor(stream.epoch, 2, made[1].id), None, START + 1))
    frames = written(core, START + 1)

    assert [("ws.welcome", None), ("custom", 3)] == [(frame["type"], frame.get("seq")) for frame in frames]
    assert START + 26 == core.next_deadline()


@pytest.mark.requirement("P3", "P5")
def test_too_much_while_joining() -> None:
    """
    Too many events while a session joins: a gap at the last one lost, after welcome, and what follows it.
    """
    core, stream = joining_core(), stream_of()
    top = stream.cursor
    made = [envelope_of(stream) for _ in range(1_026)]
    for envelope in made:
        core.handle(Offered(envelope))
    core.handle(Joined(top, None, START))
    frames = written(core)

    assert ["ws.welcome", "ws.gap", "custom"] == types(frames)
    assert ("replay_limit", 1_025) == (frames[1]["reason"], frames[1]["cursor"]["seq"])
    assert made[1_025].id == frames[2]["id"]


@pytest.mark.requirement("P3")
def test_gap_while_joining() -> None:
    """
    After a gap, what was kept before it does not matter any more.
    """
    core, stream = joining_core(), stream_of()
    core.handle(Offered(envelope_of(stream)))
    core.handle(Missed(Gap("divergence", stream.cursor)))
    core.handle(Joined(stream.cursor, None, START))

    assert ["ws.welcome", "ws.gap"] == types(written(core))


@pytest.mark.requirement("P2", "P5")
@pytest.mark.parametrize(
    ("happened", "code"),
    [
        (Ended(closing.REVOKED, START), 4010),
        (Ended(closing.NORMAL, START), 1000),
        (Draining(START + 5, START, 300), 4200),
        (Ticked(START + 90), 4101),
    ],
)
def test_ended_while_joining(happened: Input, code: int) -> None:
    """
    An end before welcome is the first thing that the client hears, and the only one.
    """
    core, stream = joining_core(expires_in=50.0), stream_of()
    core.handle(Offered(envelope_of(stream)))
    core.handle(happened)
    frames = written(core)

    assert [("ws.goodbye", code)] == [(frame["type"], frame["code"]) for frame in frames]
    assert () == core.handle(Joined(stream.cursor, None, START))


def test_no_ping_before_welcome() -> None:
    """
    While the engine is waited for no ping goes out, and its clock begins with welcome.
    """
    core = joining_core()
    assert START + 25 == core.next_deadline()
    assert () == core.handle(Ticked(START + 25))
    assert START + 50 == core.next_deadline()
    core.handle(Joined(stream_of().cursor, None, START + 30))

    assert (START + 55, ["ws.welcome"]) == (core.next_deadline(), types(written(core, START + 30)))


@pytest.mark.parametrize("happened", one_of_each(), ids=lambda happened: type(happened).__name__)
def test_closed_is_the_end(happened: Input) -> None:
    """
    Once closed, nothing has an effect any more, and no deadline comes.
    """
    core = core_in(State.CLOSED)

    assert () == core.handle(happened)
    assert (State.CLOSED, None, (0, 0)) == (core.state, core.next_deadline(), core.waiting)


@pytest.mark.parametrize(
    "happened",
    [happened for happened in one_of_each() if isinstance(happened, Offered | Received | Refused | Ended)],
    ids=lambda happened: type(happened).__name__,
)
def test_closing_takes_nothing_more(happened: Input) -> None:
    """
    On the way out nothing is queued, delivered, answered or decided again.
    """
    core = core_in(State.CLOSING)

    assert () == core.handle(happened)
    assert ["ws.welcome", "ws.goodbye"] == types(written(core))


def test_unknown_input() -> None:
    """
    What is no input at all is refused, and changes nothing.
    """
    with pytest.raises(errors.InvalidStateError, match="cannot handle str in state live"):
        make_core().handle(cast("Input", "text"))


# What goes out.


@pytest.mark.scenario("S50", "S61")
def test_welcome_comes_first() -> None:
    """
    Welcome, then the answer to the cursor, then events, in the order in which they were offered.
    """
    stream = stream_of()
    envelope_of(stream)
    core = make_core(stream=stream, answer=Resumed(stream.cursor))
    for n in range(2):
        assert (Wake(),) == core.handle(Offered(envelope_of(stream, n)))
    frames = written(core)

    assert ["ws.welcome", "ws.resumed", "custom", "custom"] == types(frames)
    assert 1 == frames[0]["cursor"]["seq"] == frames[1]["cursor"]["seq"]
    assert [2, 3] == [frame["seq"] for frame in frames[2:]]
    assert 2 == core.written
    gap = make_core(stream=stream, answer=Gap("trimmed", stream.cursor, 1, 3))
    assert ["ws.welcome", "ws.gap"] == types(written(gap))


def test_welcome_tells_the_settings() -> None:
    """
    Heartbeat, limits, thread and the rest of the credential's life are those of this session.
    """
    settings = Settings(heartbeat_seconds=20.0, pong_timeout_seconds=5.0, message_bytes=2_048, event_bytes=4_096)
    (welcome,) = written(make_core(settings=settings, context=make_context(thread_id=None), expires_in=12.3456))

    assert (20_000, 5_000, 12_346) == (welcome["heartbeat_ms"], welcome["pong_timeout_ms"], welcome["expires_in_ms"])
    assert {"message_bytes": 2_048, "event_bytes": 4_096, "replay_events": 300} == welcome["limits"]
    assert "thread_id" not in welcome
    (expired,) = written(make_core(expires_in=-5.0))
    assert 0 == expired["expires_in_ms"]


def test_one_write_at_a_time() -> None:
    """
    Each time the writer is ready it gets one text, and nothing when nothing waits.
    """
    core = make_core()

    assert [Write] == [type(effect) for effect in core.handle(WriterReady(START))]
    assert () == core.handle(WriterReady(START))


# Ends.


@pytest.mark.scenario("S56")
@pytest.mark.requirement("P2")
@pytest.mark.parametrize("code", closing.CODES.values(), ids=lambda code: code.slug)
def test_goodbye_before_close(code: closing.CloseCode) -> None:
    """
    What waits, then goodbye, then the close with the same code; after some ends nothing that waited may go out.
    """
    core = make_core()
    core.handle(Offered(envelope_of(stream_of())))
    effects = core.handle(Ended(code, START, 4_000))
    frames = written(core)
    (close,) = core.handle(WriterReady(START))

    assert (Stop(), Wake()) == effects
    cleared = code.code in {4010, 4101, 4213, 4310}
    assert ([] if cleared else ["ws.welcome", "custom"]) + ["ws.goodbye"] == types(frames)
    assert (code.code, code.slug, code.action, 4_000) == tuple(
        frames[-1][name] for name in ("code", "slug", "action", "retry_after_ms")
    )
    assert ("7f3a9c21d0" if code.action == "back_off" else None) == frames[-1].get("incident_id")
    assert isinstance(close, Close)
    assert code is close.code
    assert close.reason.startswith(code.slug)
    assert close.reason.endswith(";r=4000")
    assert () == core.handle(Finished())
    assert State.CLOSED is core.state


@pytest.mark.scenario("S56")
def test_first_end_decides() -> None:
    """
    A second end changes neither code nor goodbye.
    """
    core = make_core()
    core.handle(Ended(closing.FORBIDDEN, START))
    core.handle(Ended(closing.NORMAL, START, 5))
    goodbye = written(core)[-1]

    assert (4003, "forbidden") == (goodbye["code"], slug_of(core))
    assert "retry_after_ms" not in goodbye


def test_peer_gone() -> None:
    """
    A peer that left gets nothing; while the session lives its handler is stopped, and there is no code.
    """
    live, leaving = make_core(), core_in(State.CLOSING)

    assert (Stop(),) == live.handle(PeerGone(1006))
    assert () == leaving.handle(PeerGone(1006))
    assert ("", "normal") == (slug_of(live), slug_of(leaving))
    assert [] == written(live) == written(leaving)


def test_goodbye_has_a_deadline() -> None:
    """
    What cannot be said within ``close_seconds`` is cut; an end without a time starts the clock with the next tick.
    """
    core = core_in(State.CLOSING)
    assert START + 2.0 == core.next_deadline()
    assert () == core.handle(Ticked(START + 1.9))
    (report, abort) = core.handle(Ticked(START + 2.0))
    assert isinstance(report, Report)
    assert Abort() == abort

    full = make_core(settings=Settings(outbox_events=8))
    stream = stream_of()
    for n in range(9):
        full.handle(Offered(envelope_of(stream, n)))
    assert (State.CLOSING, 0.0) == (full.state, full.next_deadline())
    assert () == full.handle(Ticked(START))
    assert START + 2.0 == full.next_deadline()


# Bounds.


@pytest.mark.requirement("P5", "WS-16")
@pytest.mark.parametrize(
    ("settings", "fits"),
    [
        (Settings(outbox_events=8), 8),
        (Settings(outbox_bytes=4_096, event_bytes=4_096), 4),
    ],
)
def test_outbox_bounds(settings: Settings, fits: int) -> None:
    """
    An event over the bound in events or bytes ends the session with 4213; nothing that waited goes out.
    """
    stream = stream_of()
    core = make_core(settings=settings)
    waiting = core.waiting
    for _ in range(fits):
        assert (Wake(),) == core.handle(Offered(envelope_of(stream, "x" * 700)))
        waiting = core.waiting
    report, *rest = core.handle(Offered(envelope_of(stream, "x" * 700)))

    assert fits == waiting[0] <= settings.outbox_events
    assert waiting[1] <= settings.outbox_bytes
    assert Report("the outbox is full") == report
    assert [Stop(), Wake()] == rest
    assert "slow_consumer" == slug_of(core)
    assert ["ws.goodbye"] == types(written(core))


@pytest.mark.requirement("P5", "WS-15")
def test_rate() -> None:
    """
    A burst of 20, then 100 a minute; one more ends the session with 4329.
    """
    settings = Settings(inbox_messages=1_000)
    core = make_core(settings=settings)
    hello = text(type="hello")
    for _ in range(20):
        assert [Deliver(Message(type="hello"))] == list(core.handle(Received(hello, START)))
    for n in range(1, 200):
        core.handle(Received(hello, START + n * 0.61))
    assert State.LIVE is core.state
    for _ in range(5):
        core.handle(Received(hello, START + 199 * 0.61))
    assert "rate_limited" == slug_of(core)

    for frame in (text(type="ws.ack", seq=1), text(type="ws.pong", n=1), text(type="hello", unknown=1)):
        core = make_core(settings=settings)
        for _ in range(21):
            core.handle(Received(frame, START))
        assert "rate_limited" == slug_of(core)


@pytest.mark.requirement("P5")
def test_inbox() -> None:
    """
    One message more than the handler may leave waiting ends the session with 4329; a consumed one makes room.
    """
    core = make_core(settings=Settings(inbox_messages=2))
    hello = Received(text(type="hello"), START)
    core.handle(hello)
    core.handle(hello)
    core.handle(Consumed())
    core.handle(hello)
    assert State.LIVE is core.state
    report, *_ = core.handle(hello)

    assert isinstance(report, Report)
    assert "2 messages wait for the handler" == str(report.error)
    assert "rate_limited" == slug_of(core)
    core.handle(Consumed())


@pytest.mark.scenario("S41")
@pytest.mark.requirement("WS-17")
@pytest.mark.parametrize("by", ["wire", "application"])
def test_error_budget(by: str) -> None:
    """
    Twenty answers a minute, counted together; one more ends the session with 4022; a new minute starts anew.
    """
    core = make_core(settings=Settings(message_burst=100, messages_per_minute=1_000_000.0))

    def refuse(now: float) -> None:
        if by == "wire":
            core.handle(Received(text(type="hello", unknown=1), now))
        else:
            core.handle(Refused(ErrorFrame(slug="not_allowed"), now))

    for _ in range(20):
        refuse(START)
    for _ in range(20):
        refuse(START + 60)
    assert State.LIVE is core.state
    assert 40 == types(written(core, START + 60)).count("ws.error")
    refuse(START + 61)

    assert "schema_violation" == slug_of(core)


@pytest.mark.scenario("S41")
@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", 4000),
        (b"{}", 4000),
        ("x" * 65_537, 4013),
        (text(type="x", user_id="b"), 4022),
        (text(type="x", thread_id="t"), 4003),
    ],
)
def test_broken_input(frame: str | bytes, code: int) -> None:
    """
    What cannot be read ends the session with its code, and the operator is told why.
    """
    core = make_core()
    report, *_ = core.handle(Received(frame, START))

    assert code == (core.code.code if core.code else None)
    assert isinstance(report, Report)
    assert isinstance(report.error, errors.IsolationError)
    assert not report.alarm


# Time.


@pytest.mark.requirement("WS-09")
def test_heartbeat() -> None:
    """
    A ping each 25 seconds that says what was written before it; no sign of life for 8 more: 4208.
    """
    stream = stream_of()
    core = make_core(stream=stream, expires_in=1_000.0)
    written(core)
    assert START + 25 == core.next_deadline()
    assert () == core.handle(Ticked(START + 24.9))
    core.handle(Offered(envelope_of(stream)))
    assert (Wake(),) == core.handle(Ticked(START + 25))
    ping = written(core, START + 26)[-1]

    assert {"type": "ws.ping", "n": 1, "seq": 1, "expires_in_ms": 974_000} == ping
    assert START + 26 + 8 == core.next_deadline()
    assert () == core.handle(Ticked(START + 33.9))
    assert (Stop(), Wake()) == core.handle(Ticked(START + 34))
    assert "heartbeat_timeout" == slug_of(core)


def test_ping_counts_durable_events() -> None:
    """
    A piece of text has no place of its own: the ping names the durable event before it.
    """
    stream = stream_of()
    core = make_core(stream=stream)
    for event in (
        events.AgentStarted(run_id="r", thread_id="t", agent_name="a"),
        events.AgentMessageDelta(run_id="r", thread_id="t", message_id="m", delta="x", index=0),
    ):
        core.handle(Offered(put(stream, event)))
    core.handle(Ticked(START + 25))

    assert (1, 2) == (written(core, START + 25)[-1]["seq"], core.written)


@pytest.mark.parametrize("frame", [text(type="ws.pong", n=1), text(type="ws.pong", n=7), text(type="hello")])
def test_any_frame_is_life(frame: str) -> None:
    """
    Whatever a client sends after a ping proves that it lives.
    """
    core = make_core()
    core.handle(Ticked(START + 25))
    written(core, START + 25)
    core.handle(Received(frame, START + 32))

    assert () == core.handle(Ticked(START + 40))
    assert State.LIVE is core.state


def test_pongs_are_not_enforced_on_others() -> None:
    """
    A client that did not offer the subprotocol is pinged and may stay silent for ever.
    """
    core = make_core(enforce_pongs=False)
    for n in range(1, 100):
        core.handle(Ticked(START + n * 25))
        assert n == written(core, START + n * 25)[-1]["n"]
    assert State.LIVE is core.state

    plain = make_core(wire=PlainWire(lambda _envelope: None))
    plain.handle(Ticked(START + 25))
    assert [] == written(plain, START + 25)
    assert START + 50 == plain.next_deadline()


def test_late_tick_is_our_fault() -> None:
    """
    When the loop was blocked past the deadline, the client gets a moment for the answer that waits to be read.
    """
    core = make_core()
    core.handle(Ticked(START + 25))
    written(core, START + 25)
    core.handle(Ticked(START + 25 + 8 + 10))
    assert State.LIVE is core.state
    assert START + 25 + 8 + 10 + 1 == core.next_deadline()
    core.handle(Ticked(START + 25 + 8 + 10 + 1))

    assert "heartbeat_timeout" == slug_of(core)


def test_one_ping_at_a_time() -> None:
    """
    Behind a slow write pings do not pile up.
    """
    core = make_core(settings=Settings(heartbeat_seconds=1.0, write_seconds=600.0))
    core.handle(WriterReady(START))
    for n in range(1, 100):
        core.handle(Ticked(START + n))

    assert [1] == [frame["n"] for frame in written(core, START + 100)]


def test_each_ping_has_one_free_answer() -> None:
    """
    The answer to a ping costs nothing of the rate, its repetition does.
    """
    core = make_core(settings=Settings(message_burst=1, messages_per_minute=1.0))
    core.handle(Ticked(START + 25))
    written(core, START + 25)
    pong = Received(text(type="ws.pong", n=1), START + 26)
    for _ in range(2):
        core.handle(pong)
    assert State.LIVE is core.state
    core.handle(pong)

    assert "rate_limited" == slug_of(core)


@pytest.mark.scenario("S29", "S30")
@pytest.mark.requirement("WS-16")
def test_write_deadline() -> None:
    """
    A write that does not end within ``write_seconds`` cuts the session at once: nothing could be said any more.
    """
    core = make_core()
    core.handle(WriterReady(START))
    assert START + 10 == core.next_deadline()
    assert () == core.handle(Ticked(START + 9.9))
    report, *rest = core.handle(Ticked(START + 10))

    assert Report("a write took longer than its deadline") == report
    assert [Stop(), Abort()] == rest
    assert (State.CLOSED, "slow_consumer") == (core.state, slug_of(core))


@pytest.mark.requirement("WS-09")
def test_expiry() -> None:
    """
    At ``expires_at`` and the clocks' skew: 4101, and no event after it, neither one that waits nor a new one.
    """
    core = make_core(expires_in=60.0, enforce_pongs=False)
    written(core)
    core.handle(Ticked(START + 89.9))
    core.handle(Offered(envelope_of(stream_of())))
    assert (Stop(), Wake()) == core.handle(Ticked(START + 90))
    core.handle(Offered(envelope_of(stream_of())))

    assert "token_expired" == slug_of(core)
    assert ["ws.goodbye"] == types(written(core, START + 90))


@pytest.mark.requirement("WS-09")
def test_expiry_with_a_late_tick() -> None:
    """
    A writer that is ready after the expiry writes no event, also when the clock's tick has not come yet.
    """
    core = make_core(expires_in=60.0)
    written(core)
    core.handle(Offered(envelope_of(stream_of())))

    assert ["ws.goodbye"] == types(written(core, START + 90))
    assert "token_expired" == slug_of(core)


@pytest.mark.requirement("WS-09")
def test_expiry_on_the_way_out() -> None:
    """
    Also where another reason ended the session first, no event is written after the expiry; goodbye is.
    """
    core = make_core(expires_in=60.0)
    written(core)
    core.handle(Offered(envelope_of(stream_of())))
    core.handle(Ended(closing.DRAIN, START + 89.9))

    assert ["ws.goodbye"] == types(written(core, START + 90))
    assert "drain" == slug_of(core)


# The last hop.


@pytest.mark.scenario("S27", "S47")
@pytest.mark.requirement("P1", "I1")
@pytest.mark.parametrize("closing_already", [False, True])
def test_foreign_envelope(*, closing_already: bool) -> None:
    """
    It is held back and reported as a breach, and nothing that waits behind it goes out; 4300, or the earlier end.
    """
    core = make_core()
    mine, foreign = stream_of(), stream_of("mallory")
    written(core)
    for envelope in (envelope_of(mine), envelope_of(foreign, "canary"), envelope_of(mine)):
        core.handle(Offered(envelope))
    if closing_already:
        core.handle(Ended(closing.NORMAL, START))
    (first,) = core.handle(WriterReady(START))
    report, *rest = core.handle(WriterReady(START))

    assert isinstance(first, Write)
    assert isinstance(report, Report)
    assert (True, "foreign envelope held back") == (report.alarm, report.what)
    assert isinstance(report.error, errors.OwnerMismatchError)
    assert ([] if closing_already else [Stop()]) + [Wake()] == rest
    frames = written(core)
    assert ["ws.goodbye"] == types(frames)
    assert (1000 if closing_already else 4300) == frames[0]["code"]
    assert 1 == core.written


@pytest.mark.scenario("S47")
@pytest.mark.requirement("P1", "P6")
def test_edited_context() -> None:
    """
    A context that was changed after its session began gets nothing more: 4310.
    """
    context = make_context()
    core = make_core(context=context)
    written(core)
    object.__setattr__(context, "user_id", "mallory")
    core.handle(Offered(envelope_of(stream_of())))
    report, *_ = core.handle(WriterReady(START))

    assert isinstance(report, Report)
    assert (True, "edited context at the last hop") == (report.alarm, report.what)
    assert "context_rejected" == slug_of(core)
    assert ["ws.goodbye"] == types(written(core))


# Failures on the way.


class BrokenError(Exception):
    """
    What an application's encode raises.
    """


@pytest.mark.parametrize("closing_already", [False, True])
def test_wire_that_raises(*, closing_already: bool) -> None:
    """
    The event is lost, so nothing follows it but goodbye; the operator is told.
    """

    def encode(_envelope: object) -> str | None:
        raise BrokenError

    core = make_core(wire=PlainWire(encode))
    for _ in range(3):
        core.handle(Offered(envelope_of(stream_of())))
    if closing_already:
        core.handle(Ended(closing.NORMAL, START))
    report, *_ = core.handle(WriterReady(START))

    assert isinstance(report, Report)
    assert isinstance(report.error, BrokenError)
    assert (0, 0) == core.waiting
    assert ("normal" if closing_already else "internal_error") == slug_of(core)
    (close,) = core.handle(WriterReady(START))
    assert isinstance(close, Close)


class _Raising:
    """
    An application's own wire, one of whose calls raises a secret.
    """

    subprotocol = None

    def __init__(self, raises: str) -> None:
        self.raises = raises

    def _do(self, what: str) -> None:
        if what == self.raises:
            raise BrokenError("canary")

    def event(self, envelope: Envelope, /) -> str | None:
        """
        Write an event as the default wire does.
        """
        self._do("event")
        return DEFAULT_WIRE.event(envelope)

    def control(self, frame: Frame, /) -> str | None:
        """
        Write goodbye as the default wire does, which is what is left to say.
        """
        self._do("goodbye" if isinstance(frame, Goodbye) else "control")
        return DEFAULT_WIRE.control(frame)

    def read(self, text: str | bytes, limit: int, /) -> Inbound | Unservable:
        """
        Read as the default wire does.
        """
        self._do("read")
        return DEFAULT_WIRE.read(text, limit)


@pytest.mark.scenario("S56", "S63")
@pytest.mark.requirement("P2")
@pytest.mark.parametrize("raises", ["read", "event", "control"])
def test_what_a_wire_raises_stays_here(raises: str) -> None:
    """
    Wherever it raises, the session ends with 4300 and goodbye; the operator gets the error, the client no word of it.
    """
    core = make_core(wire=_Raising(raises))
    effects = list(core.handle(Offered(envelope_of(stream_of()))))
    effects += core.handle(WriterReady(START))
    effects += core.handle(WriterReady(START)) if core.state is State.LIVE else ()
    effects += core.handle(Received(text(type="hello"), START)) if core.state is State.LIVE else ()
    (report,) = (effect for effect in effects if isinstance(effect, Report))
    frames = written(core)
    (close,) = core.handle(WriterReady(START))

    assert "canary" == str(report.error)
    assert not report.alarm
    assert ["ws.goodbye"] == types(frames)
    assert (4300, "7f3a9c21d0") == (frames[0]["code"], frames[0]["incident_id"])
    assert Close(closing.INTERNAL_ERROR, "internal_error;i=7f3a9c21d0;r=1000") == close
    assert "canary" not in repr([frames, close])


@pytest.mark.requirement("P2")
def test_goodbye_that_cannot_be_written() -> None:
    """
    A wire that cannot even say goodbye leaves the close with its code, and the operator is told once.
    """
    core = make_core(wire=_Raising("goodbye"))
    core.handle(WriterReady(START))
    core.handle(Ended(closing.FORBIDDEN, START))
    report, *rest = core.handle(WriterReady(START))
    (close,) = core.handle(WriterReady(START))

    assert isinstance(report, Report)
    assert [Wake()] == rest
    assert isinstance(close, Close)
    assert closing.FORBIDDEN is close.code


@pytest.mark.scenario("S63")
@pytest.mark.requirement("WS-29")
@pytest.mark.parametrize(
    "frame",
    [
        "canary",
        b"canary",
        text(type="canary.x"),
        text(type="ws.canary"),
        text(type="x", user_id="canary"),
        text(type="x", thread_id="canary"),
        text(type="x", id="canary"),
        text(type="x", data="canary"),
        '{"type":"x","data":{"canary":' + "9" * 40 + "}}",
        text(type="ws.pong", n="canary"),
        text(type="ws.ack", seq=1, canary=1),
        text(type="x", data="canary" * 20_000),
    ],
)
def test_client_learns_the_code_alone(frame: str | bytes) -> None:
    """
    Goodbye and reason hold the code, its slug and the incident, and nothing of what was wrong with the frame.
    """
    core = make_core()
    core.handle(WriterReady(START))
    core.handle(Received(frame, START))
    (goodbye,) = written(core)
    (close,) = core.handle(WriterReady(START))

    assert {"type", "code", "slug", "action"} == goodbye.keys()
    assert isinstance(close, Close)
    assert goodbye["slug"] == close.reason
    assert "canary" not in repr([goodbye, close])


@pytest.mark.scenario("S57")
@pytest.mark.parametrize("code", closing.CODES.values(), ids=lambda code: code.slug)
@pytest.mark.parametrize("retry_after_ms", [None, 0, 2**53])
def test_reasons_fit(code: closing.CloseCode, retry_after_ms: int | None) -> None:
    """
    Each reason is ASCII, fits into a close frame, and says the same as goodbye.
    """
    core = make_core()
    core.handle(Ended(code, START, retry_after_ms))
    goodbye = written(core)[-1]
    (close,) = core.handle(WriterReady(START))

    assert isinstance(close, Close)
    assert len(close.reason.encode("ascii")) <= 123
    said = [code.slug]
    said += [f"i={goodbye['incident_id']}"] if "incident_id" in goodbye else []
    said += [f"r={goodbye['retry_after_ms']}"] if "retry_after_ms" in goodbye else []
    assert ";".join(said) == close.reason


def test_write_failed() -> None:
    """
    After a text that was lost: goodbye with 4300 if that can be written, then the close.
    """
    core = make_core()
    core.handle(Offered(envelope_of(stream_of())))
    core.handle(WriterReady(START))
    assert (Stop(), Wake()) == core.handle(WriteFailed(START))
    assert ["ws.goodbye"] == types(written(core))
    assert (Wake(),) == core.handle(WriteFailed(START))
    (close,) = core.handle(WriterReady(START))

    assert isinstance(close, Close)
    assert closing.INTERNAL_ERROR is close.code


def test_acks_are_kept() -> None:
    """
    An ack is a count for metrics: it moves nothing, and one beyond what was written says nothing.
    """
    core = make_core()

    assert () == core.handle(Received(text(type="ws.ack", seq=9), START))
    assert 0 == core.acknowledged


@pytest.mark.requirement("P1", "P2")
@pytest.mark.parametrize(
    ("wire", "expires_in", "whose", "code"),
    [
        (DEFAULT_WIRE, None, "alice", None),
        (PlainWire(lambda _envelope: None), None, "alice", None),
        (PlainWire(lambda envelope: 1 // len(envelope.prev[:0])), None, "alice", 4300),
        (DEFAULT_WIRE, 5.0, "alice", 4101),
        (DEFAULT_WIRE, None, "mallory", 4300),
    ],
    ids=["written", "left out", "wire fails", "expired", "foreign"],
)
def test_written_at_once(wire: Wire, expires_in: float | None, whose: str, code: int | None) -> None:
    """
    Where nothing is being written an event goes out in the same step, and is decided about like any other.
    """
    core = make_core(wire=wire, expires_in=expires_in)
    written(core)
    effects = core.handle(Offered(envelope_of(stream_of(whose)), START + 60, ready=True))

    assert code == (None if core.code is None else core.code.code)
    assert (code is None and wire is DEFAULT_WIRE) == any(isinstance(effect, Write) for effect in effects)


def test_write_that_waits_has_a_deadline() -> None:
    """
    A write that was taken at once has no deadline; one that has to wait has, from the moment that it waits.
    """
    core = make_core()
    written(core)
    due = core.next_deadline()
    core.handle(Offered(envelope_of(stream_of()), START + 1, ready=True))
    assert due == core.next_deadline()
    core.handle(WriteWaits(START + 1))
    assert START + 11 == core.next_deadline()
    assert State.CLOSED is not core.state
    core.handle(Ticked(START + 11))
    assert (State.CLOSED, "slow_consumer") == (core.state, None if core.code is None else core.code.slug)
