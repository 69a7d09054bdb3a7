"""
What envelopes and control frames look like as text, and how a client's text is read.

Isolation, bounds and closes are the session core's and the same for every wire.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, cast, final

import attrs
import msgspec

from .auth_frame import AUTH_BYTES, AuthFrame, auth_frame
from .errors import (
    BadFrameError,
    MessageTooBigError,
    SchemaViolationError,
    SettingsError,
    bounded,
    shown,
)
from .frames import Ack, ErrorFrame, Frame, Inbound, Message, Pong, Refresh
from .frozen import FrozenDict, Json, JsonValueError, freeze
from .handshake import Credential

if TYPE_CHECKING:
    from .events.envelope import Envelope

__all__ = ("DEFAULT_WIRE", "RESERVED_NAMES", "SUBPROTOCOL", "DefaultWire", "PlainWire", "Unservable", "Wire")

SUBPROTOCOL: Final = "ws-isolation.v1"
"""The default wire's subprotocol. Optional; a client that offers it answers pings."""

RESERVED_NAMES: Final = frozenset({"user_id", "tenant_id", "owner", "aud"})
"""Members with which a message would claim an identity: refused, never overridden."""

_CONTROL: Final = re.compile(r"ws\.[a-z][a-z0-9_]{0,31}")
_TYPE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_ID: Final = re.compile(r"[\x21-\x7e]{1,255}")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_MESSAGE_MEMBERS: Final = frozenset({"type", "data", "id", "run_id", "thread_id"})
_SCHEME: Final = re.compile(r"[a-z][a-z0-9_.]{0,63}")
_REFRESH_BYTES: Final = 4_096
_MAX_SEQ: Final = 2**53 - 1
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


@final
@attrs.frozen
class Unservable:
    """A well-formed message that cannot be served: answered with *error*, the session stays."""

    error: ErrorFrame


class Wire(Protocol):
    """
    How one kind of client is spoken to. Stateless; one instance serves all sessions.

    ``event`` and ``control`` return None for what this wire does not write.
    """

    @property
    def subprotocol(self) -> str | None:
        """The WebSocket subprotocol that this wire answers, None where it has none."""
        ...

    def event(self, envelope: Envelope, /) -> str | None:
        """Return the text of an event."""
        ...

    def control(self, frame: Frame, /) -> str | None:
        """Return the text of a control frame."""
        ...

    def read(self, text: str | bytes, limit: int, /) -> Inbound | Unservable:
        """
        Return what a client sent.

        Raises:
            BadFrameError: No frame at all.
            SchemaViolationError: A frame of the wrong shape.
            MessageTooBigError: More than *limit* bytes.
        """
        ...


@final
@attrs.frozen
class DefaultWire:
    """The wire of this library: events with ``seq``, control frames whose type begins with ``ws.``."""

    @property
    def subprotocol(self) -> str | None:
        """``ws-isolation.v1``."""
        return SUBPROTOCOL

    def event(self, envelope: Envelope, /) -> str | None:
        """Return the envelope's text, which was encoded once for all sessions."""
        return envelope.text

    def control(self, frame: Frame, /) -> str | None:
        """Return the frame as JSON."""
        return _encode(frame.members()).decode("utf-8")

    def read(self, text: str | bytes, limit: int, /) -> Inbound | Unservable:
        """Do the same as ``Wire.read()``."""
        members = _object(text, limit)
        kind = members.get("type")
        if type(kind) is not str:
            msg = "the frame has no type"
            raise BadFrameError(msg)
        if kind.startswith("ws."):
            if kind == "ws.refresh" and _size(cast("str", text)) > _REFRESH_BYTES:
                msg = f"ws.refresh is larger than {_REFRESH_BYTES} bytes"
                raise MessageTooBigError(msg)
            return _control(kind, members)
        return _message(kind, members)

    def read_auth(self, text: str | bytes, /) -> AuthFrame:
        """Do the same as ``AuthWire.read_auth()``."""
        return auth_frame(_object(text, AUTH_BYTES))


DEFAULT_WIRE: Final = DefaultWire()
"""The wire of sessions that ask for no other."""


@final
@attrs.frozen
class PlainWire:
    """
    An application's own JSON, for a front end that exists already: events only, no control frames.

    Args:
        encode: Makes JSON (or ready text) of an envelope; None leaves the event
            out for this client. Called once for each event and session. What it
            raises ends that session with 4300.
        subprotocol: The WebSocket subprotocol to answer, None where the front
            end offers none.

    ``ws.auth`` and ``ws.refresh`` are not spoken here: ``authenticate`` is asked at once, whatever
    ``Settings.auth_frame`` says. A client's message may be any JSON object: its ``type`` is kept where it is
    one (else it is ``message``), and ``data`` holds the whole object.
    """

    encode: Callable[[Envelope], Json | None]
    subprotocol: str | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse a name that no handshake could answer."""
        if self.subprotocol is not None and _TOKEN.fullmatch(self.subprotocol) is None:
            msg = f"subprotocol {shown(self.subprotocol)} must be a token of RFC 7230, at most 64 characters"
            raise SettingsError(msg)

    def event(self, envelope: Envelope, /) -> str | None:
        """Return what ``encode`` makes of the envelope."""
        value = self.encode(envelope)
        if value is None or type(value) is str:
            return value
        return _encode(freeze(value)).decode("utf-8")

    def control(self, _frame: Frame, /) -> str | None:
        """Return None: this front end knows events only."""
        return None

    def read(self, text: str | bytes, limit: int, /) -> Inbound | Unservable:
        """Do the same as ``Wire.read()``, but the whole object is the message's data."""
        members = _object(text, limit)
        _refuse_reserved(members)
        kind = members.get("type")
        name = kind if type(kind) is str and _TYPE.fullmatch(kind) else "message"
        return Message(type=name, data=_frozen(members))


def _object(text: str | bytes, limit: int) -> dict[str, object]:
    if type(text) is not str:
        msg = "a binary message; only text is spoken here"
        raise BadFrameError(msg)
    # Counted before it is parsed: a character is at least one byte.
    if len(text) > limit or (not text.isascii() and _size(text) > limit):
        msg = f"the message is larger than {limit} bytes"
        raise MessageTooBigError(msg)
    try:
        value = _decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # UnicodeError is a ValueError; msgspec's own errors are one in newer releases only. Deep nesting raises
        # RecursionError.
        msg = f"no JSON: {type(error).__name__}"
        raise BadFrameError(msg) from None
    if type(value) is not dict:
        msg = "a frame is a JSON object"
        raise BadFrameError(msg)
    return cast("dict[str, object]", value)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _frozen(value: object) -> FrozenDict:
    try:
        return cast("FrozenDict", freeze(value, limit=_MAX_SEQ))
    except JsonValueError as error:
        # Decoded JSON fails this only by nesting or by an integer outside the exact range.
        if "deep" in error.problem:
            raise BadFrameError(error.problem) from None
        raise SchemaViolationError(error.problem) from None


def _refuse_reserved(members: dict[str, object]) -> None:
    for name in RESERVED_NAMES:
        if name in members:
            msg = f"the member {name} is reserved: who a client is, says its handshake alone"
            raise SchemaViolationError(msg)


def _control(kind: str, members: dict[str, object]) -> Inbound:
    match kind:
        case "ws.pong":
            _only(members, {"type", "n", "seq"})
            _optional_count(members, "seq")
            return Pong(_count(members, "n", least=1))
        case "ws.ack":
            _only(members, {"type", "seq"})
            return Ack(_count(members, "seq"))
        case "ws.refresh":
            _only(members, {"type", "credential", "scheme"})
            return Refresh(_credential(members))
        case _:
            what = kind if _CONTROL.fullmatch(kind) else "a name that no frame can have"
            msg = f"the control frame {bounded(what, 40)} is unknown or out of turn"
            raise BadFrameError(msg)


def _credential(members: dict[str, object]) -> Credential:
    value = members.get("credential")
    if type(value) is not str or not value:
        msg = "credential must be a text of at least one character"
        raise SchemaViolationError(msg)
    return Credential(_optional_text(members, "scheme", _SCHEME) or "bearer", value)


def _only(members: dict[str, object], known: set[str]) -> None:
    if unknown := members.keys() - known:
        msg = f"the control frame has the unknown member {shown(min(unknown))}"
        raise SchemaViolationError(msg)


def _count(members: dict[str, object], name: str, *, least: int = 0) -> int:
    value = members.get(name)
    if type(value) is not int or not least <= value <= _MAX_SEQ:
        msg = f"{name} must be an integer of at least {least}"
        raise SchemaViolationError(msg)
    return value


def _optional_count(members: dict[str, object], name: str) -> None:
    if members.get(name) is not None:
        _count(members, name)


def _message(kind: str, members: dict[str, object]) -> Inbound | Unservable:
    _refuse_reserved(members)
    if _TYPE.fullmatch(kind) is None:
        msg = "the type of a message is a-z, 0-9 and _, at most 64 characters"
        raise SchemaViolationError(msg)
    data = members.get("data")
    if data is not None and type(data) is not dict:
        msg = "data must be an object"
        raise SchemaViolationError(msg)
    message_id = _optional_text(members, "id", _UUID)
    run_id = _optional_text(members, "run_id", _ID)
    thread_id = _optional_text(members, "thread_id", _ID)
    frozen = _frozen(cast("object", data) if data is not None else {})
    if unknown := members.keys() - _MESSAGE_MEMBERS:
        path = f"$.{bounded(min(unknown), 64)}"
        error = ErrorFrame(
            slug="invalid_data",
            refused_type=kind,
            causation_id=message_id or "",
            path=path,
            problem="unknown member",
        )
        return Unservable(error)
    return Message(type=kind, data=frozen, id=message_id, run_id=run_id, thread_id=thread_id)


def _optional_text(members: dict[str, object], name: str, pattern: re.Pattern[str]) -> str | None:
    value = members.get(name)
    if value is None:
        return None
    if type(value) is not str or pattern.fullmatch(value) is None:
        msg = f"{name} is not of the form that it must have"
        raise SchemaViolationError(msg)
    return value
