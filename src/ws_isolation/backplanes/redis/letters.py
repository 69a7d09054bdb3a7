"""
What travels between nodes: lines of JSON, signed, and believed only when the signature is right.

An event is three lines: its place, which the engine's script writes; owner and
signature, which the sender writes; the frame, as clients get it. The signature
covers the stream, the owner and the frame but for its place. So whoever can
write to the engine and has no key can repeat and withhold, which the chain
finds, and cannot say anything, nor move it to another user.

Rule 1: size, version, signature, then schema, in this order. Rule 2: what fails
is dropped by the caller, counted and logged; an error names no value of it.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final, final

import msgspec

from ...errors import InvalidEventError, SettingsError, bounded
from ...events.envelope import Envelope
from ...events.reading import envelope_from
from ...keys import Identity
from ...stream import Draft
from .versions import OLDEST, VERSION, is_readable

__all__ = ("Letters", "RefusedError", "Signal")

_EVENT: Final = b"ws_isolation bus event v1"
_SIGNAL: Final = b"ws_isolation bus signal v1"
_LEASE: Final = b"ws_isolation bus lease v1\n"
_SETTINGS: Final = b"ws_isolation bus settings v1\n"
_GRANT: Final = b"ws_isolation bus grant v1\n"
_UNSIGNED: Final = b"ws_isolation bus without a key"
_BLOCK: Final = 64
"""Bytes of a block of SHA-256."""
_KEY_BYTES: Final = 32
_MOST_KEYS: Final = 8
_AROUND_BYTES: Final = 2_048
"""The most that the lines before the frame have: two ids of 255 characters, escaped, and the rest."""
_MOST_SIGNAL_BYTES: Final = 1_024
_OTHER_VERSION: Final = (
    f"another version: this release reads {OLDEST} to {VERSION}, and {VERSION + 1} where that says that {VERSION} can"
)
_MOST_GRANT_BYTES: Final = 65_536
"""Ids, and claims of 8 KiB however they are escaped."""


class RefusedError(Exception):
    """What came is not to be believed. Says why, never what it was."""


@final
class Signal(msgspec.Struct, frozen=True):
    """
    What is said of an identity beside its events: ``revoked``, or ``replaced`` with a connection id.

    The record of a revocation is one as well: ``barred``.
    """

    kind: str
    connection_id: str = ""


# What a later version adds is passed over.


class _Place(msgspec.Struct, gc=False):
    v: int
    n: str
    e: str
    s: int
    p: str
    r: int | None = None


class _Seal(msgspec.Struct, gc=False):
    m: str
    t: str | None
    u: str
    h: int


class _Said(msgspec.Struct, gc=False, omit_defaults=True):
    v: int
    n: str
    k: str
    i: str
    m: str
    r: int | None = None


_encode: Final = msgspec.json.Encoder().encode
_place: Final = msgspec.json.Decoder(_Place).decode
_seal: Final = msgspec.json.Decoder(_Seal).decode
_said: Final = msgspec.json.Decoder(_Said).decode


@final
class Letters:
    """
    Signs what this node says, and reads what others say.

    Args:
        node: This node's name.
        keys: Secrets of at least 32 bytes, the newest first: the first signs, each is believed.
        event_bytes: Bytes that a frame may have.

    Raises:
        SettingsError: A key is no bytes, too short, or there are more than 8.
    """

    __slots__ = ("_macs", "_most", "node", "own")

    def __init__(self, node: str, keys: tuple[bytes, ...], event_bytes: int) -> None:
        if len(keys) > _MOST_KEYS or not all(type(key) is bytes and len(key) >= _KEY_BYTES for key in keys):
            msg = f"keys must be at most {_MOST_KEYS} secrets, bytes of {_KEY_BYTES} or more: secrets.token_bytes(32)"
            raise SettingsError(msg)
        self._macs = tuple(map(_Mac, keys or (_UNSIGNED,)))
        self._most = event_bytes + _AROUND_BYTES
        self.node: str = node
        self.own: bytes = f'{{"v":{VERSION},"n":"{node}",'.encode()
        """How whatever this node says begins."""

    def sign(self, stream: Identity, draft: Draft, /) -> bytes:
        """Return the line with owner and signature of *draft* in this stream."""
        owner = draft.owner
        head = draft.parts.head.encode()
        mac = self._macs[0].of(_signed(stream, owner, head, draft.parts.tail.encode()))
        return _encode(_Seal(mac, owner.tenant_id, owner.user_id, len(head)))

    def read(self, stream: Identity, letter: bytes, /) -> Envelope:
        """
        Return the event in its place.

        Args:
            stream: Whose channel or history it came from.
            letter: What came.

        Raises:
            RefusedError: It is not to be believed.
        """
        if len(letter) > self._most:
            raise RefusedError("too large")
        lines = letter.split(b"\n", 2)
        if len(lines) != 3:  # noqa: PLR2004  # place, signature, frame
            raise RefusedError("not three lines")
        try:
            place, seal = _place(lines[0]), _seal(lines[1])
            owner = stream if (seal.t, seal.u) == (stream.tenant_id, stream.user_id) else Identity(seal.t, seal.u)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise RefusedError("not of this form") from error
        _require_readable(place)
        frame, digits = lines[2], b"%d" % place.s
        end = seal.h + len(digits)
        if place.s < 0 or seal.h < 0 or frame[seal.h : end] != digits:
            raise RefusedError("its place is not in it")
        head, tail = frame[: seal.h], frame[end:]
        self._require_signed(seal.m, _signed(stream, owner, head, tail))
        try:
            envelope = envelope_from(
                frame.decode(), owner=owner, epoch=place.e, seq=place.s, prev=place.p, event_bytes=self._most
            )
        except (InvalidEventError, UnicodeError) as error:
            raise RefusedError(bounded(str(error))) from None
        if envelope.durable is not bool(place.p):
            raise RefusedError("its place is another")
        return envelope

    def say(self, stream: Identity, signal: Signal, /) -> bytes:
        """Return *signal* as a letter."""
        mac = self._macs[0].of(_signed_signal(stream, signal))
        return _encode(_Said(VERSION, self.node, signal.kind, signal.connection_id, mac))

    def hear(self, stream: Identity, letter: bytes, /) -> Envelope | Signal:
        """
        Return what came on the channel of this stream.

        Raises:
            RefusedError: It is not to be believed.
        """
        if b"\n" in letter:
            return self.read(stream, letter)
        if len(letter) > _MOST_SIGNAL_BYTES:
            raise RefusedError("too large")
        try:
            said = _said(letter)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise RefusedError("not of this form") from error
        _require_readable(said)
        signal = Signal(said.k, said.i)
        self._require_signed(said.m, _signed_signal(stream, signal))
        return signal

    def seal(self, stream: Identity, *words: str) -> str:
        """Return the signature of what is said of this stream in *words*, the first of which says what it is."""
        return self._macs[0].of(_sealed(stream, words))

    def is_sealed(self, signature: str, stream: Identity, *words: str) -> bool:
        """Tell whether somebody signed that who has one of the keys."""
        try:
            self._require_signed(signature, _sealed(stream, words))
        except (RefusedError, UnicodeError):  # a word that is no text was never signed
            return False
        return True

    def vouch(self, text: bytes, /) -> bytes:
        """Return *text*, which is about no identity, with its signature."""
        return self._macs[0].of(_SETTINGS + text).encode() + b" " + text

    def vouched(self, said: bytes, /) -> bytes:
        """
        Return the text that was signed by ``vouch()``.

        Raises:
            RefusedError: It is not to be believed.
        """
        if len(said) > _MOST_SIGNAL_BYTES:
            raise RefusedError("too large")
        signature, _, text = said.partition(b" ")
        self._require_signed(signature.decode("ascii", "replace"), _SETTINGS + text)
        return text

    def endorse(self, key: str, grant: bytes, /) -> bytes:
        """Return what a connect ticket grants, with a signature for the ticket of this hash."""
        return self._macs[0].of(_signed_grant(key, grant)).encode() + b" " + grant

    def endorsed(self, key: str, said: bytes, /) -> bytes:
        """
        Return the grant that was signed by ``endorse()`` for the ticket of this hash.

        Raises:
            RefusedError: It is not to be believed.
        """
        if len(said) > _MOST_GRANT_BYTES:
            raise RefusedError("too large")
        signature, _, grant = said.partition(b" ")
        self._require_signed(signature.decode("ascii", "replace"), _signed_grant(key, grant))
        return grant

    def _require_signed(self, signature: str, signed: bytes) -> None:
        given = signature.encode()
        if not any(hmac.compare_digest(given, mac.of(signed).encode()) for mac in self._macs):
            raise RefusedError("wrong signature")


def _require_readable(said: _Place | _Said) -> None:
    if not is_readable(said.v, said.r):
        raise RefusedError(_OTHER_VERSION)


@final
class _Mac:
    """
    HMAC-SHA256 with the key's half of the work done once: a third of what ``hmac.digest()`` takes for a frame.

    Source: RFC 2104.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = (sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block))

    def of(self, message: bytes) -> str:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.hexdigest()


def _signed(stream: Identity, owner: Identity, head: bytes, tail: bytes) -> bytes:
    size = len(head).to_bytes(4, "big")
    return b"".join((_EVENT, stream.key.encode(), owner.key.encode(), size, head, tail))


def _sealed(stream: Identity, words: tuple[str, ...]) -> bytes:
    return _LEASE + _encode((stream.key, *words))  # as JSON no word can be moved into the next


def _signed_grant(key: str, grant: bytes) -> bytes:
    return _GRANT + key.encode() + b"\n" + grant


def _signed_signal(stream: Identity, signal: Signal) -> bytes:
    # The key of an identity has 64 digits, and the kind is one of three words: no separator can be moved.
    return b"\n".join((_SIGNAL, stream.key.encode(), signal.kind.encode(), signal.connection_id.encode()))
