"""
The observer that writes to the log: a summary per period, warnings once per period, and never a timer.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.observers import ARGUMENTS, CANARY, KEYWORDS, course
from ws_isolation import errors
from ws_isolation.observe import LoggingObserver
from ws_isolation.observing import HOOKS
from ws_isolation.testing import FakeClock


def fields(record: logging.LogRecord) -> dict[str, str]:
    """
    Return the fields of a record.
    """
    found: dict[str, str] = record.__dict__["ws_isolation"]
    return found


@pytest.fixture(name="log")
def _log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "ws_isolation")
    return caplog


async def test_summary_per_period(log: pytest.LogCaptureFixture) -> None:
    """
    What came within a period is written with the first call after it, then counting begins anew.
    """
    clock = FakeClock()
    observer = LoggingObserver(every_seconds=60, monotonic=clock.monotonic)
    observer.event_published("custom", durable=True)
    await clock.advance(59)
    observer.event_published("custom", durable=True)
    observer.event_published("agent_message_delta", durable=False)
    assert [] == log.records
    await clock.advance(1)
    assert [] == log.records
    observer.session_opened()
    observer.flush()
    observer.flush()

    assert [
        {"events.durable.custom": "2", "events.delta.agent_message_delta": "1"},
        {"sessions.opened": "1"},
    ] == [fields(record) for record in log.records]
    assert {(logging.INFO, "summary")} == {(record.levelno, record.getMessage().split()[0]) for record in log.records}


async def test_every_hook_is_counted(log: pytest.LogCaptureFixture) -> None:
    """
    Each hook leaves its trace in the summary; times are there with the longest one in milliseconds.
    """
    observer = LoggingObserver(monotonic=FakeClock().monotonic)
    for hook in HOOKS:
        getattr(observer, hook)(*ARGUMENTS[hook], **KEYWORDS.get(hook, {}))
    observer.session_closed(None)
    observer.write_time(0.25)
    observer.loop_lag(0.125)
    observer.flush()

    assert {
        "coalesced.agent_message_delta": "1",
        "events.durable.custom": "1",
        "foreign": "1",
        "gaps.sessions": "3",
        "gaps.trimmed": "1",
        "lag": "2",
        "lag.max_ms": "250.0",
        "refused.403": "1",
        "replayed.events": "7",
        "resumed": "1",
        "run.ok": "1",
        "run.ok.max_ms": "1500.0",
        "sessions.closed.4200": "1",
        "sessions.closed.peer_left": "1",
        "sessions.opened": "1",
        "writes": "2",
        "writes.max_ms": "500.0",
    } == fields(log.records[-1])


@pytest.mark.parametrize(
    ("hook", "bad", "good", "said"),
    [
        ("gap", ("trimmed", 3), None, "a gap: trimmed sessions=3"),
        ("session_closed", (4213,), (4200,), "a client read more slowly"),
        ("foreign", (), None, "somebody else was held back"),
        ("write_time", (1.5,), (1.0,), "a write was slow seconds=1.5"),
        ("loop_lag", (0.5,), (0.25,), "the event loop was late: something blocks it seconds=0.5"),
    ],
)
async def test_warnings(
    hook: str, bad: tuple[object, ...], good: tuple[object, ...] | None, said: str, log: pytest.LogCaptureFixture
) -> None:
    """
    What somebody should look at is a warning at once; a storm of it is one line per period; what is fine is none.
    """
    clock = FakeClock()
    observer = LoggingObserver(every_seconds=60, monotonic=clock.monotonic)
    if good is not None:
        getattr(observer, hook)(*good)
    assert [] == log.records
    for _ in range(100):
        getattr(observer, hook)(*bad)
    (record,) = log.records
    assert said in record.getMessage()
    await clock.advance(60)
    getattr(observer, hook)(*bad)

    assert [logging.WARNING, logging.INFO, logging.WARNING] == [record.levelno for record in log.records]
    assert "100" in fields(log.records[1]).values()


@pytest.mark.scenario("S12")
@pytest.mark.requirement("WS-28", "I15")
async def test_in_a_factory(log: pytest.LogCaptureFixture) -> None:
    """
    In a factory's life no record of it names anybody; the end of the drain writes the summary.
    """
    await course(LoggingObserver())
    summaries = [record for record in log.records if record.getMessage().startswith("summary")]

    (summary,) = summaries
    assert "1" == fields(summary)["drain.ok"]
    assert "2" == fields(summary)["sessions.opened"]
    assert CANARY not in summary.getMessage()
    assert any(CANARY in record.getMessage() for record in log.records)  # the engine's own log does name the user


async def test_names_are_bounded(log: pytest.LogCaptureFixture) -> None:
    """
    Whatever feeds it names without end does not fill the memory: the rest is counted as other.
    """
    observer = LoggingObserver()
    for number in range(1_000):
        observer.event_published(f"type_{number}", durable=True)
    for number in range(1_000):
        observer.span_ended(f"span_{number}", 1.0, "ok")  # type: ignore[arg-type]  # no such span
    observer.flush()
    (record,) = log.records

    assert 201 == len(fields(record))
    assert "1800" == fields(record)["other"]


@pytest.mark.parametrize("name", ["every_seconds", "slow_write_seconds", "lag_seconds"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), True, "60", None])
def test_bounds(name: str, value: Any) -> None:
    """
    A number out of its bounds is refused by name.
    """
    with pytest.raises(errors.SettingsError, match=f"{name}=.* must be a number from 0"):
        LoggingObserver(**{name: value})
