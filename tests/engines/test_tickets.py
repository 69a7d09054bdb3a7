"""
Connect tickets on a real engine: whichever process gave one out, one socket of all gets in with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.engines.nodes import KEY, nodes
from tests.engines.running import Engine
from tests.engines.test_hostile import told
from ws_isolation import UserExecutionContext, errors
from ws_isolation.backplanes.redis.jobs import Ask, MalformedError
from ws_isolation.backplanes.redis.letters import Letters
from ws_isolation.backplanes.redis.names import Names
from ws_isolation.backplanes.redis.tickets import _is_ok, _number, _text
from ws_isolation.credentials.tickets import Tickets, _key
from ws_isolation.ids import new_uuid7
from ws_isolation.keys import identity_of
from ws_isolation.testing import make_context


def somebody() -> UserExecutionContext:
    """
    Return a context of a user whom no other test knows.
    """
    return make_context(f"user-{new_uuid7()}", thread_id="t", claims={"role": "admin"})


@pytest.mark.requirement("WS-06", "WS-33", "P1")
async def test_many_claimants(shared_engine: Engine) -> None:
    """
    Of 100 who come at once on two nodes with the same ticket exactly one gets in, as the one who asked.
    """
    async with nodes(shared_engine.url, 2) as (one, two):
        sides = [Tickets(one.plane), Tickets(two.plane)]
        for _ in range(10):
            asked = somebody()
            ticket = await sides[0].issue(asked)
            came = await asyncio.gather(
                *(sides[n % 2].redeem(ticket.value) for n in range(100)), return_exceptions=True
            )
            (got,) = [made for made in came if isinstance(made, UserExecutionContext)]

            assert (asked.user_id, "t", {"role": "admin"}) == (got.user_id, got.thread_id, got.claims)
            assert 99 == len([error for error in came if isinstance(error, errors.UnauthenticatedError)])


class LooksThenTakes:
    """
    The broken variant: takes a ticket in two steps.
    """

    def __init__(self, plane: Any) -> None:
        self.plane = plane

    async def put_ticket(self, *given: Any, **more: Any) -> bool:
        """
        Do it as it ought to be.
        """
        put: bool = await self.plane.put_ticket(*given, **more)
        return put

    async def take_ticket(self, key: str, /) -> bytes | None:
        """
        Look, then take.
        """
        name, link = self.plane._names.ticket(key), self.plane._connected()
        kept = await link.do(Ask("look", lambda _again: ("GET", name), lambda reply: reply, link.due(), key=name))
        await self.plane._count("take", "DEL", name)
        return None if kept is None else bytes(self.plane._letters.endorsed(key, kept))


@pytest.mark.parametrize(("read", "wrong"), [(_number, b"1"), (_is_ok, None), (_text, 7)])
def test_answers_of_another_form(read: Callable[[object], object], wrong: object) -> None:
    """
    An engine that answers what no engine answers is not believed.
    """
    with pytest.raises(MalformedError):
        read(wrong)


@pytest.mark.requirement("WS-06")
async def test_two_steps_are_caught(shared_engine: Engine) -> None:
    """
    A table that looks before it takes lets several in, which the test above would notice.
    """
    async with nodes(shared_engine.url, 1) as (node,):
        tickets = Tickets(LooksThenTakes(node.plane))
        ticket = await tickets.issue(somebody())
        came = await asyncio.gather(*(tickets.redeem(ticket.value) for _ in range(100)), return_exceptions=True)

    assert 1 < len([made for made in came if isinstance(made, UserExecutionContext)])


@pytest.mark.requirement("WS-06", "P5")
async def test_time_and_number(shared_engine: Engine) -> None:
    """
    A ticket ends by the engine's clock; an identity gets so many in that time, on all nodes, used or not.
    """
    async with nodes(shared_engine.url, 2) as (one, two):
        sides = [Tickets(node.plane, seconds=3, most=2) for node in (one, two)]
        asked = somebody()
        first, _ = [await side.issue(asked) for side in sides]
        await sides[1].redeem(first.value)
        for side in sides:
            with pytest.raises(errors.RateLimitedError):
                await side.issue(asked)
        await sides[0].issue(somebody())
        async with asyncio.timeout(20):
            while True:
                try:
                    await sides[0].issue(asked)
                except errors.RateLimitedError:
                    await asyncio.sleep(0.05)
                else:
                    break
        names, fresh = Names("ws", 0), somebody()
        ticket = await sides[0].issue(fresh)
        lasts, given = await told(
            shared_engine, ("PTTL", names.ticket(_key(ticket.value))), ("PTTL", names.given(identity_of(fresh)))
        )

    assert 0 < lasts <= 3_000
    assert 0 < given <= 3_000


@pytest.mark.requirement("WS-06", "WS-22", "P1")
async def test_what_others_write(shared_engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """
    The engine has no ticket; what is written without the key, or moved from another ticket, lets nobody in.
    """
    names = Names("ws", 0)
    async with nodes(shared_engine.url, 1) as (node,):
        tickets = Tickets(node.plane)
        mine, other = await tickets.issue(somebody()), await tickets.issue(make_context("victim"))
        name = names.ticket(_key(mine.value))
        (found,) = await told(shared_engine, ("GET", names.ticket(_key(other.value))))
        forged = Letters("evil", (), 65_536).endorse(_key(mine.value), found.partition(b" ")[2])
        for written in (found, forged, found[65:], b"", b"x" * 70_000, b"\xff " + found):
            await told(shared_engine, ("SET", name, written))
            with pytest.raises(errors.UnauthenticatedError):
                await tickets.redeem(mine.value)
        refused = node.plane.health().refused
        await told(shared_engine, ("RPUSH", name, "x"))
        with pytest.raises(errors.EngineUnavailableError):
            await tickets.redeem(mine.value)
        (keys,) = await told(shared_engine, ("KEYS", "*"))

    assert 6 == refused
    assert "a ticket: wrong signature" in caplog.text
    assert other.value.encode() not in found + b"".join(keys)


@pytest.mark.requirement("WS-06")
async def test_keys_may_change(shared_engine: Engine) -> None:
    """
    A ticket that was signed with the older of two keys counts.
    """
    new = b"n" * 32
    async with (
        nodes(shared_engine.url, 1) as (old,),
        nodes(shared_engine.url, 1, keys=(new, KEY)) as (changed,),
    ):
        asked = somebody()
        ticket = await Tickets(old.plane).issue(asked)

        assert asked.user_id == (await Tickets(changed.plane).redeem(ticket.value)).user_id


@pytest.mark.requirement("WS-06")
async def test_engine_that_is_gone(engine: Engine) -> None:
    """
    Without its engine nobody gets a ticket and nobody gets in; nobody is blamed.
    """
    async with nodes(engine.url, 1, send_seconds=0.3, answer_seconds=0.2) as (node,):
        tickets = Tickets(node.plane)
        ticket = await tickets.issue(somebody())
        engine.kill()
        with pytest.raises(errors.EngineUnavailableError):
            await tickets.redeem(ticket.value)
        with pytest.raises(errors.EngineUnavailableError):
            await tickets.issue(somebody())
