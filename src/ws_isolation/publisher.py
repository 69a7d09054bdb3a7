"""
Sending from a process that holds no sockets: an async worker, a consumer, a script.

Rule: the same gate, the same managers and the same runs as in a factory, and
nothing else. There is no way from here to a session, and nothing is subscribed
but what an open run needs to hear of a revocation.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, final

from .errors import SettingsError
from .factory import ManagerFactory

if TYPE_CHECKING:
    from typing import Self

    from .backplanes.base import Backplane
    from .context import UserExecutionContext
    from .factory import ManagerWrapper
    from .manager import IsolatedManager
    from .observing import Observer
    from .settings import Settings
    from .typing import Clock

__all__ = ("Publisher",)


@final
class Publisher:
    """
    A maker of managers for async code that serves no sockets. Lives as long as its process.

    Constructing it is fine at module level. It starts by its first use inside
    an event loop; ``async with publisher`` adds the orderly end, after which it
    can start again. ``BlockingPublisher`` is for code that is not async.

    Each process checks the order of the runs that it opened itself, see
    ``create_manager()``.

    Args:
        settings: Its bounds; the defaults where None. Those of the streams must be the same in all processes.
        backplane: What carries the streams to the processes with the sockets.
        manager: Makes a manager of the application's own around the shipped one.
        clock: Where time comes from; the process's clocks where None.
        observer: Who is told of what happens, for metrics and logs; nobody where None.

    Raises:
        SettingsError: An argument is of the wrong type, or there is no backplane.
    """

    __slots__ = ("__weakref__", "_factory")

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        backplane: Backplane,
        manager: ManagerWrapper | None = None,
        clock: Clock | None = None,
        observer: Observer | None = None,
    ) -> None:
        # A type checker sees it; at run time the factory would make a memory of its own, which nobody listens to.
        given: object = backplane
        if isinstance(given, type) or not hasattr(given, "publish"):
            raise SettingsError("a publisher needs the backplane of the processes with the sockets: backplane=...")
        self._factory = ManagerFactory(settings, manager=manager, clock=clock, backplane=backplane, observer=observer)

    @property
    def settings(self) -> Settings:
        """The bounds that it was made with."""
        return self._factory.settings

    def create_manager(self, context: UserExecutionContext, /) -> IsolatedManager:
        """
        Return the manager of *context*. Same as ``ManagerFactory.create_manager()``, with the same errors.

        A run belongs to the process that opened it: its events, children and
        end are sent there, and refused elsewhere (L01, L20). Only
        ``agent_error`` may be sent from anywhere, for a run whose process died.
        ``Delivery.sessions`` and ``stats()`` count this process, where there are none.
        """
        return self._factory.create_manager(context)

    async def __aenter__(self) -> Self:
        """
        Start in the running loop.

        Raises:
            ConcurrencyError: It runs in another loop.
        """
        await self._factory.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop; see ``stop()``."""
        await self.stop()

    async def stop(self) -> None:
        """
        Stop. Its managers raise ``InvalidStateError`` afterwards; end their runs before.

        What a ``send`` has returned for is in the stream: there is nothing to flush.

        Raises:
            ConcurrencyError: It runs in another loop. Nothing was stopped.
        """
        await self._factory.stop()
