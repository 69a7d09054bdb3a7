"""
What the tests of the adapters share: who is admitted, what a missing framework looks like, a client in memory.
"""

from __future__ import annotations

import asyncio
import builtins
import importlib
import sys
from collections.abc import MutableMapping
from types import ModuleType
from typing import Any

import attrs
import pytest

from ws_isolation import Handshake, UserExecutionContext, errors
from ws_isolation.testing import make_context

Message = MutableMapping[str, Any]


async def authenticate(handshake: Handshake) -> UserExecutionContext | None:
    """
    Admit who has a token, except Eve.
    """
    match handshake.bearer_token:
        case None:
            return None
        case "eve":
            raise errors.ForbiddenError
        case "defect":
            raise LookupError
        case user:
            return make_context(user)


def http_scope(token: str | None, **more: Any) -> dict[str, Any]:
    """
    Return the scope of a request with a bearer token.
    """
    headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
    return {"type": "http", "method": "POST", "path": "/push", "query_string": b"", "headers": headers, **more}


def check_missing_extra(monkeypatch: pytest.MonkeyPatch, adapter: str, framework: str) -> None:
    """
    Without its framework, importing an adapter says which command installs it.
    """
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> ModuleType:
        if name.partition(".")[0] == framework:
            raise ImportError(name)
        return real(name, *arguments, **options)

    module = f"ws_isolation.adapters.{adapter}"
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(errors.MissingExtraError, match=rf"pip install 'ws-isolation\[{adapter}\]'"):
        importlib.import_module(module)


@attrs.define
class Wire:
    """
    An ASGI server in memory: what the application sent, and what it is told.
    """

    told: asyncio.Queue[Message] = attrs.field(factory=asyncio.Queue[Message])
    sent: list[Message] = attrs.field(factory=list[Message])
    error: Exception | None = None
    """What sends raise."""
    flows: asyncio.Event = attrs.field(factory=asyncio.Event)
    """Not set while sends wait for a client that does not read."""

    def __attrs_post_init__(self) -> None:
        """
        Let it flow.
        """
        self.flows.set()

    def tell(self, kind: str, **more: Any) -> None:
        """
        Tell the application something.
        """
        self.told.put_nowait({"type": kind, **more})

    async def send(self, message: Message) -> None:
        """
        Take a message, or raise.
        """
        if self.error is not None:
            raise self.error
        await self.flows.wait()
        self.sent.append(message)

    def types(self) -> list[str]:
        """
        Return the types of what was sent.
        """
        return [message["type"] for message in self.sent]


def websocket_scope(token: str | None = "alice", **more: Any) -> dict[str, Any]:  # noqa: S107  # a user's name
    """
    Return the scope of a handshake with a bearer token.
    """
    scope = http_scope(token, type="websocket", path="/ws", subprotocols=["ws-isolation.v1"], scheme="wss")
    scope["headers"] = [(b"host", b"chat.example.com"), *scope["headers"]]
    return {**scope, "asgi": {"version": "3.0", "spec_version": "2.4"}, "client": ("192.0.2.7", 9), **more}
