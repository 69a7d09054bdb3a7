"""
Users with hostile ids connect, leave, send, run and stop in any order: nobody gets what is another's.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeAlias

import attrs
import pytest
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.shell import Bench, Served, note
from ws_isolation import IsolatedManager, Session, UserExecutionContext
from ws_isolation.keys import Identity
from ws_isolation.streams import LiveStream, Streams, Subscriber
from ws_isolation.testing.clock import settle

Who: TypeAlias = tuple[str | None, str]

IDENTITIES: Final[tuple[Who, ...]] = (
    (None, "a"),
    (None, "a:b"),
    ("a", "b"),
    ("a:", "b"),
    ("a", ":b"),
    ("*", "{x}"),
)


def canary(who: Who) -> str:
    """
    Return what stands in every event of an identity and in no other's.
    """
    return f"canary-{IDENTITIES.index(who)}-"


@attrs.define(eq=False)
class Tab:
    """
    A session, where it began in its stream, and where it ended.
    """

    who: Who
    served: Served
    begin: int
    end: int | None = None


@attrs.define(eq=False)
class Running:
    """
    An open run, which does what it is told.
    """

    who: Who
    run_id: str
    orders: asyncio.Queue[str]
    task: asyncio.Task[None]


async def _agent(manager: IsolatedManager, mark: str, run_id: str, orders: asyncio.Queue[str]) -> None:
    async with manager.run(mark, run_id=run_id) as run:
        while (order := await orders.get()) == "think":
            await run.thinking(mark)
        if order == "fail":
            raise LookupError
        await run.complete(mark)


async def _handler(session: Session) -> None:
    async for message in session:
        if message.type == "leave":
            return
        if message.type == "break":
            raise LookupError


class Users(RuleBasedStateMachine):
    """
    One factory, many users; the model counts each identity's durable events.
    """

    tabs: Bundle[Tab] = Bundle("tabs")
    runs: Bundle[Running] = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.bench = Bench.new()
        self.published: dict[Who, int] = dict.fromkeys(IDENTITIES, 0)
        self.all: list[Tab] = []
        self.open_runs: list[Running] = []
        self.count = 0

    def do(self, work: Any) -> Any:
        """
        Run *work* in the machine's loop, and let everything react to it.
        """

        async def whole() -> Any:
            result = await work
            await settle()
            return result

        return self.loop.run_until_complete(whole())

    def teardown(self) -> None:
        """
        Stop the factory and close the loop.
        """

        async def stop() -> None:
            for run in self.open_runs:
                run.task.cancel()
            await settle()
            stopping = asyncio.create_task(self.bench.factory.stop())
            await self.bench.clock.advance(self.bench.factory.settings.drain_seconds)
            await stopping
            await settle()

        self.do(stop())
        self.loop.close()

    def context(self, who: Who) -> UserExecutionContext:
        """
        Return a context of *who*; all of them share one thread.
        """
        return UserExecutionContext(tenant_id=who[0], user_id=who[1], thread_id="shared")

    def manager(self, who: Who) -> IsolatedManager:
        """
        Return a new manager of *who*.
        """
        return self.bench.factory.create_manager(self.context(who))

    @rule(target=tabs, who=st.sampled_from(IDENTITIES), count=st.integers(1, 2))
    def connect(self, who: Who, count: int) -> Any:
        """
        Somebody opens tabs, which share a context.
        """
        context = self.context(who)
        tabs = [Tab(who, self.do(self.bench.serve(_handler, context)), self.published[who]) for _ in range(count)]
        self.all += tabs
        return multiple(*tabs)

    @rule(tab=consumes(tabs), how=st.sampled_from(["vanish", "leave", "break"]))
    def disconnect(self, tab: Tab, how: str) -> None:
        """
        A tab goes: without a word, by a return of its handler, or by its exception.
        """

        async def go() -> None:
            if how == "vanish":
                tab.served.transport.client_leaves()
            else:
                tab.served.transport.client_sends({"type": how})

        self.do(go())
        tab.end = self.published[tab.who]

    @rule(who=st.sampled_from(IDENTITIES), times=st.integers(1, 3))
    def send(self, who: Who, times: int) -> None:
        """
        Somebody's agent sends events outside of a run.
        """

        async def send() -> None:
            manager = self.manager(who)
            here = sum(tab.who == who and tab.end is None for tab in self.all)
            for _ in range(times):
                delivery = await manager.send(note(canary(who)))
                assert (here, 0) == (delivery.sessions, delivery.refused), "somebody else was offered it"

        self.do(send())
        self.published[who] += times

    @rule(target=runs, who=st.sampled_from(IDENTITIES))
    def begin_run(self, who: Who) -> Running:
        """
        An agent begins.
        """
        self.count += 1
        run_id = f"{canary(who)}{self.count}"
        orders: asyncio.Queue[str] = asyncio.Queue()
        work = _agent(self.manager(who), canary(who), run_id, orders)
        run = Running(who, run_id, orders, self.loop.create_task(work))
        self.open_runs.append(run)
        self.do(settle())
        self.published[who] += 1
        return run

    @rule(run=runs)
    def think(self, run: Running) -> None:
        """
        An agent thinks.
        """
        self.order(run, "think")

    @rule(run=consumes(runs), how=st.sampled_from(["complete", "fail"]))
    def end_run(self, run: Running, how: str) -> None:
        """
        An agent ends, well or badly.
        """
        self.order(run, how)

    def order(self, run: Running, what: str) -> None:
        """
        Tell a run what to do; each order makes one event, unless the run was stopped before.
        """
        if run.task.done():
            return

        async def tell() -> None:
            run.orders.put_nowait(what)

        self.do(tell())
        self.published[run.who] += 1
        if what == "fail":
            assert isinstance(run.task.exception(), LookupError)

    @rule(tab=tabs, run=runs)
    def stop(self, tab: Tab, run: Running) -> None:
        """
        A client asks to stop a run, its own or somebody else's, whose id it has guessed.
        """
        was_open = not run.task.done()

        async def ask() -> None:
            tab.served.transport.client_sends({"type": "stop", "run_id": run.run_id})

        self.do(ask())
        stopped = was_open and run.task.done()
        assert stopped == (was_open and run.who == tab.who), "a client stopped another's run"
        self.published[run.who] += stopped

    @invariant()
    def each_gets_their_own(self) -> None:
        """
        Each session has got exactly what was published while it was subscribed, in order, all of it its own.
        """
        for tab in self.all:
            events = tab.served.transport.events
            for event in events:
                assert canary(tab.who) in repr(event), f"a foreign event reached {tab.who}"
            end = self.published[tab.who] if tab.end is None else tab.end
            assert list(range(tab.begin + 1, end + 1)) == [event["seq"] for event in events], "missing or doubled"

    @invariant()
    def nothing_was_held_back(self) -> None:
        """
        The last hop had nothing to do.
        """
        assert 0 == self.bench.factory.stats().foreign, "the last hop held something back"
        assert sum(tab.end is None for tab in self.all) == self.bench.factory.stats().sessions, "a session is missing"


def run(**options: Any) -> None:
    """
    Run the machine over the library as it is now.
    """
    run_state_machine_as_test(Users, settings=hypothesis_settings(stateful_step_count=30, **options))


@pytest.mark.scenario("S27", "S28", "S36", "S37", "S45")
@pytest.mark.requirement("P1", "P3", "I7", "I8", "I11", "WS-21")
def test_nobody_gets_what_is_anothers() -> None:
    """
    Whatever they do in whatever order, nobody receives another identity's event, and nobody misses one.
    """
    run(max_examples=60)


# Broken variants: what the machine above must catch.


def _joined(context: UserExecutionContext) -> Identity:
    """
    Join tenant and user by a delimiter, as many do.
    """
    return Identity(None, f"{context.tenant_id or ''}:{context.user_id}".removeprefix(":"))


def _by_user(self: LiveStream, session: Subscriber, now: float, /) -> None:
    """
    Remove every session of the user, not this very one.
    """
    self.sessions = ()
    self.detached_at = now


def _by_context(self: LiveStream, session: Subscriber, now: float, /) -> None:
    """
    Remove what looks like this session, as a list's ``remove`` does.
    """
    context = getattr(session, "context", None)
    self.sessions = tuple(other for other in self.sessions if getattr(other, "context", None) is not context)
    self.detached_at = now


def _never(self: LiveStream, session: Subscriber, now: float, /) -> None:
    """
    Forget nobody.
    """


def _first(self: Streams, identity: Identity, now: float, /) -> LiveStream:
    """
    Fall back to whatever stream there is.
    """
    if not self._by_identity:
        self._by_identity[identity.key] = LiveStream(identity, now, self._reader)
    return next(iter(self._by_identity.values()))


def _break(patch: pytest.MonkeyPatch, what: str) -> None:
    match what:
        case "delimiter-joined identity":
            for module in ("factory", "manager", "core_state", "core_reading"):
                patch.setattr(f"ws_isolation.{module}.identity_of", _joined)
        case "removal by user":
            patch.setattr(LiveStream, "unsubscribe", _by_user)
        case "removal by what it looks like":
            patch.setattr(LiveStream, "unsubscribe", _by_context)
        case "no removal":
            patch.setattr(LiveStream, "unsubscribe", _never)
        case "fallback recipient":
            patch.setattr(Streams, "open", _first)
        case _:
            raise AssertionError(what)


@pytest.mark.scenario("S65")
@pytest.mark.requirement("P1", "I7", "I8", "I11")
@pytest.mark.parametrize(
    ("what", "symptom"),
    [
        ("delimiter-joined identity", "a foreign event|missing or doubled|another's run|somebody else"),
        ("removal by user", "missing or doubled|somebody else"),
        ("removal by what it looks like", "missing or doubled|somebody else"),
        ("no removal", "somebody else"),
        ("fallback recipient", "held something back|missing or doubled|another's run|somebody else"),
    ],
)
def test_broken_variant_is_caught(what: str, symptom: str) -> None:
    """
    With keys that two users share, or a registry that removes or finds the wrong one, the machine goes red.
    """
    with pytest.MonkeyPatch.context() as patch:
        _break(patch, what)
        with pytest.raises(AssertionError, match=symptom):
            run(
                max_examples=5_000, phases=[Phase.generate], database=None, print_blob=False, report_multiple_bugs=False
            )
