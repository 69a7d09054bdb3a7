"""
What the factory's gate makes: one manager for one context, in one loop, and nothing before.
"""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.attacks import FORGED
from ws_isolation import ManagerFactory
from ws_isolation.errors import ConcurrencyError, InvalidStateError
from ws_isolation.events import Custom
from ws_isolation.handshake import Handshake, Headers
from ws_isolation.manager import IsolatedManager
from ws_isolation.serving import serve_opening
from ws_isolation.testing import RecordingTransport, make_context


@pytest.mark.scenario("S16")
def test_self_check_creates_nothing() -> None:
    """
    A start-up check works without a loop, starts no task and no thread, and never calls what makes managers.
    """
    made: list[IsolatedManager] = []

    def keep(manager: IsolatedManager) -> IsolatedManager:
        made.append(manager)
        return manager

    before = threading.active_count()
    factory = ManagerFactory(manager=keep)

    assert factory.self_check().ok
    assert before == threading.active_count()
    assert [] == made
    assert factory.stats() == ManagerFactory().stats()


@pytest.mark.scenario("S16")
async def test_self_check_in_a_loop_starts_nothing() -> None:
    """
    Nor does it start a task inside a loop.
    """
    before = asyncio.all_tasks()

    assert ManagerFactory().self_check().ok
    assert before == asyncio.all_tasks()


@pytest.mark.scenario("S17")
def test_send_without_a_loop() -> None:
    """
    ``send`` outside an event loop raises an error that says how to get into it.
    """
    sending = ManagerFactory().create_manager(make_context()).send(Custom(name="test.x", value=1))

    with pytest.raises(ConcurrencyError, match=r"cannot call send\(\) outside an event loop.*threads\.Portal"):
        sending.send(None)


@pytest.mark.scenario("S17")
async def test_send_from_another_loop() -> None:
    """
    ``send`` from another thread's loop raises, stores nothing, and says how to call it; said so, it works.
    """
    factory = ManagerFactory()
    manager = factory.create_manager(make_context())
    await manager.send(Custom(name="test.x", value=1))
    loop = asyncio.get_running_loop()

    def elsewhere() -> int:
        with pytest.raises(ConcurrencyError, match="in another event loop than the one the factory runs in"):
            asyncio.run(_send(manager, 2))
        return asyncio.run_coroutine_threadsafe(_send(manager, 3), loop).result(timeout=30)

    assert 2 == await asyncio.to_thread(elsewhere)


async def _send(manager: IsolatedManager, value: int) -> int:
    return (await manager.send(Custom(name="test.x", value=value))).seq


@pytest.mark.scenario("S15", "S19")
def test_two_contexts_two_managers() -> None:
    """
    Each call makes a manager of its own, bound to the very context that it was given.
    """
    factory = ManagerFactory()
    one, two = make_context(), make_context()

    managers = [factory.create_manager(context) for context in (one, two, one)]

    assert 3 == len({id(manager) for manager in managers})
    assert [one, two, one] == [manager.context for manager in managers]


@pytest.mark.scenario("S15")
def test_no_shared_manager_from_the_application() -> None:
    """
    A ``manager=`` that hands everybody the same manager is refused with the second user.
    """
    shared: list[IsolatedManager] = []

    def first_for_all(manager: IsolatedManager) -> IsolatedManager:
        shared.append(manager)
        return shared[0]

    factory = ManagerFactory(manager=first_for_all)
    factory.create_manager(make_context("alice"))

    with pytest.raises(InvalidStateError, match="has another context: return the one it was given"):
        factory.create_manager(make_context("bob"))


class _Opening:
    """
    A handshake that can be accepted.
    """

    def __init__(self) -> None:
        self.handshake = Handshake(headers=Headers([("host", "app.example.com")]))
        self.transport = RecordingTransport()

    async def accept(self, subprotocol: str | None, /) -> RecordingTransport:
        """
        Return the socket.
        """
        return self.transport

    async def refuse(self, status: int, retry_after: int | None, /) -> None:
        """
        Fail: a broken context is no reason to refuse the handshake.
        """
        raise AssertionError


@pytest.mark.scenario("S14", "S15", "S56")
@pytest.mark.parametrize("name", sorted(set(FORGED) - {"None"}))
async def test_over_a_socket(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    Where ``authenticate`` returns a forged context the client gets goodbye and 4310 with an incident id, no more.
    """
    opening, factory = _Opening(), ManagerFactory()

    async def authenticate(_handshake: Handshake) -> object:
        return FORGED[name]()

    await serve_opening(opening, factory, authenticate, None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    (goodbye,) = opening.transport.frames
    assert ("ws.goodbye", 4310, "context_rejected", "back_off") == tuple(
        goodbye[key] for key in ("type", "code", "slug", "action")
    )
    closed = opening.transport.closed
    assert closed is not None
    assert 4310 == closed[0]
    assert closed[1].startswith(f"context_rejected;i={goodbye['incident_id']};r=")
    assert "UserExecutionContext" not in str(opening.transport.sent) + closed[1]
    stats = factory.stats()
    assert (0, 0, {4310: 1}) == (stats.sessions, stats.streams, stats.closes)
    assert goodbye["incident_id"] in caplog.text
    assert "needs ws_isolation.context.UserExecutionContext (" in caplog.text
