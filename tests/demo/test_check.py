"""
``demo --check``: it passes here, and it fails wherever isolation is broken.

Each broken variant is a defect that services have had: a cached context, keys
that collide, a gate that asks isinstance(), a server that just closes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.demo.broken import share_one_stream
from ws_isolation import Handshake, UserExecutionContext
from ws_isolation.demo.app import Demo, create_demo
from ws_isolation.demo.check import USERS, Verdict, _at_once, _problems, check
from ws_isolation.demo.client import Client

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from ws_isolation.serving import Authenticate


@pytest.mark.scenario("S19", "S28", "S37", "S45", "S54")
@pytest.mark.requirement("P1", "P2", "P3")
async def test_isolation_holds() -> None:
    """
    Each user's tabs get all of the user's events in order and none of anybody else's; each attack is refused.
    """
    verdict = await check()

    assert () == verdict.failures
    assert USERS == tuple(row.user_id for row in verdict.users)
    for row in verdict.users:
        assert row.received == row.sent * row.tabs > 0
        assert 0 == row.foreign
        assert {"4200 drain": row.tabs} == row.closes
    assert 10 == verdict.at_once
    assert verdict.seconds < 20


def _cached(authenticate: Authenticate) -> Authenticate:
    """Return an ``authenticate`` with the classic defect: what it found once, it gives to everybody."""
    found: list[UserExecutionContext | None] = []

    async def cached(handshake: Handshake) -> UserExecutionContext | None:
        if not found:
            found.append(await authenticate(handshake))
        return found[0]

    return cached


@pytest.mark.scenario("S65")
async def test_cached_context_is_noticed() -> None:
    """
    Where everybody gets the first user's context, the check names the users whose tabs saw foreign events.
    """

    def broken(user_ids: Iterable[str], /, *, pace: float) -> Demo:
        return create_demo(user_ids, pace=pace, wrap=_cached)

    failures = (await check(broken)).failures

    assert any("bob: " in failure and "foreign messages" in failure for failure in failures)


@pytest.mark.scenario("S65")
async def test_colliding_keys_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where all users share one stream and the last hop cannot tell them apart, the check fails for each.
    """
    share_one_stream(monkeypatch)

    verdict = await check()

    assert all(row.foreign for row in verdict.users)
    assert verdict.failures


def _by_isinstance(value: object) -> bool:
    return isinstance(value, UserExecutionContext)


def _by_name(value: object) -> bool:
    return type(value).__name__ == "UserExecutionContext"


@pytest.mark.scenario("S65")
@pytest.mark.parametrize(
    ("gate", "passed"),
    [
        (_by_isinstance, {"subclass", "mock", "edited", "new"}),
        (_by_name, {"same-name", "edited", "new"}),
    ],
    ids=["isinstance", "name"],
)
async def test_weaker_gate_is_noticed(
    monkeypatch: pytest.MonkeyPatch, gate: Callable[[object], bool], passed: set[str]
) -> None:
    """
    Where the gate asks isinstance() or looks at the name, the check names each forgery that got through.
    """
    from ws_isolation.context import require_context

    def weaker(value: UserExecutionContext, /, *, caller: str) -> UserExecutionContext:
        return value if gate(value) else require_context(value, caller=caller)

    for module in ("factory", "serving"):
        monkeypatch.setattr(f"ws_isolation.{module}.require_context", weaker)

    verdict = await check()

    assert passed == {outcome.attack for outcome in verdict.attacks if not outcome.refused}
    assert all(any(repr(name) in failure for failure in verdict.failures) for name in passed)


def _tab(*frames: dict[str, Any], code: int = 4200) -> Client:
    client = Client(cast("ClientConnection", SimpleNamespace(close_code=code, close_reason="drain")))
    client.raw += [json.dumps(frame, separators=(",", ":")) for frame in frames]
    return client


WELCOME = {"type": "ws.welcome"}
GOODBYE = {"type": "ws.goodbye", "code": 4200}
FIRST = {"type": "custom", "seq": 1, "data": "canary"}
SECOND = {"type": "custom", "seq": 2, "data": "canary"}


@pytest.mark.parametrize(
    ("tab", "expected"),
    [
        (_tab(WELCOME, FIRST, SECOND, GOODBYE), None),
        (_tab(WELCOME, FIRST, GOODBYE), "1 of 2 events received"),
        (_tab(WELCOME, SECOND, FIRST, GOODBYE), "order not kept"),
        (_tab(WELCOME, FIRST, {**SECOND, "data": ""}, GOODBYE), "1 events without the user's own canary"),
        (_tab(FIRST, SECOND, GOODBYE), "no welcome"),
        (_tab(WELCOME, FIRST, SECOND, code=1006), "closed with 1006 and no goodbye that says so"),
        (_tab(WELCOME, FIRST, SECOND, GOODBYE, code=1011), "closed with 1011 and no goodbye that says so"),
    ],
)
def test_each_defect_has_words(tab: Client, expected: str | None) -> None:
    """
    A tab that missed an event, got it in the wrong order, or was closed without a word is reported so.
    """
    assert ([] if expected is None else [expected]) == _problems(tab, "canary", 2)


def test_silence_is_no_success() -> None:
    """
    A server that sends nothing at all has not shown that it isolates.
    """
    assert ["0 of 0 events received"] == _problems(_tab(WELCOME, GOODBYE), "canary", 0)
    assert 3 == len(_problems(_tab(), "canary", 0))


def test_one_after_the_other_is_no_success() -> None:
    """
    Agents that ran one after the other have not shown that they do not mix.
    """
    events = [{"type": kind, "time": str(n)} for n, kind in enumerate(["agent_started", "agent_completed"] * 2)]
    verdict = Verdict(users=(), attacks=(), at_once=_at_once([_tab(*events)]), seconds=1.0)

    assert 1 == verdict.at_once
    assert () == verdict.failures  # nobody chatted, so nobody's agents were due
