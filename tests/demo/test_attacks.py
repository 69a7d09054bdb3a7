"""
Each attack is refused by the real server, with the right error and code; and would be seen if it were not.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest

from ws_isolation import Handshake
from ws_isolation.demo import attacks
from ws_isolation.demo.app import MALLORY, create_demo
from ws_isolation.demo.attacks import ATTACKS, Target
from ws_isolation.demo.server import running
from ws_isolation.handshake import Headers

EXPECTED = {
    "same-name": ("ContextTypeError", "same name, different class", 4310),
    "subclass": ("ContextTypeError", "subclasses are refused", 4310),
    "mock": ("ContextTypeError", "a mock is no context", 4310),
    "edited": ("ContextIntegrityError", "changed afterwards", 4310),
    "new": ("ContextIntegrityError", "its constructor did not make", 4310),
    "dict": ("ContextTypeError", "build one with UserExecutionContext", 4310),
    "none": ("ContextTypeError", "there is no default user", 4001),
    "claim": ("SchemaViolationError", "the member user_id is reserved", 4022),
    "crash": ("DeliberateError", "the demo's handler fails", 4300),
    "stall": ("slow_consumer", "the outbox is full", 4213),
}


@asynccontextmanager
async def _target() -> AsyncGenerator[Target]:
    demo = create_demo(pace=0.01)
    token = demo.accounts.of(MALLORY).token
    handshake = Handshake(headers=Headers([("authorization", f"Bearer {token}")]))
    async with running(demo) as address:
        yield Target(
            address=address,
            factory=demo.factory,
            log=demo.log,
            token=token,
            manager=demo.factory.create_manager(await demo.accounts.authenticate(handshake)),
            canaries=demo.accounts.canaries_but(MALLORY),
        )


def test_each_attack_is_expected() -> None:
    """
    No attack is without an expectation here.
    """
    assert list(EXPECTED) == list(ATTACKS)


@pytest.mark.scenario("S14", "S15", "S29", "S35", "S56")
@pytest.mark.requirement("P2", "P6")
@pytest.mark.parametrize("name", ATTACKS)
async def test_attack_is_refused(name: str) -> None:
    """
    The attack is refused with this error and this code, after a goodbye that names the code.
    """
    async with _target() as target:
        outcome = await ATTACKS[name].run(target)
    error, text, code = EXPECTED[name]

    assert outcome.refused
    assert error == outcome.error
    assert text in outcome.message
    assert outcome.goodbye is not None
    assert code == outcome.close_code == outcome.goodbye["code"]
    assert 0 == outcome.foreign
    assert outcome.log


@pytest.mark.scenario("S29", "S30")
@pytest.mark.requirement("P5")
async def test_slow_reader_delays_nobody() -> None:
    """
    While one tab does not read, another tab of the same user gets every event.
    """
    async with _target() as target:
        outcome = await ATTACKS["stall"].run(target)
    sent = outcome.note.split(" ", maxsplit=1)[0]

    assert outcome.note.endswith(f"got {sent} of them.")


async def test_slow_reader_that_is_not_cut_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A flood that fits into the outbox cuts nobody, and that is not reported as a refusal.
    """
    monkeypatch.setattr(attacks, "_FLOOD_MOST", 3)
    async with _target() as target:
        outcome = await ATTACKS["stall"].run(target)

    assert not outcome.refused
    assert "no error" == (outcome.error or "no error")


async def test_attack_that_never_began_is_no_refusal() -> None:
    """
    An attack by somebody without an account ends at the door: that proves nothing about the attack.
    """
    async with _target() as target:
        outcome = await ATTACKS["claim"].run(attrs.evolve(target, token="guessed"))

    assert 4001 == outcome.close_code
    assert not outcome.refused


async def test_foreign_event_is_seen() -> None:
    """
    What counts as success for the attacker is somebody else's canary among the received bytes.
    """
    async with _target() as target:
        own = str(target.manager.context.claims["canary"])
        outcome = await ATTACKS["stall"].run(attrs.evolve(target, canaries=(own,)))

    assert outcome.foreign > 0
    assert not outcome.refused
