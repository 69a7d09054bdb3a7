"""
Streams on Redis or Valkey: the same promises for many processes.

Rule 1: nothing is opened before somebody asks, in whatever event loop that is.
Rule 2: what is closed is ended whole; whoever asks later begins anew, with
another link and under another name.
"""

from __future__ import annotations

import asyncio
import logging
import ssl as tls
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, cast, final

from typing_extensions import override

from ...ids import new_epoch
from ...oplog import report
from ...settings import Settings
from .agreement import AGREE_SECONDS, differences, statement
from .bounds import Bounds
from .cluster import Cluster
from .finding import Finder
from .health import Health
from .lease_scripts import ENTER, LEAVE, PRESENT, RENEW
from .letters import Letters
from .link import Link
from .names import Names
from .opening import POLICY, evicts
from .record_scripts import AGREE, REVOKE
from .safety import require_safe
from .scripts import publish_script, read_script
from .streams import Streams
from .tickets import GIVE
from .where import Where

if TYPE_CHECKING:
    from .address import Address

__all__ = ("RedisBackplane",)

_READ_BYTES: Final = 8_388_608
"""Of histories that are on their way together: an engine cuts subscribers at 32 MiB, and those at 8 MiB for 60 s."""
_MOST_READERS: Final = 64


@final
class RedisBackplane(Streams):
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
        sentinel_login: User and password of the Sentinels, which are not those of the servers in *url*;
            ``("default", password)`` where they have a password alone.
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
        sentinel_login: tuple[str, str] | None = None,
        allow_plain: bool = False,
        allow_unsigned: bool = False,
    ) -> None:
        bounds = Settings() if settings is None else settings
        self._where = where = Where.parse(url, ssl, sentinel_login)
        self._require_safe = partial(require_safe, is_signed=bool(keys), plain=allow_plain, unsigned=allow_unsigned)
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

    async def close(self) -> None:
        """Do the same as ``Closing.close()``: nothing while somebody listens."""
        link = self._present()
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

    @override
    def _refuse(self, problem: str) -> None:
        self._refused += 1
        report(logging.ERROR, "security: refused what stood on the bus", problem=problem, count=self._refused)

    @override
    def _present(self) -> Link | Cluster | None:
        return self._link if self._loop is asyncio.get_running_loop() else None

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
        scripts = (self._publish, self._read, GIVE, REVOKE, ENTER, RENEW, LEAVE, PRESENT, AGREE)
        return Link(locate, self._bounds, scripts=scripts, pulse=pulse, owner=self, nodes=nodes)


def _look_at_policy(link: Link, reply: object) -> None:
    if evicts(reply):
        link.drop("EVICTS")  # whoever connects finds out, and says so
