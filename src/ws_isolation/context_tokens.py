"""
A context on its way to another process: a signed token that expires.

Rule 1: ids and named claims travel, never an object. The other process makes
the context by its ordinary constructor, with all checks. Rule 2: the token is
for this way only. Its type, its audience and a signing key that is derived for
it keep a login token from passing as a context, and the other way round. Rule
3: who signed and until when is decided before anything else of it is believed,
and no error or log holds the token.

It is signed and not encrypted: whoever reads the queue reads the ids, and may
act as the user with a token that has not expired.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, NoReturn, Protocol, TypeVar, final

import msgspec

from .clockwork import SystemClock
from .context import MAX_DEPTH, UserExecutionContext, require_context
from .errors import (
    ContextExpiredError,
    ExpiredError,
    InvalidContextError,
    MissingExtraError,
    SettingsError,
    UnauthenticatedError,
    UsageError,
    shown,
    type_name,
)
from .identifiers import DEFAULT_POLICY, IdPolicy

try:
    import jwt
except ImportError as _error:
    _MESSAGE = "context tokens need PyJWT. Install it with: pip install 'ws-isolation[workers]'"
    raise MissingExtraError(_MESSAGE) from _error

if TYPE_CHECKING:
    from .typing import Clock

__all__ = ("LEEWAY_SECONDS", "MAX_BYTES", "MAX_SECONDS", "ContextTokens")

LEEWAY_SECONDS: Final = 30
"""How far the clocks of two processes may differ; as much as sessions allow at their expiry."""
MAX_BYTES: Final = 16_384
"""Characters of a token: ids of any length and 8 KiB of claims fit in, unless much of the claims has to be escaped."""
MAX_SECONDS: Final = 86_400
"""A day: whoever needs longer keeps ids and asks for a new authority when it is time."""

_T = TypeVar("_T")

_ALGORITHM: Final = "HS256"
_TYPE: Final = "ws-isolation-context+jwt"
_VERSION: Final = 1
_LABEL: Final = b"ws_isolation context token v1"
_SECRET_BYTES: Final = 32
"""At least as long as the digest: RFC 7518 §3.2."""
_MOST_KEYS: Final = 8
_NAME: Final = re.compile(r"[\x21-\x7e]{1,64}")


_NO_CLAIMS: Final = msgspec.Raw(b"{}")


class _Signing(Protocol):
    """What is used of PyJWT, whose own types need ``cryptography`` to be installed."""

    def encode(self, payload: bytes, key: bytes, algorithm: str, headers: dict[str, str]) -> str: ...

    def decode(self, jwt: str, key: bytes, algorithms: list[str]) -> object: ...


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    """The whole header: nothing in it is optional, and there is nothing else."""

    alg: Literal["HS256"]
    typ: Literal["ws-isolation-context+jwt"]
    kid: str


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """The signed part. There is no ``sub``: whoever reads it as a login finds nobody."""

    aud: str
    iat: int
    exp: int
    ver: int
    ctx: msgspec.Raw


class _Fields(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A context's fields, version 1."""

    user_id: str
    request_id: str
    tenant_id: str | None = None
    thread_id: str | None = None
    run_id: str | None = None
    parent_request_id: str | None = None
    depth: int = 0
    expires_at: datetime | None = None
    claims: msgspec.Raw = _NO_CLAIMS


@final
class ContextTokens:
    """
    Takes a context out of one process and into another. A value; share one per application.

    Args:
        keys: Secrets of at least 32 random bytes by their names; 1 to 8 of them. The first signs, all verify.
        audience: Which workers it is for, 1 to 64 printable ASCII characters: a token for others is refused.
        seconds: How long a token may wait in the queue, 1 to 86,400. The default is as long as a stream keeps events.
        policy: Which user and tenant ids the imported context accepts.
        clock: Where time comes from; the process's clocks where None.

    Raises:
        SettingsError: A key, the audience or the seconds are out of bounds. Never shows a secret.
    """

    __slots__ = ("_audience", "_clock", "_jws", "_keys", "_newest", "_policy", "_seconds")

    def __init__(
        self,
        keys: Mapping[str, bytes],
        /,
        *,
        audience: str = "workers",
        seconds: int = 300,
        policy: IdPolicy = DEFAULT_POLICY,
        clock: Clock | None = None,
    ) -> None:
        _check_keys(keys)
        if not _is_name(audience):
            raise SettingsError("audience must be 1 to 64 printable ASCII characters")
        if type(seconds) is not int or not 1 <= seconds <= MAX_SECONDS:
            raise SettingsError(f"seconds must be an int from 1 to {MAX_SECONDS:,}, not {shown(seconds)}")
        # Derived: the same secret may sign logins elsewhere, and neither is taken for the other.
        self._keys = {name: hmac.digest(secret, _LABEL, "sha256") for name, secret in keys.items()}
        self._newest = next(iter(keys))
        self._audience = audience
        self._seconds = seconds
        self._policy = policy
        self._clock: Clock = SystemClock() if clock is None else clock
        self._jws: _Signing = jwt.PyJWS(algorithms=[_ALGORITHM])

    def __repr__(self) -> str:
        return f"<context tokens for {self._audience!r}, signed with {self._newest!r}>"

    def __reduce__(self) -> NoReturn:
        msg = "ContextTokens holds secrets and is never pickled: make one in each process, from its own settings"
        raise TypeError(msg)

    def export_context(self, context: UserExecutionContext, /, *, claims: Collection[str] = ()) -> str:
        """
        Return *context* as a token: its ids, its expiry, and the claims that are named.

        Args:
            context: Exactly a ``UserExecutionContext``, intact.
            claims: Names of the claims that the worker needs; the others stay here.

        Returns:
            Printable ASCII, at most ``MAX_BYTES``. It expires after ``seconds``, or with the context if that is sooner.

        Raises:
            ContextTypeError, ContextIntegrityError: As ``ManagerFactory.create_manager()``.
            ContextExpiredError: The context's time is over.
            InvalidContextError: It has no claim of that name, or too much is named.
            UsageError: *claims* is a str.
        """
        genuine = require_context(context, caller="export_context()")
        now = self._clock.unix()
        if genuine.is_expired(datetime.fromtimestamp(now, UTC)):
            raise ContextExpiredError(genuine.request_id)
        expires = now + self._seconds
        if genuine.expires_at is not None:
            expires = min(expires, genuine.expires_at.timestamp())
        body = _Body(
            aud=self._audience,
            iat=int(now),
            exp=int(expires),
            ver=_VERSION,
            ctx=msgspec.Raw(msgspec.json.encode(_fields_of(genuine, _named(genuine, claims)))),
        )
        token = self._jws.encode(
            msgspec.json.encode(body),
            self._keys[self._newest],
            _ALGORITHM,
            {"typ": _TYPE, "kid": self._newest},
        )
        if len(token) > MAX_BYTES:
            raise InvalidContextError("claims", f"make a token of more than {MAX_BYTES:,} characters: name fewer")
        return token

    def import_context(self, token: str, /) -> UserExecutionContext:
        """
        Return the context that *token* was made from: the same identity, ids, depth and expiry.

        The same token may come again: queues repeat.

        Raises:
            ExpiredError: It was valid once. The work was queued for too long, or the user's authority has ended.
            UnauthenticatedError: It was not made by these keys for this audience, or by a newer version.
            InvalidContextError: It was, and the context's fields are refused here, by another policy for example.

        In none of these cases a context exists afterwards.
        """
        body = self._verified(token)
        now = self._clock.unix()
        if body.iat > now + LEEWAY_SECONDS:
            raise UnauthenticatedError("the context token is from the future: set the clocks of both machines right")
        if now >= body.exp + LEEWAY_SECONDS:
            raise ExpiredError("the context token has expired: export the context again, or let it wait for longer")
        made = _made_from(_decoded(body.ctx, _Fields), self._policy)
        if made.is_expired(datetime.fromtimestamp(now, UTC)):
            raise ExpiredError("the context in the token has expired: let the user authenticate again")
        return made

    def _verified(self, token: object) -> _Body:
        """Return the signed part of *token*, once it is known to be ours and for us."""
        if type(token) is not str:
            raise UnauthenticatedError(f"a context token is a str, not {type_name(type(token))}")
        if len(token) > MAX_BYTES:
            raise UnauthenticatedError(f"a context token has at most {MAX_BYTES:,} characters")
        parts = token.split(".")
        key = self._keys.get(_decoded(_unpacked(parts[0]), _Header).kid)
        # What is signed is text, so only the signature itself could be written in more than one way.
        if key is None or _packed(_unpacked(parts[-1])) != parts[-1]:
            _refuse()
        try:
            signed = self._jws.decode(token, key, [_ALGORITHM])
        except jwt.InvalidTokenError:
            _refuse()
        body = _decoded(signed if type(signed) is bytes else b"", _Body)
        if body.ver != _VERSION:
            raise UnauthenticatedError(f"the context token has version {shown(body.ver)}: update the worker first")
        if body.aud != self._audience or body.exp - body.iat > MAX_SECONDS:
            _refuse()
        return body


def _check_keys(keys: Mapping[str, bytes]) -> None:
    if not 1 <= len(keys) <= _MOST_KEYS:
        raise SettingsError(f"keys must be 1 to {_MOST_KEYS} secrets by their names; the first signs")
    for name, secret in keys.items():
        if not _is_name(name):
            raise SettingsError("the name of a key must be 1 to 64 printable ASCII characters")
        if type(secret) is not bytes or len(secret) < _SECRET_BYTES:
            msg = f"key {shown(name)} must be at least {_SECRET_BYTES} bytes: secrets.token_bytes({_SECRET_BYTES})"
            raise SettingsError(msg)


def _is_name(value: object) -> bool:
    return type(value) is str and _NAME.fullmatch(value) is not None


def _refuse() -> NoReturn:
    raise UnauthenticatedError("the context token was not made by these keys for this audience") from None


def _unpacked(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part.encode("ascii") + b"=" * (-len(part) % 4))
    except (binascii.Error, UnicodeEncodeError):
        _refuse()


def _packed(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _decoded(raw: bytes | msgspec.Raw, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        _refuse()


def _named(context: UserExecutionContext, names: Collection[str]) -> dict[str, object]:
    if isinstance(names, str):
        raise UsageError("claims must be a collection of names: claims=['role']")
    for name in names:
        if name not in context.claims:
            raise InvalidContextError("claims", f"there is no {shown(name)} to take along")
    return {name: context.claims[name] for name in names}


def _fields_of(context: UserExecutionContext, claims: dict[str, object]) -> _Fields:
    return _Fields(
        user_id=context.user_id,
        request_id=context.request_id,
        tenant_id=context.tenant_id,
        thread_id=context.thread_id,
        run_id=context.run_id,
        parent_request_id=context.parent_request_id,
        depth=context.depth,
        expires_at=context.expires_at,
        claims=msgspec.Raw(msgspec.json.encode(claims)),
    )


def _made_from(fields: _Fields, policy: IdPolicy) -> UserExecutionContext:
    """Make the context again: the first of its line by the constructor, the others as its children."""
    is_first = fields.parent_request_id is None
    if not 0 <= fields.depth <= MAX_DEPTH or is_first != (fields.depth == 0):
        raise InvalidContextError("depth", f"must be from 0 to {MAX_DEPTH}, and more than 0 where there is a parent")
    parent = fields.parent_request_id or fields.request_id
    made = UserExecutionContext(
        user_id=fields.user_id,
        tenant_id=fields.tenant_id,
        thread_id=fields.thread_id,
        run_id=fields.run_id,
        request_id=parent,
        expires_at=fields.expires_at,
        claims=msgspec.json.decode(fields.claims),
        policy=policy,
    )
    for level in range(1, fields.depth + 1):
        made = made.child(request_id=fields.request_id if level == fields.depth else parent)
    return made
