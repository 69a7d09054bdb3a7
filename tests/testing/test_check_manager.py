"""
The suite for managers passes every manager that keeps the rules, and names the rule that another breaks.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Final

import pytest

from tests.managers import Around, Slow
from tests.testing.broken_managers import (
    AcceptsAnything,
    CopiesContext,
    Counts,
    Drops,
    FailsOddly,
    ForEachRequest,
    IdsByPlace,
    Keyed,
    LateRun,
    LaxRun,
    Lenient,
    LenientInRuns,
    Make,
    OneContext,
    OneRun,
    OtherRuns,
    OtherThread,
    PairsByName,
    PairsByOrder,
    RepeatsIds,
    ReturnsTrue,
    SkipsPlaces,
    Wrapped,
)
from tests.testing.own_manager import OwnManager, Streams
from ws_isolation import ManagerFactory, UserExecutionContext
from ws_isolation.delivery import ManagerStats
from ws_isolation.events import AgentCancelled, AgentCompleted, AgentError, AgentStarted
from ws_isolation.manager import IsolatedManager
from ws_isolation.testing import FakeClock, check_manager


def _counts(**wrong: Callable[[Counts], int]) -> Make:
    def count(manager: Counts) -> ManagerStats:
        honest = OwnManager.stats(manager)
        values = {"sent": honest.sent, "sessions": 0, "open_runs": honest.open_runs}
        return ManagerStats(**{**values, **{name: value(manager) for name, value in wrong.items()}})

    return partial(Counts, count=count)


def _first_for_all() -> Make:
    made: list[OwnManager] = []

    def make(context: UserExecutionContext, streams: Streams) -> OwnManager:
        made.append(OwnManager(context, streams))
        return made[0]

    return make


BROKEN: Final[dict[str, tuple[Make, str]]] = {
    "no manager": (lambda _context, _streams: object(), "A manager has context, send, run and stats. (got object)"),
    "shared by all": (_first_for_all(), "the very one"),
    "lags one context behind": (partial(OneContext, seen=[], place=-2), "the very one"),
    "follows the last context": (partial(OneContext, seen=[], place=-1), "the very one"),
    "copies its context": (CopiesContext, "the very one"),
    "returns True": (ReturnsTrue, "something else came back"),
    "repeats ids": (RepeatsIds, "ids repeat"),
    "takes places for ids": (IdsByPlace, "they share an event: of ('a', 'b') and (None, 'a:b')"),
    "skips places": (SkipsPlaces, "seq has holes"),
    "accepts dicts": (AcceptsAnything, "dict was accepted"),
    "raises AttributeError": (FailsOddly, "(AttributeError: "),
    "no lifecycle": (Lenient, "without a run, or before its start"),
    "no lifecycle in runs": (LenientInRuns, "A second start"),
    "loses completions": (partial(Drops, kind=AgentCompleted), "an event after the end are refused"),
    "loses starts": (partial(Drops, kind=AgentStarted), "(AgentStarted was accepted)"),
    "accepts late thoughts": (partial(OtherRuns, kind=LateRun), "accepted a thought after the end"),
    "pairs first in, first out": (partial(PairsByOrder, place=0), "that overlap"),
    "pairs last in, first out": (partial(PairsByOrder, place=-1), "that overlap"),
    "pairs by name": (PairsByName, "that overlap"),
    "swallows exceptions": (partial(OtherRuns, kind=partial(Wrapped, swallows=Exception)), "to the caller. (it was"),
    "loses errors": (partial(Drops, kind=AgentError), "An exception inside a run ends it"),
    "swallows cancellations": (
        partial(OtherRuns, kind=partial(Wrapped, swallows=asyncio.CancelledError)),
        "to the task. (it was swallowed)",
    ),
    "loses cancellations": (partial(Drops, kind=AgentCancelled), "A cancellation inside a run ends it"),
    "one run for all": (OneRun, "(LifecycleError: run id "),
    "another thread": (partial(OtherThread, named=True), "the thread is another"),
    "a thread from nowhere": (partial(OtherThread, named=False), "no thread, and not the run's id"),
    "keys joined": (
        partial(Keyed, by=lambda identity: f"{identity.tenant_id}:{identity.user_id}".removeprefix("None:")),
        "('a', 'b') and (None, 'a:b')",
    ),
    "keys joined with the tenant": (
        partial(Keyed, by=lambda identity: f"{identity.tenant_id}:{identity.user_id}"),
        "('a:b', 'c') and ('a', 'b:c')",
    ),
    "keys without a difference of None": (
        partial(Keyed, by=lambda identity: (str(identity.tenant_id), identity.user_id)),
        "(None, 'a') and ('None', 'a')",
    ),
    "keys without the tenant": (partial(Keyed, by=lambda identity: identity.user_id), "do not share a stream"),
    "keys without the user": (
        partial(Keyed, by=lambda identity: identity.tenant_id or identity.user_id),
        "('a', 'b') and ('a', 'c')",
    ),
    "keys without an order": (
        partial(Keyed, by=lambda identity: frozenset({identity.tenant_id, identity.user_id})),
        "('a', 'b') and ('b', 'a')",
    ),
    "keys without case": (
        partial(Keyed, by=lambda identity: (identity.tenant_id, identity.user_id.lower())),
        "(None, 'a') and (None, 'A')",
    ),
    "a stream for each request": (ForEachRequest, "each has a stream of its own"),
    "counts nothing": (_counts(sent=lambda _: 0), "sent did not rise by one"),
    "counts attempts": (_counts(sent=lambda manager: manager.attempts), "sent did not rise by one"),
    "counts no runs": (_counts(open_runs=lambda _: 0), "open_runs did not rise by one"),
    "counts starts": (_counts(open_runs=lambda manager: manager.starts), "open_runs did not fall again"),
    "counts everybody": (_counts(sessions=lambda manager: manager.everywhere), "another identity's counts changed"),
    "counts in a tuple": (partial(Counts, count=lambda manager: (manager.attempts, 0, 0)), "no ManagerStats"),
    "accepts any result": (partial(OtherRuns, kind=LaxRun), "raises in the producer"),
}
"""How to make each, and what ``check_manager`` says of it."""


@pytest.mark.scenario("S65")
@pytest.mark.parametrize("wrapper", [None, Around, Slow])
async def test_managers_of_a_factory(wrapper: type[Around] | None) -> None:
    """The shipped manager keeps every rule, and so does what passes everything on to it, at once or slowly."""
    async with ManagerFactory(manager=wrapper, clock=FakeClock()) as factory:
        await check_manager(factory.create_manager)


@pytest.mark.scenario("S65")
async def test_own_manager() -> None:
    """A small implementation with RunMixin and a stream for each identity keeps every rule."""
    streams: Streams = {}
    await check_manager(lambda context: OwnManager(context, streams))


@pytest.mark.scenario("S65")
@pytest.mark.parametrize(("make", "said"), BROKEN.values(), ids=BROKEN)
async def test_broken_manager_is_caught(make: Make, said: str) -> None:
    """Each manager that breaks a rule fails the suite, which says that rule."""
    streams: Streams = {}

    def made(context: object) -> IsolatedManager:
        return make(context, streams)  # type: ignore[arg-type, no-any-return]  # as wrong as it is

    with pytest.raises(AssertionError, match=re.escape(said)) as caught:
        await check_manager(made)

    assert str(caught.value).startswith("check_manager: ")


async def test_check_of_nothing() -> None:
    """A maker that raises fails the first rule."""

    def fails(_context: object) -> IsolatedManager:
        raise LookupError

    with pytest.raises(AssertionError, match="LookupError"):
        await check_manager(fails)
