"""
JSON Web Tokens: from a bearer token to a context.

Rule 1: the application pins the algorithms, and the token chooses among them only; ``none`` cannot be pinned, and
secrets and public keys never share a verifier. Rule 2: signature first; no claim is believed, and nothing is made,
before it is right. Rule 3: a token has an end (``exp``), and so has the session that it opens. Rule 4: audience and
issuer are checked unless the application says in so many words that it waives them. Rule 5: no error holds the token
or a claim of it.

Source: RFC 7519, RFC 8725 (best current practices).
"""

from __future__ import annotations

import base64
import inspect
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeAlias, cast, final

import msgspec

from ..clockwork import SystemClock
from ..context import UserExecutionContext
from ..errors import MissingExtraError, SettingsError, UnauthenticatedError, UsageError
from .jwt_claims import Claims, Rules, judge
from .jwt_keys import ALGORITHMS, SHARED, Key, KeySource, StaticKeys

try:
    import jwt
except ImportError as _error:
    _MESSAGE = "tokens need PyJWT. Install it with: pip install 'ws-isolation[jwt]'"
    raise MissingExtraError(_MESSAGE) from _error

if TYPE_CHECKING:
    from ..handshake import Handshake
    from ..typing import Clock

__all__ = ("MAX_BYTES", "Claims", "ContextOf", "JwtAuthenticate", "subject_context")

MAX_BYTES: Final = 16_384
"""Characters of a token: twice what common proxies accept for a header, and little work for a stranger."""
_PARTS: Final = 3

ContextOf: TypeAlias = Callable[
    [Claims, "Handshake"], "UserExecutionContext | Awaitable[UserExecutionContext | None] | None"
]
"""Makes the context of a verified token; async or not. It refuses as ``authenticate`` does: by None or an error."""


class _Verifying(Protocol):
    """What is used of PyJWT, whose own types need ``cryptography`` to be installed."""

    def decode(self, jwt: str, key: object, algorithms: list[str]) -> object: ...


class _Header(msgspec.Struct):
    """What is read of a header. All else in it is for others; no key or address in it is ever followed."""

    alg: str
    kid: str | None = None
    crit: msgspec.Raw = msgspec.Raw(b"")


def subject_context(claims: Claims, handshake: Handshake, /) -> UserExecutionContext:
    """
    Return the context of the token's ``sub``, in the thread that the query parameter ``thread`` names.

    Raises:
        UnauthenticatedError: There is no ``sub``.
        InvalidContextError: It is no id that a context may have.
    """
    if claims.subject is None:
        raise UnauthenticatedError("the token has no sub: pass context= to say who it is")
    thread = handshake.query.get("thread")
    return UserExecutionContext(user_id=claims.subject, thread_id=thread, expires_at=claims.expires_at)


@final
class JwtAuthenticate:
    """
    An ``authenticate`` for bearer tokens that are JWTs. A value; share one per application.

    Args:
        keys: A shared secret (bytes), a public key (PEM text), several of one kind, or a source of keys such as
            ``Jwks``.
        algorithms: Which signatures count: HS256 and the like for secrets, or RS, PS, ES and EdDSA for public keys.
            Nothing is assumed.
        audience: The ``aud`` of which a token needs one. None waives that: whoever has a token from this issuer for
            another service gets in with it.
        issuer: The ``iss`` of which a token needs one; None waives that.
        leeway_seconds: How far the clocks of issuer and server may differ, 0 to 300. A session may last that much
            longer than its token.
        context: Makes the context of a verified token: of ``sub`` and the query's ``thread`` unless given.
        clock: Where time comes from; the process's clocks where None.

    Raises:
        SettingsError: An argument is not allowed; says what would be, and shows no key.
    """

    __slots__ = ("_algorithms", "_clock", "_context", "_jws", "_keys", "_rules")

    def __init__(
        self,
        keys: bytes | str | Sequence[bytes | str] | KeySource,
        /,
        *,
        algorithms: Collection[str],
        audience: str | Collection[str] | None,
        issuer: str | Collection[str] | None,
        leeway_seconds: float = 30.0,
        context: ContextOf = subject_context,
        clock: Clock | None = None,
    ) -> None:
        self._algorithms = _pinned(algorithms)
        self._rules = Rules.of(audience, issuer, leeway_seconds)
        given = (keys,) if isinstance(keys, bytes | str) else keys
        self._keys: KeySource = StaticKeys(given, self._algorithms) if isinstance(given, Sequence) else given
        self._context = context
        self._clock: Clock = SystemClock() if clock is None else clock
        # A key that is too short is refused, where PyJWT would warn of it.
        options: Any = {"enforce_minimum_key_length": True}
        self._jws = cast("_Verifying", jwt.PyJWS(algorithms=list(self._algorithms), options=options))

    def __repr__(self) -> str:
        return f"<JwtAuthenticate: {', '.join(self._algorithms)}>"

    def __reduce__(self) -> NoReturn:
        msg = "JwtAuthenticate may hold secrets and is never pickled: make it in each process, from its own settings"
        raise TypeError(msg)

    async def __call__(self, handshake: Handshake, /) -> UserExecutionContext | None:
        """
        Return the context of the handshake's bearer token.

        Raises:
            UnauthenticatedError: There is no token, or it does not count; says why.
            ExpiredError: It counted once.
            UsageError: ``context`` made one that outlives its token.
            Exception: The keys cannot be had now, or whatever ``context`` raised.

        Cancelling is safe: nothing was made.
        """
        token = handshake.bearer_token
        if token is None:
            raise UnauthenticatedError("no bearer token, or several that differ")
        claims = await self.verify(token)
        made = self._context(claims, handshake)
        context = await made if inspect.isawaitable(made) else made
        if type(context) is UserExecutionContext and not _ends_with(context, claims):
            raise UsageError("the context outlives its token: pass expires_at=claims.expires_at, or less")
        return context

    async def verify(self, token: str, /) -> Claims:
        """
        Return what *token* says, once signature, time, audience and issuer are right.

        Raises:
            UnauthenticatedError: It does not count; says why.
            ExpiredError: It counted once.
            Exception: The keys cannot be had now.
        """
        header = _header_of(token)
        if header.alg not in self._algorithms:
            # Named only if it is a name that is known: whatever else stands there is the client's text.
            named = header.alg if header.alg in ALGORITHMS else "another algorithm, or none"
            raise UnauthenticatedError(f"the token says {named}, and pinned are {', '.join(self._algorithms)}")
        if header.crit:
            raise UnauthenticatedError("the token has critical header members, and none is known here")
        keys = await self._keys.find(header.kid, header.alg)
        if not keys:
            raise UnauthenticatedError("the token names no key that is known here")
        return judge(self._signed(token, header.alg, keys), self._rules, self._clock.unix())

    def _signed(self, token: str, algorithm: str, keys: Sequence[Key]) -> bytes:
        """Return the payload, once one of *keys* has signed it."""
        for key in keys:
            if algorithm in key.algorithms:
                try:
                    return cast("bytes", self._jws.decode(token, key.material, [algorithm]))
                except (jwt.PyJWTError, ValueError):
                    continue
        raise UnauthenticatedError("the token's signature is not one of the known keys'")


def _pinned(algorithms: Collection[str]) -> tuple[str, ...]:
    names = () if isinstance(algorithms, str) else tuple(algorithms)
    if not names or not all(type(name) is str and name in ALGORITHMS for name in names):
        raise SettingsError(f"algorithms must be a collection of some of {', '.join(ALGORITHMS)}")
    if len({ALGORITHMS[name] == SHARED for name in names}) > 1:
        raise SettingsError("algorithms must not mix HS, of shared secrets, with those of public keys")
    return names


def _header_of(token: str) -> _Header:
    head, *rest = token.split(".", _PARTS) if len(token) <= MAX_BYTES else [""]
    if len(rest) != _PARTS - 1:
        raise UnauthenticatedError(f"the bearer token is no JWT of three parts and at most {MAX_BYTES:,} characters")
    try:
        # PyJWT reads it again from the same text, and takes no other algorithm than the one that is read here.
        return msgspec.json.decode(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)), type=_Header)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        raise UnauthenticatedError("the token has no header that can be read") from None


def _ends_with(context: UserExecutionContext, claims: Claims) -> bool:
    return context.expires_at is not None and context.expires_at <= claims.expires_at
