"""
Messages that name a thread: who decides, and what they can reach.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, cast

import attrs
import pytest

from tests.shell import Bench, Served, note
from ws_isolation import Delivery, IsolatedManager, Message, Session, errors
from ws_isolation.router import Router
from ws_isolation.testing.clock import settle

ID = str(uuid.UUID(int=7))


@attrs.define
class Threads:
    """
    A router that notes who asked for which thread, and what the handler got.
    """

    asked: list[tuple[str, str]] = attrs.field(factory=list[tuple[str, str]])
    got: list[str | None] = attrs.field(factory=list["str | None"])
    managers: list[IsolatedManager] = attrs.field(factory=list[IsolatedManager])
    messages: list[Message] = attrs.field(factory=list[Message])

    def router(self, outcome: Callable[[str], Awaitable[object]]) -> Router:
        """
        Return one whose hook does *outcome*.
        """

        async def authorize(session: Session, thread_id: str) -> bool:
            self.asked.append((session.context.user_id, thread_id))
            return cast("bool", await outcome(thread_id))

        router = Router(authorize_thread=authorize)
        router.on("ask")(self._ask)
        return router

    async def _ask(self, session: Session, message: Message) -> None:
        manager = session.manager_for(message)
        await asyncio.sleep(0)
        assert session.manager_for(message) is manager
        self.got.append(manager.context.thread_id)
        self.managers.append(manager)
        self.messages.append(message)


async def yes(_thread_id: str) -> object:
    """
    Allow it.
    """
    return True


async def no(_thread_id: str) -> object:
    """
    Refuse it.
    """
    return False


def raising(error: Exception) -> Callable[[str], Awaitable[object]]:
    """
    Return a hook's body that raises.
    """

    async def outcome(_thread_id: str) -> object:
        raise error

    return outcome


def returning(value: object, /) -> Callable[[str], Awaitable[object]]:
    """
    Return a hook's body that returns *value*.
    """

    async def outcome(_thread_id: str) -> object:
        return value

    return outcome


async def say(served: Served, *messages: dict[str, object]) -> None:
    """
    Let the client send, and everybody work.
    """
    for message in messages:
        served.transport.client_sends(message)
    await settle()


@pytest.mark.scenario("S62")
@pytest.mark.requirement("P1", "WS-01")
async def test_an_allowed_thread() -> None:
    """
    The hook is asked about the session's own user; the manager has that user and the thread, and the session keeps its.
    """
    threads, bench = Threads(), Bench.new()
    router = threads.router(yes)
    served = await bench.serve(router)
    bob = await bench.serve(router, "bob")
    await say(served, {"type": "ask", "thread_id": "t-9"}, {"type": "ask"}, {"type": "ask", "thread_id": "t-8"})
    own = served.session.manager

    assert [("alice", "t-9"), ("alice", "t-8")] == threads.asked
    assert ["t-9", own.context.thread_id, "t-8"] == threads.got
    assert own is threads.managers[1]
    assert all("alice" == manager.context.user_id for manager in threads.managers)
    delivery = await threads.managers[0].send(note())
    await settle()
    assert isinstance(delivery, Delivery)
    assert "custom" == served.transport.types()[-1]
    assert ["ws.welcome"] == bob.transport.types()


@pytest.mark.scenario("S62")
@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (returning([True]), 4003),
        (returning(None), 4003),
        (no, 4003),
        (returning("yes"), 4003),
        (returning(1), 4003),
        (raising(errors.ForbiddenError("not a member")), 4003),
        (raising(errors.NotFoundError("no such thread")), 4004),
        (raising(errors.ExpiredError()), 4101),
    ],
)
@pytest.mark.requirement("P1", "P2")
async def test_a_refused_thread(
    outcome: Callable[[str], Awaitable[object]], code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Without a clear True the message reaches no handler: a foreign thread ends with 4003, an unknown one with 4004.
    """
    threads = Threads()
    served = await Bench.new().serve(threads.router(outcome))
    await say(served, {"type": "ask", "thread_id": "t-9"}, {"type": "ask", "thread_id": "t-8"})
    await served.over()

    assert served.ended_with(code)
    assert [] == threads.got
    assert [("alice", "t-9")] == threads.asked
    assert any("a message's thread was refused" in record.getMessage() for record in caplog.records)
    assert "t-9" not in repr(served.goodbye)


@pytest.mark.scenario("S62")
@pytest.mark.requirement("P1")
@pytest.mark.parametrize(("outcome", "decoded"), [(no, []), (yes, [1])])
async def test_asked_before_anything_is_decoded(
    outcome: Callable[[str], Awaitable[object]], decoded: list[object]
) -> None:
    """
    The data of a message for a foreign thread is not looked at: nothing is made of it, and no answer judges it.
    """
    made: list[object] = []

    @attrs.frozen
    class Order:
        n: int

        def __attrs_post_init__(self) -> None:
            made.append(self.n)

    async def order(_session: Session, _message: Message, _data: Order) -> None:
        return

    router = Threads().router(outcome)
    router.on("order", Order)(order)
    for data in ({"n": 1}, {"n": "no number"}):
        served = await Bench.new().serve(router)
        await say(served, {"type": "order", "thread_id": "t-9", "data": data})
        slugs = [frame["slug"] for frame in served.transport.frames if "ws.error" == frame["type"]]
        assert (["invalid_data"] if decoded and 1 != data["n"] else []) == slugs
        assert bool(decoded) is served.session.is_open

    assert decoded == made


@pytest.mark.scenario("S62")
async def test_a_hook_that_fails() -> None:
    """
    What else the hook raises is a defect, not a refusal: the message is not handled, the session stays.
    """
    threads = Threads()
    served = await Bench.new().serve(threads.router(raising(LookupError("canary"))))
    await say(served, {"type": "ask", "thread_id": "t-9"}, {"type": "ask"})
    (problem,) = [frame for frame in served.transport.frames if "ws.error" == frame["type"]]

    assert "handler_error" == problem["slug"]
    assert "canary" not in repr(served.transport.sent)
    assert [served.session.context.thread_id] == threads.got


@pytest.mark.scenario("S62")
async def test_nobody_decides() -> None:
    """
    Without a hook, with a plain handler and with none, a message that names a thread ends the session with 4003.
    """
    threads, bench = Threads(), Bench.new()
    router = Router()
    router.on("ask")(threads._ask)

    async def reads(session: Session) -> None:
        async for message in session:
            threads.messages.append(message)

    for handler in (router, reads, None):
        served = await bench.serve(handler)
        await say(served, {"type": "ask", "thread_id": "t-9"})
        await served.over()
        assert served.ended_with(4003)
    assert [] == threads.messages


@pytest.mark.scenario("S62")
async def test_from_the_very_first_message() -> None:
    """
    A message that was there before the session is authorized like any other.
    """
    threads, bench = Threads(), Bench.new()
    session = await bench.serve(threads.router(yes), turns=0)
    session.transport.client_sends({"type": "ask", "thread_id": "t-9"})
    await settle()

    assert ["t-9"] == threads.got


@pytest.mark.scenario("S62")
@pytest.mark.requirement("P1")
async def test_an_authorization_is_for_one_message() -> None:
    """
    A thread that was allowed for one message is not for the next, nor for one that says the same, nor afterwards.
    """
    threads, bench = Threads(), Bench.new()
    served = await bench.serve(threads.router(yes))
    await say(served, {"type": "ask", "thread_id": "t-9"})
    same = Message(type="ask", thread_id="t-9")

    for message in (threads.messages[0], same):
        with pytest.raises(errors.InvalidStateError, match=r"cannot call manager_for\(\)"):
            served.session.manager_for(message)
    served.session.widen(same)
    assert served.session.manager is served.session.manager_for(Message(type="ask"))


@pytest.mark.scenario("S62")
@pytest.mark.requirement("P1", "WS-20")
async def test_a_right_that_is_taken_away() -> None:
    """
    Whoever may no longer see a thread is refused at the next message, on the same socket; no handler sees that one.
    """
    rights = [True, False]

    async def outcome(_thread_id: str) -> object:
        return rights.pop(0)

    threads = Threads()
    served = await Bench.new().serve(threads.router(outcome))
    await say(served, {"type": "ask", "thread_id": "t-9"}, {"type": "ask", "thread_id": "t-9"})
    await served.over()

    assert served.ended_with(4003)
    assert (["t-9"], []) == (threads.got, rights)


async def test_a_slow_hook_holds_up_nothing_else() -> None:
    """
    While the hook waits, the reader goes on; a session that ends meanwhile gets no handler.
    """

    async def never(_thread_id: str) -> Any:
        await asyncio.Event().wait()

    threads, bench = Threads(), Bench.new()
    served = await bench.serve(threads.router(never))
    await say(served, {"type": "ask", "thread_id": "t-9"}, {"type": "what"})
    answered = [frame["slug"] for frame in served.transport.frames if "ws.error" == frame["type"]]
    served.transport.client_leaves()
    await served.over()

    assert ["unknown_type"] == answered
    assert [] == threads.got
