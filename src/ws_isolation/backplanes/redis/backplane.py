"""
Streams on Redis or Valkey: the same promises for many processes.

Rule 1: what the engine decides, it decides in one script. Rule 2: what this
process publishes is announced to its own listeners by the script's answer: on
one connection, answers and announcements come in the order of the engine, so
nothing is read that this process wrote. Rule 3: what others wrote is checked
before anybody hears of it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl as tls
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, cast, final

from typing_extensions import override

from ...errors import EngineTimeoutError, SettingsError
from ...events.envelope import Envelope, too_large
from ...ids import new_epoch
from ...oplog import report
from ...settings import Settings
from ...stream import Cursor, Page
from .agreement import AGREE_SECONDS, differences, statement
from .cluster import Cluster
from .finding import Finder
from .health import Health
from .jobs import Ask, MalformedError
from .letters import Letters, RefusedError, Signal
from .link import Bounds, Link
from .names import Names
from .opening import POLICY, evicts
from .record_scripts import AGREE
from .records import SCRIPTS
from .scripts import publish_script, read_script
from .tickets import GIVE, TicketRecords
from .where import Where

if TYPE_CHECKING:
    from ...keys import Identity
    from ...stream import Draft, Start
    from ..base import Listener
    from .address import Address
    from .topics import Topics

__all__ = ("RedisBackplane",)

_ID_LENGTH: Final = 36
_MOST_EPOCH: Final = 64
_READ_BYTES: Final = 8_388_608
"""Of histories that are on their way together: an engine cuts subscribers at 32 MiB, and those at 8 MiB for 60 s."""
_MOST_READERS: Final = 64


@final
class RedisBackplane(TicketRecords):
    """
    The streams of all processes that are given the same engine, application name and keys.

    Making it is configuration and nothing else: it may stand at module level.
    It connects by its first use, in whatever event loop that is.

    Args:
        url: ``redis://user:password@host:port/database``, ``rediss://`` (TLS) or ``unix:///path?db=0``;
            ``redis+sentinel://host1:26379,host2:26379/master/database`` or ``redis+cluster://host1:6379,host2:6379``.
        settings: The bounds of streams; those of the factory.
        keys: Secrets of at least 32 bytes that every process has, the newest first.
        app: The application's name on the engine: 1 to 32 of ``a-z0-9_.-``.
        answer_seconds: An engine that takes longer to answer loses the connection.
        send_seconds: How long one call waits for the engine in all.
        ssl: For ``rediss``; Python's default context where None.
        allow_plain: Speak to another machine without TLS.
        allow_unsigned: Work without keys: whoever can write to the engine can speak as any user's agent.

    Raises:
        SettingsError: An argument is not allowed; says what would be.
    """

    def __init__(
        self,
        url: str,
        settings: Settings | None = None,
        /,
        *,
        keys: Sequence[bytes] = (),
        app: str = "ws",
        answer_seconds: float = 2.0,
        send_seconds: float = 5.0,
        ssl: tls.SSLContext | None = None,
        allow_plain: bool = False,
        allow_unsigned: bool = False,
    ) -> None:
        bounds = Settings() if settings is None else settings
        self._where = where = Where.parse(url, ssl)
        self._require_safe = partial(_require_safe, is_signed=bool(keys), plain=allow_plain, unsigned=allow_unsigned)
        for address in where.seeds:
            self._require_safe(address)
        self._bounds = Bounds(answer_seconds, send_seconds)
        self._keys = tuple(keys)
        self._event_bytes = bounds.event_bytes
        self._letters = Letters("", self._keys, bounds.event_bytes)
        self._names = Names(app, where.node.database)
        self._say = "SPUBLISH" if where.kind == "cluster" else "PUBLISH"
        self._publish = publish_script(bounds, self._say)
        self._read = read_script(bounds)
        self._readers = max(1, min(_MOST_READERS, _READ_BYTES // max(1, bounds.window_bytes)))
        self._reading = asyncio.Semaphore(self._readers)
        self._statement = statement(bounds)
        self._differences: tuple[str, ...] = ()
        self._link: Link | Cluster | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refused = 0

    def __repr__(self) -> str:
        return f"<RedisBackplane at {self._where!r}>"

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
                "EVALSHA", sha, 3, top, window, channel,
                node, parts.head, parts.tail, seal, draft.id, draft.event_bytes, kind,
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

    async def close(self) -> None:
        """Do the same as ``Closing.close()``: nothing while somebody listens."""
        link = self._link
        if link is not None and not link.listening:
            self._link = None
            await link.close()

    def health(self) -> Health:
        """Return how the engine is doing, for a readiness probe and for metrics; asks nobody."""
        link = self._link
        if link is None:
            return Health(is_up=False, refused=self._refused)
        checked = link.checked
        return Health(
            is_up=link.is_up,
            problem=link.problem,
            server="" if checked is None else checked.server,
            notes=self.notes(),
            listening=link.listening,
            waiting=link.waiting,
            connections=link.connections,
            refused=self._refused,
        )

    def notes(self) -> tuple[str, ...]:
        """Do the same as ``Noting.notes()``."""
        checked = None if self._link is None else self._link.checked
        return (*(() if checked is None else checked.notes), *self._differences)

    def look(self, link: Link, /) -> None:
        """See whether the engine still keeps what it has, and whether all processes are set alike."""
        self._tell("look()", "", POLICY, partial(_look_at_policy, link), at=link)
        said, key = self._letters.vouch(self._statement), self._names.agreement
        self._tell("look()", key, ("EVALSHA", AGREE.sha, 1, key, said, AGREE_SECONDS * 1_000), self._agree)

    def _agree(self, reply: object) -> None:
        others = [one for one in cast("list[object]", reply) if isinstance(one, bytes)] if type(reply) is list else []
        found = differences(self._statement, others, self._letters)
        if found != self._differences:
            self._differences = found
            report(logging.WARNING, "processes are not set alike", problem="; ".join(found) or "they are again")

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

    @override
    def _refuse(self, problem: str) -> None:
        self._refused += 1
        report(logging.ERROR, "security: refused what stood on the bus", problem=problem, count=self._refused)

    @override
    def _connected(self) -> Link | Cluster:
        loop = asyncio.get_running_loop()
        if self._link is None or self._loop is not loop:
            # A name for each link, not for each object: one that was made before a fork serves several processes, and
            # each passes over what it takes for its own.
            self._letters = Letters(new_epoch(), self._keys, self._event_bytes)
            if self._loop is not loop:
                self._reading = asyncio.Semaphore(self._readers)
            self._loop = loop
            finder = Finder(self._where, self._require_safe, self._bounds.answer_seconds / 2)
            if self._where.kind == "cluster":
                self._link = Cluster(finder, self._bounds, self._link_to)
            else:
                self._link = self._made(finder.server, None)
        return self._link

    def _link_to(self, address: Address, nodes: Cluster) -> Link:
        """Return a link to one node of a Cluster."""

        async def locate() -> Address:
            return address

        return self._made(locate, nodes)

    def _made(self, locate: Callable[[], Awaitable[Address]], nodes: Cluster | None) -> Link:
        pulse = self._names.pulse(self._letters.node)
        scripts = (self._publish, self._read, GIVE, *SCRIPTS)
        return Link(locate, self._bounds, scripts=scripts, pulse=pulse, owner=self, nodes=nodes)


def _look_at_policy(link: Link, reply: object) -> None:
    if evicts(reply):
        link.drop("EVICTS")  # whoever connects finds out, and says so


def _place(reply: object) -> tuple[str, int, str]:
    """Return epoch, seq and id out of what a script returned."""
    match reply:
        case [bytes() as epoch, bytes() as seq, bytes() as last]:
            if 0 < len(epoch) <= _MOST_EPOCH and seq.isdigit() and len(last) in (0, _ID_LENGTH):
                return epoch.decode("ascii"), int(seq), last.decode("ascii")
        case _:
            pass
    raise MalformedError


def _require_safe(address: Address, *, is_signed: bool, plain: bool, unsigned: bool) -> None:
    if address.is_local:
        return
    if address.tls is None and not plain:
        msg = "the engine is on another machine: use rediss://, or set allow_plain=True where the network is trusted"
        raise SettingsError(msg)
    if not is_signed and not unsigned:
        msg = (
            "the engine is on another machine: give every process the same secret, "
            "RedisBackplane(url, keys=(secret,)) of 32 bytes or more, or set allow_unsigned=True"
        )
        raise SettingsError(msg)
