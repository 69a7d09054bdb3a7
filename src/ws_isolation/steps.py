"""
What happens to a session, and what its shell does: the inputs and effects of the session core.

Values only. Structs, not attrs classes: some are made for each event, and so
many attrs classes would be a fifth of what importing the library costs.
"""

from __future__ import annotations

from typing import TypeAlias, final

import msgspec

from .closing import CloseCode
from .context import UserExecutionContext
from .events.envelope import Envelope
from .frames import ErrorFrame, Message
from .handshake import Credential
from .stream import Cursor, Gap, Resumed

__all__ = (
    "Abort",
    "Authenticate",
    "Close",
    "Consumed",
    "Deliver",
    "Draining",
    "Effect",
    "Ended",
    "Finished",
    "Input",
    "Joined",
    "Missed",
    "Offered",
    "PeerGone",
    "Received",
    "Refused",
    "Renewed",
    "Report",
    "Stop",
    "Ticked",
    "Wake",
    "Write",
    "WriteFailed",
    "WriteWaits",
    "WriterReady",
)

# Inputs: what happened.


@final
class Joined(msgspec.Struct, frozen=True):
    """The engine said where the stream stands, and what the client's own cursor came to; None where it gave none."""

    top: Cursor
    answer: Resumed | Gap | None
    now: float


@final
class Offered(msgspec.Struct, frozen=True):
    """The stream has an envelope for this session; *ready* where nothing is being written."""

    envelope: Envelope
    now: float = 0.0
    ready: bool = False


@final
class Missed(msgspec.Struct, frozen=True):
    """Events are lost for this session: the client must hear of it before any later one."""

    gap: Gap


@final
class Received(msgspec.Struct, frozen=True):
    """The client sent a message."""

    text: str | bytes
    now: float


@final
class Consumed(msgspec.Struct, frozen=True):
    """The handler took a message out of the inbox."""


@final
class Refused(msgspec.Struct, frozen=True):
    """The application cannot serve a message, or its work failed."""

    error: ErrorFrame
    now: float


@final
class WriterReady(msgspec.Struct, frozen=True):
    """Nothing is being written: the last write, if any, is done."""

    now: float


@final
class WriteWaits(msgspec.Struct, frozen=True):
    """The text that was written at once could not be taken at once: its deadline begins."""

    now: float


@final
class WriteFailed(msgspec.Struct, frozen=True):
    """The last text could not be written, although the peer may still be there."""

    now: float


@final
class Ticked(msgspec.Struct, frozen=True):
    """Time has passed."""

    now: float


@final
class Ended(msgspec.Struct, frozen=True):
    """The session is over for a reason of ours."""

    code: CloseCode
    now: float
    retry_after_ms: int | None = None


@final
class Draining(msgspec.Struct, frozen=True):
    """The server is going away: the session ends at *close_at*, and goes on until then."""

    close_at: float
    now: float
    retry_after_ms: int | None = None


@final
class Renewed(msgspec.Struct, frozen=True):
    """The application accepted the client's new credential."""

    context: UserExecutionContext
    expires_in: float | None
    now: float


@final
class PeerGone(msgspec.Struct, frozen=True):
    """The client or the network ended the connection."""

    code: int


@final
class Finished(msgspec.Struct, frozen=True):
    """The shell has closed the transport."""


Input: TypeAlias = (
    Joined
    | Offered
    | Missed
    | Received
    | Consumed
    | Refused
    | WriterReady
    | WriteFailed
    | WriteWaits
    | Ticked
    | Draining
    | Renewed
    | Ended
    | PeerGone
    | Finished
)
"""What a session core takes."""


# Effects: what the shell does.


@final
class Wake(msgspec.Struct, frozen=True):
    """Something waits to be written."""


@final
class Write(msgspec.Struct, frozen=True):
    """Write this text, then report ``WriterReady``."""

    text: str


@final
class Deliver(msgspec.Struct, frozen=True):
    """Put this message into the handler's inbox."""

    message: Message


@final
class Authenticate(msgspec.Struct, frozen=True):
    """Ask the application about the client's new credential, then report ``Renewed`` or ``Ended``."""

    credential: Credential


@final
class Stop(msgspec.Struct, frozen=True):
    """The session is ending: take it off its stream, end its handler."""


@final
class Close(msgspec.Struct, frozen=True):
    """Everything is written: send the close frame, then report ``Finished``."""

    code: CloseCode
    reason: str


@final
class Abort(msgspec.Struct, frozen=True):
    """Nothing can be written any more: drop the connection."""


@final
class Report(msgspec.Struct, frozen=True):
    """Tell the operator; ``alarm`` marks a breach that was prevented."""

    what: str
    error: Exception | None = None
    alarm: bool = False


Effect: TypeAlias = Wake | Write | Deliver | Authenticate | Stop | Close | Abort | Report
"""What a session core asks for; carried out in the order in which it is given."""
