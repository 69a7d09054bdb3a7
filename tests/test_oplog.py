"""
What the operator gets to see: readable, bounded, escaped, and total.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import NoReturn

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ws_isolation import errors
from ws_isolation.oplog import report


class BadHandler(logging.Handler):
    """
    A handler that raises, as one did that met an enum.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """
        Raise.
        """
        raise LookupError("the cause")


class Unprintable:
    """
    A value whose ``repr`` raises.
    """

    def __repr__(self) -> str:
        raise LookupError


@pytest.fixture(name="logger")
def _logger() -> Generator[logging.Logger]:
    logger = logging.getLogger("ws_isolation")
    level = logger.level
    yield logger
    logger.setLevel(level)


@pytest.mark.scenario("S12")
@pytest.mark.requirement("WS-28")
def test_one_form(caplog: pytest.LogCaptureFixture) -> None:
    """
    A line of what happened and its fields; the same as a dict of strings; what is absent is left out.
    """
    report(logging.WARNING, "something happened", code=4300, user_id="alice", tenant_id=None, path="")
    (record,) = caplog.records

    assert "something happened code=4300 user_id=alice" == record.getMessage()
    assert {"code": "4300", "user_id": "alice"} == record.__dict__["ws_isolation"]
    assert ("ws_isolation", logging.WARNING, None) == (record.name, record.levelno, record.exc_info)


@pytest.mark.scenario("S48")
@pytest.mark.requirement("WS-28", "I15")
def test_hostile_fields(caplog: pytest.LogCaptureFixture) -> None:
    """
    Line breaks, terminal sequences, long values and foreign objects cannot break the line or the log.
    """
    report(logging.ERROR, "x", a="1\r\n2", b="\x1b[31m", c="\u2028", d="y" * 10_000, e=Unprintable(), f=logging.ERROR)
    (record,) = caplog.records
    line = record.getMessage()

    assert line.isprintable()
    assert len(line) < 500
    assert "Unprintable" in line


@pytest.mark.scenario("S48")
@pytest.mark.requirement("WS-28", "I15")
@given(value=st.text(max_size=400))
@example(value="\r\n[forged] level=INFO")
@example(value="\x1b]0;title\x07")
@example(value="\u2028\u2029\x85\x0b\x0c\x1c")
@example(value="\ud800")
@example(value="\u202e")
def test_any_text_stays_on_its_line(value: str) -> None:
    """
    Whatever a field says, as text or as an object's text, the record is one printable, bounded line.
    """
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]  # a list will do
    logger = logging.getLogger("ws_isolation")
    logger.addHandler(handler)
    try:
        report(logging.ERROR, "x", text=value, error=errors.BadFrameError(value), nested=[value], end="here")
    finally:
        logger.removeHandler(handler)

    (line,) = lines
    assert line.isprintable()
    assert len(line) < 1_000
    assert [line] == line.splitlines()
    assert "end=here" in line


class Hostile:
    """
    A value that raises at every touch.
    """

    def _raise(self, *_arguments: object) -> NoReturn:
        raise LookupError

    __repr__ = __str__ = __bool__ = __len__ = __hash__ = __eq__ = __ne__ = __format__ = __getattr__ = _raise


@pytest.mark.requirement("I15")
def test_value_that_raises_at_every_touch() -> None:
    """
    It cannot raise into the caller.
    """
    report(logging.ERROR, "x", value=Hostile())


def test_cause_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """
    An error comes with its traceback.
    """
    with pytest.raises(LookupError) as caught:
        BadHandler().emit(logging.makeLogRecord({}))
    report(logging.ERROR, "x", error=caught.value)

    assert "Traceback" in caplog.text
    assert "the cause" in caplog.text


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (errors.UnauthenticatedError("no such token"), "error=UnauthenticatedError no such token"),
        (errors.BadFrameError("no JSON"), "error=BadFrameError no JSON"),
        (errors.TransportClosedError(), "error=TransportClosedError the peer is gone (close code 1006)"),
    ],
)
def test_everyday_cause(error: Exception, shown: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    What peers do every day is named without a traceback.
    """
    report(logging.WARNING, "x", error=error)
    (record,) = caplog.records

    assert f"x {shown}" == record.getMessage()
    assert record.exc_info is None


@pytest.mark.requirement("I15")
def test_broken_handler(logger: logging.Logger) -> None:
    """
    A handler that raises changes nothing for the caller.
    """
    handler = BadHandler()
    logger.addHandler(handler)
    try:
        report(logging.CRITICAL, "x")
    finally:
        logger.removeHandler(handler)


def test_level(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    """
    What the operator does not want to see costs nothing and is not written.
    """
    logger.setLevel(logging.ERROR)
    report(logging.WARNING, "x")

    assert [] == caplog.records
