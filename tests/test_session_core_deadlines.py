"""
One session's clock: when it has to be looked at, and what each deadline does when it comes early, late or with others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cores import START, envelope_of, make_core, stream_of, text, types, written
from ws_isolation import PlainWire, Settings, closing
from ws_isolation.session_core import SessionCore, State
from ws_isolation.steps import Abort, Ended, Offered, PeerGone, Received, Report, Stop, Ticked, WriterReady

SLOW_PONG: Final = Settings(heartbeat_seconds=5.0, pong_timeout_seconds=8.0)
"""A client has longer for its answer than until the next ping."""


def slug_of(core: SessionCore) -> str:
    """
    Return the name of the recorded end, empty where there is none.
    """
    return "" if core.code is None else core.code.slug


def _idle() -> SessionCore:
    core = make_core()
    written(core)
    return core


def _writing() -> SessionCore:
    core = make_core()
    core.handle(WriterReady(START))
    return core


def _pinged() -> SessionCore:
    core = _idle()
    core.handle(Ticked(START + 25))
    written(core, START + 25)
    return core


def _expiring() -> SessionCore:
    core = make_core(expires_in=-20.0)
    written(core)
    return core


def _far_from_expiring() -> SessionCore:
    core = make_core(expires_in=3_600.0)
    written(core)
    return core


def _ended() -> SessionCore:
    core = _pinged()
    core.handle(Ended(closing.NORMAL, START + 26))
    return core


def _full() -> SessionCore:
    core = make_core(settings=Settings(outbox_events=8))
    stream = stream_of()
    for n in range(9):
        core.handle(Offered(envelope_of(stream, n)))
    return core


def _left() -> SessionCore:
    core = _writing()
    core.handle(PeerGone(1006))
    return core


def _left_while_closing() -> SessionCore:
    core = _ended()
    core.handle(PeerGone(1006))
    return core


def _closed() -> SessionCore:
    core = _ended()
    core.handle(Ticked(START + 28))
    return core


@pytest.mark.parametrize(
    ("make", "state", "deadline"),
    [
        (_idle, State.LIVE, START + 25),
        (_writing, State.LIVE, START + 10),
        (_pinged, State.LIVE, START + 33),
        (_expiring, State.LIVE, START + 10),
        (_far_from_expiring, State.LIVE, START + 25),
        (_ended, State.CLOSING, START + 28),
        (_full, State.CLOSING, 0.0),
        (_left, State.CLOSED, None),
        (_left_while_closing, State.CLOSED, None),
        (_closed, State.CLOSED, None),
    ],
)
def test_next_deadline(make: Callable[[], SessionCore], state: State, deadline: float | None) -> None:
    """
    It is the earliest of what can come in this state; of a closed session nothing is due.
    """
    core = make()

    assert (state, deadline) == (core.state, core.next_deadline())


@given(
    early=st.floats(0.001, 24.999),
    make=st.sampled_from([_idle, _writing, _pinged, _expiring, _far_from_expiring, _ended]),
)
def test_early_tick(early: float, make: Callable[[], SessionCore]) -> None:
    """
    A tick before the deadline does nothing and moves nothing.
    """
    core = make()
    due = core.next_deadline()
    assert due is not None

    assert () == core.handle(Ticked(due - early))
    assert due == core.next_deadline()


# Heartbeat.


def test_same_tick_twice() -> None:
    """
    One deadline makes one ping, however often the clock looks at it.
    """
    core = _idle()
    for _ in range(3):
        core.handle(Ticked(START + 25))

    assert ["ws.ping"] == types(written(core, START + 25))


@pytest.mark.requirement("WS-09")
@pytest.mark.parametrize(
    "frame",
    [text(type="ws.pong", n=1), text(type="ws.ack", seq=0), text(type="hello"), text(type="hello", unknown=1)],
)
def test_life_starts_the_count_anew(frame: str) -> None:
    """
    After any frame that keeps the session only the next ping asks again, and its own time-out counts from it.
    """
    core = _pinged()
    core.handle(Received(frame, START + 32))
    assert () == core.handle(Ticked(START + 34))
    written(core, START + 34)
    assert START + 50 == core.next_deadline()
    core.handle(Ticked(START + 50))
    written(core, START + 50)
    assert START + 58 == core.next_deadline()
    core.handle(Ticked(START + 58))

    assert "heartbeat_timeout" == slug_of(core)


@pytest.mark.requirement("WS-09")
def test_time_out_longer_than_the_heartbeat() -> None:
    """
    Further pings do not move the deadline of the first one that was not answered.
    """
    core = make_core(settings=SLOW_PONG)
    written(core)
    for second in (5, 10):
        core.handle(Ticked(START + second))
        written(core, START + second)
    assert START + 13 == core.next_deadline()
    core.handle(Ticked(START + 13))

    assert "heartbeat_timeout" == slug_of(core)


@pytest.mark.parametrize(("late", "slug"), [(0.0, "heartbeat_timeout"), (0.999, "heartbeat_timeout"), (1.0, "")])
def test_how_late_is_late(late: float, slug: str) -> None:
    """
    Up to a second the silence counts as the client's, from then on as ours.
    """
    core = _pinged()
    core.handle(Ticked(START + 33 + late))

    assert slug == slug_of(core)


def test_answer_after_a_late_tick() -> None:
    """
    The answer that waited behind a blocked loop keeps the session; each further delay of ours adds its moment.
    """
    core = _pinged()
    for now in (START + 40, START + 45, START + 49):
        core.handle(Ticked(now))
        assert now + 1 == core.next_deadline()
    core.handle(Received(text(type="ws.pong", n=1), START + 49.5))

    assert State.LIVE is core.state
    assert START + 50 == core.next_deadline()


def test_late_tick_still_pings() -> None:
    """
    A tick that is late for the answer and for the next ping gives the moment and sends the ping.
    """
    core = _pinged()
    core.handle(Ticked(START + 60))

    assert ["ws.ping"] == types(written(core, START + 60))
    assert START + 61 == core.next_deadline()


@pytest.mark.requirement("WS-09")
@given(
    heartbeat=st.floats(1.0, 59.0),
    timeout=st.floats(1.0, 600.0),
    enforced=st.booleans(),
    plain=st.booleans(),
)
def test_silent_client(heartbeat: float, timeout: float, *, enforced: bool, plain: bool) -> None:
    """
    It is ended heartbeat and time-out after its last sign of life, and only where it promised to answer.
    """
    settings = Settings(heartbeat_seconds=heartbeat, pong_timeout_seconds=timeout, server_ping_seconds=None)
    wire = {"wire": PlainWire(lambda _envelope: None)} if plain else {}
    core = make_core(settings=settings, enforce_pongs=enforced, **wire)  # type: ignore[arg-type]  # one option
    written(core)
    end = START + heartbeat + timeout
    now = START
    while core.state is State.LIVE and now <= end:
        due = core.next_deadline()
        assert due is not None
        assert due > now, "the clock would spin"
        now = due
        core.handle(Ticked(now))
        if core.state is State.LIVE:
            written(core, now)

    assert ("heartbeat_timeout" if enforced and not plain else "") == slug_of(core)
    assert not slug_of(core) or end == pytest.approx(now)


# Writes.


@pytest.mark.scenario("S29")
def test_each_write_has_its_own_deadline() -> None:
    """
    The deadline counts from the write's begin; a finished one leaves none behind.
    """
    core = make_core()
    core.handle(Offered(envelope_of(stream_of())))
    core.handle(WriterReady(START))
    core.handle(WriterReady(START + 9))
    assert START + 19 == core.next_deadline()
    core.handle(WriterReady(START + 18))

    assert START + 25 == core.next_deadline()


def test_what_is_stuck_is_cut_whatever_else_is_due() -> None:
    """
    Behind a write that does not return nothing could be said: its deadline comes before expiry and heartbeat.
    """
    core = make_core(expires_in=0.0)
    core.handle(WriterReady(START))
    report, *rest = core.handle(Ticked(START + 100))

    assert Report("a write took longer than its deadline") == report
    assert [Stop(), Abort()] == rest
    assert "slow_consumer" == slug_of(core)


def test_goodbye_has_less_time_than_a_write() -> None:
    """
    On the way out ``close_seconds`` counts, from the end and not from the last write; the recorded end stays.
    """
    core = _writing()
    core.handle(Ended(closing.FORBIDDEN, START + 1))
    core.handle(WriterReady(START + 2.5))
    assert START + 3 == core.next_deadline()
    report, abort = core.handle(Ticked(START + 3))

    assert Report("goodbye could not be written in time") == report
    assert Abort() == abort
    assert (State.CLOSED, "forbidden") == (core.state, slug_of(core))


@given(
    code=st.sampled_from(list(closing.CODES.values())),
    ticks=st.lists(st.floats(0.0, 1.0), max_size=8),
    make=st.sampled_from([_idle, _writing, _pinged, _full]),
)
def test_way_out_is_bounded(code: closing.CloseCode, ticks: list[float], make: Callable[[], SessionCore]) -> None:
    """
    Whatever the end and however the clock ticks: once it is over, ``close_seconds`` later the session is closed.
    """
    core = make()
    begin = now = START + 30
    core.handle(Ended(code, now))
    if core.next_deadline() == 0.0:
        core.handle(Ticked(now))
    for step in ticks:
        now += step
        core.handle(Ticked(now))
    assert (State.CLOSED if now >= begin + 2 else State.CLOSING) is core.state
    core.handle(Ticked(max(now, begin + 2)))

    assert State.CLOSED is core.state


# Expiry.


@pytest.mark.requirement("WS-09")
@pytest.mark.parametrize(("expires_in", "skew"), [(60.0, 0.0), (60.0, 30.0), (-10.0, 30.0), (0.0, 0.0), (-50.0, 30.0)])
def test_expiry_and_skew(expires_in: float, skew: float) -> None:
    """
    The skew is added to ``expires_at``; an event may go out just before the sum, none at it.
    """
    end = START + expires_in + skew
    core = make_core(settings=Settings(expiry_skew_seconds=skew), expires_in=expires_in, enforce_pongs=False)
    core.handle(Offered(envelope_of(stream_of(), "early")))
    early = written(core, end - 0.001)
    core.handle(Offered(envelope_of(stream_of(), "late")))
    late = written(core, end)

    assert ["ws.welcome", "custom"] == types(early)
    assert ["ws.goodbye"] == types(late)
    assert 4101 == late[0]["code"]


@pytest.mark.requirement("WS-09")
def test_expiry_before_heartbeat() -> None:
    """
    Where both are due at once the client is told to get a new credential, not that it was silent.
    """
    core = make_core(expires_in=3.0)
    written(core)
    core.handle(Ticked(START + 25))
    written(core, START + 25)
    core.handle(Ticked(START + 33))

    assert "token_expired" == slug_of(core)


def test_ping_counts_down_to_the_expiry() -> None:
    """
    A ping says how long the credential itself lives on; within the skew that is 0.
    """
    core = make_core(expires_in=30.0)
    written(core)
    left: list[int] = []
    for now in (START + 25, START + 50):
        core.handle(Ticked(now))
        left.append(written(core, now)[-1]["expires_in_ms"])
        core.handle(Received(text(type="hello"), now))

    assert [5_000, 0] == left
