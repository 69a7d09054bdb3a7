"""
What the demo prints: a person sees at a glance who got what, and what failed.
"""

from __future__ import annotations

import io
from collections import Counter

import attrs
from rich.console import Console

from ws_isolation.demo.attacks import Outcome
from ws_isolation.demo.check import UserRow, Verdict
from ws_isolation.demo.operator import Entry
from ws_isolation.demo.report import print_verdict, show_entry

ROW = UserRow(user_id="alice", tabs=3, sent=40, received=120, foreign=0, closes=Counter({"4200 drain": 3}), problems=())
OUTCOME = Outcome(
    attack="mock",
    title="Mock",
    refused=True,
    error="ContextTypeError",
    message="create_manager() needs one type, got another: a mock is no context",
    close_code=4310,
    reason="context_rejected",
    goodbye=None,
    log="",
    foreign=0,
    note="",
    seconds=0.1,
)
HELD = Verdict(users=(ROW,), attacks=(OUTCOME,), at_once=2, seconds=1.5)


def _printed(verdict: Verdict) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_verdict(console, verdict)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_success_reads_so() -> None:
    """
    Each user's row and each attack are there, and the last line says that isolation held.
    """
    text = _printed(HELD)

    assert "alice │    3 │   40 │      120 │       0 │ 4200 drain x 3" in text
    assert "ContextTypeError" in text
    assert "a mock is no context" in text
    assert "needs one type" not in text
    assert "Isolation held: 120 events on 3 sockets" in text


def test_failure_reads_so() -> None:
    """
    Foreign events and attacks that passed are named one by one; nothing says that isolation held.
    """
    row = attrs.evolve(ROW, foreign=2, received=110, problems=("2 foreign messages",))
    passed = attrs.evolve(OUTCOME, refused=False, error="", message="", close_code=None, foreign=1)
    text = _printed(Verdict(users=(row,), attacks=(passed,), at_once=1, seconds=1.5))

    assert "Isolation did NOT hold" in text
    assert "alice: 2 foreign messages" in text
    assert "only 1 of 2 agents ran at once" in text
    assert "attack 'mock' was not refused (no error, close None, 1 foreign messages)" in text
    assert "Isolation held" not in text


def test_log_line() -> None:
    """
    A record is shown with its level and, where there is one, its exception; markup in it is text.
    """
    console = Console(file=io.StringIO(), width=200)
    entry = Entry(level="ERROR", line="handler [b]failed[/b]", error="ValueError", message="[/] odd", fields={})
    show_entry(console, entry)
    show_entry(console, attrs.evolve(entry, level="WARNING", line="outbox full", error=""))
    assert isinstance(console.file, io.StringIO)

    assert (
        "ERROR    handler [b]failed[/b]\n         ValueError: [/] odd\nWARNING  outbox full\n"
        == console.file.getvalue()
    )
