"""The same manager by hand and the library's adapter, in one framework after the other: what W8 compares."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from ws_isolation import Handshake, ManagerFactory, Settings, UserExecutionContext
from ws_isolation.run import Run

from ...work import as_dict, identify, thought

Send: TypeAlias = Callable[[Any], Awaitable[object]]


class ByHand:
    """Sockets by user: how each of them sends JSON."""

    def __init__(self, *, token: bool) -> None:
        self.token = token
        self.sockets: dict[str, Send] = {}

    async def emit(self, user: str, n: int, size: int, /) -> None:
        """Send one event."""
        send = self.sockets.get(user)
        if send is not None:
            await send(as_dict(user, n, size))


class Ours:
    """A factory with every promise on, and a run for each user."""

    def __init__(self, *, token: bool) -> None:
        self.token = token
        self.factory = ManagerFactory(Settings(write_seconds=2.0))
        self._runs: dict[str, Run] = {}

    async def authenticate(self, handshake: Handshake) -> UserExecutionContext:
        """Know everybody by header."""
        return UserExecutionContext(user_id=identify(handshake.headers["authorization"], token=self.token))

    async def emit(self, user: str, n: int, size: int, /) -> None:
        """Send one event, in a run that begins with the first."""
        run = self._runs.get(user)
        if run is None:
            run = self._runs[user] = self.factory.create_manager(UserExecutionContext(user_id=user)).run("bench")
            await run.__aenter__()
        await run.thinking(thought(user, n, size))
