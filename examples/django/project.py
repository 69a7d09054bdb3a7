"""
Django with Channels: Django's own sessions for the WebSocket, and "log out everywhere" in the admin.

    pip install 'ws-isolation[channels]' daphne
    python project.py migrate
    python project.py createsuperuser
    daphne project:application

One file, so that it is quick to read; in a project of yours these are settings.py, admin.py, views.py and asgi.py.
"""

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import django
from asgiref.sync import async_to_sync
from django.conf import settings

# settings.py
settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("DATABASE", str(Path(__file__).with_name("db.sqlite3"))),
        }
    },
    INSTALLED_APPS=[
        "channels",
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "django.contrib.staticfiles",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET_KEY", "only-for-a-try-" * 4),
    STATIC_URL="static/",
    TEMPLATES=[
        {
            "APP_DIRS": True,
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    USE_TZ=True,
)
django.setup()

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session as Stored
from django.core.asgi import get_asgi_application
from django.core.management import execute_from_command_line
from django.http import JsonResponse
from django.urls import path

from ws_isolation import Handshake, ManagerFactory, Session, UserExecutionContext
from ws_isolation.adapters.channels import consumer, lifespan, manager, scope_of, user_of
from ws_isolation.events import Custom

factory = ManagerFactory()


def context_of(user: User, expires_at: datetime | None = None) -> UserExecutionContext:
    return UserExecutionContext(user_id=str(user.pk), expires_at=expires_at)


async def authenticate(handshake: Handshake) -> UserExecutionContext | None:
    user = user_of(handshake, User)
    if user is None:
        return None
    # A socket lives as long as a session that is used now. Channels has loaded it already: nothing is queried here.
    return context_of(user, scope_of(handshake)["session"].get_expiry_date())


# admin.py
class Users(UserAdmin):
    actions = ("log_out_everywhere",)

    @admin.action(description="Log out everywhere", permissions=["change"])
    def log_out_everywhere(self, request, users):
        keys = {str(user.pk): user for user in users}
        for stored in Stored.objects.all():  # a table of your own, with the user beside the key, saves this walk
            if stored.get_decoded().get("_auth_user_id") in keys:
                stored.delete()
        # Who comes now has no session any more. Handshakes under way may have read it: they are barred while they last.
        until = datetime.now(UTC) + timedelta(seconds=factory.settings.auth_seconds)
        ended = sum(async_to_sync(factory.revoke)(context_of(user), until=until) for user in keys.values())
        self.message_user(request, f"{ended} sockets closed.")


admin.site.unregister(User)
admin.site.register(User, Users)


# views.py
@manager(factory, authenticate)
async def note(request, own):
    delivery = await own.send(Custom(name="notes.added", value=request.POST.get("text", "")))
    return JsonResponse({"sessions": delivery.sessions})


async def handler(session: Session) -> None:
    async for message in session:
        name = (await User.objects.aget(pk=int(session.context.user_id))).username
        await session.manager.send(Custom(name="chat.said", value={"by": name, "text": message.data.get("text")}))


urlpatterns = [path("admin/", admin.site.urls), path("notes", note)]

# asgi.py
application = lifespan(
    factory,
    ProtocolTypeRouter(
        {
            "http": get_asgi_application(),
            "websocket": AuthMiddlewareStack(URLRouter([path("ws", consumer(factory, authenticate, handler))])),
        }
    ),
)

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
