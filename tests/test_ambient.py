"""
No context variable of whoever calls gets to the code of a session; what the application names does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final

import attrs
import pytest

from tests.openings import MemoryOpening, handshake
from ws_isolation import Handshake, ManagerFactory, Session, UserExecutionContext, errors
from ws_isolation.ambient import carried, require_variables
from ws_isolation.serving import identify, serve_opening
from ws_isolation.testing import FakeClock, make_context
from ws_isolation.testing.clock import settle

user: ContextVar[str] = ContextVar("user")
trace: ContextVar[str] = ContextVar("trace", default="none")


def test_only_what_is_named_and_set() -> None:
    """
    A clean context holds the named variables that are set, and nothing else.
    """

    def copied() -> tuple[Context, Context]:
        user.set("alice")
        unset = carried((trace,))
        trace.set("t-1")
        return unset, carried((trace,))

    unset, filled = copy_context().run(copied)

    assert ({}, {trace: "t-1"}) == (dict(unset), dict(filled))


@pytest.mark.parametrize("wrong", [None, 7, "user", [user, "trace"], [user, None]])
def test_only_variables_can_be_carried(wrong: Any) -> None:
    """
    What is no context variable is refused by name where the factory is made.
    """
    with pytest.raises(errors.SettingsError, match="ContextVar"):
        ManagerFactory(carry=wrong)


def test_any_collection_of_variables() -> None:
    """
    A generator serves as well as a tuple, and is read once.
    """
    assert (user, trace) == require_variables(variable for variable in (user, trace))


# What each piece of an application's code sees, called by somebody whose variables are another user's.

BY_HAND: Final = "by hand"
"""The negative control: an endpoint that awaits its parts where it was called."""


@attrs.define
class Seen:
    """
    What the pieces of an application saw, by name of the piece.
    """

    users: dict[str, str | None] = attrs.field(factory=dict[str, "str | None"])
    traces: dict[str, str] = attrs.field(factory=dict[str, str])

    def look(self, where: str) -> None:
        """
        Note what is visible in this place.
        """
        self.users[where] = user.get(None)
        self.traces[where] = trace.get()

    async def authenticate(self, given: Handshake) -> UserExecutionContext:
        """
        Admit everybody as Bob; told apart are the first time and a refresh.
        """
        self.look("refresh" if given.bearer_token == "again" else "authenticate")
        return make_context("bob")

    async def handle(self, session: Session) -> None:
        """
        Look around in each way in which a handler may go on.
        """
        self.look("handler")
        session.on_end(lambda: self.look("on_end"))
        session.on_end(self._later)

        async def work() -> None:
            self.look("work")

        session.spawn(work())
        async for _message in session:
            self.look("message")

    async def _later(self) -> None:
        await asyncio.sleep(0)
        self.look("on_end, later")


PIECES: Final = {"authenticate", "refresh", "handler", "work", "message", "on_end", "on_end, later"}

Ending = Callable[[MemoryOpening, ManagerFactory], Awaitable[object]]


async def left(opening: MemoryOpening, _factory: ManagerFactory) -> None:
    """
    Let the client leave.
    """
    opening.transport.client_leaves()


async def revoked(_opening: MemoryOpening, factory: ManagerFactory) -> None:
    """
    Let an operator end the session from a request of their own.
    """
    await factory.revoke(make_context("bob"))


async def stopped(_opening: MemoryOpening, factory: ManagerFactory) -> None:
    """
    Let the process end.
    """
    await factory.stop()


@asynccontextmanager
async def polluted() -> AsyncGenerator[None]:
    """
    Run the block as a request of Alice that is traced.
    """
    tokens = user.set("alice"), trace.set("t-1")
    try:
        yield
    finally:
        user.reset(tokens[0])
        trace.reset(tokens[1])


@pytest.mark.requirement("I5", "P1")
@pytest.mark.parametrize("end", [left, revoked, stopped])
async def test_nothing_of_the_caller_is_seen(end: Ending) -> None:
    """
    Whoever calls serve() and whoever ends the session, none of its code sees their variables but the named one.
    """
    seen = Seen()
    opening = MemoryOpening(handshake(subprotocols=("ws-isolation.v1", "bearer.first")))
    async with ManagerFactory(clock=FakeClock(), carry=[trace]) as factory, polluted():
        serving = asyncio.create_task(serve_opening(opening, factory, seen.authenticate, seen.handle))
        await settle()
        opening.transport.client_sends({"type": "say", "data": {}})
        opening.transport.client_sends({"type": "ws.refresh", "credential": "again"})
        await settle()
        await end(opening, factory)
        await serving

    assert dict.fromkeys(PIECES) == seen.users
    assert dict.fromkeys(PIECES, "t-1") == seen.traces


@pytest.mark.requirement("I5", "P1")
async def test_by_hand_everything_is_seen() -> None:
    """
    The control: the same look around, awaited where it is called, sees who was there before.
    """
    seen = Seen()
    async with polluted():
        seen.look(BY_HAND)
        await asyncio.create_task(seen.authenticate(handshake()))

    assert {BY_HAND: "alice", "authenticate": "alice"} == seen.users


@pytest.mark.requirement("I5", "P1")
async def test_identify_for_http() -> None:
    """
    The check of an HTTP request's credential is as blind to variables as that of a socket.
    """
    seen = Seen()
    async with ManagerFactory(carry=(trace,)) as factory, polluted():
        context = await identify(handshake(), factory, seen.authenticate, "manager()")

    assert ("bob", {"authenticate": None}, {"authenticate": "t-1"}) == (context.user_id, seen.users, seen.traces)


@pytest.mark.requirement("I5")
async def test_what_a_session_sets_stays_with_it() -> None:
    """
    A variable that a handler sets is seen by its own messages, and by nobody who comes after it.
    """
    seen: list[str | None] = []

    async def handler(session: Session) -> None:
        seen.append(user.get(None))
        user.set(session.context.user_id)
        seen.extend([user.get(None) async for _message in session])

    async with ManagerFactory(clock=FakeClock()) as factory:
        for _ in range(2):
            opening = MemoryOpening()
            serving = asyncio.create_task(serve_opening(opening, factory, Seen().authenticate, handler))
            await settle()
            opening.transport.client_sends({"type": "say", "data": {}})
            await settle()
            opening.transport.client_leaves()
            await serving

    assert [None, "bob", None, "bob"] == seen
    assert user.get(None) is None
