"""
The frame ``ws.auth``: a credential from a client whose handshake could carry none.

Rule: nothing that a client put into it gets into the text of an error, not even
the name of a member; a confused client may have its token anywhere.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn, Protocol, TypeGuard, cast, final, runtime_checkable

import msgspec

from .errors import BadFrameError, SchemaViolationError, UnauthenticatedError, VersionUnsupportedError
from .handshake import Credential
from .stream import Cursor, parse_start

__all__ = ("AUTH_BYTES", "AuthFrame", "AuthWire", "auth_frame")

AUTH_BYTES: Final = 4_096
"""Decoded bytes of a first frame: room for a large token, and little work for a stranger."""

_MAJOR: Final = 1
_MEMBERS: Final = frozenset({"type", "credential", "scheme", "cursor", "capabilities", "v"})
_CURSOR_MEMBERS: Final = frozenset({"epoch", "seq", "id"})
_MOST_CAPABILITIES: Final = 32
_SLUG: Final = re.compile(r"[a-z][a-z0-9_.]{0,63}")
_VERSION: Final = re.compile(r"([0-9]{1,6})\.[0-9]{1,6}")


@final
class AuthFrame(msgspec.Struct, frozen=True):
    """
    What the first frame said.

    Attributes:
        credential: Whom to ask ``authenticate`` about; its ``repr`` shows no secret.
        cursor: Where the client wants to begin, None where the frame does not say.
        capabilities: What the client can do beyond version 1.0, which defines nothing.
    """

    credential: Credential
    cursor: Cursor | None = None
    capabilities: tuple[str, ...] = ()


@runtime_checkable
class AuthWire(Protocol):
    """
    A wire on which a client can authenticate itself: one that knows ``ws.auth``.

    Beside ``Wire``, and optional: where a wire is not one, ``authenticate`` is
    asked at once with what the handshake carried.
    """

    def read_auth(self, text: str | bytes, /) -> AuthFrame:
        """
        Return what a client sent first.

        Raises:
            MessageTooBigError: More than ``AUTH_BYTES``.
            BadFrameError: No frame at all.
            UnauthenticatedError: Another frame than ``ws.auth``.
            VersionUnsupportedError: It speaks another major version.
            SchemaViolationError: It has wrong or unknown members.
        """
        ...


def auth_frame(members: dict[str, object], /) -> AuthFrame:
    """
    Return the frame with these members.

    Raises:
        BadFrameError, UnauthenticatedError, VersionUnsupportedError, SchemaViolationError: As ``AuthWire.read_auth()``.
    """
    kind = members.get("type")
    if type(kind) is not str:
        msg = "the frame has no type"
        raise BadFrameError(msg)
    if kind != "ws.auth":
        detail = "another frame came where ws.auth was due"
        raise UnauthenticatedError(detail)
    # Before the members: those of another version may be others.
    _check_version(members.get("v"))
    if not members.keys() <= _MEMBERS:
        _fail("has an unknown member; it may have credential, scheme, cursor, capabilities and v")
    secret = members.get("credential")
    if type(secret) is not str or not secret:
        _fail("needs a credential, a string of at least one character")
    scheme = members.get("scheme")
    if scheme is None:
        scheme = "bearer"
    if not _is_slug(scheme):
        _fail("has a scheme that is no lower-case word of at most 64 characters")
    return AuthFrame(
        Credential(scheme, secret),
        _cursor(members.get("cursor")),
        _capabilities(members.get("capabilities")),
    )


def _fail(problem: str) -> NoReturn:
    msg = f"ws.auth {problem}"
    raise SchemaViolationError(msg)


def _is_slug(value: object) -> TypeGuard[str]:
    return type(value) is str and _SLUG.fullmatch(value) is not None


def _check_version(version: object) -> None:
    if version is None:
        return
    match = _VERSION.fullmatch(version) if type(version) is str else None
    if match is None:
        _fail("has a v that is no version such as 1.0")
    if int(match[1]) != _MAJOR:
        msg = f"the client speaks version {int(match[1])} of the wire, this server speaks {_MAJOR}"
        raise VersionUnsupportedError(msg)


def _cursor(value: object) -> Cursor | None:
    if value is None:
        return None
    members = cast("dict[str, object]", value) if type(value) is dict else {}
    epoch, seq, event_id = members.get("epoch"), members.get("seq"), members.get("id")
    if members.keys() == _CURSOR_MEMBERS and type(epoch) is str and type(seq) is int and type(event_id) is str:
        cursor = Cursor(epoch, seq, event_id)
        # The rules are those of a query. A dot in an id would make the text say something else than the members.
        if parse_start(str(cursor)) == cursor:
            return cursor
    _fail("has a cursor that is not {epoch, seq, id} as the last welcome, resumed or gap gave it")


def _capabilities(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    words = cast("list[object]", value) if type(value) is list else None
    if words is None or len(words) > _MOST_CAPABILITIES or not all(_is_slug(word) for word in words):
        _fail(f"has capabilities that are no list of at most {_MOST_CAPABILITIES} lower-case words")
    return tuple(cast("list[str]", words))
