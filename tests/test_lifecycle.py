"""
The legal order of a run's events, rule by rule, and against an oracle that looks at nothing but the past.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from ws_isolation import errors
from ws_isolation.events import (
    AgentCancelled,
    AgentCompleted,
    AgentError,
    AgentMessageDelta,
    AgentStarted,
    AgentThinking,
    Custom,
    Event,
    Executor,
    Problem,
    ToolCompleted,
    ToolExecuting,
)
from ws_isolation.lifecycle import MAX_DEPTH, MAX_OPEN_RUNS, MAX_OPEN_TOOLS, Lifecycle

PROBLEM: Final = Problem(title="It failed.", code="failed")
CLOSED_RUNS: Final = 1_024
CLOSED_IDS: Final = 4_096


def start(run: str = "r", *, thread: str = "t", parent: str | None = None) -> Event:
    """
    Return the start of *run*.
    """
    return AgentStarted(run_id=run, thread_id=thread, agent_name="a", parent_run_id=UNSET if parent is None else parent)


def summary(thought: str = "x", run: str = "r", *, thread: str = "t") -> Event:
    """
    Return a whole thought.
    """
    return AgentThinking(run_id=run, thread_id=thread, thought_id=thought, mode="summary", text="...")


def piece(thought: str = "x", run: str = "r", *, done: bool = False) -> Event:
    """
    Return a piece of a thought.
    """
    last = True if done else UNSET
    return AgentThinking(run_id=run, thread_id="t", thought_id=thought, mode="delta", text="...", done=last)  # type: ignore[arg-type]  # mypy widens the literal


def delta(message: str = "m", run: str = "r", *, done: bool = False) -> Event:
    """
    Return a piece of a message.
    """
    last = True if done else UNSET
    return AgentMessageDelta(run_id=run, thread_id="t", message_id=message, delta="...", done=last)  # type: ignore[arg-type]  # mypy widens the literal


def call(tool: str = "c", run: str = "r", *, name: str = "search", executor: Executor | None = None) -> Event:
    """
    Return the start of a tool call.
    """
    return ToolExecuting(
        run_id=run,
        thread_id="t",
        tool_call_id=tool,
        tool_name=name,
        executor=UNSET if executor is None else executor,
    )


def result(tool: str = "c", run: str = "r", *, name: str = "search") -> Event:
    """
    Return the end of a tool call.
    """
    return ToolCompleted(run_id=run, thread_id="t", tool_call_id=tool, tool_name=name, status="ok")


def done(run: str = "r", *pending: str, thread: str = "t") -> Event:
    """
    Return the good end of *run*.
    """
    return AgentCompleted(run_id=run, thread_id=thread, pending_tool_call_ids=pending or UNSET)


def failed(run: str = "r") -> Event:
    """
    Return the bad end of *run*.
    """
    return AgentError(run_id=run, thread_id="t", error=PROBLEM)


def cancelled(run: str = "r") -> Event:
    """
    Return the end of *run* that somebody wanted.
    """
    return AgentCancelled(run_id=run, thread_id="t", reason="user")


def custom(run: str | None = "r") -> Event:
    """
    Return an event of the application, in a run or outside of one.
    """
    if run is None:
        return Custom(name="test.x", value=1)
    return Custom(run_id=run, thread_id="t", name="test.x", value=1)


def state_of(lifecycle: Lifecycle, runs: Sequence[str] = ("r", "s")) -> object:
    """
    Return all that can be seen of a lifecycle: which runs and tools are open, and the next place in each run.
    """
    places = {run: lifecycle.check(custom(run)) for run in runs if run in lifecycle.open_runs}
    return lifecycle.open_runs, [lifecycle.open_tools(run) for run in runs], places


def after(past: Sequence[Event]) -> Lifecycle:
    """
    Return a lifecycle to which *past* has happened.
    """
    lifecycle = Lifecycle()
    for event in past:
        lifecycle.check(event)
        lifecycle.apply(event)
    return lifecycle


def rule_against(lifecycle: Lifecycle, event: Event) -> str | None:
    """
    Return the rule by which *event* is refused, None where it is legal.
    """
    try:
        lifecycle.check(event)
    except errors.LifecycleError as refusal:
        return refusal.rule
    return None


CHILD: Final = (start(), start("s", parent="r"))
CLIENT: Final = (start(), call("c", executor="client"), call("d", executor="client"))
DEEPEST: Final = tuple(start(f"r{n}", parent=f"r{n - 1}" if n else None) for n in range(MAX_DEPTH + 1))

REFUSED: Final[dict[str, tuple[str, Sequence[Event], Event]]] = {
    "thought before the start": ("L01", [], summary()),
    "piece before the start": ("L01", [], piece()),
    "message before the start": ("L01", [], delta()),
    "tool before the start": ("L01", [], call()),
    "result before the start": ("L01", [], result()),
    "custom before the start": ("L01", [], custom()),
    "completed before the start": ("L01", [], done()),
    "cancelled before the start": ("L01", [], cancelled()),
    "thought of another run": ("L01", [start("s")], summary()),
    "thought without a run": ("L01", [start()], AgentThinking(thought_id="x", mode="summary", text="")),
    "start without a run": ("L01", [], AgentStarted(agent_name="a")),
    "error without a run": ("L01", [], AgentError(error=PROBLEM)),
    "second start": ("L02", [start()], start()),
    "second start in another thread": ("L02", [start()], start(thread="u")),
    "run id used again": ("L03", [start(), done()], start()),
    "run id used again after an error alone": ("L03", [failed()], start()),
    "thought after the end": ("L04", [start(), done()], summary()),
    "piece after an error": ("L04", [start(), failed()], piece()),
    "result after a cancellation": ("L04", [start(), call(), cancelled()], result()),
    "custom after the end": ("L04", [start(), done()], custom()),
    "completed twice": ("L05", [start(), done()], done()),
    "error after completed": ("L05", [start(), done()], failed()),
    "cancelled after an error": ("L05", [start(), failed()], cancelled()),
    "error twice, never begun": ("L05", [failed()], failed()),
    "thought in another thread": ("L06", [start()], summary(thread="u")),
    "end in another thread": ("L06", [start()], done(thread="u")),
    "result of no call": ("L08", [start()], result()),
    "result of another run's call": ("L08", [start(), start("s"), call("c", "s")], result()),
    "open call again": ("L09", [start(), call()], call()),
    "open call again, another tool": ("L09", [start(), call()], call(name="other")),
    "second result": ("L10", [start(), call(), result()], result()),
    "call id used again": ("L11", [start(), call(), result()], call()),
    "result of another tool": ("L12", [start(), call()], result(name="other")),
    "server's call open": ("L13", [start(), call()], done()),
    "server's call open and named": ("L13", [start(), call(executor="server")], done("r", "c")),
    "client's call not named": ("L14", CLIENT, done("r", "c")),
    "no client's call named": ("L14", CLIENT, done()),
    "pending call that was never made": ("L14", [start()], done("r", "c")),
    "pending call that is complete": ("L14", [*CLIENT, result("d")], done("r", "c", "d")),
    "unknown parent": ("L20", [], start("s", parent="r")),
    "ended parent": ("L20", [start(), done()], start("s", parent="r")),
    "own parent": ("L20", [], start("s", parent="s")),
    "too deep": ("L20", DEEPEST, start("s", parent=f"r{MAX_DEPTH}")),
    "child open": ("L20", CHILD, done()),
    "piece after done": ("L21", [start(), piece(done=True)], piece()),
    "piece after the whole thought": ("L21", [start(), summary()], piece()),
    "thought twice": ("L21", [start(), summary()], summary()),
    "done twice": ("L21", [start(), delta(done=True)], delta(done=True)),
    "message after done": ("L21", [start(), delta(), delta(done=True)], delta()),
    "too many runs": ("L25", [start(f"r{n}") for n in range(MAX_OPEN_RUNS)], start("s")),
    "too many tools": ("L25", [start(), *(call(f"c{n}") for n in range(MAX_OPEN_TOOLS))], call("d")),
}
"""Rule, what has happened, and what is illegal then; by a name for the test's id."""


@pytest.mark.scenario("S42")
@pytest.mark.requirement("L01", "L02", "L03", "L04", "L05", "L06", "L08", "L09", "L10", "L11", "L12", "L13", "L14")
@pytest.mark.requirement("L20", "L21", "L25")
@pytest.mark.parametrize(("rule", "past", "event"), REFUSED.values(), ids=REFUSED)
def test_refused(rule: str, past: Sequence[Event], event: Event) -> None:
    """
    What is illegal is refused by its rule, twice alike, and nothing changes.
    """
    lifecycle = after(past)
    before = state_of(lifecycle)

    for _ in range(2):
        with pytest.raises(errors.LifecycleError) as refusal:
            lifecycle.check(event)
        assert rule == refusal.value.rule
        assert rule in str(refusal.value)
    assert before == state_of(lifecycle)


LEGAL: Final[dict[str, Sequence[Event]]] = {
    "nothing inside": [start(), done()],
    "no tools": [start(), summary(), done()],
    "no thinking": [start(), call(), result(), done()],
    "error, never begun": [failed()],
    "error with everything open": [*CHILD, call(), piece(), failed(), done("s")],
    "cancelled with everything open": [*CHILD, call(), piece(), cancelled(), cancelled("s")],
    "child ends first": [*CHILD, summary(run="s"), done("s"), done()],
    "as deep as allowed": [*DEEPEST],
    "client's calls pending": [*CLIENT, done("r", "d", "c")],
    "client's call complete": [*CLIENT, result("c"), done("r", "d")],
    "same call id in two runs": [start(), start("s"), call(), call(run="s"), result(run="s"), result()],
    "ends in another order": [start(), call("c"), call("d"), result("c"), result("d"), done()],
    "ends in the same order": [start(), call("c"), call("d"), result("d"), result("c"), done()],
    "pieces, then the whole": [start(), piece(), piece(), summary(), done()],
    "two thoughts at once": [start(), piece("x"), piece("y"), piece("x", done=True), piece("y", done=True)],
    "outside of a run": [custom(None), start(), custom(None), custom(), done(), custom(None)],
    "a run after a run": [start(), done(), start("s"), done("s")],
    "thread not named": [start(), Custom(run_id="r", name="test.x", value=1), done()],
}
"""What may happen, by a name for the test's id."""


@pytest.mark.scenario("S43", "S44", "S45")
@pytest.mark.parametrize("sequence", LEGAL.values(), ids=LEGAL)
def test_legal(sequence: Sequence[Event]) -> None:
    """
    What is legal passes, and the durable events of each run are counted from its start on, from 1, without a hole.
    """
    lifecycle = Lifecycle()
    places: dict[str, list[int]] = {}
    for event in sequence:
        has_begun = event.run_id in lifecycle.open_runs or isinstance(event, AgentStarted)
        place = lifecycle.check(event)
        lifecycle.apply(event)
        assert (place is None) is (event.run_id is UNSET or not event.durable or not has_begun)
        if place is not None:
            places.setdefault(str(event.run_id), []).append(place)

    assert {run: list(range(1, len(found) + 1)) for run, found in places.items()} == places


@pytest.mark.scenario("S45")
def test_interleaved_runs() -> None:
    """
    Two runs in one thread have their own order, state and end.
    """
    lifecycle = after([start("r"), start("s"), call("c", "r"), summary("x", "s")])

    assert (3, 3) == (lifecycle.check(summary("x", "r")), lifecycle.check(done("s")))
    lifecycle.apply(done("s"))
    assert {"r"} == lifecycle.open_runs
    assert (("c", "search"),) == lifecycle.open_tools("r")
    assert () == lifecycle.open_tools("s")


@pytest.mark.scenario("S44")
def test_same_tool_twice_at_once() -> None:
    """
    Two calls of one tool that overlap are paired by id, whichever ends first.
    """
    for first, second in (("c", "d"), ("d", "c")):
        lifecycle = after([start(), call("c"), call("d"), result(first)])

        assert ((second, "search"),) == lifecycle.open_tools("r")
        lifecycle.check(result(second))
        with pytest.raises(errors.LifecycleError, match="L10"):
            lifecycle.check(result(first))


def test_check_changes_nothing() -> None:
    """
    An event that was checked but not applied, because it could not be encoded, leaves no trace.
    """
    steps = [start(), call(), piece(), summary("y"), delta(done=True), result(), start("s", parent="r"), done("s")]
    lifecycle = Lifecycle()
    for event in [*steps, failed()]:
        before = state_of(lifecycle)
        first = lifecycle.check(event)
        assert before == state_of(lifecycle)
        assert first == lifecycle.check(event)
        lifecycle.apply(event)


def test_start_without_a_thread() -> None:
    """
    A run that names no thread uses its own id as its thread.
    """
    lifecycle = after([AgentStarted(run_id="r", agent_name="a")])

    lifecycle.check(summary(thread="r"))
    with pytest.raises(errors.LifecycleError, match="L06"):
        lifecycle.check(summary(thread="t"))


def test_child_outlives_its_parent() -> None:
    """
    A child whose parent failed may go on, start children of its own, and end.
    """
    after([*CHILD, failed(), start("u", parent="s"), done("u"), done("s")])


@pytest.mark.requirement("L25")
def test_ended_runs_make_room() -> None:
    """
    As many runs and tools as the bounds say may be open at once, and each end makes room for another.
    """
    lifecycle = after([start(f"r{n}") for n in range(MAX_OPEN_RUNS)])
    lifecycle.apply(done("r7"))
    lifecycle.check(start())

    tools = after([start(), *(call(f"c{n}") for n in range(MAX_OPEN_TOOLS)), result("c7")])
    tools.check(call("d"))


def test_memory_is_bounded() -> None:
    """
    The last 1,024 ended runs and, per run, 4,096 completed calls and texts are remembered; older ones are forgotten.
    """
    lifecycle = after([failed(f"r{n}") for n in range(CLOSED_RUNS + 1)])
    lifecycle.check(start("r0"))
    with pytest.raises(errors.LifecycleError, match="L03"):
        lifecycle.check(start("r1"))

    run = after([start()])
    for n in range(CLOSED_IDS + 1):
        run.apply(call(f"c{n}"))
        run.apply(result(f"c{n}"))
        run.apply(summary(f"x{n}"))
    run.check(call("c0"))
    run.check(summary("x0"))
    for event, rule in ((call("c1"), "L11"), (summary("x1"), "L21")):
        with pytest.raises(errors.LifecycleError, match=rule):
            run.check(event)


@attrs.define
class Oracle:
    """
    Decides from nothing but the list of what was accepted: slow, and without any state of its own.
    """

    past: list[Event] = attrs.field(factory=list[Event])

    def of(self, run: object) -> list[Event]:
        """
        Return what was accepted of *run*.
        """
        return [event for event in self.past if event.run_id == run]

    def is_open(self, run: object) -> bool:
        """
        Tell whether *run* has begun and not ended.
        """
        mine = self.of(run)
        return bool(mine) and not any(event.final for event in mine)

    def open_calls(self, run: object) -> dict[str, ToolExecuting]:
        """
        Return the calls of *run* that have no result.
        """
        mine = self.of(run)
        ended = {event.tool_call_id for event in mine if isinstance(event, ToolCompleted)}
        begun = [event for event in mine if isinstance(event, ToolExecuting)]
        return {event.tool_call_id: event for event in begun if event.tool_call_id not in ended}

    def broken(self, event: Event) -> set[str]:
        """
        Return the rules that *event* would break now.
        """
        mine = self.of(event.run_id)
        begun, over = bool(mine), any(old.final for old in mine)
        if over:
            return {"L05" if event.final else "L03" if isinstance(event, AgentStarted) else "L04"}
        if isinstance(event, AgentStarted):
            if begun:
                return {"L02"}
            return {"L20"} if event.parent_run_id is not UNSET and not self.is_open(event.parent_run_id) else set()
        if not begun:
            return set() if isinstance(event, AgentError) else {"L01"}
        rules = {"L06"} if event.thread_id != mine[0].thread_id else set[str]()
        return rules | self._inside(event, mine)

    def _inside(self, event: Event, mine: list[Event]) -> set[str]:
        calls = self.open_calls(event.run_id)
        match event:
            case ToolExecuting():
                ids = {old.tool_call_id for old in mine if isinstance(old, ToolExecuting)}
                return {"L09"} if event.tool_call_id in calls else {"L11"} if event.tool_call_id in ids else set()
            case ToolCompleted():
                names = [
                    old.tool_name
                    for old in mine
                    if isinstance(old, ToolExecuting) and old.tool_call_id == event.tool_call_id
                ]
                if event.tool_call_id not in calls:
                    return {"L10" if names else "L08"}
                return set() if names == [event.tool_name] else {"L12"}
            case AgentThinking() | AgentMessageDelta():
                return {"L21"} if any(old.durable and _text(old) == _text(event) for old in mine) else set()
            case AgentCompleted():
                return self._at_the_end(event, calls)
            case _:
                return set()

    def _at_the_end(self, event: AgentCompleted, calls: dict[str, ToolExecuting]) -> set[str]:
        rules: set[str] = set()
        children = [
            old.run_id for old in self.past if isinstance(old, AgentStarted) and old.parent_run_id == event.run_id
        ]
        if any(self.is_open(child) for child in children):
            rules.add("L20")
        if any(begun.executor != "client" for begun in calls.values()):
            rules.add("L13")
        pending = () if event.pending_tool_call_ids is UNSET else event.pending_tool_call_ids
        if set(pending) != {tool for tool, begun in calls.items() if begun.executor == "client"}:
            rules.add("L14")
        return rules


def _text(event: Event) -> str | None:
    if isinstance(event, AgentThinking):
        return event.thought_id
    return event.message_id if isinstance(event, AgentMessageDelta) else None


def run_events() -> st.SearchStrategy[Event]:
    """
    Draw events of three runs, two threads, two calls, two tools and three texts: few, so that they meet.
    """
    runs = st.sampled_from(("r", "s", "u"))
    threads = st.sampled_from(("t", "t", "t", "v"))
    calls = st.sampled_from(("c", "d"))
    names = st.sampled_from(("search", "search", "other"))
    executors = st.sampled_from((None, "server", "client"))
    ends = st.lists(calls, max_size=2, unique=True)
    texts = st.sampled_from("xy")
    return st.one_of(
        st.builds(start, runs, thread=threads, parent=st.none() | runs),
        st.builds(summary, texts, runs, thread=threads),
        st.builds(piece, texts, runs, done=st.booleans()),
        st.builds(delta, texts, runs, done=st.booleans()),
        st.builds(call, calls, runs, name=names, executor=executors),
        st.builds(result, calls, runs, name=names),
        st.builds(_done_with, runs, ends, threads),
        st.builds(failed, runs),
        st.builds(cancelled, runs),
        st.builds(custom, runs),
    )


def _done_with(run: str, pending: list[str], thread: str) -> Event:
    return done(run, *pending, thread=thread)


@pytest.mark.scenario("S42", "S44", "S45")
@given(sequence=st.lists(run_events(), max_size=30))
def test_against_the_oracle(sequence: list[Event]) -> None:
    """
    Whatever comes, an event is refused exactly if it breaks a rule given what was accepted, and by such a rule.
    """
    lifecycle, oracle = Lifecycle(), Oracle()
    for event in sequence:
        broken = oracle.broken(event)
        rule = rule_against(lifecycle, event)
        if rule is not None:
            assert rule in broken
            continue
        assert set() == broken
        place = lifecycle.check(event)
        mine = oracle.of(event.run_id)
        has_begun = bool(mine) or isinstance(event, AgentStarted)
        assert place == (1 + sum(old.durable for old in mine) if event.durable and has_begun else None)
        lifecycle.apply(event)
        oracle.past.append(event)
        runs = {old.run_id for old in oracle.past}
        assert {run for run in runs if oracle.is_open(run)} == lifecycle.open_runs
        for run in lifecycle.open_runs:
            assert {(tool, begun.tool_name) for tool, begun in oracle.open_calls(run).items()} == set(
                lifecycle.open_tools(run)
            )
