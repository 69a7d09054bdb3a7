"""
The isolated manager: the only way to send, and only to one's own identity.

Rule: nothing here takes a user id. Whom an event reaches follows from the
context that the manager was made from, for life.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, final, runtime_checkable

from msgspec import UNSET, UnsetType
from typing_extensions import override

from .context import UserExecutionContext, is_intact
from .delivery import Delivery, ManagerStats
from .errors import ContextExpiredError, ContextIntegrityError, EventTypeError, type_name
from .events import EVENT_CLASSES, AgentCancelled, AgentError, Event, ToolCompleted
from .keys import identity_of
from .run import Run
from .run_home import RunWatch, WatchedRun

if TYPE_CHECKING:
    from datetime import datetime

    from .keys import Identity
    from .observing import Outcome

__all__ = ("IsolatedManager", "RunMixin", "StreamManager")


@runtime_checkable
class IsolatedManager(Protocol):
    """
    A light handle bound to one context for life; the only way to send.

    Creating one registers nothing and it needs no clean-up.
    ``ws_isolation.testing.check_manager`` proves an implementation of one's own.
    """

    @property
    def context(self) -> UserExecutionContext:
        """The context that it was made from."""
        ...

    async def send(self, event: Event, /) -> Delivery:
        """
        Append *event* to the stream of this manager's identity.

        No socket is awaited. Durable events keep their order.

        Args:
            event: One of ``ws_isolation.events``, at most ``Settings.event_bytes`` encoded.

        Returns:
            Its place in the stream, and how many local sessions queued it.

        Raises:
            EventTypeError: Not an event of this library. Nothing was stored.
            LifecycleError: Not legal at this point of its run. Nothing was stored.
            InvalidEventError: Too big. Nothing was stored.
            ContextExpiredError: The context's time is over. Nothing was stored.
            InvalidStateError: The factory has stopped. Nothing was stored.
            ConcurrencyError: Called from another event loop or thread. Nothing was stored.

        Cancelling is safe: the event is in the stream or it is not.
        """
        ...

    def run(
        self,
        agent_name: str,
        /,
        *,
        run_id: str | None = None,
        model: str | UnsetType = UNSET,
        agent_version: str | UnsetType = UNSET,
        causation_id: str | UnsetType = UNSET,
    ) -> Run:
        """
        Return a run of an agent as a scope: ``async with manager.run("assistant") as run``.

        Args:
            agent_name: A label, 1 to 128 characters.
            run_id: Made if absent. It must never have been used before.
            model: The model that the agent runs on.
            agent_version: The agent's version.
            causation_id: The id of the message that asked for it.
        """
        ...

    def stats(self) -> ManagerStats:
        """Return counts of this manager and its own identity."""
        ...


class _CanSend(Protocol):
    @property
    def context(self) -> UserExecutionContext: ...

    async def send(self, event: Event, /) -> Delivery: ...


class RunMixin:
    """
    ``run()`` for an implementation of one's own: built on ``context`` and ``send`` alone.

    Around the manager of a factory, a client's ``stop`` finds its runs as well.
    """

    __slots__ = ("_watch",)

    def watch_runs(self, watch: RunWatch, /) -> None:
        """Let *watch* know when runs open and end. ``ManagerFactory(manager=...)`` calls it."""
        object.__setattr__(self, "_watch", watch)  # also on a frozen class

    def run(
        self: _CanSend,
        agent_name: str,
        /,
        *,
        run_id: str | None = None,
        model: str | UnsetType = UNSET,
        agent_version: str | UnsetType = UNSET,
        causation_id: str | UnsetType = UNSET,
    ) -> Run:
        """Same as ``IsolatedManager.run()``."""
        return Run(
            self,
            agent_name,
            run_id=run_id,
            model=model,
            agent_version=agent_version,
            causation_id=causation_id,
            watch=getattr(self, "_watch", None),
        )


class ManagerHome(Protocol):
    """The factory, as its managers see it. Every call names an identity that the manager took from its context."""

    def publish_at_once(self, identity: Identity, event: Event, /) -> Delivery | None:
        """Do the same as ``publish`` without waiting; None, and nothing is done, where the engine has to be awaited."""
        ...

    async def publish(self, identity: Identity, event: Event, /) -> Delivery:
        """Append the event to the identity's stream, waiting for the engine, and offer it to its sessions."""
        ...

    def require_running(self, call: str, /) -> None:
        """Raise where *call* comes from another loop or thread, or after the stop."""
        ...

    def utc_now(self) -> datetime:
        """Return the time by the factory's clock."""
        ...

    def run_opened(self, identity: Identity, run: WatchedRun, /) -> None:
        """Note an open run of the identity."""
        ...

    def run_ended(self, identity: Identity, run: WatchedRun, seconds: float, outcome: Outcome, /) -> None:
        """Forget a run of the identity."""
        ...

    def counts(self, identity: Identity, /) -> tuple[int, int]:
        """Return the identity's local sessions and open runs."""
        ...


@final
class StreamManager(RunMixin):
    """The shipped manager. Has no lifetime of its own; ``ManagerFactory.create_manager()`` makes it."""

    __slots__ = ("__weakref__", "_context", "_identity", "_publisher", "_sent")

    def __init__(self, context: UserExecutionContext, publisher: ManagerHome, /) -> None:
        self._context = context
        self._identity = identity_of(context)
        self._publisher = publisher
        self._sent = 0

    def __repr__(self) -> str:
        return f"<manager of {self._context!r}>"

    @property
    def context(self) -> UserExecutionContext:
        """Same as ``IsolatedManager.context``."""
        return self._context

    async def send(self, event: Event, /) -> Delivery:
        """Same as ``IsolatedManager.send()``."""
        if self._sent % _TURN == _TURN - 1:
            await asyncio.sleep(0)
        delivery = self._send_at_once(event, True)  # noqa: FBT003  # others had their turn
        if delivery is None:
            delivery = await self._publisher.publish(self._identity, event)
            self._sent += 1
        return delivery

    def _send_at_once(self, event: Event, others_had_a_turn: bool = False, /) -> Delivery | None:  # noqa: FBT001, FBT002
        """Do the same as ``send``; None, and nothing is done, where it would have to wait."""
        if self._sent % _TURN == _TURN - 1 and not others_had_a_turn:
            return None
        if type(event) not in _EVENT_TYPES:
            raise EventTypeError(type_name(type(event)))
        self._publisher.require_running("send()")
        context = self._context
        if not is_intact(context):
            caller = "send()"
            raise ContextIntegrityError(caller)
        if context.expires_at is not None and context.is_expired(self._publisher.utc_now()) and not _closes(event):
            raise ContextExpiredError(context.request_id)
        delivery = self._publisher.publish_at_once(self._identity, event)
        if delivery is not None:
            self._sent += 1
        return delivery

    @override
    def run(
        self,
        agent_name: str,
        /,
        *,
        run_id: str | None = None,
        model: str | UnsetType = UNSET,
        agent_version: str | UnsetType = UNSET,
        causation_id: str | UnsetType = UNSET,
    ) -> Run:
        """Same as ``IsolatedManager.run()``; a client's ``stop`` finds the run."""
        return Run(
            self,
            agent_name,
            run_id=run_id,
            model=model,
            agent_version=agent_version,
            causation_id=causation_id,
            watch=self,
            at_once=self._send_at_once,
        )

    def stats(self) -> ManagerStats:
        """Same as ``IsolatedManager.stats()``."""
        sessions, open_runs = self._publisher.counts(self._identity)
        return ManagerStats(sent=self._sent, sessions=sessions, open_runs=open_runs)

    def run_opened(self, run: WatchedRun, /) -> None:
        """Let a client's ``stop`` find the run."""
        self._publisher.run_opened(self._identity, run)

    def run_ended(self, run: WatchedRun, seconds: float, outcome: Outcome, /) -> None:
        """Forget the run."""
        self._publisher.run_ended(self._identity, run, seconds, outcome)


_TURN: Final = 8
"""
Sends after which others have a turn: a task that never waits for anything would fill the outbox of a
client that reads well, and starve everybody else. Eight of the largest events fit into an outbox.
"""
_EVENT_TYPES: Final = frozenset(EVENT_CLASSES.values())


def _closes(event: Event) -> bool:
    """Tell whether the event only closes what is open: legal also when the authority has ended."""
    return isinstance(event, AgentError | AgentCancelled) or (isinstance(event, ToolCompleted) and event.status != "ok")
