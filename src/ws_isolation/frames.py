"""
The control frames that a session writes about itself, and what a client may send.

Rule: a frame is built here and nowhere else, from codes, counts and ids. What
an exception says, a class is called or a setting holds cannot get into one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, final

import attrs
import msgspec

from .closing import CloseCode, retry_after
from .frozen import FrozenDict
from .handshake import Credential
from .stream import Cursor, Gap

__all__ = (
    "Ack",
    "ErrorFrame",
    "Frame",
    "GapFrame",
    "Goodbye",
    "Inbound",
    "Message",
    "Ping",
    "Pong",
    "Refresh",
    "ResumedFrame",
    "Welcome",
)

_NO_FAULT: Final = frozenset({"duplicate", "handler_error"})
"""Answers that say nothing against the client: to retry what may be lost is right, and a defect is the server's."""


@final
class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """The first frame of a session, exactly once."""

    connection_id: str
    thread_id: str | None
    cursor: Cursor
    heartbeat_ms: int
    pong_timeout_ms: int
    message_bytes: int
    event_bytes: int
    replay_events: int
    expires_in_ms: int | None

    def members(self) -> dict[str, object]:
        """Return the frame's members in their order."""
        members: dict[str, object] = {"type": "ws.welcome", "v": "1.0", "connection_id": self.connection_id}
        if self.thread_id is not None:
            members["thread_id"] = self.thread_id
        members |= {
            "cursor": _cursor(self.cursor),
            "heartbeat_ms": self.heartbeat_ms,
            "pong_timeout_ms": self.pong_timeout_ms,
            "limits": {
                "message_bytes": self.message_bytes,
                "event_bytes": self.event_bytes,
                "replay_events": self.replay_events,
            },
        }
        if self.expires_in_ms is not None:
            members["expires_in_ms"] = self.expires_in_ms
        return members


@final
class ResumedFrame(msgspec.Struct, frozen=True):
    """What was missed has been replayed: here the client stands."""

    cursor: Cursor
    count: int

    def members(self) -> dict[str, object]:
        """Return the frame's members in their order."""
        return {"type": "ws.resumed", "cursor": _cursor(self.cursor), "count": self.count}


@final
class GapFrame(msgspec.Struct, frozen=True):
    """The answer to a cursor behind which something was missed."""

    gap: Gap

    def members(self) -> dict[str, object]:
        """Return the frame's members in their order."""
        members: dict[str, object] = {
            "type": "ws.gap",
            "reason": self.gap.reason,
            "cursor": _cursor(self.gap.cursor),
        }
        if self.gap.from_seq is not None and self.gap.to_seq is not None:
            members |= {"from_seq": self.gap.from_seq, "to_seq": self.gap.to_seq}
        return members


@final
class Ping(msgspec.Struct, frozen=True):
    """Asks for a sign of life and says how far this socket has got."""

    n: int
    seq: int
    expires_in_ms: int | None

    def members(self) -> dict[str, object]:
        """Return the frame's members in their order."""
        members: dict[str, object] = {"type": "ws.ping", "n": self.n, "seq": self.seq}
        if self.expires_in_ms is not None:
            members["expires_in_ms"] = self.expires_in_ms
        return members


@final
class Goodbye(msgspec.Struct, frozen=True, kw_only=True):
    """The last frame of a session: why, and what to do."""

    code: CloseCode
    incident_id: str = ""
    retry_after_ms: int | None = None

    def members(self) -> dict[str, object]:
        """Return the frame's members in their order."""
        members: dict[str, object] = {
            "type": "ws.goodbye",
            "code": self.code.code,
            "slug": self.code.slug,
            "action": self.code.action,
        }
        wait = retry_after(self.code, self.retry_after_ms)
        if wait is not None:
            members["retry_after_ms"] = wait
        if self.incident_id:
            members["incident_id"] = self.incident_id
        return members


@final
class ErrorFrame(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a well-formed message that cannot be served; the session stays open."""

    slug: str
    refused_type: str = ""
    causation_id: str = ""
    path: str = ""
    problem: str = ""
    incident_id: str = ""

    def members(self) -> dict[str, object]:
        """Return the frame's members in their order; what is empty is left out."""
        members: dict[str, object] = {"type": "ws.error", "slug": self.slug}
        for name in ("refused_type", "causation_id", "path", "problem", "incident_id"):
            value = getattr(self, name)
            if value:
                members[name] = value
        return members

    @property
    def is_clients_fault(self) -> bool:
        """Whether it counts against the client. What does not is bounded by the rate of messages."""
        return self.slug not in _NO_FAULT


Frame: TypeAlias = Welcome | ResumedFrame | GapFrame | Ping | Goodbye | ErrorFrame
"""A control frame from server to client."""


@final
@attrs.frozen(kw_only=True)
class Message:
    """
    One message of a client, checked and frozen.

    It says what the client wants; who the client is, says the session's context
    alone.

    Attributes:
        type: ``^[a-z][a-z0-9_]{0,63}$``.
        data: The payload, deep-frozen JSON; empty where the client sent none.
        id: The client's idempotency key, a UUID, or None.
        run_id: The run that it is about, or None. Whether that run is the
            user's own is for the handler to check.
        thread_id: The thread that it is for, where the application set an
            ``authorize_thread`` hook, and that allowed it; else None.
    """

    type: str
    data: Mapping[str, Any] = FrozenDict()
    id: str | None = None
    run_id: str | None = None
    thread_id: str | None = None


@final
class Pong(msgspec.Struct, frozen=True):
    """The client is alive."""

    n: int


@final
class Ack(msgspec.Struct, frozen=True):
    """The client has processed events up to *seq*; for metrics only."""

    seq: int


@final
class Refresh(msgspec.Struct, frozen=True):
    """The client has a new credential."""

    credential: Credential


Inbound: TypeAlias = Message | Pong | Ack | Refresh
"""What a client may send once it is welcome."""


def _cursor(cursor: Cursor) -> dict[str, object]:
    return {"epoch": cursor.epoch, "seq": cursor.seq, "id": cursor.id}
