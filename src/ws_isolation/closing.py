"""
The registry of close codes: each one says what the client does next.

Rule 1: a socket is closed with a code of this registry or with 1000, so that no
close needs an explanation. Rule 2: the range of a code is the client's action,
so an unknown code can still be obeyed. Rule 3: a reason is ASCII and at most
123 bytes (RFC 6455 §5.5 leaves 125 for the payload of a control frame, two of
them hold the code); it is built here and nowhere else, since one server closes
with 1006 when a reason is too long.
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias, final

import attrs

from .errors import SettingsError, bounded, shown

__all__ = (
    "AUTH_TIMEOUT",
    "BAD_FRAME",
    "CLAIMS_CHANGED",
    "CODES",
    "CONNECTION_LIMIT",
    "CONTEXT_REJECTED",
    "DRAIN",
    "ENGINE_TIMEOUT",
    "ENGINE_UNAVAILABLE",
    "FORBIDDEN",
    "HEARTBEAT_TIMEOUT",
    "INACTIVE",
    "INTERNAL_ERROR",
    "MAX_AGE",
    "MESSAGE_TOO_BIG",
    "NORMAL",
    "NOT_FOUND",
    "OVERLOADED",
    "RATE_LIMITED",
    "REPLACED",
    "REVOKED",
    "SCHEMA_VIOLATION",
    "SLOW_CONSUMER",
    "SUBPROTOCOL",
    "TOKEN_EXPIRED",
    "UNAUTHENTICATED",
    "VERSION_UNSUPPORTED",
    "Action",
    "CloseCode",
    "action_of",
    "code_of",
    "reason",
)

Action: TypeAlias = Literal["stop", "reauthenticate", "resume", "back_off"]
"""What a client does after a close."""

_RANGES: Final[dict[int, Action]] = {40: "stop", 41: "reauthenticate", 42: "resume", 43: "back_off"}
_SLUG: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_OWN: Final = range(4900, 5000)
"""The codes that an application may register."""
_REASON_LIMIT: Final = 123
_DEFAULT_RETRY_MS: Final = 1_000
"""What a client of a 43xx code waits at least where the server has no better idea."""


@final
@attrs.frozen
class CloseCode:
    """
    One way to end a session: a number, its name, and what the client does next.

    An application makes its own with numbers from 4900 to 4999 and an action;
    the library's are the constants of this module.

    Args:
        code: 1000, one of the library's, or 4900 to 4999.
        slug: Its name, ``^[a-z][a-z0-9_]{0,39}$``.
        action: What the client does. Given by the range below 4900.
        about: One line for people.

    Raises:
        SettingsError: If number, name or action do not fit together. Nothing was registered.

    Source: RFC 6455 §7.4.2 leaves 4000 to 4999 to applications.
    """

    code: int
    slug: str
    action: Action
    about: str = ""

    def __attrs_post_init__(self) -> None:
        """Refuse what a server or a client could not handle."""
        if type(self.code) is not int or (self.code not in _BUILT_IN and self.code not in _OWN):
            msg = f"close code {shown(self.code)} is not free: an application's own are 4900 to 4999"
            raise SettingsError(msg)
        if type(self.slug) is not str or _SLUG.fullmatch(self.slug) is None:
            msg = f"slug {shown(self.slug)} of close code {self.code}: use a-z, 0-9 and _, at most 40 characters"
            raise SettingsError(msg)
        if not _is_action(self.action):
            msg = f"close code {self.code} needs an action: stop, reauthenticate, resume or back_off"
            raise SettingsError(msg)
        if self.code in _BUILT_IN and _BUILT_IN[self.code] != (self.slug, self.action):
            msg = f"close code {self.code} is {_BUILT_IN[self.code][0]} already: an application's own are 4900 to 4999"
            raise SettingsError(msg)


def _is_action(value: object) -> bool:
    # The exact type first: whatever else is handed in may have an == of its own.
    return type(value) is str and value in _RANGES.values()


_BUILT_IN: Final[dict[int, tuple[str, Action]]] = {1000: ("normal", "stop")}


def _built_in(code: int, slug: str, about: str) -> CloseCode:
    action = _RANGES[code // 100]
    _BUILT_IN[code] = (slug, action)
    return CloseCode(code, slug, action, about)


NORMAL: Final = CloseCode(1000, "normal", "stop", "The handler returned, or the application ended the session.")
"""A normal end."""

BAD_FRAME: Final = _built_in(4000, "bad_frame", "Not text, not JSON, not an object, no type, or out of turn.")
"""The client sent something that is no frame."""

UNAUTHENTICATED: Final = _built_in(4001, "unauthenticated", "There is no credential, or it is not valid.")
"""``authenticate`` raised ``UnauthenticatedError`` or returned None."""

FORBIDDEN: Final = _built_in(4003, "forbidden", "The client is known, and may not do this.")
"""``authenticate`` raised ``ForbiddenError``, or a message named a thread that it may not name."""

NOT_FOUND: Final = _built_in(4004, "not_found", "What was asked for does not exist, or not for this user.")
"""``authenticate`` or a router's ``authorize_thread`` raised ``NotFoundError``."""

SUBPROTOCOL: Final = _built_in(4006, "subprotocol", "None of the offered subprotocols is spoken here.")
"""The client offered subprotocols, none of which is spoken here."""

REPLACED: Final = _built_in(4009, "replaced", "A newer session of this identity took its place.")
"""The identity had as many sessions as it may have, and ``Settings.session_limit`` says to end the oldest."""

REVOKED: Final = _built_in(4010, "revoked", "The access was taken away; nothing is open until it is given back.")
"""``ManagerFactory.revoke()`` was called."""

MESSAGE_TOO_BIG: Final = _built_in(4013, "message_too_big", "The decoded message is over the size limit.")
"""The decoded message is larger than ``Settings.message_bytes``."""

SCHEMA_VIOLATION: Final = _built_in(4022, "schema_violation", "Valid JSON of the wrong shape, or a reserved name.")
"""The frame is JSON of the wrong shape, or carries a reserved identity name."""

VERSION_UNSUPPORTED: Final = _built_in(4026, "version_unsupported", "The client speaks another version of the wire.")
"""The ``v`` of the client's ``ws.auth`` has another major number than this server's."""

CONNECTION_LIMIT: Final = _built_in(4029, "connection_limit", "This identity has as many sessions as it may have.")
"""The identity has ``Settings.sessions_per_identity`` sessions already."""

TOKEN_EXPIRED: Final = _built_in(4101, "token_expired", "The credential has expired; come back with a new one.")
"""``authenticate`` raised ``ExpiredError``, or the context's ``expires_at`` has passed."""

INACTIVE: Final = _built_in(4102, "inactive", "No message came for too long; come back with a new credential.")
"""No message of the client within ``Settings.inactivity_seconds``."""

CLAIMS_CHANGED: Final = _built_in(4103, "claims_changed", "What the client may do has changed; connect again.")
"""A refreshed credential needs a new session: ``ClaimsChangedError``, or a context of another thread."""

AUTH_TIMEOUT: Final = _built_in(4108, "auth_timeout", "No credential came in time; come back with one.")
"""The client was due to send ``ws.auth``, and sent nothing for ``Settings.auth_seconds``."""

DRAIN: Final = _built_in(4200, "drain", "This server is going away; resume elsewhere.")
"""The factory is stopping."""

MAX_AGE: Final = _built_in(4201, "max_age", "The session is as old as one may get; resume.")
"""The session has lived for ``Settings.max_age_seconds``."""

HEARTBEAT_TIMEOUT: Final = _built_in(4208, "heartbeat_timeout", "No sign of life after a ping.")
"""Nothing came from the client within the pong deadline."""

SLOW_CONSUMER: Final = _built_in(4213, "slow_consumer", "The client reads more slowly than its events come.")
"""The outbox is full, or a write took longer than its deadline."""

INTERNAL_ERROR: Final = _built_in(4300, "internal_error", "Something failed here; quote the incident id.")
"""An unforeseen failure; the operator's log has the incident id."""

ENGINE_UNAVAILABLE: Final = _built_in(
    4302, "engine_unavailable", "What the service needs to decide cannot be reached now."
)
"""The backplane's engine failed while a client came in or refreshed; nobody is let in unchecked."""

OVERLOADED: Final = _built_in(4303, "overloaded", "The service cannot take this session now.")
"""The service is not ready, or has no room."""

ENGINE_TIMEOUT: Final = _built_in(4304, "engine_timeout", "What the service needs to decide did not come in time.")
"""The backplane's engine took too long while a client came in or refreshed."""

CONTEXT_REJECTED: Final = _built_in(4310, "context_rejected", "The service authenticated into something unusable.")
"""``authenticate`` returned something that is no intact context: a defect of the deployment."""

RATE_LIMITED: Final = _built_in(4329, "rate_limited", "More messages than the rate or the inbox allows.")
"""More messages than the rate or the inbox allows."""

CODES: Final[dict[int, CloseCode]] = {
    code.code: code
    for code in (
        NORMAL,
        BAD_FRAME,
        UNAUTHENTICATED,
        FORBIDDEN,
        NOT_FOUND,
        SUBPROTOCOL,
        REPLACED,
        REVOKED,
        MESSAGE_TOO_BIG,
        SCHEMA_VIOLATION,
        VERSION_UNSUPPORTED,
        CONNECTION_LIMIT,
        TOKEN_EXPIRED,
        INACTIVE,
        CLAIMS_CHANGED,
        AUTH_TIMEOUT,
        DRAIN,
        MAX_AGE,
        HEARTBEAT_TIMEOUT,
        SLOW_CONSUMER,
        INTERNAL_ERROR,
        ENGINE_UNAVAILABLE,
        OVERLOADED,
        ENGINE_TIMEOUT,
        CONTEXT_REJECTED,
        RATE_LIMITED,
    )
}
"""The library's codes by number. Numbers that are not here are not sent by this version."""


def code_of(number: int, /) -> CloseCode:
    """Return the library's code with this number, 4300 ``internal_error`` for any other."""
    return CODES.get(number, INTERNAL_ERROR)


def action_of(number: int, /) -> Action | None:
    """
    Return what a client does after a close code, by its range alone.

    Returns:
        None for a number outside 4000 to 4399 that is not 1000: an
        application's own codes carry their action in ``goodbye``.
    """
    return _BUILT_IN[number][1] if number in _BUILT_IN else _RANGES.get(number // 100)


def retry_after(code: CloseCode, retry_after_ms: int | None) -> int | None:
    """Return the wait that goodbye and reason carry: a back-off always has one, in milliseconds."""
    if retry_after_ms is None and code.action == "back_off":
        return _DEFAULT_RETRY_MS
    return retry_after_ms


def reason(code: CloseCode, /, *, incident_id: str = "", retry_after_ms: int | None = None) -> str:
    """
    Return the reason of a close: ``slug;i=<incident>;r=<ms>``, ASCII, at most 123 bytes.

    Args:
        code: The close code.
        incident_id: What the user quotes to the operator; left out where empty.
        retry_after_ms: Milliseconds that the client waits; left out where None.
    """
    text = code.slug
    if incident_id:
        text += f";i={bounded(incident_id, 36)}"
    if retry_after_ms is not None:
        text += f";r={retry_after_ms}"
    return text.encode("ascii", "replace")[:_REASON_LIMIT].decode("ascii")
