"""
The operator's log: what is kept of the library's records, and how it is found again.
"""

from __future__ import annotations

import logging

from ws_isolation.demo.operator import Entry, OperatorLog

LOGGER = logging.getLogger("ws_isolation")


def _log(level: int, what: str, error: Exception | None = None, **fields: str) -> None:
    line = " ".join(f"{name}={value}" for name, value in fields.items())
    LOGGER.log(level, "%s %s", what, line, exc_info=error, extra={"ws_isolation": fields})


def test_record_with_an_exception() -> None:
    """
    Of a record with an exception its class and text are kept, beside the line and the fields.
    """
    with OperatorLog() as log:
        _log(logging.ERROR, "handler failed", ValueError("no such invoice"), incident_id="i1")

    assert Entry(
        level="ERROR",
        line="handler failed incident_id=i1",
        error="ValueError",
        message="no such invoice",
        fields={"incident_id": "i1"},
    ) == log.find(incident_id="i1")


def test_record_without_an_exception() -> None:
    """
    Without an exception the record speaks for itself; a refusal's text comes first.
    """
    with OperatorLog() as log:
        _log(logging.WARNING, "outbox full", connection_id="c1")
        fields = {"path": "/ws", "error": "UnauthenticatedError no token"}
        LOGGER.warning("handshake ended path=/ws", extra={"ws_isolation": fields})
        LOGGER.warning("plain")

    full, refused, plain = log.find(connection_id="c1"), log.find(path="/ws"), log.find()
    assert full is not None
    assert ("", "outbox full") == (full.error, full.message)
    assert refused is not None
    assert ("UnauthenticatedError", "no token") == (refused.error, refused.message)
    assert plain is not None
    assert ("plain", {}) == (plain.message, plain.fields)


def test_newest_warning_is_found() -> None:
    """
    The newest record with the fields is found; one that only informs, or has other fields, is not.
    """
    with OperatorLog() as log:
        _log(logging.WARNING, "first", path="/a")
        _log(logging.WARNING, "second", path="/a")
        _log(logging.INFO, "third", path="/a")

    found = log.find(path="/a")
    assert found is not None
    assert "second" == found.message
    assert log.find(path="/b") is None


def test_terminal_shows_warnings() -> None:
    """
    What is a warning or worse is shown at once; what only informs is not.
    """
    shown: list[str] = []
    with OperatorLog(lambda entry: shown.append(entry.line)):
        _log(logging.INFO, "session closed", code="1000")
        _log(logging.WARNING, "handshake refused", status="403")

    assert ["handshake refused status=403"] == shown


def test_logger_is_left_as_it_was() -> None:
    """
    After the block the logger has its handlers, level and propagation back, and nothing more is kept.
    """
    before = (LOGGER.handlers[:], LOGGER.level, LOGGER.propagate)
    with OperatorLog() as log:
        assert not LOGGER.propagate
    LOGGER.addHandler(logging.NullHandler())
    LOGGER.warning("late")
    LOGGER.handlers.pop()

    assert before == (LOGGER.handlers[:], LOGGER.level, LOGGER.propagate)
    assert log.find() is None
