"""
``ws.auth``: the machine by itself, then over sockets in memory with a hand-moved clock.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.openings import MemoryOpening, handshake
from tests.shell import Bench, FaultyTransport, until_over
from ws_isolation import Handshake, ManagerFactory, PlainWire, Session, Settings, UserExecutionContext, closing, errors
from ws_isolation.admission import TRANSITIONS, Admission, Admitted, Answered, Ask, Denied, Heard, Input, Left, Step
from ws_isolation.auth_frame import AuthFrame, AuthWire
from ws_isolation.handshake import Credential
from ws_isolation.serving import serve_opening
from ws_isolation.steps import Ended, PeerGone, Ticked
from ws_isolation.stream import NIL_ID, Cursor
from ws_isolation.testing import make_context
from ws_isolation.testing.clock import settle
from ws_isolation.wire import DEFAULT_WIRE, Wire

pytestmark = pytest.mark.requirement("P2", "WS-05")

CANARY: Final = "canary-token"
FRAME: Final = {"type": "ws.auth", "credential": CANARY}
CURSOR: Final = {"epoch": "e.1", "seq": 7, "id": NIL_ID}
SETTINGS: Final = Settings(auth_frame=True, pending_handshakes=1)

# What a client may send first, and the code that it is closed with; None where authenticate is asked.
FIRST: Final[dict[str, tuple[object, int | None]]] = {
    "the credential": (FRAME, None),
    "all members": ({**FRAME, "scheme": "ticket", "cursor": CURSOR, "capabilities": ["a.b"], "v": "1.9"}, None),
    "null is absent": ({**FRAME, "scheme": None, "cursor": None, "capabilities": None, "v": None}, None),
    "another message": ({"type": "hello"}, 4001),
    "another control frame": ({"type": "ws.pong", "n": 1}, 4001),
    "no JSON": ("{", 4000),
    "no object": ("[]", 4000),
    "no type": ({"credential": CANARY}, 4000),
    "binary": (json.dumps(FRAME).encode(), 4000),
    "too big": ({**FRAME, "credential": "x" * 4_096}, 4013),
    "no credential": ({"type": "ws.auth"}, 4022),
    "empty credential": ({**FRAME, "credential": ""}, 4022),
    "a number for credential": ({**FRAME, "credential": 1}, 4022),
    "unknown member": ({**FRAME, CANARY: 1}, 4022),
    "reserved name": ({**FRAME, "user_id": "bob"}, 4022),
    "scheme": ({**FRAME, "scheme": "Bearer"}, 4022),
    "capabilities": ({**FRAME, "capabilities": "a"}, 4022),
    "33 capabilities": ({**FRAME, "capabilities": ["a"] * 33}, 4022),
    "capability": ({**FRAME, "capabilities": [1]}, 4022),
    "cursor as text": ({**FRAME, "cursor": f"e.1.{NIL_ID}"}, 4022),
    "cursor with more": ({**FRAME, "cursor": {**CURSOR, "n": 1}}, 4022),
    "cursor with a bool": ({**FRAME, "cursor": {**CURSOR, "seq": True}}, 4022),
    "cursor below 0": ({**FRAME, "cursor": {**CURSOR, "seq": -1}}, 4022),
    "cursor with a dot in its id": ({**FRAME, "cursor": {**CURSOR, "id": f"2.{NIL_ID}"}}, 4022),
    "no version": ({**FRAME, "v": "one"}, 4022),
    "a number for version": ({**FRAME, "v": 1.0}, 4022),
    "another major version": ({**FRAME, "v": "2.0", "new": 1}, 4026),
}
DOCUMENTED: Final = {4000, 4001, 4013, 4022, 4026}


def text_of(first: object) -> str | bytes:
    """
    Return what the client sends.
    """
    return first if isinstance(first, str | bytes) else json.dumps(first)


def machine(wire: AuthWire = DEFAULT_WIRE) -> Admission:
    """
    Return a machine that waits from 0 to 10.
    """
    return Admission(handshake=handshake(), wire=wire, seconds=10.0, now=0.0)


@pytest.mark.scenario("S53")
@pytest.mark.parametrize("name", FIRST)
def test_first_frame(name: str) -> None:
    """
    Each first frame has its code or is asked about, and nothing shows the credential.
    """
    first, code = FIRST[name]
    effect = machine().handle(Heard(text_of(first)))

    assert code == (effect.code.code if isinstance(effect, Denied) else None)
    assert (code is None) == isinstance(effect, Ask)
    assert CANARY not in repr((effect, Heard(text_of(first))))
    assert not isinstance(effect, Denied) or CANARY not in str(effect.cause)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(["credential", "scheme", "cursor", "capabilities", "v", "type", "other"]),
    st.binary(max_size=40) | st.text(max_size=40),
)
def test_only_documented_codes(value: object, member: str, raw: str | bytes) -> None:
    """
    Whatever a stranger sends first is asked about or closed with a documented code.
    """
    for first in (raw, json.dumps(value), json.dumps({**FRAME, member: value})):
        effect = machine().handle(Heard(first))

        assert isinstance(effect, Ask) or (isinstance(effect, Denied) and effect.code.code in DOCUMENTED)


def one_of_each() -> list[Input]:
    """
    Return an input of each kind.
    """
    return [Heard("{"), Answered(Denied(closing.DRAIN, "")), Ticked(99.0), Ended(closing.DRAIN, 0.0), PeerGone(1001)]


def test_table() -> None:
    """
    A second frame while authenticate is asked, or an early answer, is refused; after the end all is ignored.
    """
    for step in Step:
        for happened in one_of_each():
            one = machine()
            if step is not Step.WAITING:
                one.handle(Heard(json.dumps(FRAME)))
            if step is Step.OVER:
                one.handle(Answered(Denied(closing.FORBIDDEN, "")))
            if (step, type(happened)) in TRANSITIONS:
                effect = one.handle(happened)
                assert step is not Step.OVER or effect is None
            else:
                with pytest.raises(errors.InvalidStateError):
                    one.handle(happened)
                assert step is one.step


def test_first_end_counts() -> None:
    """
    What ends the wait while authenticate is asked counts more than its answer, and the first end more than the next.
    """
    admitted = Answered(Admitted(make_context(), None))
    for first, second, expected in (
        (Ended(closing.DRAIN, 0.0), PeerGone(1001), Denied),
        (PeerGone(1001), Ended(closing.DRAIN, 0.0), Left),
    ):
        one = machine()
        one.handle(Heard(json.dumps(FRAME)))
        assert one.handle(first) is one.handle(second) is one.handle(Ticked(99.0)) is None
        assert isinstance(one.handle(admitted), expected)


def test_late_loop() -> None:
    """
    A tick that comes early changes nothing; one that comes late extends the wait once.
    """
    one = machine()

    assert one.handle(Ticked(9.9)) is None
    assert one.handle(Ticked(12.0)) is None
    assert 13.0 == one.due
    effect = one.handle(Ticked(20.0))
    assert isinstance(effect, Denied)
    assert closing.AUTH_TIMEOUT is effect.code


def test_wire_that_fails() -> None:
    """
    What a wire of the application's own raises is 4300.
    """

    class Broken:
        """
        A wire with a defect.
        """

        def read_auth(self, _text: str | bytes, /) -> AuthFrame:
            """
            Fail.
            """
            raise LookupError

    effect = machine(Broken()).handle(Heard("{}"))
    assert isinstance(effect, Denied)
    assert closing.INTERNAL_ERROR is effect.code


def test_handshake_with_a_credential() -> None:
    """
    The scheme says which property has it; the frame's cursor goes before that of the query; no value is shown.
    """
    bearer, ticket = (Handshake(credential=Credential(scheme, CANARY)) for scheme in ("bearer", "ticket"))
    cursor = Cursor("e", 1, NIL_ID)

    assert (CANARY, None, None, CANARY) == (bearer.bearer_token, bearer.ticket, ticket.bearer_token, ticket.ticket)
    assert Handshake().ticket is None
    assert ("frame",) == bearer.credential_sources()
    assert CANARY not in repr((bearer, bearer.credential))
    assert cursor == Handshake(query_string="cursor=window", cursor=cursor).start


# Over sockets in memory.

asked: Final[list[Handshake]] = []


async def authenticate(shaken: Handshake) -> UserExecutionContext:
    """
    Admit who has the canary as bearer token or ticket, and note who was asked about.
    """
    asked.append(shaken)
    if CANARY not in {shaken.bearer_token, shaken.ticket}:
        raise errors.UnauthenticatedError
    return make_context()


async def served(
    opening: MemoryOpening, factory: ManagerFactory, handler: Any = until_over, wire: Wire = DEFAULT_WIRE
) -> asyncio.Task[None]:
    """
    Serve *opening* until it is over or waits for something.
    """
    asked.clear()
    task = asyncio.create_task(serve_opening(opening, factory, authenticate, handler, wire))
    await settle()
    return task


def code_of(opening: MemoryOpening) -> int:
    """
    Return the code of the close; goodbye says the same.
    """
    transport = opening.transport
    assert transport.closed is not None
    assert ["ws.goodbye"] == transport.types()
    assert transport.closed[0] == transport.frames[-1]["code"]
    return transport.closed[0]


@pytest.mark.scenario("S53")
@pytest.mark.requirement("WS-04", "WS-13", "WS-28", "P4")
async def test_admitted_by_frame(caplog: pytest.LogCaptureFixture) -> None:
    """
    Nobody is asked and nothing allocated before the frame; then welcome, and a second ``ws.auth`` is 4000.
    """
    caplog.set_level(logging.DEBUG)
    sessions: list[Session] = []

    async def handler(session: Session) -> None:
        sessions.append(session)
        await until_over(session)

    bench = Bench.new(SETTINGS)
    opening, second = MemoryOpening(), MemoryOpening()
    task = await served(opening, bench.factory, handler)
    stats = bench.factory.stats()
    await served(second, bench.factory)
    assert ([None], [], [(503, 1)]) == (opening.accepted, asked, second.refused)
    assert (0, 0, 1) == (stats.sessions, stats.streams, stats.pending)

    opening.transport.client_sends({**FRAME, "cursor": CURSOR})
    await settle()
    assert ["ws.welcome", "ws.gap"] == opening.transport.types()
    assert [CANARY] == [shaken.bearer_token for shaken in asked]
    assert sessions[0].handshake is asked[0]
    assert 0 == bench.factory.stats().pending

    opening.transport.client_sends(FRAME)
    await settle()
    assert task.done()
    assert opening.transport.closed is not None
    assert 4000 == opening.transport.closed[0]
    assert CANARY not in caplog.text + repr(opening.transport.sent)


@pytest.mark.scenario("S53")
@pytest.mark.requirement("WS-28")
@pytest.mark.parametrize(
    ("first", "code"),
    [({**FRAME, "credential": "wrong-canary"}, 4001), ({"type": "hello"}, 4001), ("{", 4000), (None, 4108)],
)
async def test_refused_by_frame(first: object, code: int, caplog: pytest.LogCaptureFixture) -> None:
    """
    A wrong, missing or broken first frame is told its code; silence is 4108 at the deadline, not before.
    """
    bench = Bench.new(SETTINGS)
    opening = MemoryOpening()
    task = await served(opening, bench.factory)
    if first is not None:
        opening.transport.client_sends(cast("Any", first))
        await settle()
    else:
        await bench.clock.advance(9.9)
        assert not task.done()
        await bench.clock.advance(0.2)
    stats = bench.factory.stats()

    assert task.done()
    assert code == code_of(opening)
    assert (0, 0, 0, {code: 1}) == (stats.sessions, stats.streams, stats.pending, stats.closes)
    assert "wrong-canary" not in caplog.text


@pytest.mark.parametrize(
    ("settings", "shaken", "wire"),
    [
        (Settings(), handshake(), DEFAULT_WIRE),
        (SETTINGS, handshake(("authorization", "Basic x")), DEFAULT_WIRE),
        (SETTINGS, handshake(subprotocols=("ws-isolation.v1", "bearer.x")), DEFAULT_WIRE),
        (
            Settings(auth_frame=True, auth_names=("sid",)),
            handshake(("cookie", "sid=1"), ("origin", "https://chat.example.com")),
            DEFAULT_WIRE,
        ),
        (Settings(auth_frame=True, auth_names=("x-key",)), handshake(("x-key", "1")), DEFAULT_WIRE),
        (Settings(auth_frame=True, auth_names=("ticket",)), handshake(query="ticket=1"), DEFAULT_WIRE),
        (SETTINGS, handshake(), PlainWire(lambda _envelope: None)),
    ],
)
async def test_asked_at_once(settings: Settings, shaken: Handshake, wire: Wire) -> None:
    """
    Switched off, with a credential in the handshake, or on a wire without ``ws.auth``, nothing is waited for.
    """
    opening = MemoryOpening(shaken)
    await served(opening, Bench.new(settings).factory, wire=wire)

    assert [shaken] == asked
    assert opening.transport.closed is not None
    assert 4001 == opening.transport.closed[0]


async def test_cookies_do_not_count() -> None:
    """
    The control: a cookie that is no credential leaves ``ws.auth`` due.
    """
    shaken = handshake(("cookie", "theme=dark"), ("origin", "https://chat.example.com"))
    opening = MemoryOpening(shaken)
    await served(opening, Bench.new(SETTINGS).factory)

    assert ([], None) == (asked, opening.transport.closed)
    opening.transport.client_leaves()
    await settle()


async def test_malformed_cursor_in_the_query() -> None:
    """
    It is refused with 4022 before anything is waited for.
    """
    opening = MemoryOpening(handshake(query="cursor=1"))
    await served(opening, Bench.new(SETTINGS).factory)

    assert 4022 == code_of(opening)


async def test_leaves_or_fails_while_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """
    A client that leaves is no error; a transport that fails is told 4300; one gone before accept is nothing.
    """

    async def gone() -> None:
        raise errors.TransportClosedError

    bench = Bench.new(SETTINGS)
    quiet = MemoryOpening()
    task = await served(quiet, bench.factory)
    quiet.transport.client_leaves()
    await settle()
    assert task.done()
    assert [] == [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert ([], {}) == (quiet.transport.sent, bench.factory.stats().closes)

    faulty = FaultyTransport(on_receive=LookupError())
    await served(MemoryOpening(inner=faulty), bench.factory)
    assert (4300, 0) == (cast("Any", faulty.inner.closed)[0], bench.factory.stats().pending)
    await served(MemoryOpening(before_accept=gone), bench.factory)
    assert 0 == bench.factory.stats().pending


@pytest.mark.scenario("S41")
@pytest.mark.requirement("P2", "WS-14")
async def test_server_takes_no_such_first_frame(caplog: pytest.LogCaptureFixture) -> None:
    """
    A first frame that the server below refuses to read is told as what it is, and nobody is authenticated.
    """
    bench = Bench.new(SETTINGS)
    faulty = FaultyTransport(on_receive=errors.MessageTooBigError("larger than the server takes"))
    await served(MemoryOpening(inner=faulty), bench.factory)

    assert (4013, 0) == (cast("Any", faulty.inner.closed)[0], bench.factory.stats().pending)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.scenario("S26", "S32", "S56")
@pytest.mark.parametrize("drains", [False, True])
async def test_cut_while_waited_for(*, drains: bool) -> None:
    """
    A stop of the factory tells 4200 at once, a cancellation 4300.
    """
    bench = Bench.new(SETTINGS)
    opening = MemoryOpening()
    task = await served(opening, bench.factory)
    if drains:
        await bench.factory.stop()
    else:
        task.cancel()
    await settle()

    assert task.done()
    assert drains != task.cancelled()
    assert (4200 if drains else 4300) == code_of(opening)
    assert 0 == bench.factory.stats().pending


async def test_second_frame_is_not_read_while_asking() -> None:
    """
    What comes behind the credential is not touched before the answer; the control, an eager machine, is refused.
    """
    one = machine()
    one.handle(Heard(json.dumps(FRAME)))
    with pytest.raises(errors.InvalidStateError):
        one.handle(Heard(json.dumps(FRAME)))

    assert Step.ASKING is one.step
    assert isinstance(one.handle(Answered(Denied(closing.FORBIDDEN, ""))), Denied)


async def test_loop_that_was_blocked() -> None:
    """
    A deadline that is looked at late leaves another second, in which the frame is read; then it is over.
    """
    for sends in (True, False):
        bench = Bench.new(SETTINGS)
        opening = MemoryOpening()
        task = await served(opening, bench.factory)
        cast("Any", bench.clock)._now += 15.0  # time passes, and no timer gets its turn
        await bench.clock.advance(0)
        assert not task.done()
        if sends:
            opening.transport.client_sends(FRAME)
        await bench.clock.advance(1.5)

        assert sends != task.done()
        assert ("ws.welcome" if sends else "ws.goodbye") == opening.transport.types()[0]
        opening.transport.client_leaves()
        await settle()


@pytest.mark.scenario("S32")
async def test_cancelled_while_authenticate_is_asked() -> None:
    """
    The socket is accepted already, so it is told 4300; the cancellation goes on.
    """

    async def never(_shaken: Handshake) -> None:
        await asyncio.Event().wait()

    bench = Bench.new(SETTINGS)
    opening = MemoryOpening()
    task = asyncio.create_task(serve_opening(opening, bench.factory, never, until_over))
    opening.transport.client_sends(FRAME)
    await settle()
    task.cancel()
    await settle()

    assert task.cancelled()
    assert 4300 == code_of(opening)
    assert 0 == bench.factory.stats().pending
