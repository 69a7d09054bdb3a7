"""
What the operator gets to see: one logger, one form, and it cannot fail.

Records carry ids, codes and counts, never claims, tokens, payloads or cookies.
The logger is ``ws_isolation``; each record has the fields as a dict of strings
in ``record.ws_isolation`` beside the readable line.
"""

from __future__ import annotations

import logging
from typing import Final

from .errors import AccessError, PeerError, TransportClosedError, bounded, shown

__all__ = ("report",)

_LOGGER: Final = logging.getLogger("ws_isolation")


def report(level: int, what: str, /, *, error: BaseException | None = None, **fields: object) -> None:
    """
    Write one record. Never raises, whatever a handler or a field does.

    Args:
        level: A level of :mod:`logging`.
        what: What happened, in a few words.
        error: Its cause; logged with its traceback, but for what peers do every
            day (a refused credential, a broken frame, a lost connection): there
            the type and text say it all.
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
        exc_info = None
        if isinstance(error, AccessError | PeerError | TransportClosedError):
            texts["error"] = f"{type(error).__name__} {error}".strip()
        elif error is not None:
            exc_info = (type(error), error, error.__traceback__)
        line = " ".join(f"{name}={value}" for name, value in texts.items())
        _LOGGER.log(level, "%s %s" if line else "%s%s", what, line, exc_info=exc_info, extra={"ws_isolation": texts})
    except Exception:  # noqa: BLE001, S110  # a broken log handler must not close a socket
        pass
