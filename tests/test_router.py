"""
Messages to the handlers of their types: order, bounds, answers.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from tests.openings import MemoryOpening, handshake
from tests.shell import Bench, Served, until_over
from ws_isolation import Handshake, Message, Session, Settings, UserExecutionContext, errors
from ws_isolation.router import Router
from ws_isolation.serving import serve_opening
from ws_isolation.testing import make_context
from ws_isolation.testing.clock import settle

ID = str(uuid.UUID(int=7))


@attrs.frozen
class Ask:
    """
    What one asks.
    """

    text: str


def problems(served: Served) -> list[dict[str, Any]]:
    """
    Return the ``ws.error`` frames.
    """
    return [frame for frame in served.transport.frames if "ws.error" == frame["type"]]


def slugs(served: Served) -> list[str]:
    """
    Return their slugs.
    """
    return [frame["slug"] for frame in problems(served)]


async def say(served: Served, *messages: dict[str, object]) -> None:
    """
    Let the client send, and everybody work.
    """
    for message in messages:
        served.transport.client_sends(message)
    await settle()


@attrs.define
class Gates:
    """
    A router whose ``slow`` (in order) and ``fast`` (concurrent) messages wait until they are let go.
    """

    router: Router
    log: list[str] = attrs.field(factory=list[str])
    gates: dict[str, asyncio.Event] = attrs.field(factory=dict[str, asyncio.Event])

    @classmethod
    def new(cls, in_flight: int = 16) -> Gates:
        """
        Return one with its own router.
        """
        self = cls(Router(in_flight=in_flight))
        self.router.on("slow", Ask)(self._wait)
        self.router.on("fast", Ask, concurrent=True)(self._wait)
        return self

    async def _wait(self, _session: Session, _message: Message, data: Ask) -> None:
        gate = self.gates.setdefault(data.text, asyncio.Event())
        self.log.append(f"+{data.text}")
        try:
            await gate.wait()
        except asyncio.CancelledError as error:
            self.log.append(f"!{data.text} {error}")
            raise
        self.log.append(f"-{data.text}")

    async def open(self, name: str) -> None:
        """
        Let one go.
        """
        self.gates[name].set()
        await settle()


def of(kind: str, text: str, **members: object) -> dict[str, object]:
    """
    Return a message with a text.
    """
    return {"type": kind, "data": {"text": text}, **members}


async def test_serve_takes_a_router() -> None:
    """
    From the handshake on: ``serve`` runs a router like any handler, and each type reaches its own function.
    """
    router = Router()
    got: list[object] = []

    @router.on("ask", Ask)
    async def ask(_session: Session, message: Message, data: Ask) -> None:
        got.append((message.type, data))

    @router.on("wave")
    async def wave(session: Session, message: Message) -> None:
        got.append(message.data["n"])
        session.close()

    async def authenticate(_handshake: Handshake) -> UserExecutionContext:
        return make_context()

    bench, opening = Bench.new(), MemoryOpening(handshake())
    opening.transport.client_sends(of("ask", "hi"))
    opening.transport.client_sends({"type": "wave", "data": {"n": 1}})
    await serve_opening(opening, bench.factory, authenticate, router)

    assert [("ask", Ask("hi")), 1] == got
    assert opening.transport.closed == (1000, "normal")
    assert "<router for ask, wave>" == repr(router)
    assert "<router for nothing yet>" == repr(Router())
    assert "ask" == ask.__name__
    assert "wave" == wave.__name__


@pytest.mark.requirement("P1")
async def test_one_router_for_many() -> None:
    """
    A router keeps nothing of a session: each handler gets the session of its own message.
    """
    router = Router()
    got: list[tuple[str, str]] = []

    @router.on("ask", Ask, concurrent=True)
    async def ask(session: Session, _message: Message, data: Ask) -> None:
        await asyncio.sleep(0)
        got.append((session.context.user_id, data.text))

    bench = Bench.new()
    served = {user: await bench.serve(router, user) for user in ("alice", "bob")}
    for n in range(8):
        for user, one in served.items():
            one.transport.client_sends(of("ask", f"{user} {n}"))
    await settle()

    assert 16 == len(got)
    assert all(text.startswith(user) for user, text in got)


async def test_answers() -> None:
    """
    An unknown type and bad data are answered, and the session goes on.
    """
    gates = Gates.new()
    served = await Bench.new().serve(gates.router)
    await say(served, {"type": "what", "id": ID}, {"type": "slow", "id": ID, "data": {"text": 7}})
    await say(served, of("slow", "a", id=ID))
    unknown, invalid = problems(served)

    assert ("unknown_type", "what", ID) == (unknown["slug"], unknown["refused_type"], unknown["causation_id"])
    assert ("invalid_data", "$.text", "Expected `str`, got `int`") == tuple(
        invalid[name] for name in ("slug", "path", "problem")
    )
    assert ["+a"] == gates.log
    assert served.session.is_open


async def test_order() -> None:
    """
    Messages are decoded and handled in their order, one at a time; concurrent ones beside them.
    """
    gates = Gates.new()
    served = await Bench.new().serve(gates.router)
    await say(served, of("slow", "a"), of("slow", "b"), of("fast", "x"), of("fast", "y"), {"type": "what"})
    before = list(gates.log)
    await gates.open("y")
    await gates.open("a")

    assert ["+a", "+x", "+y"] == before
    assert ["unknown_type"] == slugs(served)
    assert ["-y", "-a", "+b"] == gates.log[3:]
    await say(served, {"type": "slow", "data": {"text": 7}}, of("slow", "c"))
    assert ["unknown_type"] == slugs(served)
    await gates.open("b")
    assert ["-b", "+c"] == gates.log[6:]
    assert ["unknown_type", "invalid_data"] == slugs(served)


@pytest.mark.requirement("P5")
async def test_in_flight_is_a_bound() -> None:
    """
    No more than ``in_flight`` are in work; the next waits in the inbox, whose own bound ends the session.
    """
    gates = Gates.new(in_flight=2)
    served = await Bench.new(Settings(inbox_messages=1)).serve(gates.router)
    for message in (of("fast", "a"), of("slow", "b"), of("fast", "c")):
        await say(served, message)
    before = list(gates.log)
    await gates.open("a")

    assert ["+a", "+b"] == before
    assert ["-a", "+c"] == gates.log[2:]
    await say(served, of("fast", "d"), of("fast", "e"))
    await served.over()
    assert served.ended_with(4329)


@pytest.mark.scenario("S21")
@pytest.mark.requirement("P5", "WS-17")
async def test_nothing_waits_behind_a_run() -> None:
    """
    While every place is taken, ``stop`` ends its run, a pong counts and the disconnect is noticed.
    """
    router = Router(in_flight=1)
    log: list[str] = []

    @router.on("ask")
    async def ask(session: Session, message: Message) -> None:
        async with session.manager.run("assistant", run_id=message.run_id):
            await asyncio.Event().wait()
        log.append(f"after {message.run_id}")

    bench = Bench.new()
    served = await bench.serve(router, enforce_pongs=True)
    await say(served, {"type": "ask", "run_id": "r1"}, {"type": "ask", "run_id": "r2"})
    await say(served, {"type": "stop", "run_id": "r1"})

    (end,) = [event for event in served.transport.events if event.get("final")]
    assert ("agent_cancelled", "r1", "user") == (end["type"], end["run_id"], end["data"]["reason"])
    assert ["after r1"] == log
    await bench.clock.advance(25)
    await say(served, {"type": "ws.pong", "n": 1})
    await bench.clock.advance(9)
    assert served.session.is_open
    served.transport.client_leaves()
    await served.over()
    assert 0 == bench.manager().stats().open_runs
    assert ["after r1"] == log


async def test_a_handler_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """
    What a handler or a data class raises is answered with the incident id of the log; the next message goes on.
    """
    router = Router()
    done: list[object] = []

    @attrs.frozen
    class Broken:
        n: int

        def __attrs_post_init__(self) -> None:
            raise LookupError(self.n)

    @router.on("fail")
    async def fail(_session: Session, message: Message) -> None:
        if message.data:
            other = asyncio.ensure_future(asyncio.sleep(0))
            other.cancel()
            await other
        text = "canary"
        raise LookupError(text)

    @router.on("broken", Broken)
    async def broken(_session: Session, _message: Message, data: Broken) -> None:
        done.append(data)

    @router.on("fine")
    async def fine(_session: Session, message: Message) -> None:
        done.append(message.type)

    served = await Bench.new().serve(router)
    await say(
        served,
        {"type": "fail", "id": ID},
        {"type": "fail", "data": {"x": 1}},
        {"type": "broken", "data": {"n": 1}},
        {"type": "fine"},
        {"type": "fail", "id": ID},
    )
    incidents = {frame["incident_id"] for frame in problems(served) if "handler_error" == frame["slug"]}
    logged = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]

    assert ["duplicate", "handler_error", "handler_error", "handler_error"] == sorted(slugs(served))
    assert ["fine"] == done
    assert 3 == len(incidents) == len(logged)
    assert all(any(incident in line for line in logged) for incident in incidents)
    assert "canary" not in repr(served.transport.sent)
    assert served.session.is_open
    assert {"fail", "broken", "fine"} == {one.__name__ for one in (fail, broken, fine)}


@pytest.mark.requirement("WS-27")
async def test_a_retry_after_a_failure() -> None:
    """
    What a handler failed with may be sent again under its id, until it has succeeded once.
    """
    router = Router()
    outcomes: list[Exception | None] = [LookupError(), LookupError(), None]
    done: list[str | None] = []

    @router.on("ask")
    async def ask(_session: Session, message: Message) -> None:
        outcome = outcomes.pop(0)
        await asyncio.sleep(0)
        if outcome is not None:
            raise outcome
        done.append(message.id)

    served = await Bench.new().serve(router)
    for _ in range(5):
        await say(served, {"type": "ask", "id": ID})

    assert ask is not None
    assert ["handler_error", "handler_error", "duplicate", "duplicate"] == slugs(served)
    assert [ID] == done


async def test_the_end_of_a_session() -> None:
    """
    When the session ends, what runs is cancelled with the reason, what waited never begins and may be sent again.
    """
    gates, bench = Gates.new(), Bench.new()
    served = await bench.serve(gates.router)
    other = str(uuid.UUID(int=8))
    await say(served, of("slow", "a", id=ID), of("fast", "x"), of("slow", "b", id=other))
    served.transport.client_leaves()
    await served.over()

    reason = "ws_isolation:disconnect_policy"
    assert ["+a", "+x"] == gates.log[:2]
    assert [f"!a {reason}", f"!x {reason}"] == sorted(gates.log[2:])
    again = await bench.serve(gates.router)
    await say(again, of("slow", "a", id=ID), of("slow", "b", id=other))
    assert ["duplicate"] == slugs(again)
    assert "+b" == gates.log[-1]


async def test_closed_while_one_waits() -> None:
    """
    A handler that closes the session is the last one: the next in the lane does not begin.
    """
    router = Router()
    log: list[str] = []

    @router.on("last")
    async def last(session: Session, message: Message) -> None:
        log.append(str(message.data["n"]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        session.close()

    bench = Bench.new()
    served = await bench.serve(router)
    await say(served, {"type": "last", "data": {"n": 1}}, {"type": "last", "data": {"n": 2}})
    await served.over()

    assert last is not None
    assert ["1"] == log
    assert served.ended_with(1000)


async def test_a_handler_that_ignores_its_cancellation(caplog: pytest.LogCaptureFixture) -> None:
    """
    It is cancelled again, and owned until it is done; the socket is closed meanwhile, and the log says so.
    """
    router = Router(in_flight=1)
    let_go = asyncio.Event()
    cancelled: list[str] = []

    @router.on("deaf")
    async def deaf(_session: Session, _message: Message) -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError as error:
                cancelled.append(str(error))

    served = await Bench.new().serve(router)
    await say(served, {"type": "deaf"})
    served.transport.client_leaves()
    await served.over()
    before = len(cancelled)
    let_go.set()
    await settle()

    assert deaf is not None
    assert 2 <= before
    assert any("the handler ignores its cancellation" in record.getMessage() for record in caplog.records)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("ws-deaf")]


@pytest.mark.scenario("S34")
async def test_spawned_by_a_handler() -> None:
    """
    A run that a handler spawned goes on without the socket; the client that comes back finds it and stops it.
    """
    router = Router()

    async def answer(session: Session, run_id: str) -> None:
        async with session.manager.run("assistant", run_id=run_id):
            await asyncio.Event().wait()

    @router.on("ask")
    async def ask(session: Session, message: Message) -> None:
        session.spawn(answer(session, str(message.data["run"])))

    bench = Bench.new()
    first = await bench.serve(router)
    await say(first, {"type": "ask", "id": ID, "data": {"run": "r1"}})
    first.transport.client_leaves()
    await first.over()
    open_runs = bench.manager().stats().open_runs
    again = await bench.serve(router)
    await say(again, {"type": "ask", "id": ID, "data": {"run": "r1"}}, {"type": "stop", "run_id": "r1"})

    assert ask is not None
    assert 1 == open_runs
    assert ["duplicate"] == slugs(again)
    (end,) = [event for event in again.transport.events if event.get("final")]
    assert ("agent_cancelled", "r1", "user") == (end["type"], end["run_id"], end["data"]["reason"])
    assert 0 == bench.manager().stats().open_runs


async def plain(_session: Session, _message: Message) -> None:
    """
    Do nothing.
    """


async def test_one_type_one_handler() -> None:
    """
    A second handler for a type is refused at once, also by a decorator that was made before; the first one stays.
    """
    router = Router()
    kept = router.on("ask")
    router.on("ask")(plain)

    with pytest.raises(errors.InvalidStateError, match="cannot register a handler for ask: it has one already"):
        router.on("ask", Ask)
    with pytest.raises(errors.InvalidStateError):
        kept(plain)


@pytest.mark.parametrize("kind", ["", "Ask", "ws.ask", "a" * 65, None, 7])
def test_no_such_type(kind: Any) -> None:
    """
    A type that no client could send is refused.
    """
    with pytest.raises(errors.SettingsError, match="message type"):
        Router().on(kind)


def _wrong() -> list[tuple[Callable[[Any], Any], Any, str]]:
    router = Router()
    return [
        (router.on("ask"), until_over, "the session and the message"),
        (router.on("ask"), None, "the session and the message"),
        (router.on("ask", Ask), plain, "the session, the message and the data"),
    ]


@pytest.mark.parametrize(("decorator", "handler", "text"), _wrong())
def test_wrong_handlers(decorator: Callable[[Any], Any], handler: Any, text: str) -> None:
    """
    A handler that could not be called is refused where it is registered.
    """
    with pytest.raises(errors.SettingsError, match=f"the handler for ask must be a function that takes {text}$"):
        decorator(handler)


@pytest.mark.parametrize("in_flight", [0, -1, 10_001, 1.5, True, None])
def test_wrong_bounds(in_flight: Any) -> None:
    """
    A bound out of range is refused.
    """
    with pytest.raises(errors.SettingsError, match="must be from 1 to 10000"):
        Router(in_flight=in_flight)
