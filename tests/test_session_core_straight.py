"""
What is decided in one call is what the step for it decides: the same text, and the same core afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cores import START, make_core, stream_of, text
from tests.logs import put
from tests.shell import note
from ws_isolation import Settings, UserExecutionContext, closing
from ws_isolation.core_state import CoreState
from ws_isolation.events import AgentMessageDelta, AgentStarted, Envelope
from ws_isolation.frames import ErrorFrame
from ws_isolation.outbox import Outbox
from ws_isolation.session_core import SessionCore, State
from ws_isolation.steps import (
    Close,
    Draining,
    Effect,
    Ended,
    Input,
    Missed,
    Offered,
    PeerGone,
    Received,
    Refused,
    Renewed,
    Ticked,
    Write,
    WriterReady,
    WriteWaits,
)
from ws_isolation.stream import Gap
from ws_isolation.wire import DEFAULT_WIRE, PlainWire, Wire

Straight: TypeAlias = Callable[[SessionCore, Envelope, float], str | None]
PLAIN: Final = PlainWire(encode=lambda envelope: {"seq": envelope.seq})


@attrs.define
class Pair:
    """
    Two cores that are told the same; one of them is asked for what goes straight out.
    """

    settings: Settings = attrs.field(factory=Settings)
    wire: Wire = DEFAULT_WIRE
    expires_in: float | None = None
    straight: Straight = SessionCore.straight
    context: UserExecutionContext = attrs.field(init=False)
    cores: tuple[SessionCore, SessionCore] = attrs.field(init=False)
    now: float = START
    went: int = 0

    def __attrs_post_init__(self) -> None:
        """
        Make both cores, of one context, and write the welcome.
        """
        self.context = UserExecutionContext(user_id="alice", thread_id="t1", request_id="r")
        first, second = (
            make_core(settings=self.settings, context=self.context, wire=self.wire, expires_in=self.expires_in)
            for _ in range(2)
        )
        self.cores = (first, second)

    def both(self, happened: Input) -> None:
        """
        Tell both, and see that they do the same.
        """
        first, second = self.cores
        assert told(first.handle(happened)) == told(second.handle(happened))
        self.same()

    def offer(self, envelope: Envelope) -> None:
        """
        Offer to both while nothing is being written: to the one by its step, to the other straight.
        """
        first, second = self.cores
        by_step = told(first.handle(Offered(envelope, self.now, ready=True)))
        went = self.straight(second, envelope, self.now)
        if went is None:
            at_once = told(second.handle(Offered(envelope, self.now, ready=True)))
        else:
            self.went += 1
            at_once = told((Write(went),))
        assert by_step == at_once, "another decision"
        self.same()

    def write_all(self) -> None:
        """
        Write what waits.
        """
        for _ in range(100):
            before = [core.state for core in self.cores]
            self.both(WriterReady(self.now))
            if not any(core._opening or core._outbox.queue for core in self.cores) or before[0] is State.CLOSED:
                return

    def same(self) -> None:
        """
        See that both hold the same.
        """
        first, second = (
            {name: shape(getattr(core, name)) for name in CoreState.__slots__ if name != "_rate"} for core in self.cores
        )
        assert first == second, "another core"


def shape(value: Any) -> Any:
    """
    Return what can be compared: of an outbox, what waits in it.
    """
    if isinstance(value, Outbox):
        items = [getattr(item, "envelope", item) for item in value.queue or ()]
        return [getattr(item, "text", item) for item in items], value.events, value.size, value.joined
    return value


def told(effects: tuple[Effect, ...]) -> list[str]:
    """
    Return what can be compared of effects: an error is equal to itself only.
    """
    return [
        f"{type(effect).__name__} {getattr(effect, 'text', '')} {getattr(effect, 'what', '')}"
        f"{effect.code.code if isinstance(effect, Close) else ''}"
        for effect in effects
    ]


class Streams:
    """
    What is offered: own and foreign events, durable and not, of this thread and of another, new and old.
    """

    def __init__(self) -> None:
        self.own, self.foreign = stream_of("alice"), stream_of("mallory")
        self.last: Envelope | None = None

    def next(self, kind: str) -> Envelope:
        """
        Return an envelope of this kind.
        """
        if kind == "again" and self.last is not None:
            return self.last
        stream = self.foreign if kind == "foreign" else self.own
        if kind == "delta":
            return put(stream, AgentMessageDelta(run_id="r", thread_id="t1", message_id="m", delta="x"))
        event = AgentStarted(run_id="r2", thread_id="t2", agent_name="a") if kind == "elsewhere" else note()
        self.last = put(stream, event)
        return self.last


OFFERS: Final = ("own", "own", "delta", "foreign", "again", "elsewhere")


def act(pair: Pair, streams: Streams, action: str) -> None:
    """
    Let one thing happen to both cores.
    """
    inputs: dict[str, Input] = {
        "ready": WriterReady(pair.now),
        "waits": WriteWaits(pair.now),
        "hello": Received(text(type="hello"), pair.now),
        "refresh": Received(text(type="ws.refresh", credential="c"), pair.now),
        "refused": Refused(ErrorFrame(slug="unknown_type"), pair.now),
        "tick": Ticked(pair.now),
        "drain": Draining(pair.now + 5, pair.now),
        "missed": Missed(Gap("divergence", streams.own.cursor)),
        "end": Ended(closing.NORMAL, pair.now),
        "gone": PeerGone(1001),
    }
    if action in OFFERS:
        pair.offer(streams.next(action))
    elif action == "later":
        pair.now += 20.0
    elif action == "edit":
        object.__setattr__(pair.context, "user_id", "mallory")
    elif action == "queue":
        pair.both(Offered(streams.next("own"), pair.now))
    elif action == "write":
        pair.write_all()
    elif action == "renew":
        if pair.cores[0].state is State.REFRESHING:
            pair.both(Renewed(pair.context, 30.0, pair.now))
    else:
        pair.both(inputs[action])


ACTIONS: Final = (
    *OFFERS,
    "queue",
    "ready",
    "write",
    "waits",
    "hello",
    "refresh",
    "renew",
    "refused",
    "tick",
    "drain",
    "missed",
    "later",
    "edit",
    "end",
    "gone",
)


@pytest.mark.requirement("P1", "P3", "P5")
@given(
    actions=st.lists(st.sampled_from(ACTIONS), max_size=30),
    scope=st.sampled_from(["identity", "identity", "thread"]),
    wire=st.sampled_from([DEFAULT_WIRE, DEFAULT_WIRE, PLAIN]),
    expires_in=st.sampled_from([None, 30.0]),
)
def test_same_decision(actions: list[str], scope: Any, wire: Wire, expires_in: float | None) -> None:
    """
    Whatever happens in whatever order, an event that goes straight out is one that the step would have let out.
    """
    pair = Pair(Settings(session_scope=scope, outbox_events=8), wire, expires_in)
    streams = Streams()
    for action in ("write", *actions):
        act(pair, streams, action)


def test_common_case_goes_straight() -> None:
    """
    To a live session where nothing waits, events and pieces of text go straight, with an expiry to come as well.
    """
    for expires_in in (None, 30.0):
        pair, streams = Pair(expires_in=expires_in), Streams()
        for action in ("write", "own", "delta", "own", "later", "own", "hello", "delta"):
            act(pair, streams, action)
        assert 5 == pair.went


def blind_to(name: str, value: object) -> Straight:
    """
    Return the decision without one of its looks: it sees *value* in that place.
    """

    def straight(core: SessionCore, envelope: Envelope, now: float) -> str | None:
        kept = getattr(core, name)
        setattr(core, name, value)
        try:
            return core.straight(envelope, now)
        finally:
            if getattr(core, name) is value:
                setattr(core, name, kept)

    return straight


def blind_to_owner(core: SessionCore, envelope: Envelope, now: float) -> str | None:
    """
    Take every envelope for one's own.
    """
    return core.straight(msgspec.structs.replace(envelope, owner=core.identity), now)


@pytest.mark.scenario("S65")
@pytest.mark.requirement("P1", "P3", "P5")
@pytest.mark.parametrize(
    ("straight", "actions"),
    [
        (blind_to_owner, ["write", "foreign"]),
        (blind_to("context", UserExecutionContext(user_id="alice")), ["write", "edit", "own"]),
        (blind_to("state", State.LIVE), ["write", "end", "write", "own"]),
        (blind_to("expiry_due", None), ["write", *["later"] * 5, "own"]),
        (blind_to("_outbox", Outbox(events=8, size=10**6)), ["write", "queue", "own"]),
        (blind_to("_opening", []), ["own"]),
        (blind_to("_offered_seq", 0), ["write", "own", "again"]),
        (blind_to("_thread_id", None), ["write", "elsewhere"]),
        (blind_to("_wire", DEFAULT_WIRE), ["write", "own"]),
    ],
    ids=["owner", "context", "state", "expiry", "outbox", "opening", "seq", "thread", "wire"],
)
def test_missing_look_is_caught(straight: Straight, actions: list[str], request: pytest.FixtureRequest) -> None:
    """
    Without any one of what it looks at, it decides something else than the step, and that is seen.
    """
    case: str = request.node.callspec.id
    pair = Pair(
        Settings(session_scope="thread") if case == "thread" else Settings(),
        PLAIN if case == "wire" else DEFAULT_WIRE,
        30.0 if case == "expiry" else None,
        straight,
    )
    streams = Streams()

    with pytest.raises(AssertionError, match=r"another (decision|core)"):
        for action in actions:
            act(pair, streams, action)
