"""
What the operator gets to see: one logger, one form, and it cannot fail.

Records carry ids, codes and counts, never claims, tokens, payloads or cookies.
The logger is ``ws_isolation``; each record has the fields as a dict of strings
in ``record.ws_isolation`` beside the readable line.
"""

from __future__ import annotations

import logging
from typing import Final

from .errors import bounded, shown

__all__ = ("report",)

_LOGGER: Final = logging.getLogger("ws_isolation")


def report(level: int, what: str, /, *, error: BaseException | None = None, **fields: object) -> None:
    """
    Write one record. Never raises, whatever a handler or a field does.

    Args:
        level: A level of :mod:`logging`.
        what: What happened, in a few words.
        error: Its cause; logged with its traceback.
        fields: Names and ids; None is left out, everything else is shown bounded and escaped.
    """
    try:
        if not _LOGGER.isEnabledFor(level):
            return
        texts = {
            name: bounded(value, 200) if type(value) is str else shown(value)
            for name, value in fields.items()
            if value is not None and value != ""
        }
        line = " ".join(f"{name}={value}" for name, value in texts.items())
        exc_info = None if error is None else (type(error), error, error.__traceback__)
        _LOGGER.log(level, "%s %s", what, line, exc_info=exc_info, extra={"ws_isolation": texts})
    except Exception:  # noqa: BLE001, S110  # a broken log handler must not close a socket
        pass
