"""
Session cores without a shell: inputs in, effects out, time as a number.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tests.logs import put
from tests.shell import note
from ws_isolation import Settings, UserExecutionContext
from ws_isolation.closing import NORMAL
from ws_isolation.events.envelope import Envelope
from ws_isolation.frames import ErrorFrame
from ws_isolation.keys import identity_of
from ws_isolation.session_core import SessionCore
from ws_isolation.steps import (
    Close,
    Consumed,
    Draining,
    Ended,
    Finished,
    Input,
    Joined,
    Missed,
    Offered,
    PeerGone,
    Received,
    Refused,
    Renewed,
    Ticked,
    Write,
    WriteFailed,
    WriterReady,
    WriteWaits,
)
from ws_isolation.stream import Gap, Resumed, Stream
from ws_isolation.testing import make_context
from ws_isolation.wire import DEFAULT_WIRE, Wire

START: Final = 1_000.0
"""When each core begins."""


def stream_of(user: str = "alice") -> Stream:
    """
    Return a new stream of *user*.
    """
    return Stream(identity_of(make_context(user)), f"epoch-of-{user}")


def envelope_of(stream: Stream, value: object = 1) -> Envelope:
    """
    Append an event to *stream*.
    """
    return put(stream, note(value), limit=10**6)


def make_core(
    *,
    settings: Settings | None = None,
    context: UserExecutionContext | None = None,
    wire: Wire = DEFAULT_WIRE,
    stream: Stream | None = None,
    answer: Resumed | Gap | None = None,
    enforce_pongs: bool = True,
    expires_in: float | None = None,
) -> SessionCore:
    """
    Return a live core of Alice.
    """
    core = joining_core(settings, context, wire, enforce_pongs=enforce_pongs, expires_in=expires_in)
    core.handle(Joined((stream_of() if stream is None else stream).cursor, answer, START))
    return core


def joining_core(
    settings: Settings | None = None,
    context: UserExecutionContext | None = None,
    wire: Wire = DEFAULT_WIRE,
    *,
    enforce_pongs: bool = True,
    expires_in: float | None = None,
) -> SessionCore:
    """
    Return a core of Alice that does not know yet where her stream stands.
    """
    return SessionCore(
        context=make_context() if context is None else context,
        connection_id="connection-1",
        incident_id="7f3a9c21d0",
        settings=Settings() if settings is None else settings,
        wire=wire,
        enforce_pongs=enforce_pongs,
        expires_in=expires_in,
        now=START,
    )


def text(**members: Any) -> str:
    """
    Return a client's frame.
    """
    return msgspec.json.encode(members).decode()


def written(core: SessionCore, now: float = START) -> list[dict[str, Any]]:
    """
    Write everything that waits; return the frames.
    """
    frames: list[dict[str, Any]] = []
    while effects := core.handle(WriterReady(now)):
        for effect in effects:
            if isinstance(effect, Write):
                frames.append(msgspec.json.decode(effect.text))
            if isinstance(effect, Close):
                return frames
    return frames


def types(frames: list[dict[str, Any]]) -> list[str]:
    """
    Return the frames' types.
    """
    return [frame["type"] for frame in frames]


def one_of_each(now: float = START) -> list[Input]:
    """
    Return an input of each kind.
    """
    return [
        Joined(stream_of().cursor, None, now),
        Offered(envelope_of(stream_of())),
        Missed(Gap("divergence", stream_of().cursor)),
        Received(text(type="hello"), now),
        Consumed(),
        Refused(ErrorFrame(slug="unknown_type"), now),
        WriterReady(now),
        WriteFailed(now),
        WriteWaits(now),
        Ticked(now),
        Draining(now + 5, now),
        Renewed(make_context(), None, now),
        Ended(NORMAL, now),
        PeerGone(1001),
        Finished(),
    ]
