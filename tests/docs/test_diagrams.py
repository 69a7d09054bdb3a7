"""
The changes of state in the documentation are those of the code: every input, from every state, in many ways.
"""

from __future__ import annotations

import importlib
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Final

import pytest

from tests.cores import START, envelope_of, joining_core, make_core, one_of_each, stream_of, text
from tests.docs.blocks import ROOT
from tests.test_admission import FRAME, machine, text_of
from ws_isolation import Settings, closing
from ws_isolation.admission import TRANSITIONS as WAY_IN
from ws_isolation.admission import Admission, Admitted, Answered, Denied, Heard, Step
from ws_isolation.admission import Input as StepInput
from ws_isolation.frames import ErrorFrame
from ws_isolation.session_core import TRANSITIONS, SessionCore, State
from ws_isolation.steps import (
    Draining,
    Ended,
    Input,
    Offered,
    PeerGone,
    Received,
    Refused,
    Renewed,
    Ticked,
    WriterReady,
)
from ws_isolation.testing import make_context

LATER: Final = START + 10_000
REFRESH: Final = Received(text(type="ws.refresh", credential="new"), START)

REACH: Final[dict[State, tuple[Input, ...]]] = {
    State.JOINING: (),
    State.LIVE: (),
    State.REFRESHING: (REFRESH,),
    State.DRAINING: (REFRESH, Draining(START + 5, START)),
    State.CLOSING: (Ended(closing.NORMAL, START),),
    State.CLOSED: (PeerGone(1001),),
}
"""How a core gets into each state; a draining one with an answer under way, so that it may come."""


@pytest.fixture(name="diagrams", scope="module")
def _diagrams() -> Iterator[ModuleType]:
    """Import the tables as the documentation's build does."""
    folder = str(ROOT / "docs" / "_ext")
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("diagrams")
    finally:
        sys.path.remove(folder)


def _cores() -> Iterator[SessionCore]:
    """Yield cores that end for as many reasons as there are."""
    yield make_core(expires_in=60.0)
    full = make_core(settings=Settings(outbox_events=8))
    stream = stream_of()
    for _ in range(8):
        full.handle(Offered(envelope_of(stream)))
    yield full
    refusing = make_core()
    for _ in range(20):
        refusing.handle(Refused(ErrorFrame(slug="unknown_type"), START))
    yield refusing
    writing = make_core()
    writing.handle(WriterReady(START))
    yield writing


def _joining_cores() -> Iterator[SessionCore]:
    yield joining_core(expires_in=60.0)
    full = joining_core(Settings(outbox_events=8))
    stream = stream_of()
    for _ in range(9):
        full.handle(Offered(envelope_of(stream)))
    yield full


def _inputs() -> list[Input]:
    stream = stream_of()
    for _ in range(10):
        envelope_of(stream)
    more: list[Input] = [
        REFRESH,
        Received("{", START),
        Draining(START, START),
        Renewed(make_context("bob"), None, START),
    ]
    late: list[Input] = [WriterReady(LATER), Ticked(LATER), Offered(envelope_of(stream))]
    return [*one_of_each(), *more, *late, Refused(ErrorFrame(slug="unknown_type"), START)]


def test_session(diagrams: ModuleType) -> None:
    """Each change of a session's state is in the table with its inputs, and the table has no other."""
    found: dict[tuple[State, State], set[type]] = defaultdict(set)
    used: set[tuple[State, type]] = set()
    for state, way in REACH.items():
        for happened in _inputs():
            for core in _joining_cores() if state is State.JOINING else _cores():
                for step in way:
                    core.handle(step)
                assert state is core.state
                if (state, type(happened)) not in TRANSITIONS:
                    continue
                used.add((state, type(happened)))
                core.handle(happened)
                if core.state is not state:
                    found[state, core.state].add(type(happened))

    assert set(TRANSITIONS) == used
    assert {change: set(kinds) for change, kinds in diagrams.SESSION.items()} == dict(found)


def _asking() -> Admission:
    asking = machine()
    asking.handle(Heard(text_of(FRAME)))
    return asking


def _over() -> Admission:
    over = machine()
    over.handle(PeerGone(1001))
    return over


def test_way_in(diagrams: ModuleType) -> None:
    """The same of the way in by ``ws.auth``."""
    makers: dict[Step, Callable[[], Admission]] = {Step.WAITING: machine, Step.ASKING: _asking, Step.OVER: _over}
    happenings: list[StepInput] = [
        Heard(text_of(FRAME)),
        Heard("{"),
        Answered(Admitted(make_context(), None)),
        Answered(Denied(closing.FORBIDDEN, "no")),
        Ticked(10.0),
        Ended(closing.DRAIN, 0.0),
        PeerGone(1001),
    ]
    found: dict[tuple[Step, Step], set[type]] = defaultdict(set)
    used: set[tuple[Step, type]] = set()
    for step, make in makers.items():
        for happened in happenings:
            if (step, type(happened)) in WAY_IN:
                one = make()
                used.add((step, type(happened)))
                one.handle(happened)
                if one.step is not step:
                    found[step, one.step].add(type(happened))

    assert set(WAY_IN) == used
    assert {change: set(kinds) for change, kinds in diagrams.WAY_IN.items()} == dict(found)
