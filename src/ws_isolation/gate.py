"""
The gate of a factory: what it looks at before anything of a user exists.

Rule: a refusal says what was handed in and what to do instead; nothing was made.
"""

from __future__ import annotations

import sys
from datetime import datetime
from types import FrameType
from typing import Final

from .context import UserExecutionContext, require_context
from .errors import ImportTimeError, UsageError, bounded, shown
from .keys import Identity, identity_of

__all__ = ("identity_named", "refuse_import", "require_aware")

_IMPORT_FRAMES: Final = frozenset({"<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"})


def identity_named(who: UserExecutionContext | Identity, caller: str) -> Identity:
    """
    Return the identity that *who* is or belongs to.

    Raises:
        ContextTypeError, ContextIntegrityError: *who* is neither an identity nor an intact context.
    """
    return who if isinstance(who, Identity) else identity_of(require_context(who, caller=caller))


def require_aware(until: object) -> None:
    """Refuse a time that names no moment, which the machine's own time zone would decide."""
    if not isinstance(until, datetime) or until.utcoffset() is None:
        msg = f"revoke(until={shown(until)}) must be an aware datetime: datetime.now(UTC) + timedelta(...), or None"
        raise UsageError(msg)


def refuse_import(call: str) -> None:
    """Raise when a module is being imported on this stack, naming it (promise P4)."""
    # inspect.currentframe() is the same call.
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    module = ""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "<module>":
            module = str(frame.f_globals.get("__name__", ""))
        elif code.co_filename in _IMPORT_FRAMES and module:
            msg = (
                f"cannot call {call} while {bounded(module, 80)!r} is being imported: a manager belongs to a user. "
                "Create it per session or request, from the context that authenticate() returned"
            )
            raise ImportTimeError(msg)
        frame = frame.f_back
