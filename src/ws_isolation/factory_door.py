"""
What serving and adapters need of a factory: room, places, counts, the loop. Not for applications.
"""

from __future__ import annotations

import logging
from contextvars import Context
from datetime import datetime
from typing import TYPE_CHECKING

from .ambient import Variable, carried
from .forwarded import Proxies
from .ids import new_uuid7
from .keys import identity_of
from .oplog import report
from .runtime import Runtime

if TYPE_CHECKING:
    import asyncio

    from .context import UserExecutionContext
    from .entrance import Entrance
    from .handshake import Handshake
    from .hooks import Span
    from .observing import SpanName
    from .readiness import Readiness

__all__ = ("FactoryDoor",)


class FactoryDoor:
    """The part of a factory behind its public face: the door of its sockets."""

    __slots__ = ("_carry", "_proxies", "_readiness", "_runtime", "_warned_plain")

    def __init__(self, runtime: Runtime, carry: tuple[Variable, ...], readiness: Readiness) -> None:
        self._runtime = runtime
        self._readiness = readiness
        self._proxies = Proxies(runtime.settings.trusted_proxies)
        self._carry = carry
        self._warned_plain = False

    def clean_context(self) -> Context:
        """Return the variables that code of a session may see: those to be carried, as they are set here."""
        return carried(self._carry)

    def expires_in(self, context: UserExecutionContext, /) -> float | None:
        """Return the seconds until the context expires, None where it never does."""
        return None if context.expires_at is None else (context.expires_at - self.utc_now()).total_seconds()

    async def admit(self, context: UserExecutionContext, /) -> str | None:
        """
        Take a place for a session of the context: its connection id, None where there is no room.

        ``open_session()`` or ``give_back()`` has to follow. Without a backplane that counts for several nodes
        nothing is waited for: what was free is free in the same step.

        Raises:
            EngineUnavailableError: The engine failed. No place is held.
        """
        places = self._runtime.places
        connection_id = new_uuid7()
        if places is None:
            return connection_id if self.make_room(context) else None
        taken = await places.take(identity_of(context), connection_id, is_limited=True)
        return connection_id if taken else None

    def give_back(self, connection_id: str, /) -> None:
        """Give back the place of ``admit()``; harmless where there is none."""
        if self._runtime.places is not None:
            self._runtime.places.give_back(connection_id)

    def bars_here(self, context: UserExecutionContext, /) -> bool:
        """Tell whether this node knows that the identity is revoked, without waiting for an engine."""
        return self._runtime.access.bars_here(identity_of(context))

    def make_room(self, context: UserExecutionContext, /) -> bool:
        """Tell whether there is room for a session of the context, after ending the oldest where settings say so."""
        if not self.has_room(context) and self._runtime.settings.session_limit == "replace_oldest":
            self._runtime.end_oldest(identity_of(context))
        return self.has_room(context)

    def has_room(self, context: UserExecutionContext, /) -> bool:
        """Tell whether the context's identity may have one more session."""
        sessions, _ = self._runtime.counts(identity_of(context))
        return sessions < self._runtime.settings.sessions_per_identity

    def see_through(self, handshake: Handshake, /) -> Handshake:
        """
        Return the handshake as the named proxies tell it.

        Raises:
            Unreadable: A named proxy's header is malformed.
        """
        return self._proxies.see_through(handshake)

    def begin_handshake(self, source: str | None, /) -> str | None:
        """Count a socket that is not authenticated yet; why not, where there is no room or a drain goes on."""
        runtime = self._runtime
        runtime.require_running("serve()")
        if runtime.is_draining:
            return "a drain goes on"
        return runtime.crowd.enter(source, len(runtime.sessions))

    def end_handshake(self, source: str | None, /) -> None:
        """Give the place of ``begin_handshake`` back."""
        self._runtime.crowd.leave(source)

    def begin_entrance(self, entrance: Entrance, /) -> None:
        """Note an accepted socket that is to say who it is: a stop tells it 4200."""
        self._runtime.entering[entrance] = None

    def end_entrance(self, entrance: Entrance, /) -> None:
        """Forget it."""
        self._runtime.entering.pop(entrance, None)

    def count_close(self, code: int, /) -> None:
        """Count a refused handshake by its code or status."""
        self._runtime.count_refusal(code)

    def span(self, name: SpanName, /) -> Span:
        """Return a stopwatch for a block; the observer is told when it ends, and how."""
        return self._runtime.span(name)

    def warn_plain(self) -> None:
        """Warn, once, that sockets come unencrypted from other machines."""
        if not self._warned_plain:
            self._warned_plain = True
            report(
                logging.WARNING,
                "plain ws from another machine: tokens and events can be read on the way. Use wss, or ignore this "
                "where a proxy ends TLS; Settings.require_tls refuses plain ws",
            )

    def require_running(self, call: str, /) -> None:
        """
        Start here, or see that this is where it runs. For adapters.

        Raises:
            ConcurrencyError: There is no running loop, or another one.
            InvalidStateError: It has stopped.
        """
        self._runtime.require_running(call)

    def loop_for(self, call: str, /) -> asyncio.AbstractEventLoop:
        """
        Return the loop that it runs in. For portals: the one method that any thread may call.

        Raises:
            InvalidStateError: It does not run: not yet, not any more, or its loop is closed.
        """
        return self._runtime.loop_for(call)

    def adopt(self, task: asyncio.Task[None], /) -> None:
        """Let ``stop()`` end *task* as it ends spawned work. For portals: a run of another thread is a task here."""
        adopted = self._runtime.adopted
        adopted.add(task)
        task.add_done_callback(adopted.discard)

    def utc_now(self) -> datetime:
        """Return the time by the factory's clock, aware, in UTC."""
        return self._runtime.utc_now()
