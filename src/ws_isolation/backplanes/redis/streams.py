"""
``Bus`` and ``History`` on the engine: publish, listen, read.

Rule 1: what the engine decides, it decides in one script. Rule 2: what this
process publishes is announced to its own listeners by the script's answer: on
one connection, answers and announcements come in the order of the engine, so
nothing is read that this process wrote. Rule 3: what others wrote is checked
before anybody hears of it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from ...errors import EngineTimeoutError
from ...events.envelope import Envelope, too_large
from ...stream import Cursor, Page
from .jobs import Ask, MalformedError
from .letters import RefusedError, Signal
from .presence import Presence

if TYPE_CHECKING:
    from ...keys import Identity
    from ...stream import Draft, Start
    from ..base import Listener
    from .scripts import Script
    from .topics import Topics

__all__ = ("Streams",)

_ID_LENGTH: Final = 36
_MOST_EPOCH: Final = 64


class Streams(Presence):
    """``Bus`` and ``History``, for a backplane that has the links."""

    _publish: Script
    _read: Script
    _reading: asyncio.Semaphore
    """How many histories may be on their way together."""

    async def publish(self, identity: Identity, draft: Draft, /) -> Envelope:
        """Do the same as ``Bus.publish()``."""
        link = self._connected()
        parts = draft.parts
        if parts.size >= draft.event_bytes:
            raise too_large(draft.event.type, parts.size + 1, draft.event_bytes)
        top, window, channel = self._names.stream(identity)
        sha, node, seal = self._publish.sha, self._letters.node, self._letters.sign(identity, draft)

        def words(again: bool) -> tuple[bytes | str | int, ...]:  # noqa: FBT001  # how a job says it
            kind = ("again" if again else "new") if parts.durable else "piece"
            return (
                "EVALSHA", sha, 2, top, window,
                node, parts.head, parts.tail, seal, draft.id, draft.event_bytes, kind, channel,
            )  # fmt: skip

        def placed(reply: object) -> Envelope:
            if type(reply) is int:
                raise too_large(draft.event.type, reply, draft.event_bytes)
            epoch, seq, prev = _place(reply)
            envelope = draft.at(epoch=epoch, seq=seq, prev=prev)
            topic = link.topics_of(channel).find(identity)
            if topic is not None:
                for listener in topic.listeners:
                    listener.arrived(envelope)
            return envelope

        return await link.do(Ask("publish()", words, placed, link.due(), size=parts.size + len(seal), key=top))

    async def subscribe(self, identity: Identity, listener: Listener, /) -> None:
        """Do the same as ``Bus.subscribe()``."""
        link = self._connected()
        heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def tell() -> None:
            if not heard.done():
                heard.set_result(None)

        channel = self._names.stream(identity)[2]
        link.topics_of(channel).join(identity, channel.encode(), listener, tell)
        link.flush_soon()
        try:
            async with asyncio.timeout_at(link.due()):
                await heard
        except TimeoutError:
            self.release(identity, listener)
            call, state = "subscribe()", "nobody listens; try again"
            raise EngineTimeoutError(call, state) from None
        except BaseException:
            self.release(identity, listener)
            raise

    def release(self, identity: Identity, listener: Listener, /) -> None:
        """Do the same as ``Bus.release()``."""
        if self._link is not None:
            topics = self._link.topics_of(self._names.stream(identity)[2])
            topics.leave(identity, listener)
            if topics.has_commands:
                self._link.flush_soon()

    async def read(self, identity: Identity, start: Start, /) -> Page:
        """Do the same as ``History.read()``."""
        link = self._connected()
        top, window, _ = self._names.stream(identity)
        epoch, first = "", 0
        if start == "window":
            first = 1
        elif start is not None:
            epoch, first = start.epoch, start.seq + 1
        words = ("EVALSHA", self._read.sha, 2, top, window, self._letters.node, epoch, first)

        def page(reply: object) -> Page:
            if type(reply) is not list:
                raise MalformedError
            items = cast("list[object]", reply)
            where, seq, last = _place(items[:3])
            entries = (self._believed(identity, item) for item in items[3:])
            return Page(Cursor(where, seq, last), tuple(entry for entry in entries if isinstance(entry, Envelope)))

        due = link.due()
        try:
            async with asyncio.timeout_at(due):
                await self._reading.acquire()
        except TimeoutError:
            call, state = "read()", "it was not asked"
            raise EngineTimeoutError(call, state) from None
        try:
            return await link.do(Ask("read()", lambda _again: words, page, due, key=top))
        finally:
            self._reading.release()

    def announced(self, topics: Topics, channel: bytes, letter: bytes, /) -> None:
        """Take what the engine announces."""
        if letter.startswith(self._letters.own):
            return  # its answer has said so
        topic = topics.by_channel(channel)
        if topic is None or not topic.is_heard:
            return
        said = self._believed(topic.identity, letter)
        if isinstance(said, Envelope):
            for listener in topic.listeners:
                listener.arrived(said)
        elif said is not None:
            self._signal(topic.identity, said)

    def _believed(self, identity: Identity, letter: object) -> Envelope | Signal | None:
        try:
            return self._letters.hear(identity, letter if isinstance(letter, bytes) else b"")
        except RefusedError as error:
            self._refuse(str(error))
            return None


def _place(reply: object) -> tuple[str, int, str]:
    """Return epoch, seq and id out of what a script returned."""
    match reply:
        case [bytes() as epoch, bytes() as seq, bytes() as last]:
            if 0 < len(epoch) <= _MOST_EPOCH and seq.isdigit() and len(last) in (0, _ID_LENGTH):
                return epoch.decode("ascii"), int(seq), last.decode("ascii")
        case _:
            pass
    raise MalformedError
