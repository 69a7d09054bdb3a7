"""
The legal order of a run's events, as a pure state.

Rule 1: a run starts once and ends exactly once, for good. Rule 2: tools pair by
``tool_call_id``, never by count or order: parallel calls end in any order.
Rule 3: ``check`` decides and changes nothing; ``apply`` records what was
appended. An event that could not be encoded in between leaves no trace.

The rules' ids (L01 …) are those of the event reference.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, NoReturn, TypeAlias, TypeVar, cast, final

import attrs
from msgspec import UNSET

from .errors import LifecycleError, shown
from .events import (
    AgentCompleted,
    AgentError,
    AgentMessageDelta,
    AgentStarted,
    AgentThinking,
    Event,
    ToolCompleted,
    ToolExecuting,
)

__all__ = ("Lifecycle",)

_Kind = TypeVar("_Kind", bound=Event)

MAX_OPEN_RUNS: Final = 256
"""Runs of one identity that may be open at once (L25)."""
MAX_OPEN_TOOLS: Final = 256
"""Tools of one run that may be open at once (L25)."""
MAX_DEPTH: Final = 16
"""How deep runs may nest (L20)."""
_MOST_CLOSED_RUNS: Final = 1_024
_MOST_CLOSED_IDS: Final = 4_096


@final
class _Done:
    """The last ids that are done with: so many, and no older ones."""

    __slots__ = ("_order", "ids")

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self._order: deque[str] | None = None
        """None until there is one: an empty one would hold 600 bytes."""

    def add(self, value: str, /) -> None:
        """Remember one more, which is new; cheaper than an ordered dictionary, with each whole thought."""
        ids, order = self.ids, self._order
        if order is None:
            order = self._order = deque()
        ids.add(value)
        order.append(value)
        if len(order) > _MOST_CLOSED_IDS:
            ids.discard(order.popleft())


@attrs.define
class _Run:
    """What has to be remembered of an open run."""

    thread_id: str
    parent_run_id: str | None
    depth: int
    run_seq: int = 0
    open_tools: dict[str, tuple[str, str]] = attrs.field(factory=dict[str, "tuple[str, str]"])
    """Tool call id → (tool name, executor)."""
    closed_tools: _Done = attrs.field(factory=_Done)
    done_texts: _Done = attrs.field(factory=_Done)
    children: set[str] = attrs.field(factory=set[str])


@final
class Lifecycle:
    """
    The runs of one identity. Lives as long as its stream.

    Bounded: 256 open runs, and the ids of the last 1,024 closed ones.
    """

    __slots__ = ("_closed", "_open")

    def __init__(self) -> None:
        self._open: dict[str, _Run] = {}
        self._closed: OrderedDict[str, None] = OrderedDict()

    @property
    def open_runs(self) -> frozenset[str]:
        """The ids of the runs that have begun and not ended."""
        return frozenset(self._open)

    def thread_of(self, run_id: str, /) -> str | None:
        """Return the thread of an open run, None where it is not open."""
        run = self._open.get(run_id)
        return None if run is None else run.thread_id

    def open_tools(self, run_id: str, /) -> tuple[tuple[str, str], ...]:
        """Return (tool call id, tool name) of the run's open tools, oldest first; empty for an unknown run."""
        run = self._open.get(run_id)
        return () if run is None else tuple((call, name) for call, (name, _) in run.open_tools.items())

    def check(self, event: Event, durable: bool | None = None, /) -> int | None:  # noqa: FBT001  # as in apply()
        """
        Return the ``run_seq`` that *event* gets, None where it has none.

        The error of a run that did not begin here has none: where it did, others have counted.

        Args:
            event: What is to be appended.
            durable: What ``event.durable`` says, where the caller has asked already.

        Raises:
            LifecycleError: The event is not legal now. Nothing changed.
        """
        if durable is None:
            durable = event.durable
        run_id = event.run_id
        run = None if run_id is UNSET else self._open.get(run_id)
        if run is not None:
            if event.thread_id != run.thread_id and event.thread_id is not UNSET:
                _refuse_thread(event)
            check = _CHECKS.get(type(event))
            if check is not None:
                check(event, run)
            return run.run_seq + 1 if durable else None
        if run_id is UNSET:
            if event.scope == "run":
                _fail("L01", f"{event.type} belongs to a run: send it through 'async with manager.run(...) as run'")
            return None
        self._check_new(event, run_id)
        return 1 if isinstance(event, AgentStarted) else None

    def apply(self, event: Event, durable: bool | None = None, /) -> None:  # noqa: FBT001  # once for each event
        """Record that *event*, which ``check`` has accepted, was appended; *durable* as there."""
        run_id = event.run_id
        if run_id is UNSET:
            return
        run = self._open.get(run_id)
        if run is None and isinstance(event, AgentStarted):
            run = self._begin(event, run_id)
        if run is not None:
            run.run_seq += event.durable if durable is None else durable
            if (record := _RECORDS.get(type(event))) is not None:
                record(event, run)
        if event.final:
            self._end(run_id, run)

    def _check_new(self, event: Event, run_id: str) -> None:
        if run_id in self._closed:
            if event.final:
                _fail("L05", f"run {shown(run_id)} has ended already: a run ends once")
            if isinstance(event, AgentStarted):
                _fail("L03", f"run id {shown(run_id)} was used before: let manager.run() mint a new one")
            _fail("L04", f"run {shown(run_id)} has ended: start a new run")
        if isinstance(event, AgentStarted):
            self._check_start(event)
        elif not isinstance(event, AgentError):
            _fail("L01", f"{event.type} before agent_started of run {shown(run_id)}: open it with manager.run()")

    def _check_start(self, event: AgentStarted) -> None:
        if len(self._open) >= MAX_OPEN_RUNS:
            _fail("L25", f"{MAX_OPEN_RUNS} runs of this identity are open: end some before starting more")
        if event.parent_run_id is not UNSET:
            parent = self._open.get(event.parent_run_id)
            if parent is None:
                _fail("L20", f"parent run {shown(event.parent_run_id)} is not open: start a child inside its parent")
            elif parent.depth >= MAX_DEPTH:
                _fail("L20", f"runs nest at most {MAX_DEPTH} deep: does an agent call itself?")

    def _begin(self, event: AgentStarted, run_id: str) -> _Run:
        parent = None if event.parent_run_id is UNSET else self._open.get(event.parent_run_id)
        run = _Run(
            thread_id=run_id if event.thread_id is UNSET else event.thread_id,
            parent_run_id=None if event.parent_run_id is UNSET else event.parent_run_id,
            depth=0 if parent is None else parent.depth + 1,
        )
        if parent is not None:
            parent.children.add(run_id)
        self._open[run_id] = run
        return run

    def _end(self, run_id: str, run: _Run | None) -> None:
        self._open.pop(run_id, None)
        if run is not None and run.parent_run_id is not None:
            parent = self._open.get(run.parent_run_id)
            if parent is not None:
                parent.children.discard(run_id)
        self._closed[run_id] = None
        if len(self._closed) > _MOST_CLOSED_RUNS:
            self._closed.popitem(last=False)


def _fail(rule: str, problem: str) -> NoReturn:
    raise LifecycleError(rule, problem)


def _refuse_thread(event: Event) -> NoReturn:
    if isinstance(event, AgentStarted):
        _refuse_second_start(event, None)
    _fail("L06", f"run {shown(event.run_id)} belongs to another thread: a run stays in the thread it began in")


def _refuse_second_start(event: AgentStarted, _run: _Run | None) -> NoReturn:
    _fail("L02", f"run {shown(event.run_id)} has begun already: start another with manager.run()")


def _check_tool_begins(event: ToolExecuting, run: _Run) -> None:
    call = event.tool_call_id
    if call in run.open_tools:
        _fail("L09", f"tool call {shown(call)} is open already: give each call its own id")
    if call in run.closed_tools.ids:
        _fail("L11", f"tool call id {shown(call)} was used before in this run: give each call its own id")
    if len(run.open_tools) >= MAX_OPEN_TOOLS:
        _fail("L25", f"{MAX_OPEN_TOOLS} tools of this run are open: complete some before calling more")


def _check_tool_ends(event: ToolCompleted, run: _Run) -> None:
    call = event.tool_call_id
    known = run.open_tools.get(call)
    if known is None:
        if call in run.closed_tools.ids:
            _fail("L10", f"tool call {shown(call)} has completed already: a call completes once")
        _fail("L08", f"tool call {shown(call)} never began: send tool_executing first, or use run.tool()")
    elif known[0] != event.tool_name:
        _fail("L12", f"tool call {shown(call)} began as {shown(known[0])}: the name must be the same")


def _check_thought(event: AgentThinking, run: _Run) -> None:
    if event.thought_id in run.done_texts.ids:
        _refuse_text(event.thought_id)


def _check_message(event: AgentMessageDelta, run: _Run) -> None:
    if event.message_id in run.done_texts.ids:
        _refuse_text(event.message_id)


def _refuse_text(text_id: str) -> NoReturn:
    _fail("L21", f"{shown(text_id)} is done: begin a new thought or message")


def _check_completion(event: AgentCompleted, run: _Run) -> None:
    if run.children:
        _fail("L20", f"child run {shown(min(run.children))} is open: end it before its parent completes")
    pending: set[str] = set() if event.pending_tool_call_ids is UNSET else set(event.pending_tool_call_ids)
    for call, (_, executor) in run.open_tools.items():
        if executor != "client":
            _fail("L13", f"tool call {shown(call)} is open: complete it before agent_completed")
        if call not in pending:
            _fail("L14", f"the client's tool call {shown(call)} is open: name it in pending_tool_call_ids")
        pending.discard(call)
    if pending:
        _fail("L14", f"pending tool call {shown(min(pending))} is not open: name open client calls only")


def _record_tool_begins(event: ToolExecuting, run: _Run) -> None:
    executor = "server" if event.executor is UNSET else event.executor
    run.open_tools[event.tool_call_id] = (event.tool_name, executor)


def _record_tool_ends(event: ToolCompleted, run: _Run) -> None:
    run.open_tools.pop(event.tool_call_id, None)
    run.closed_tools.add(event.tool_call_id)


def _record_thought(event: AgentThinking, run: _Run) -> None:
    if event.mode == "summary" or event.done is not UNSET:
        run.done_texts.add(event.thought_id)


def _record_message(event: AgentMessageDelta, run: _Run) -> None:
    if event.done is not UNSET:
        run.done_texts.add(event.message_id)


_Rule: TypeAlias = "Callable[[Event, _Run], None]"


def _rule(kind: type[_Kind], rule: Callable[[_Kind, _Run], None]) -> tuple[type[Event], _Rule]:
    """Pair *rule* with the class of the events that it is for; the pair is what makes the cast right."""
    return kind, cast("_Rule", rule)


_CHECKS: Final[dict[type[Event], _Rule]] = dict(
    (
        _rule(AgentStarted, _refuse_second_start),
        _rule(ToolExecuting, _check_tool_begins),
        _rule(ToolCompleted, _check_tool_ends),
        _rule(AgentThinking, _check_thought),
        _rule(AgentMessageDelta, _check_message),
        _rule(AgentCompleted, _check_completion),
    )
)
"""What must be true of an open run, by the class of the event."""

_RECORDS: Final[dict[type[Event], _Rule]] = dict(
    (
        _rule(ToolExecuting, _record_tool_begins),
        _rule(ToolCompleted, _record_tool_ends),
        _rule(AgentThinking, _record_thought),
        _rule(AgentMessageDelta, _record_message),
    )
)
"""What is remembered of an event in its run."""
