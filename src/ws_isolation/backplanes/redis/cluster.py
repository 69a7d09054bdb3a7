"""
The links of one process to the nodes of a Cluster: one for each master, and who serves what.

Rule 1: what belongs to an identity has one slot, so it has one link at a time,
and its order is that link's. Rule 2: a node that says that it does not serve a
slot is believed in that: who does is asked for again, and what was sent to it
goes to whoever serves it now, in its order; one that names whom to ask this
once, while a slot is on its way, is believed in that. Rule 3: a slot that has something
on its way to a former node waits until that is answered. Rule 4: whoever is
listened to at another node from now on is read again, as after a lost connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar, cast, final

from ...errors import SettingsError
from ...ids import new_fractions
from .backoff import delay
from .draining import DRAIN_SECONDS, drained
from .links import Links, Node
from .moving import Moving
from .pending import Job, Pending
from .slots import SlotMap, slot_of
from .topics import Topics

if TYPE_CHECKING:
    from .address import Address
    from .bounds import Bounds
    from .finding import Finder
    from .jobs import Ask
    from .link import Link
    from .opening import Checked

__all__ = ("Cluster",)

_T = TypeVar("_T")

_LOOK_SECONDS: Final = 0.1
"""The least time between two questions who serves what, while something has no place."""


@final
class Cluster:
    """
    Lives as long as its event loop needs it; looks for the nodes by the first call.

    Args:
        finder: Asks who serves what.
        bounds: How long and how much waits: of each link, and of what has no link yet.
        make: Makes the link to one node.
    """

    def __init__(self, finder: Finder, bounds: Bounds, make: Callable[[Address, Cluster], Link]) -> None:
        self._loop = asyncio.get_running_loop()
        self._finder = finder
        self._bounds = bounds
        self._make = make
        self._map = SlotMap()
        self._links = Links()
        self._held = Pending(bounds.jobs, bounds.size)
        """What has no node at the moment."""
        self._unsettled: set[int] = set()
        """Slots whose jobs are held, or are still on their way to a former node."""
        self._topics = Topics()
        """What is listened to and has no node at the moment."""
        self._unheard: set[Link] = set()
        """Links whose node does not announce something that it was asked to."""
        self._task: asyncio.Task[None] | None = None
        self._moving = Moving()
        self._is_wanted = False
        """Whether something happened since the last question."""
        self._timer: asyncio.TimerHandle | None = None
        self._problem = ""
        self._look_soon()

    @property
    def is_up(self) -> bool:
        """Whether there is a connection that works to every master."""
        return bool(self._links) and all(link.is_up for link in self._links.values())

    @property
    def problem(self) -> str:
        """Why there is none."""
        return self._problem or self._links.problem

    @property
    def checked(self) -> Checked | None:
        """What one of the nodes said of itself; the first that has something to say."""
        return self._links.checked

    @property
    def waiting(self) -> int:
        """How many calls wait for the engine."""
        return len(self._held) + self._links.waiting

    @property
    def connections(self) -> int:
        """How many connections were made."""
        return self._links.connections

    @property
    def listening(self) -> int:
        """How many identities are listened to."""
        return len(self._topics) + self._links.listening

    def topics_of(self, name: str, /) -> Topics:
        """Return where is noted who listens to the channel of this name."""
        link = self._serving(slot_of(name))
        return self._topics if link is None else link.topics

    def due(self) -> float:
        """Return until when a call that is made now may wait."""
        return self._loop.time() + self._bounds.send_seconds

    async def do(self, job: Ask[_T], /) -> _T:
        """Do the same as ``Link.do()``."""
        link = self._link_for(job)
        if link is not None:
            return await link.do(job)
        self._hold(job)
        return await job.answer

    def add(self, job: Job, /) -> None:
        """Do the same as ``Link.add()``."""
        link = self._link_for(job)
        if link is None:
            self._hold(job)
        else:
            link.add(job)

    def flush_soon(self) -> None:
        """Do the same as ``Link.flush_soon()``."""
        for link in self._links.values():
            if link.topics.has_commands:
                link.flush_soon()
        if len(self._topics):
            self._look_soon()

    def redirected(self, link: Link, job: Job | None, place: Node | None, /) -> None:
        """Do the same as ``Nodes.redirected()``."""
        if job is None:
            self._unheard.add(link)
        elif place is not None and not job.asking and self._is_asked(link, job, place):
            return
        else:
            self._moving.came_back(job)
            self._unsettled.add(slot_of(job.key))
            self._hold(job)
        self._look_soon()

    def _is_asked(self, link: Link, job: Job, place: Node) -> bool:
        """Ask the node that the slot is on its way to; False where that has to wait."""
        node = (place[0] or self._links.host_of(link), place[1])
        if slot_of(job.key) in self._unsettled:
            return False
        try:
            there = self._links.get(node) or self._make(self._finder.node(*node), self)
        except SettingsError as error:
            self._problem = str(error)
            return False
        self._links[node] = there
        if not self._moving.may_go(job, node, self._loop.time()):
            return False
        job.asking = True
        cast("Ask[object]", job).answer.add_done_callback(partial(self._was_done, job))  # what has a key is one
        there.add(job)
        return True

    def _was_done(self, job: Job, _answer: object) -> None:
        if self._moving.done(job) and len(self._held):
            self._settle()

    def lost(self) -> None:
        """Do the same as ``Nodes.lost()``: another node may serve now what it did."""
        self._look_soon()

    async def close(self) -> None:
        """Do the same as ``Link.close()``; what has no node yet is brought to one meanwhile."""
        try:
            if not self.problem:
                await drained(lambda: (*self._held, *self._links.outstanding()), DRAIN_SECONDS, None)
        finally:
            if self._task is not None:
                self._task.cancel()
            if self._timer is not None:
                self._timer.cancel()
            # Each in its own task: they end also where whoever closes is cancelled.
            closing = asyncio.gather(*(link.close(0.0) for link in self._links.values()))
            while (job := self._held.take()) is not None:
                job.expired()
        await closing

    def _serving(self, slot: int) -> Link | None:
        node = self._map.find(slot)
        return None if node is None else self._links.get(node)

    def _link_for(self, job: Job) -> Link | None:
        slot = slot_of(job.key)
        return None if slot in self._unsettled else self._serving(slot)

    def _hold(self, job: Job) -> None:
        if self._held.is_full:
            job.expired()
            return
        self._held.add(job)
        self._look_soon()
        if self._timer is None:
            self._timer = self._loop.call_later(self._bounds.tick_seconds, self._tick)

    def _tick(self) -> None:
        """See that nobody waits too long, and that what was on its way to a former node has come back."""
        for job in self._held.expire(self._loop.time()):
            job.expired()
        self._settle()
        waits = len(self._held) or self._unsettled
        self._timer = self._loop.call_later(self._bounds.tick_seconds, self._tick) if waits else None

    def _look_soon(self) -> None:
        self._is_wanted = True
        if self._task is None:
            self._task = self._loop.create_task(self._look(), name="ws-redis-cluster", context=Context())

    async def _look(self) -> None:
        """Ask who serves what until everything has its place."""
        attempt = 0
        try:
            while self._is_wanted or not self._is_settled():
                self._is_wanted = False
                try:
                    trusted = sorted(self._map.masters.difference(self._links.doubtful))
                    self._learn(await self._finder.slots(trusted, self._links.doubtful))
                    self._problem = ""
                except (OSError, SettingsError) as error:
                    self._problem = str(error)
                await asyncio.sleep(max(_LOOK_SECONDS, delay(attempt, new_fractions(1)[0])))
                attempt += 1
        finally:
            self._task = None

    def _is_settled(self) -> bool:
        has_all = not (len(self._held) or len(self._topics) or self._unsettled or self._problem)
        return has_all and self._links.have_connected

    def _learn(self, found: SlotMap) -> None:
        """
        Take what a node says of all.

        Raises:
            SettingsError: A node may not be spoken to as it would have to be.
        """
        addresses = {node: self._finder.node(*node) for node in found.masters if node not in self._links}
        self._map = found
        self._moving.begin_anew()
        now = self._loop.time()
        for node, address in addresses.items():
            self._links[node] = self._make(address, self)
        for node in [one for one in self._links if one not in found.masters and not self._moving.keeps(one, now)]:
            link = self._links.take(node)
            for topic in link.topics.give_up():
                self._topics.adopt(topic)
            for job in link.retire():
                self._held.add(job)
        self._settle()
        for link in self._unheard:
            link.topics.ask_again()
            link.flush_soon()
        self._unheard.clear()

    def _is_elsewhere(self, node: Node, name: str) -> bool:
        return self._map.find(slot_of(name)) != node

    def _settle(self) -> None:
        """Bring everything to where it belongs now."""
        for node, link in self._links.items():
            for topic in link.topics.give_up(partial(self._is_elsewhere, node)):
                self._topics.adopt(topic)
            for job in link.sift(partial(self._is_elsewhere, node)):
                self._held.add(job)
        for topic in self._topics.give_up(lambda channel: self._serving(slot_of(channel)) is not None):
            self.topics_of(topic.channel.decode()).adopt(topic)
        self._unsettled = {
            slot_of(name)
            for node, link in self._links.items()
            for name in link.flying()
            if self._is_elsewhere(node, name)
        }
        for job in sorted(self._held.take_all(), key=lambda job: job.number):
            job.asking = False
            link_or_none = self._link_for(job)
            if link_or_none is None:
                self._unsettled.add(slot_of(job.key))
                self._held.add(job)
            else:
                link_or_none.add(job)
        self.flush_soon()
