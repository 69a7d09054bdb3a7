"""
Django's sessions: from the session cookie to a user, by Django's own rules.

Engine, backends and the session's hash are Django's: a changed password ends a session here as it does there. Nothing
is written: Django would give a session another key where its own has been rotated, and a WebSocket has no answer to
put the new cookie into. Everything that may ask a database runs in Django's thread for that, never in the event loop.

A browser sends cookies with any page's WebSocket. What keeps other sites out is the check of the Origin, which comes
before this one.
"""

# Django has no types of its own.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast, final

import attrs

from ..context import UserExecutionContext
from ..errors import MissingExtraError, UnauthenticatedError, UsageError

try:
    from asgiref.sync import sync_to_async
    from django.conf import settings
    from django.contrib import auth
    from django.db import close_old_connections
    from django.utils.crypto import constant_time_compare
except ImportError as _error:
    _MESSAGE = "Django's sessions need django. Install it with: pip install 'ws-isolation[django]'"
    raise MissingExtraError(_MESSAGE) from _error

if TYPE_CHECKING:
    from ..handshake import Handshake

_auth: Any = auth

__all__ = ("DjangoAuthenticate", "DjangoSession", "user_context")

_MOST_KEY: Final = 8_192
"""Characters of a cookie: the engine of signed cookies keeps the whole session in it."""


@final
@attrs.frozen(repr=False)
class DjangoSession:
    """
    A session of a user who is logged in. Its ``repr`` shows nothing of it.

    Attributes:
        user: The instance of the user model.
        data: The session.
        expires_at: When it ends; aware, UTC. A context of this session may not live longer.
    """

    user: Any
    data: Any
    expires_at: datetime

    def __repr__(self) -> str:
        return "DjangoSession()"


ContextOf: TypeAlias = "Callable[[DjangoSession, Handshake], UserExecutionContext | None]"
"""Makes the context of a session, in Django's thread, so it may ask the database. None refuses."""


def user_context(session: DjangoSession, handshake: Handshake, /) -> UserExecutionContext:
    """Return the context of the user's primary key, in the thread that the query parameter ``thread`` names."""
    thread = handshake.query.get("thread")
    return UserExecutionContext(user_id=str(session.user.pk), thread_id=thread, expires_at=session.expires_at)


@final
class DjangoAuthenticate:
    """
    An ``authenticate`` by Django's session cookie. A value; Django's settings are read when it is used.

    Args:
        context: Makes the context of a session: of the user's primary key unless given.
    """

    __slots__ = ("_context",)

    def __init__(self, context: ContextOf = user_context, /) -> None:
        self._context = context

    async def __call__(self, handshake: Handshake, /) -> UserExecutionContext | None:
        """
        Return the context of the handshake's session.

        Raises:
            UnauthenticatedError: There is no such cookie, or nobody is logged in with it; says which.
            UsageError: The context outlives its session.
            Exception: Whatever the database or ``context`` raised.

        Cancelled, what runs in Django's thread goes on to its end, and nobody gets what comes of it.
        """
        cookie = handshake.cookies.get(cast("str", settings.SESSION_COOKIE_NAME))
        if cookie is None:
            raise UnauthenticatedError("no session cookie")
        if len(cookie) > _MOST_KEY:
            raise UnauthenticatedError(f"the session cookie has more than {_MOST_KEY:,} characters")
        # Sensitive to threads, as Django's own views: a test's transaction is seen, and SQLite stays in one thread.
        find = sync_to_async(self._find, thread_sensitive=True)
        context: UserExecutionContext | None = await find(cookie, handshake)
        return context

    def _find(self, cookie: str, handshake: Handshake) -> UserExecutionContext | None:
        # As around a request: a connection that the database has dropped meanwhile is made anew.
        close_old_connections()
        try:
            return self._made(_session(cookie), handshake)
        finally:
            close_old_connections()

    def _made(self, session: DjangoSession, handshake: Handshake) -> UserExecutionContext | None:
        context = self._context(session, handshake)
        if type(context) is UserExecutionContext and not _ends_with(context, session):
            raise UsageError("the context outlives its session: pass expires_at=session.expires_at, or less")
        return context


def _session(cookie: str) -> DjangoSession:
    """Return the session of this cookie, once Django's rules say whose it is: those of ``auth.get_user()``."""
    store: Any = import_module(cast("str", settings.SESSION_ENGINE)).SessionStore
    data = store(cookie)
    named, backend = data.get(_auth.SESSION_KEY), data.get(_auth.BACKEND_SESSION_KEY)
    user: Any = None
    if named is not None and backend in settings.AUTHENTICATION_BACKENDS:
        user = _auth.load_backend(backend).get_user(_auth.get_user_model()._meta.pk.to_python(named))  # noqa: SLF001  # Django's way
    if user is None or not _is_of(user, data):
        raise UnauthenticatedError("nobody is logged in with this session cookie")
    return DjangoSession(user, data, data.get_expiry_date().astimezone(UTC))


def _is_of(user: Any, data: Any) -> bool:  # noqa: ANN401  # whatever the application's user model is
    """Tell whether the session was made with the user's present password, and a key that the settings know."""
    if not hasattr(user, "get_session_auth_hash"):
        return True
    given = data.get(_auth.HASH_SESSION_KEY) or ""
    if not given:
        return False
    hashes = (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
    return any(constant_time_compare(given, one) for one in hashes)


def _ends_with(context: UserExecutionContext, session: DjangoSession) -> bool:
    return context.expires_at is not None and context.expires_at <= session.expires_at
