"""
The checker notices each way in which a promise can be broken, and accepts what the contract allows.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.soak.checker import Fault, Ledger, Verdict, check
from tests.soak.fleet import complaints

FAULTS = [Fault("failover", 10.0, 11.0), Fault("kill", 100.0, 101.0), Fault("roll", 200.0, 210.0)]
"""What was done, and when."""
_LATE = "ws_isolation.errors.EngineTimeoutError: late"


def event(number: int, when: float = 5.0, *, user: str = "u", event_id: str | None = None) -> list[Any]:
    """
    Return what a client writes down for an event.
    """
    return ["event", when, [user, number], number + 1, event_id or f"id-{number}"]


def gap(when: float = 12.0, *, reason: str = "divergence", first: int = 1, last: int = 3) -> list[Any]:
    """
    Return what a client writes down for a gap in one history.
    """
    return ["gap", when, reason, "e", first, "e", last]


def judged(*log: list[Any], **changed: Any) -> Verdict:
    """
    Judge one client, to whose user events 0 to 3 were sent; 3 was refused.
    """
    ledger = Ledger()
    for number in range(4):
        ledger.begun("u", number, 10.5)
        if number < 3:
            ledger.taken("u", number, f"id-{number}")
    said = {"user": "u", "connects": 1, "resumed": 0, "repeated": 0, "wrong": [], "done": True, "log": list(log)}
    return check([{**said, **changed}], ledger, FAULTS)


def test_all_is_well() -> None:
    """
    All that was accepted, in order, is a good history; so is what was refused and came all the same.
    """
    assert [] == judged(event(0), event(1), event(2)).bad
    assert [] == judged(event(0), event(1), event(2), event(3)).bad


@pytest.mark.requirement("P3")
def test_announced_loss() -> None:
    """
    What is missing where a gap was announced is no loss in silence, and is counted.
    """
    verdict = judged(event(0), gap(), event(2))

    assert ([], 1, 0) == (verdict.bad, verdict.announced, verdict.silent)


@pytest.mark.requirement("P3")
@pytest.mark.parametrize(
    "log",
    [
        pytest.param([event(0), event(2)], id="in the middle"),
        pytest.param([event(0), event(1)], id="at the end"),
        pytest.param([event(0), event(2), gap()], id="the gap comes too late"),
        pytest.param([gap(), event(0), event(2)], id="the gap was another one"),
        pytest.param([event(0), gap(reason="replay_limit", first=1, last=1), event(2)], id="the gap is too small"),
    ],
)
def test_silent_loss(log: list[list[Any]]) -> None:
    """
    What is missing without a gap right there is a loss in silence.
    """
    assert judged(*log).silent == 1


@pytest.mark.requirement("P1")
def test_foreign() -> None:
    """
    An event of another user is foreign.
    """
    verdict = judged(event(0), event(1), event(0, user="v"), event(2))

    assert 1 == verdict.foreign == len(verdict.bad)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ([event(0), event(1), event(1, event_id="other"), event(2)], "came with two ids"),
        ([event(0), event(1, event_id="other"), event(2)], "another id than its sender was told"),
        ([event(0), event(2), event(1)], "event 1 after event 2"),
        ([event(0), event(1), event(2), event(9)], "was never sent"),
    ],
)
def test_wrong_events(log: list[list[Any]], said: str) -> None:
    """
    An event stored twice, changed, out of order or invented is named.
    """
    assert any(said in line for line in judged(*log).bad)


def test_repeated() -> None:
    """
    The same event again, by its id, is what the contract allows.
    """
    assert [] == judged(event(0), event(1), event(1), event(2)).bad


@pytest.mark.parametrize(
    ("when", "code"),
    [
        (100.5, 1006),
        (120.5, 0),
        (205.0, 4200),
        (205.0, 500),
        (205.0, 503),
        (205.0, 1012),
        (214.5, 4200),
        (10.5, 4304),
        (20.5, 4302),
    ],
)
def test_explained_closes(when: float, code: int) -> None:
    """
    A close during or soon after what explains it is accepted.
    """
    verdict = judged(event(0), event(1), event(2), ["close", when, code, True])

    assert ([], {code: 1}) == (verdict.bad, verdict.closes)


@pytest.mark.parametrize(
    ("when", "code"),
    [
        (50.0, 1006),
        (10.5, 1006),
        (121.5, 0),
        (100.5, 4200),
        (215.5, 4200),
        (100.5, 4302),
        (21.5, 4302),
        (100.5, 500),
        (205.0, 4010),
        (205.0, 4999),
    ],
)
def test_unexplained_closes(when: float, code: int) -> None:
    """
    A close that nothing explains is named, and so is a code that is not documented.
    """
    assert len(judged(event(0), event(1), event(2), ["close", when, code, True]).bad) == 1


def test_how_late() -> None:
    """
    The report says how long after its cause the latest close of each code came; during it counts as at once.
    """
    verdict = judged(event(0), event(1), event(2), *(["close", when, 4302, True] for when in (10.5, 13.0, 12.0)))

    assert {4302: 2.0} == verdict.latest
    assert any("4302: 2.0 s" in line for line in verdict.lines())


@pytest.mark.parametrize(
    ("when", "ends", "found"),
    [
        (10.5, _LATE, []),
        (20.5, _LATE, []),
        (21.5, _LATE, [_LATE]),
        (100.5, _LATE, [_LATE]),
        (10.5, "ValueError: no", ["ValueError: no"]),
    ],
)
def test_tracebacks(when: float, ends: str, found: list[str]) -> None:
    """
    Only while the engine is away, and soon after, may a worker report that it did not answer.
    """
    lines = [f"@{when:.3f} it failed", "Traceback (most recent call last):", "  File x", ends, f"@{when + 1:.3f} next"]

    assert found == complaints(lines, FAULTS)


def test_security_records() -> None:
    """
    A record of security is always named.
    """
    assert ["@10.500 security: forged"] == complaints(["@10.500 security: forged"], FAULTS)


@pytest.mark.parametrize("log", [[gap(5.0)], [gap(105.0), gap(106.0)]])
def test_gap_without_a_loss(log: list[list[Any]]) -> None:
    """
    A gap where the engine has lost nothing since the last one is named: a drain or a kill loses nothing.
    """
    assert len(judged(event(0), event(1), event(2), *log).bad) == 1


def test_never_finished() -> None:
    """
    A client that never saw the last event is named, and so is what its own protocol check found.
    """
    verdict = judged(event(0), event(1), event(2), done=False, wrong=["resumed without a question"])

    assert len(verdict.bad) == 2


def test_back() -> None:
    """
    The time back counts from the engine's return to an event that had waited for it, for clients that stayed.
    """
    assert [pytest.approx(0.25)] == judged(event(0, 11.25), event(1, 11.5), event(2, 12)).back
    assert [] == judged(["close", 10.5, 4304, True], event(0, 11.25), event(1), event(2)).back


def test_report() -> None:
    """
    The report has each count and each finding on a line of its own.
    """
    text = "\n".join(judged(event(0, 11.25), event(2)).lines())

    assert "silent      1" in text
    assert "0.25 s median" in text
    assert "BAD         client 0 of u: lost in silence" in text
