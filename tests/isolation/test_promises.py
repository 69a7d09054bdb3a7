"""
For each promise of a session a check, run over the library and over a variant without what keeps the promise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest

from tests.cores import envelope_of, stream_of
from tests.openings import MemoryOpening
from tests.shell import Bench, note, until_over
from ws_isolation import Handshake, ManagerFactory, Session, Settings, UserExecutionContext
from ws_isolation.context import is_intact
from ws_isolation.outbox import Outbox
from ws_isolation.serving import Authenticate, serve_opening
from ws_isolation.session_core import TRANSITIONS, SessionCore, State
from ws_isolation.steps import (
    Ticked,
)
from ws_isolation.testing import make_context
from ws_isolation.testing.clock import settle


class OddError(BaseException):
    """
    What no ``except Exception`` catches.
    """


Handler: TypeAlias = Callable[[Session], Awaitable[None]]
Serve: TypeAlias = Callable[[MemoryOpening, ManagerFactory, Authenticate, Handler], Awaitable[None]]


# The guard: every way out ends with goodbye and a close.


async def _alice(_handshake: Handshake) -> UserExecutionContext:
    return make_context()


async def _nobody(_handshake: Handshake) -> UserExecutionContext | None:
    return None


async def _defect(_handshake: Handshake) -> UserExecutionContext | None:
    raise LookupError


async def _returns(_session: Session) -> None:
    pass


async def _raises(_session: Session) -> None:
    raise LookupError


async def _raises_what_is_no_exception(_session: Session) -> None:
    raise OddError


async def _is_cancelled(_session: Session) -> None:
    raise asyncio.CancelledError


WAYS_OUT: dict[str, tuple[Authenticate, Handler, int]] = {
    "plain return": (_alice, _returns, 1000),
    "exception": (_alice, _raises, 4300),
    "no Exception": (_alice, _raises_what_is_no_exception, 4300),
    "cancellation": (_alice, _is_cancelled, 4300),
    "refusal": (_nobody, _returns, 4001),
    "failing authentication": (_defect, _returns, 4300),
}


async def check_guard(serve: Serve, way: str) -> None:
    """
    Prove that *serve* ends a socket with goodbye and a close frame of the same code, and raises nothing.
    """
    authenticate, handler, code = WAYS_OUT[way]
    opening = MemoryOpening()
    task = asyncio.create_task(_settled(serve(opening, Bench.new().factory, authenticate, handler)))
    await asyncio.wait({task}, timeout=5)
    assert task.done(), f"{way}: it hangs"
    assert not task.cancelled(), f"{way}: the cancellation escapes to the server"
    assert task.exception() is None, f"{way}: {task.exception()!r} escapes to the server"
    assert opening.transport.closed is not None, f"{way}: the socket is left to the server"
    assert code == opening.transport.closed[0], f"{way}: the code is another"
    assert "ws.goodbye" == opening.transport.types()[-1], f"{way}: no goodbye"


async def _settled(work: Awaitable[None]) -> None:
    await work
    await settle()


async def naive_serve(
    opening: MemoryOpening, factory: ManagerFactory, authenticate: Authenticate, handler: Handler
) -> None:
    """
    Do what endpoints do that are written by hand: no guard around anything.
    """
    context = await authenticate(opening.handshake)
    transport = await opening.accept(None)
    if context is None:
        return
    session = await factory.open_session(context, transport, wire=_wire(), start=None, handshake=opening.handshake)
    session.begin()
    await handler(session)


async def half_guarded_serve(
    opening: MemoryOpening, factory: ManagerFactory, authenticate: Authenticate, handler: Handler
) -> None:
    """
    Catch exceptions and close with 1011, as the incident's code base did.
    """
    try:
        await naive_serve(opening, factory, authenticate, handler)
    except Exception:  # noqa: BLE001  # that is the defect
        await opening.transport.close(1011, "")


def _wire() -> Any:
    from ws_isolation.wire import DEFAULT_WIRE

    return DEFAULT_WIRE


@pytest.mark.scenario("S56")
@pytest.mark.requirement("P2")
@pytest.mark.parametrize("way", WAYS_OUT)
async def test_guard(way: str) -> None:
    """
    The library's guard owns each way out.
    """
    await check_guard(serve_opening, way)


@pytest.mark.scenario("S65")
@pytest.mark.requirement("P2")
@pytest.mark.parametrize("way", WAYS_OUT)
@pytest.mark.parametrize("serve", [naive_serve, half_guarded_serve])
async def test_missing_guard_is_caught(serve: Serve, way: str) -> None:
    """
    An endpoint without a guard, and one with half of one, fails each of these checks.
    """
    with pytest.raises(AssertionError, match=f"{way}: "):
        await check_guard(serve, way)


# The last hop: what is another's is not written.


async def check_last_hop() -> None:
    """
    Prove that neither a foreign envelope nor anything for an edited context is written, and that both are counted.
    """
    for edited in (False, True):
        bench = Bench.new()
        served = await bench.serve()
        if edited:
            object.__setattr__(served.session.context, "user_id", "mallory")
        served.session.offer(envelope_of(stream_of("alice" if edited else "mallory"), "canary"))
        await bench.clock.advance(5)
        assert "canary" not in repr(served.transport.sent), "it was written"
        assert 1 == bench.factory.stats().foreign, "it was not counted"
        assert (4310 if edited else 4300) == served.goodbye["code"], "the session goes on"


@pytest.mark.scenario("S27", "S47")
@pytest.mark.requirement("P1", "I1")
async def test_last_hop() -> None:
    """
    The library's last hop holds back what is not the session's own.
    """
    await check_last_hop()


def _checks_integrity_only(self: SessionCore, _envelope: object) -> None:
    assert is_intact(self.context)


def _logs_and_sends(self: SessionCore, _envelope: object) -> None:
    return None


@pytest.mark.scenario("S65")
@pytest.mark.requirement("P1", "I1")
@pytest.mark.parametrize("broken", [_logs_and_sends, _checks_integrity_only])
async def test_missing_owner_check_is_caught(broken: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A last hop that does not compare the owner, or notes it and sends all the same, is caught.
    """
    monkeypatch.setattr(SessionCore, "_breach", broken)
    with pytest.raises(AssertionError, match="it was written"):
        await check_last_hop()


# The bounds: one user cannot grow without limit, nor stall.


async def check_bounds() -> None:
    """
    Prove that what waits for a stalled reader is bounded, and that the reader is cut.
    """
    settings = Settings(outbox_events=8)
    bench = Bench.new(settings)
    served = await bench.serve()
    served.transport.client_stops_reading()
    most = 0
    for n in range(50):
        await bench.manager().send(note(n))
        await settle()
        most = max(most, served.session.waiting[0])
    assert most <= settings.outbox_events, f"{most} events wait"
    await bench.clock.advance(30)
    assert served.transport.aborted, "it is not cut"


async def check_write_deadline() -> None:
    """
    Prove that a single write that does not return is cut, although the outbox has room.
    """
    bench = Bench.new()
    served = await bench.serve()
    served.transport.client_stops_reading()
    await bench.manager().send(note())
    await bench.clock.advance(30)
    assert served.transport.aborted, "it is not cut"
    assert 0 == bench.factory.stats().sessions, "it still counts"


@pytest.mark.scenario("S29", "S30")
@pytest.mark.requirement("P5", "WS-16")
@pytest.mark.parametrize("check", [check_bounds, check_write_deadline])
async def test_bounds(check: Callable[[], Awaitable[None]]) -> None:
    """
    The library bounds what waits and how long a write may take.
    """
    await check()


def _takes_everything(self: Outbox, envelope: Any, /) -> bool:
    self._put(envelope)
    self._envelopes += 1
    self.size += envelope.size
    return True


@pytest.mark.scenario("S65")
@pytest.mark.requirement("P5", "WS-16")
async def test_missing_bound_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An outbox that takes everything is caught.
    """
    monkeypatch.setattr(Outbox, "add", _takes_everything)
    with pytest.raises(AssertionError, match="events wait"):
        await check_bounds()


@pytest.mark.scenario("S65")
@pytest.mark.requirement("P5", "WS-16")
async def test_missing_write_deadline_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A core that lets a write take as long as it likes is caught.
    """
    ticked = TRANSITIONS[State.LIVE, Ticked]

    def patient(core: SessionCore, happened: Ticked) -> Any:
        core._write_due = None
        return ticked(core, happened)

    monkeypatch.setitem(TRANSITIONS, (State.LIVE, Ticked), patient)
    with pytest.raises(AssertionError, match="it is not cut"):
        await check_write_deadline()


# Ending: nothing outlives its session.


async def check_session_ends() -> None:
    """
    Prove that an ended session is off its stream: it is offered nothing more, and is gone from the counts.
    """
    bench = Bench.new()
    first, second = await bench.serve(until_over), await bench.serve(until_over)
    first.transport.client_leaves()
    await first.over()
    delivery = await bench.manager().send(note())
    await settle()
    assert (1, 0) == (delivery.sessions, delivery.refused), "the ended one is still offered events"
    assert 1 == len(second.transport.events), "the other one is gone as well"


@pytest.mark.scenario("S25", "S37")
@pytest.mark.requirement("I11")
async def test_session_ends() -> None:
    """
    The library removes the session that ended, and that one only.
    """
    await check_session_ends()
