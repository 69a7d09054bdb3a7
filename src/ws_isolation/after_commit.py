"""
Events that wait for a transaction: sent once it has committed, dropped when it is rolled back.

Rule 1: no client sees what was rolled back. Rule 2: after the commit nothing
is swallowed: what could not be sent is logged and raised. Rule 3: nothing here
knows a database; the block, or the callback, is the transaction's.

Between the commit and the sending the process can die: the events are lost
then, while the data is there. Where that matters, use an outbox table.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final, final

from .errors import EventTypeError, InvalidStateError, SettingsError, type_name
from .events import EVENT_CLASSES
from .finishing import finish
from .oplog import report

if TYPE_CHECKING:
    from typing import Self

    from .blocking import BlockingManager
    from .delivery import Delivery
    from .events import Event
    from .manager import IsolatedManager

__all__ = ("COLLECTED", "AfterCommit", "send_after_commit")

COLLECTED: Final = 256
"""Events that one block collects unless told otherwise: half of what a stream keeps for those who come back."""
_EVENT_TYPES: Final = frozenset(EVENT_CLASSES.values())
_UNSENT: Final = "the transaction has committed, but not all of its events were sent"


@final
class AfterCommit:
    """
    Collects the events of one transaction.

    Put its block around the transaction's, and send inside:
    ``async with AfterCommit(manager) as later, database.transaction(): later.send(event)``.
    A clean exit sends them in order; an exception drops them all and goes on.
    Lives as long as its block, in one task or thread.

    Args:
        manager: Whose events they are.
        limit: How many it may collect, at least 1.

    Attributes:
        deliveries: What each sent event came to, in order; empty until the block is left.

    Raises:
        SettingsError: The limit is none.
    """

    __slots__ = ("_events", "_limit", "_manager", "_state", "deliveries")

    def __init__(self, manager: IsolatedManager, /, *, limit: int = COLLECTED) -> None:
        if type(limit) is not int or limit < 1:
            raise SettingsError("limit must be a number of events, at least 1")
        self._manager = manager
        self._limit = limit
        self._events: list[Event] = []
        self._state = "new"
        self.deliveries: tuple[Delivery, ...] = ()

    def __len__(self) -> int:
        """Return how many events wait."""
        return len(self._events)

    def send(self, event: Event, /) -> None:
        """
        Keep *event* until the block is left.

        Raises:
            EventTypeError: Not an event of this library. It was not kept.
            InvalidStateError: Outside of the block, or the limit is reached. It
                was not kept; raised through the block, the transaction is rolled back.
        """
        if type(event) not in _EVENT_TYPES:
            raise EventTypeError(type_name(type(event)))
        if self._state != "open":
            msg = "events are collected inside the block only: async with AfterCommit(manager) as later"
            raise InvalidStateError(msg)
        if len(self._events) >= self._limit:
            msg = f"{self._limit:,} events wait for one transaction: send fewer, or give AfterCommit a larger limit"
            raise InvalidStateError(msg)
        self._events.append(event)

    @contextmanager
    def savepoint(self) -> Generator[None]:
        """
        Drop what is sent in this block where the block is left by an exception: put it around a savepoint's.

        ``with later.savepoint(), database.begin_nested(): later.send(event)``. A
        clean exit keeps the events: the transaction around decides about them.
        """
        kept = len(self._events)
        try:
            yield
        except BaseException:
            del self._events[kept:]
            raise

    async def __aenter__(self) -> Self:
        """
        Begin to collect.

        Raises:
            InvalidStateError: It was entered before.
        """
        if self._state != "new":
            msg = "this AfterCommit was entered before: make one for each transaction"
            raise InvalidStateError(msg)
        self._state = "open"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """
        Send what was collected, or drop it where *error* says that nothing was committed.

        The first event that cannot be sent ends it: the error is logged and
        raised, with a note of how many were sent, and none after it is sent.
        Cancelled meanwhile, it sends them all first: what they tell has happened.
        """
        self._state = "done"
        events, self._events = self._events, []
        if error is None:
            await finish(self._send_all(events))

    async def _send_all(self, events: list[Event]) -> None:
        for event in events:
            try:
                delivery = await self._manager.send(event)
            except Exception as failure:
                _tell(failure, len(self.deliveries), len(events))
                raise
            self.deliveries += (delivery,)


def send_after_commit(
    manager: BlockingManager, event: Event, on_commit: Callable[[Callable[[], None]], object], /
) -> None:
    """
    Let *event* be sent by the callback that *on_commit* registers: ``django.db.transaction.on_commit``, or your own.

    For sync code. Whoever calls the callback must call it after the commit, at
    most once, in a thread where no event loop runs, and never after a rollback.
    How many may wait is the registry's business.

    Args:
        manager: A manager for sync code, whose time-out counts when the callback is called.
        event: What to send.
        on_commit: Called at once, with the callback. The callback raises what
            ``BlockingManager.send()`` raises, logged before.

    Raises:
        EventTypeError: Not an event of this library. Nothing was registered.
    """
    if type(event) not in _EVENT_TYPES:
        raise EventTypeError(type_name(type(event)))

    def callback() -> None:
        try:
            manager.send(event)
        except Exception as failure:
            _tell(failure, 0, 1)
            raise

    on_commit(callback)


def _tell(failure: Exception, sent: int, total: int) -> None:
    report(logging.ERROR, _UNSENT, error=failure, sent=sent, total=total)
    failure.add_note(f"{_UNSENT}: {sent} of {total}")
