"""
What the operator of the demo's server sees: the log records of the library.

The peer gets a code and an incident id; the records have the rest.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, final

import attrs

if TYPE_CHECKING:
    from typing import Self

__all__ = ("Entry", "OperatorLog")

_LOGGER: Final = logging.getLogger("ws_isolation")
_KEPT: Final = 500


@final
@attrs.frozen(kw_only=True)
class Entry:
    """
    One record.

    Attributes:
        level: ``INFO``, ``WARNING``, ``ERROR`` or ``CRITICAL``.
        line: What happened, with its fields.
        error: The class of the exception behind it, or an empty string.
        message: The exception's text; without one, what happened, without its fields.
        fields: Ids and codes: ``connection_id``, ``incident_id``, ``code`` …
    """

    level: str
    line: str
    error: str
    message: str
    fields: dict[str, str]


@final
class OperatorLog(logging.Handler):
    """
    Keeps the last 500 records of the library. Listens as long as its ``with`` block.

    Args:
        show: Called with each record of level WARNING or more, for a terminal.
    """

    def __init__(self, show: Callable[[Entry], None] | None = None) -> None:
        super().__init__(logging.INFO)
        self._show = show
        self._entries: deque[Entry] = deque(maxlen=_KEPT)
        self._before = (logging.NOTSET, True)

    def __enter__(self) -> Self:
        """Begin to listen; records go nowhere else meanwhile."""
        self._before = (_LOGGER.level, _LOGGER.propagate)
        _LOGGER.addHandler(self)
        _LOGGER.setLevel(logging.INFO)
        _LOGGER.propagate = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put the logger back as it was."""
        _LOGGER.removeHandler(self)
        _LOGGER.setLevel(self._before[0])
        _LOGGER.propagate = self._before[1]

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record."""
        error = record.exc_info[1] if record.exc_info else None
        fields: dict[str, str] = getattr(record, "ws_isolation", {})
        line = record.getMessage()
        what = line.partition(f" {next(iter(fields))}=")[0] if fields else line
        # What peers do every day comes without a traceback: its type and text are a field.
        name, _, text = fields.get("error", "").partition(" ")
        if error is not None:
            name, text = type(error).__name__, str(error)
        entry = Entry(level=record.levelname, line=line, error=name, message=text or what, fields=fields)
        self._entries.append(entry)
        if self._show is not None and record.levelno >= logging.WARNING:
            self._show(entry)

    def find(self, **fields: str) -> Entry | None:
        """Return the newest record that is a warning or worse and has these *fields*, None where there is none."""
        for entry in reversed(self._entries):
            if entry.level != "INFO" and fields.items() <= entry.fields.items():
                return entry
        return None
