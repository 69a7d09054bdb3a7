"""
The session cookie of Starlette's ``SessionMiddleware``, read and never written.

The cookie holds the session itself, signed: whoever has the key reads it anew each time, and nothing is stored. So it
cannot be taken back before its time either; ``ManagerFactory.revoke()`` does that for a user.

A browser sends cookies with any page's WebSocket. What keeps other sites out is the check of the Origin, which comes
before this one.
"""

from __future__ import annotations

import base64
import inspect
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, final

import attrs
import msgspec

from ..clockwork import SystemClock
from ..context import UserExecutionContext
from ..errors import ExpiredError, MissingExtraError, SettingsError, UnauthenticatedError, UsageError, shown

try:
    import itsdangerous
except ImportError as _error:
    _MESSAGE = "session cookies need itsdangerous. Install it with: pip install 'ws-isolation[sessions]'"
    raise MissingExtraError(_MESSAGE) from _error

if TYPE_CHECKING:
    from ..handshake import Handshake
    from ..typing import Clock

__all__ = ("CookieSession", "SessionAuthenticate", "user_id_context")

_MAX_AGE: Final = 1_209_600
"""Two weeks, as SessionMiddleware has it."""
_LONGEST: Final = 315_360_000
_MOST_BYTES: Final = 8_192
"""Characters of a cookie; browsers keep 4,096."""
_EARLY: Final = 60
"""Seconds that the clock of whoever signed may be ahead."""


@final
@attrs.frozen(repr=False)
class CookieSession:
    """
    A session whose signature is right. Its ``repr`` shows nothing of it.

    Attributes:
        data: What the application has put into it, as JSON.
        expires_at: When the cookie ends; aware, UTC. A context of this session may not live longer.
    """

    data: Mapping[str, Any]
    expires_at: datetime

    def __repr__(self) -> str:
        return f"CookieSession({len(self.data)} members)"


ContextOf: TypeAlias = Callable[
    [CookieSession, "Handshake"], "UserExecutionContext | Awaitable[UserExecutionContext | None] | None"
]
"""Makes the context of a session; async or not. None refuses, as in ``authenticate``."""


def user_id_context(session: CookieSession, handshake: Handshake, /) -> UserExecutionContext | None:
    """Return the context of the session's ``user_id``, in the thread of the query; None where it has no such text."""
    user = session.data.get("user_id")
    if type(user) is not str:
        return None
    thread = handshake.query.get("thread")
    return UserExecutionContext(user_id=user, thread_id=thread, expires_at=session.expires_at)


@final
class SessionAuthenticate:
    """
    An ``authenticate`` by the session cookie of ``SessionMiddleware``. A value; share one per application.

    Args:
        secret_key: That of the middleware.
        cookie: The cookie's name, the middleware's ``session_cookie``.
        max_age: Seconds for which a cookie counts, the middleware's ``max_age``, 1 to ten years. The middleware knows
            cookies without an end; here each has one.
        context: Makes the context of a session: of ``user_id`` in it unless given.
        clock: Where time comes from; the process's clocks where None.

    Raises:
        SettingsError: An argument is not allowed; says what would be.
    """

    __slots__ = ("_clock", "_context", "_cookie", "_max_age", "_signer")

    def __init__(
        self,
        secret_key: str,
        /,
        *,
        cookie: str = "session",
        max_age: int = _MAX_AGE,
        context: ContextOf = user_id_context,
        clock: Clock | None = None,
    ) -> None:
        if not str(secret_key):
            raise SettingsError("secret_key must not be empty: it is what nobody else may know")
        if type(max_age) is not int or not 1 <= max_age <= _LONGEST:
            raise SettingsError(f"max_age={shown(max_age)} must be an int from 1 to {_LONGEST:,} (seconds)")
        # str(): Starlette's own Secret is shown as asterisks, and is what applications have it in.
        self._signer = itsdangerous.TimestampSigner(str(secret_key))
        self._cookie = cookie
        self._max_age = max_age
        self._context = context
        self._clock: Clock = SystemClock() if clock is None else clock

    def __reduce__(self) -> NoReturn:
        msg = "SessionAuthenticate holds a secret and is never pickled: make it in each process, from its own settings"
        raise TypeError(msg)

    async def __call__(self, handshake: Handshake, /) -> UserExecutionContext | None:
        """
        Return the context of the handshake's session.

        Raises:
            UnauthenticatedError: There is no such cookie, or it does not count; says why.
            ExpiredError: It counted once.
            UsageError: ``context`` made one that outlives its session.
            Exception: Whatever ``context`` raised.
        """
        cookie = handshake.cookies.get(self._cookie)
        if cookie is None:
            raise UnauthenticatedError("no session cookie")
        session = self._read(cookie)
        made = self._context(session, handshake)
        context = await made if inspect.isawaitable(made) else made
        if type(context) is UserExecutionContext and not _ends_with(context, session):
            raise UsageError("the context outlives its session: pass expires_at=session.expires_at, or less")
        return context

    def _read(self, cookie: str) -> CookieSession:
        if len(cookie) > _MOST_BYTES:
            raise UnauthenticatedError(f"the session cookie has more than {_MOST_BYTES:,} characters")
        try:
            # Its age is looked at here, by the clock that everything else goes by.
            text, since = self._signer.unsign(cookie, return_timestamp=True)
            data = msgspec.json.decode(base64.b64decode(text), type=dict[str, Any])
        except itsdangerous.BadSignature:
            raise UnauthenticatedError("the session cookie was not signed with this key") from None
        except (ValueError, msgspec.MsgspecError, RecursionError):
            raise UnauthenticatedError("the session cookie holds no session") from None
        now = datetime.fromtimestamp(self._clock.unix(), UTC)
        expires = since + timedelta(seconds=self._max_age)
        if now >= expires:
            raise ExpiredError("the session cookie is too old")
        if since > now + timedelta(seconds=_EARLY):
            raise UnauthenticatedError("the session cookie is from the future: are the clocks of both machines right?")
        return CookieSession(data, expires)


def _ends_with(context: UserExecutionContext, session: CookieSession) -> bool:
    return context.expires_at is not None and context.expires_at <= session.expires_at
