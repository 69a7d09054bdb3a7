"""
A small manager of an application's own: no factory, no sessions, one stream for each identity.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from ws_isolation import Delivery, UserExecutionContext, errors
from ws_isolation.delivery import ManagerStats
from ws_isolation.events import Event
from ws_isolation.ids import new_epoch, new_uuid7
from ws_isolation.keys import Identity, identity_of
from ws_isolation.manager import RunMixin
from ws_isolation.stream import Stream

_TIME: Final = "2026-11-22T21:09:00Z"

Streams: TypeAlias = dict[Any, Stream]
"""All streams of the application."""


class OwnManager(RunMixin):
    """
    Keeps every rule.
    """

    def __init__(self, context: UserExecutionContext, streams: Streams) -> None:
        self._context = context
        self._streams = streams
        self.sent = 0

    @property
    def context(self) -> UserExecutionContext:
        """
        The context that it was made from.
        """
        return self._context

    @property
    def stream(self) -> Stream:
        """
        The stream of its identity.
        """
        identity = identity_of(self._context)
        key = self.key(identity)
        if key not in self._streams:
            self._streams[key] = Stream(identity, new_epoch())
        return self._streams[key]

    def key(self, identity: Identity) -> object:
        """
        Return where the identity's stream is kept.
        """
        return identity.key

    async def send(self, event: Event, /) -> Delivery:
        """
        Append *event* to the stream.
        """
        if not is_event(event):
            raise errors.EventTypeError(type(event).__name__)
        delivery = self.append(event)
        self.sent += 1
        return delivery

    def append(self, event: Event) -> Delivery:
        """
        Give *event* its place.
        """
        envelope = self.stream.append(event, event_id=new_uuid7(), time=_TIME, limit=65_536)
        return Delivery(envelope.id, envelope.seq, 0)

    def stats(self) -> ManagerStats:
        """
        Count.
        """
        return ManagerStats(sent=self.sent, sessions=0, open_runs=len(self.stream.lifecycle.open_runs))


def is_event(value: object) -> bool:
    """
    Tell whether *value* is an event.
    """
    return isinstance(value, Event)
