"""
Sending from a process that holds no sockets and no event loop: Celery, RQ, cron, a Django command.

Rule 1: it has a loop of its own in one thread, and only while somebody sends.
Rule 2: a forked process begins anew. What it inherited is the parent's: no
socket of it is used, woken or closed. Rule 3: the end is bounded, at exit too.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import functools
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final, final

from .blocking import BlockingManager, require_timeout
from .errors import SettingsError
from .factory import ManagerFactory
from .oplog import report
from .threads import TIMEOUT_SECONDS, Portal

if TYPE_CHECKING:
    from typing import Self

    from .backplanes.base import Backplane
    from .context import UserExecutionContext
    from .factory import ManagerWrapper
    from .observing import Observer
    from .settings import Settings

__all__ = ("BlockingPublisher",)


@final
class BlockingPublisher:
    """
    A maker of blocking managers for code that is not async. Lives as long as its process; all threads may share it.

    Constructing it is fine at module level: the thread with its loop starts
    with the first manager, in each process anew, so it may be made before a
    fork. It ends with ``with publisher``, by ``close()``, or at the process's
    exit, and can start again.

    Args:
        make_backplane: Makes what carries the streams to the processes with the sockets. Called once in each
            process, without a loop: ``lambda: RedisBackplane(url)``.
        settings: Its bounds; the defaults where None. Those of the streams must be the same in all processes.
        manager: Makes a manager of the application's own around the shipped one.
        observer: Who is told of what happens, in the thread of the loop; nobody where None.
        timeout: Seconds that each call of its managers may take; more than 0, finite.

    Raises:
        SettingsError: An argument is of the wrong type.
    """

    __slots__ = ("_make", "_manager", "_observer", "_settings", "_timeout")

    def __init__(
        self,
        make_backplane: Callable[[], Backplane],
        /,
        *,
        settings: Settings | None = None,
        manager: ManagerWrapper | None = None,
        observer: Observer | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        given: object = make_backplane
        if not callable(given):
            msg = "give what makes the backplane, since each forked process needs one of its own: lambda: ..."
            raise SettingsError(msg)
        gate = ManagerFactory(settings, manager=manager, observer=observer)  # says early what is wrong
        require_timeout(timeout)
        self._make = make_backplane
        self._settings = gate.settings
        self._manager = manager
        self._observer = observer
        self._timeout = timeout
        _watch_process()

    def create_manager(self, context: UserExecutionContext, /) -> BlockingManager:
        """
        Return the blocking manager of *context*, and start where it has not.

        As ``Publisher.create_manager()``, with the same errors; where it
        refuses, nothing was started. A manager is of its process: after a fork
        its calls raise ``InvalidStateError``, and the child creates its own.
        """
        with _LOCK:
            node = _RUNNING.get(self) or self._new_node()
            manager = node.factory.create_manager(context)
            self._start(node)
        return BlockingManager(node.portal, manager, timeout=self._timeout)

    def __enter__(self) -> Self:
        """Start where it has not."""
        with _LOCK:
            self._start(_RUNNING.get(self) or self._new_node())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close; see ``close()``."""
        self.close()

    def close(self) -> None:
        """
        End the loop and its thread, after about twice ``Settings.close_seconds`` at most. Harmless when it has ended.

        Runs that are open in other threads end as cancelled (``shutdown``), and
        their next call raises ``InvalidStateError``. What a ``send`` has
        returned for is in the stream: there is nothing to flush. What does not
        end in time is logged and left to the process's exit.
        """
        with _LOCK:
            node = _RUNNING.pop(self, None)
        if node is not None:
            node.stop()

    def _new_node(self) -> _Node:
        return _Node(
            ManagerFactory(self._settings, manager=self._manager, backplane=self._make(), observer=self._observer)
        )

    def _start(self, node: _Node) -> None:
        if self not in _RUNNING:
            node.start()
            _RUNNING[self] = node


class _Node:
    """A factory that runs in a loop of its own, in a thread of its own. Starts once and stops once."""

    def __init__(self, factory: ManagerFactory) -> None:
        self.factory = factory
        self.portal = Portal(factory)
        self._leaving: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, name="ws-publisher", daemon=True)
        self._started: concurrent.futures.Future[None] = concurrent.futures.Future()

    def start(self) -> None:
        """Start, and return once calls are taken; raises why that cannot be."""
        self._thread.start()
        self._started.result()

    def stop(self) -> None:
        """End it, within a bound."""
        self._leaving.set_result(None)
        self._thread.join(2 * self.factory.settings.close_seconds + _MARGIN_SECONDS)
        if self._thread.is_alive():
            report(logging.ERROR, "the loop of a publisher did not end in time")

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._live())
        except BaseException as error:  # noqa: BLE001  # whatever it is, somebody waits for it or must see it
            if self._started.done():
                report(logging.ERROR, "the loop of a publisher failed", error=error)
            else:
                self._started.set_exception(error)

    async def _live(self) -> None:
        async with self.factory:
            self._started.set_result(None)
            await asyncio.wrap_future(self._leaving)  # leaving ends the runs of other threads


_MARGIN_SECONDS: Final = 1.0
"""What a busy machine needs beside the bounds of the settings."""
_LOCK: Final = threading.RLock()
"""Held while a publisher starts or is taken down, and while the process forks: a child finds nothing half done."""
_RUNNING: Final[dict[BlockingPublisher, _Node]] = {}
"""Those of this process that have a thread."""
_INHERITED: Final[list[_Node]] = []
"""The parent's, kept in a forked process: collecting them would close, and so wake, what the parent still uses."""


@functools.cache
def _watch_process() -> None:
    """See to the exit and to forks, once; forked processes inherit both."""
    atexit.register(_close_all)
    with suppress(AttributeError):  # there is no fork on Windows
        os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_begin_anew)


def _close_all() -> None:
    for publisher in tuple(_RUNNING):
        publisher.close()


def _begin_anew() -> None:
    """Forget, in a forked process, what is the parent's."""
    _INHERITED.extend(_RUNNING.values())
    _RUNNING.clear()
    _LOCK.release()
