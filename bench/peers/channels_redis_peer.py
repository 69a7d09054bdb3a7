"""Django Channels with the pub/sub layer of channels_redis: a group per user."""

from __future__ import annotations

import django
from django.conf import settings


def make(*, token: bool, engine: str) -> object:
    """Return the peer; Django is configured once, before its parts are imported."""
    layer = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [engine]}}
    settings.configure(
        SECRET_KEY="for measurements only",  # noqa: S106  # it protects nothing
        INSTALLED_APPS=["channels"],
        CHANNEL_LAYERS={"default": layer},
    )
    django.setup()
    from .channels_peer import Channels

    return Channels(token=token)
