"""
A Django site of its own, as a program: Django's settings are for a whole process.

It logs users in as Django does, connects with their cookies to a real server, and prints what came of it.
"""

# Django has no types of its own.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import django
from django.conf import settings

SECRET = "django-secret-django-secret-django-secret-django"
OLD = "older-secret-older-secret-older-secret-older-secret"


def configured(folder: str, engine: str) -> None:
    """
    Set the site up.
    """
    settings.configure(
        SECRET_KEY=SECRET,
        SECRET_KEY_FALLBACKS=[OLD],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/db"}},
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
        SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}",
        SESSION_COOKIE_NAME="sid",
        AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.ModelBackend", "__main__.PlainBackend"],
        USE_TZ=True,
    )
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


class Plain:
    """
    A user without a password, as some backends have.
    """

    pk = 1


class PlainBackend:
    """
    Knows users without passwords.
    """

    def get_user(self, _user_id: int) -> Plain:
        """
        Return the one that there is.
        """
        return Plain()


def cookies() -> dict[str, str]:
    """
    Log users in, each in another state, and return the cookies that they have.
    """
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model

    user: Any = get_user_model()
    store: Any = import_module(settings.SESSION_ENGINE).SessionStore
    backend = settings.AUTHENTICATION_BACKENDS[0]

    def login(name: str, then: Callable[[Any, Any], object], **more: Any) -> str:
        made = user.objects.create_user(name, password="first")
        session = store()
        session[SESSION_KEY], session[BACKEND_SESSION_KEY] = str(made.pk), backend
        session[HASH_SESSION_KEY] = made.get_session_auth_hash()
        session.update(more)
        then(made, session)
        session.save()
        return str(session.session_key)

    def changed(made: Any, _session: Any) -> None:
        made.set_password("second")
        made.save()

    def inactive(made: Any, _session: Any) -> None:
        made.is_active = False
        made.save()

    def rotated(made: Any, session: Any) -> None:
        settings.SECRET_KEY = OLD
        session[HASH_SESSION_KEY] = made.get_session_auth_hash()
        settings.SECRET_KEY = SECRET

    def anonymous(_made: Any, session: Any) -> None:
        session.pop(SESSION_KEY)

    return {
        "right": login("right", lambda *_: None),
        "rotated": login("rotated", rotated),
        "plain": login("plain", lambda *_: None, **{BACKEND_SESSION_KEY: "__main__.PlainBackend"}),
        "changed": login("changed", changed),
        "inactive": login("inactive", inactive),
        "deleted": login("deleted", lambda made, _: made.delete()),
        "no hash": login("no hash", lambda _, session: session.pop(HASH_SESSION_KEY)),
        "other backend": login("other backend", lambda *_: None, **{BACKEND_SESSION_KEY: "evil.Backend"}),
        "expired": login("expired", lambda _, session: session.set_expiry(-1)),
        "anonymous": login("anonymous", anonymous),
        "unknown": "a" * 32,
        "empty": "",
    }


async def tried(known: dict[str, str]) -> dict[str, Any]:
    """
    Connect with each cookie; return the close code, or what the context says.
    """
    from tests.servers.running import client, running, websocket_app
    from ws_isolation import ManagerFactory, Session
    from ws_isolation.credentials.django import DjangoAuthenticate

    seen: dict[str, Any] = {}

    async def handler(session: Session) -> None:
        context = session.context
        ends = 0 if context.expires_at is None else context.expires_at.timestamp() - asyncio.get_running_loop().time()
        seen["context"] = [context.user_id, context.thread_id, ends > 0]
        async for _message in session:
            pass

    app = websocket_app(ManagerFactory(), handler, DjangoAuthenticate())
    async with running(app) as address:
        for name, value in known.items():
            headers = {"Cookie": f"sid={value}", "Origin": f"http://{address}"}
            async with client(address, None, query="?thread=t", headers=headers) as somebody:
                seen[name] = (await somebody.next()).get("code", "welcome")
    return seen


async def by_hand(known: dict[str, str]) -> dict[str, Any]:
    """
    Ask without a server: what the application's own context may do, and what is said of a refusal.
    """
    from django.contrib.auth import get_user_model

    from tests.openings import handshake
    from ws_isolation import UserExecutionContext, errors
    from ws_isolation.credentials.django import DjangoAuthenticate, DjangoSession

    shaken = handshake(("cookie", f"sid={known['right']}"))

    def staff(session: DjangoSession, _: Any) -> UserExecutionContext | None:
        users = get_user_model().objects.filter(pk=session.user.pk).count()
        return UserExecutionContext(user_id=session.user.username, expires_at=session.expires_at) if users else None

    said: dict[str, Any] = {}
    made = await DjangoAuthenticate(staff)(shaken)
    said["own"] = None if made is None else made.user_id
    said["none"] = await DjangoAuthenticate(lambda *_: None)(shaken)
    try:
        await DjangoAuthenticate(lambda *_: UserExecutionContext(user_id="a"))(shaken)
    except errors.UsageError as error:
        said["late"] = str(error)
    for name, value in {"absent": handshake(), "huge": handshake(("cookie", f"sid={'a' * 8_193}"))}.items():
        try:
            await DjangoAuthenticate()(value)
        except errors.UnauthenticatedError as error:
            said[name] = str(error)
    said["shown"] = repr(DjangoSession(None, {"card": "canary"}, made.expires_at if made else None))  # type: ignore[arg-type]
    return said


def main() -> None:
    """
    Do it all.
    """
    folder, engine = sys.argv[1:]
    configured(folder, engine)
    known = cookies()
    seen = asyncio.run(tried(known))
    store: Any = import_module(settings.SESSION_ENGINE).SessionStore
    kept = engine != "db" or all(store().exists(known[name]) for name in ("right", "rotated", "changed"))
    sys.stdout.write(json.dumps({"seen": seen, "said": asyncio.run(by_hand(known)), "kept": kept}))


if __name__ == "__main__":
    main()
