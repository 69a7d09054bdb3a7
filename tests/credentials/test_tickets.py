"""
Connect tickets: one socket each, soon, for the context and the page that asked.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.openings import handshake
from tests.strategies import identities, ids, json_objects
from ws_isolation import Handshake, IdPolicy, UserExecutionContext, errors
from ws_isolation.adapters._tickets import issued
from ws_isolation.credentials.ticket_table import MemoryTickets, TicketLedger
from ws_isolation.credentials.tickets import TicketAuthenticate, Tickets
from ws_isolation.factory import ManagerFactory
from ws_isolation.handshake import Credential
from ws_isolation.keys import Identity
from ws_isolation.testing import FakeClock, make_context

PAGE: Final = "https://chat.example.com"


@attrs.define
class Table:
    """
    A table that remembers what it was given, and gives what it is told to.
    """

    kept: dict[str, bytes] = attrs.field(factory=dict[str, bytes])
    seconds: float = 0.0

    async def put_ticket(self, key: str, identity: Identity, grant: bytes, /, *, seconds: float, most: int) -> bool:
        """
        Keep it for ever.
        """
        self.kept[key], self.seconds = grant, seconds
        return True

    async def take_ticket(self, key: str, /) -> bytes | None:
        """
        Give it, as often as it is asked for.
        """
        return self.kept.get(key)


async def refused(tickets: Tickets, value: str, origin: str | None = None) -> str:
    """
    Return why a ticket does not count.
    """
    with pytest.raises(errors.UnauthenticatedError) as caught:
        await tickets.redeem(value, origin=origin)
    assert value not in str(caught.value) or len(value) < 4
    return str(caught.value)


@pytest.mark.requirement("WS-06", "P1")
@given(
    identity=identities(),
    thread=st.none() | ids(),
    run=st.none() | ids(),
    expires=st.none() | st.datetimes(datetime(2030, 1, 1), datetime(2400, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    claims=json_objects(),
)
async def test_context_of_a_ticket(
    *, identity: tuple[str | None, str], thread: str | None, run: str | None, expires: datetime | None, claims: Any
) -> None:
    """
    What a ticket opens has the ids, claims and expiry of whoever asked, and a request id of its own.
    """
    tenant, user = identity
    asked = make_context(user, tenant_id=tenant, thread_id=thread, run_id=run, expires_at=expires, claims=claims)
    tickets = Tickets(clock=FakeClock())

    made = await tickets.redeem((await tickets.issue(asked)).value)

    same = {"request_id": None}
    assert asked.log_form() | same == made.log_form() | same
    assert asked.claims == made.claims
    assert asked.request_id != made.request_id


@pytest.mark.requirement("WS-06", "WS-28")
async def test_what_is_kept() -> None:
    """
    A ticket has 128 random bits; what is kept is its hash, and nothing shows it.
    """
    table = Table()
    tickets = Tickets(table, clock=FakeClock())
    given = [await tickets.issue(make_context()) for _ in range(100)]
    (first, *_) = given

    assert 100 == len({one.value for one in given})
    assert {22} == {len(one.value) for one in given}
    assert sha256(b"ws_isolation ticket v1\n" + first.value.encode()).hexdigest() in table.kept
    assert first.value not in repr(table.kept)
    assert ("<ticket for 30 s>", 30, 30) == (repr(first), first.seconds, table.seconds)


@pytest.mark.requirement("WS-06", "WS-33")
async def test_many_claimants() -> None:
    """
    Of 50 who come at once with the same ticket exactly one gets in.
    """
    tickets = Tickets(clock=FakeClock())
    ticket = await tickets.issue(make_context())

    came = await asyncio.gather(*(tickets.redeem(ticket.value) for _ in range(50)), return_exceptions=True)

    assert 1 == len([one for one in came if isinstance(one, UserExecutionContext)])
    assert 49 == len([one for one in came if isinstance(one, errors.UnauthenticatedError)])


@pytest.mark.requirement("WS-06")
async def test_too_old() -> None:
    """
    A ticket counts until its time is over, also if the table keeps it for longer.
    """
    for table in (None, Table()):
        clock = FakeClock()
        tickets = Tickets(table, seconds=10, clock=clock)
        first, second = await tickets.issue(make_context()), await tickets.issue(make_context())
        await clock.advance(9.9)
        assert "alice" == (await tickets.redeem(first.value)).user_id
        await clock.advance(0.1)
        assert "unknown, used or too old" in await refused(tickets, second.value)


@given(st.text(max_size=40) | st.from_regex(r"[A-Za-z0-9_-]{21,23}"))
async def test_no_ticket(text: str) -> None:
    """
    Whatever else comes is refused.
    """
    await refused(Tickets(clock=FakeClock()), text)


@pytest.mark.requirement("WS-06", "WS-01")
async def test_bound_to_the_page() -> None:
    """
    A ticket that a page got is used up and refused when another page, or none, comes with it.
    """
    tickets = Tickets(clock=FakeClock())
    for other in ("https://evil.example", None, "null"):
        ticket = await tickets.issue(make_context(), origin=PAGE)
        assert "another origin" in await refused(tickets, ticket.value, other)
        assert "unknown" in await refused(tickets, ticket.value, PAGE)
    right = await tickets.issue(make_context(), origin=PAGE)
    free = await tickets.issue(make_context())

    assert "alice" == (await tickets.redeem(right.value, origin=PAGE)).user_id
    assert "alice" == (await tickets.redeem(free.value, origin="https://evil.example")).user_id
    with pytest.raises(errors.UnauthenticatedError, match="300 characters"):
        await tickets.issue(make_context(), origin="x" * 301)


@pytest.mark.requirement("P6")
async def test_only_contexts() -> None:
    """
    Only a genuine context that has not expired gets a ticket.
    """
    clock = FakeClock()
    tickets = Tickets(clock=clock)
    over = make_context(expires_at=datetime.fromtimestamp(clock.unix(), UTC) - timedelta(seconds=1))

    with pytest.raises(errors.ContextTypeError, match=r"issue\(\)"):
        await tickets.issue("alice")  # type: ignore[arg-type]
    with pytest.raises(errors.ContextExpiredError):
        await tickets.issue(over)


async def test_policy() -> None:
    """
    Ids of a wider policy come through where both sides have it.
    """
    policy = IdPolicy(unicode_letters=True)
    wide = UserExecutionContext(user_id="zoë", policy=policy)
    with_policy, without = Tickets(policy=policy), Tickets()

    assert "zoë" == (await with_policy.redeem((await with_policy.issue(wide)).value)).user_id
    with pytest.raises(errors.InvalidContextError):
        await without.redeem((await without.issue(wide)).value)


@pytest.mark.requirement("WS-22")
@pytest.mark.parametrize("kept", [b"", b"{}", b"[]", b"\xff", b'{"user_id":"alice"}', b"[" * 3_000])
async def test_table_that_gives_something_else(kept: bytes) -> None:
    """
    What is no grant lets nobody in.
    """
    table = Table()
    tickets = Tickets(table, clock=FakeClock())
    ticket = await tickets.issue(make_context())
    table.kept = dict.fromkeys(table.kept, kept)

    assert "unknown" in await refused(tickets, ticket.value)


@pytest.mark.requirement("WS-06", "P5")
async def test_bounds() -> None:
    """
    An identity gets so many in their time, used or not, all of them so many at once, and nobody else is disturbed.
    """
    clock = FakeClock()
    table = MemoryTickets(5, clock=clock)
    tickets = Tickets(table, most=3, clock=clock)
    for _ in range(3):
        await tickets.redeem((await tickets.issue(make_context("alice"))).value)
    with pytest.raises(errors.RateLimitedError, match="3 in 30 s"):
        await tickets.issue(make_context("alice"))
    for name in "bcdef":
        await tickets.issue(make_context(name))
    with pytest.raises(errors.RateLimitedError):
        await tickets.issue(make_context("g"))
    assert 5 == len(table)
    await clock.advance(30)

    assert (await tickets.issue(make_context("alice"))).value
    assert 1 == len(table)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Tickets(seconds=0.5), "seconds=0.5"),
        (lambda: Tickets(seconds=301), "seconds=301"),
        (lambda: Tickets(seconds="1"), "seconds='1'"),  # type: ignore[arg-type]
        (lambda: Tickets(most=0), "most=0"),
        (lambda: Tickets(most=True), "most=True"),
        (lambda: MemoryTickets(0), "most=0"),
        (lambda: MemoryTickets(1.5), "most=1.5"),  # type: ignore[arg-type]
    ],
)
def test_settings_that_are_refused(make: Any, problem: str) -> None:
    """
    Bounds are checked when it is made.
    """
    with pytest.raises(errors.SettingsError, match=problem):
        make()


# The ledger, against what it promises, in any order of steps.


class Ledgers(RuleBasedStateMachine):
    """
    Three users who get tickets and come with them, old ones and used ones too.
    """

    ledger_type: type[TicketLedger] = TicketLedger

    def __init__(self) -> None:
        super().__init__()
        self.ledger = self.ledger_type(6)
        self.now = 0.0
        self.given: list[tuple[float, str, str]] = []
        self.taken: set[str] = set()

    @rule(seconds=st.floats(0, 20))
    def passes(self, seconds: float) -> None:
        """
        Time passes.
        """
        self.now += seconds

    @rule(user=st.sampled_from("abc"))
    def put(self, user: str) -> None:
        """
        Somebody asks for a ticket; it is there unless a bound says no.
        """
        key = f"{user}{len(self.given)}"
        young = [(one, whose) for ends, one, whose in self.given if ends > self.now]
        waiting = [one for one, _ in young if one not in self.taken]
        room = len(waiting) < 6 and len([whose for _, whose in young if whose == user]) < 3
        put = self.ledger.put(key, Identity(None, user), key.encode(), ends=self.now + 30, most=3, now=self.now)
        assert room == put
        if put:
            self.given.append((self.now + 30, key, user))

    @rule(at=st.integers(0, 50))
    def take(self, at: int) -> None:
        """
        Somebody comes with a ticket.
        """
        ends, key, _ = self.given[at % len(self.given)] if self.given else (0.0, "none", "")
        got = self.ledger.take(key, self.now)
        assert got == (key.encode() if ends > self.now and key not in self.taken else None)
        self.taken.add(key)

    @invariant()
    def bounded(self) -> None:
        """
        There is a bound for all.
        """
        assert len(self.ledger) <= 6


TestLedgers = pytest.mark.requirement("WS-06", "WS-33", "P5")(Ledgers.TestCase)


class Keeps(TicketLedger):
    """
    Looks, and does not take.
    """

    def take(self, key: str, now: float, /) -> bytes | None:
        """
        Leave it there.
        """
        ends, grant = self._waiting.get(key, (now, b""))
        return grant if now < ends else None


class Unbounded(TicketLedger):
    """
    Gives as many as somebody likes.
    """

    def put(self, key: str, identity: Identity, grant: bytes, /, *, ends: float, most: int, now: float) -> bool:
        """
        Have room.
        """
        return super().put(key, identity, grant, ends=ends, most=1_000, now=now)


class Eternal(TicketLedger):
    """
    Looks at no time.
    """

    def take(self, key: str, now: float, /) -> bytes | None:
        """
        Take it however old it is.
        """
        return super().take(key, 0.0)


@pytest.mark.requirement("WS-06")
@pytest.mark.parametrize(
    ("broken", "steps"), [(Keeps, "put take take"), (Unbounded, "put put put put"), (Eternal, "put wait wait take")]
)
def test_broken_variants_are_caught(broken: type[TicketLedger], steps: str) -> None:
    """
    A ledger that gives a ticket twice, too many or too late is noticed.
    """
    machine: Any = type("Broken", (Ledgers,), {"ledger_type": broken})()
    do = {"put": lambda: machine.put("a"), "take": lambda: machine.take(0), "wait": lambda: machine.passes(20)}
    with pytest.raises(AssertionError):
        for step in steps.split():
            do[step]()


# Where a ticket comes from, and who asks for one.


async def by_token(shaken: Handshake) -> UserExecutionContext | None:
    """
    Take the token for the user; some tokens say what is to go wrong.
    """
    match shaken.bearer_token:
        case None:
            return None
        case "banned":
            raise errors.ForbiddenError
        case "down":
            raise errors.EngineUnavailableError("bars()", "gone")
        case user:
            return make_context(user)


@pytest.mark.scenario("S53")
@pytest.mark.requirement("WS-06")
async def test_ways_of_a_ticket() -> None:
    """
    Subprotocol, query and frame; two that differ are none; who has none is asked for something else, or refused.
    """
    tickets = Tickets(clock=FakeClock())
    check = TicketAuthenticate(tickets, by_token)

    async def value() -> str:
        return (await tickets.issue(make_context("bob"), origin=PAGE)).value

    page = ("origin", PAGE)
    ways = [
        handshake(page, subprotocols=("ws-isolation.v1", f"ticket.{await value()}")),
        handshake(page, query=f"ticket={await value()}"),
        handshake(page).with_credential(Credential("ticket", await value())),
        handshake(("authorization", "Bearer carol")),
    ]
    two = handshake(page, query=f"ticket={await value()}", subprotocols=(f"ticket.{await value()}",))

    users = [context.user_id for context in [await check(way) for way in ways] if context is not None]
    assert ["bob", "bob", "bob", "carol"] == users
    assert None is await check(two)
    with pytest.raises(errors.UnauthenticatedError, match="no ticket, or several"):
        await TicketAuthenticate(tickets)(two)


@pytest.mark.scenario("S53")
@pytest.mark.requirement("WS-06", "WS-01", "WS-28")
async def test_endpoint(caplog: pytest.LogCaptureFixture) -> None:
    """
    Whoever is known gets a ticket for the page that asks; each refusal has its status and a line in the log.
    """
    factory, tickets = ManagerFactory(), Tickets(most=1)

    async def ask(*headers: tuple[str, str], query: str = "", host: str | None = "chat.example.com") -> int:
        answer = await issued(handshake(*headers, query=query, host=host), factory, by_token, tickets)
        assert "no-store" == answer.headers["Cache-Control"]
        assert f"Answer({answer.status})" == repr(answer)
        if answer.status == 200:
            said = json.loads(answer.body)
            assert 30 == said["seconds"]
            assert "another origin" in await refused(tickets, said["ticket"], "https://evil.example")
        else:
            assert b"{}" == answer.body
        return answer.status

    def bearer(user: str) -> tuple[str, str]:
        return ("authorization", f"Bearer {user}")

    statuses: Sequence[int] = [
        await ask(bearer("alice"), ("origin", PAGE)),
        await ask(bearer("alice"), ("origin", PAGE)),
        await ask(bearer("bob"), ("origin", "https://evil.example")),
        await ask(("cookie", "session=canary")),
        await ask(bearer("bob"), host=None),
        await ask(),
        await ask(bearer("banned")),
        await ask(bearer("down")),
        await ask(bearer("bob"), query="ticket=canary"),
        await ask(query="token=canary"),
    ]

    assert [200, 429, 403, 403, 400, 401, 403, 503, 401, 401] == statuses
    assert 9 == len(caplog.records)
    assert "sources=authorization,query" in caplog.text
    assert "canary" not in caplog.text
