"""
A small manager of an application's own: no factory, no sessions, one stream for each identity.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import attrs

from tests.logs import put
from ws_isolation import Delivery, UserExecutionContext, errors
from ws_isolation.delivery import ManagerStats
from ws_isolation.events import Event
from ws_isolation.ids import new_epoch, new_uuid7
from ws_isolation.keys import Identity, identity_of
from ws_isolation.lifecycle import Lifecycle
from ws_isolation.manager import RunMixin
from ws_isolation.stream import Stream


@attrs.define
class Log:
    """
    One identity's stream, and the legal order of its runs.
    """

    stream: Stream
    lifecycle: Lifecycle = attrs.field(factory=Lifecycle)


Streams: TypeAlias = dict[Any, Log]
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
    def log(self) -> Log:
        """
        The stream of its identity.
        """
        identity = identity_of(self._context)
        key = self.key(identity)
        if key not in self._streams:
            self._streams[key] = Log(Stream(identity, new_epoch()))
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
        envelope = put(self.log.stream, event, new_uuid7(), lifecycle=self.log.lifecycle)
        return Delivery(envelope.id, envelope.seq, 0)

    def stats(self) -> ManagerStats:
        """
        Count.
        """
        return ManagerStats(sent=self.sent, sessions=0, open_runs=len(self.log.lifecycle.open_runs))


def is_event(value: object) -> bool:
    """
    Tell whether *value* is an event.
    """
    return isinstance(value, Event)
