"""
Who listens to which identity on this node, and what the engine has confirmed of it.

Without any I/O: what is to be subscribed to comes out in batches, what the
engine confirms goes in. Rule 1: one subscription for each identity, however
many listen. Rule 2: a listener hears from when the engine has confirmed, not
before. Rule 3: after a lost connection every identity is joined again, and its
listeners are told that they may have missed something.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from ...keys import Identity
    from ..base import Listener

__all__ = ("Topic", "Topics")

BATCH: Final = 500
"""Channels in one command."""


@final
class Topic:
    """One identity that somebody here listens to."""

    __slots__ = ("channel", "identity", "is_asked", "is_heard", "joining", "listeners", "was_heard")

    def __init__(self, identity: Identity, channel: bytes) -> None:
        self.identity: Identity = identity
        self.channel: bytes = channel
        self.listeners: tuple[Listener, ...] = ()
        self.joining: list[tuple[Listener, Callable[[], None]]] = []
        """Those who wait for the engine, and whom to tell."""
        self.is_asked: bool = False
        self.is_heard: bool = False
        self.was_heard: bool = False
        """Whether it was heard on an earlier connection."""


@final
class Topics:
    """All of one node."""

    __slots__ = ("_asks", "_by_channel", "_by_key", "_interrupted", "_leaves", "_unconfirmed")

    def __init__(self) -> None:
        self._by_key: dict[str, Topic] = {}
        self._by_channel: dict[bytes, Topic] = {}
        self._asks: dict[bytes, None] = {}
        self._leaves: dict[bytes, None] = {}
        self._unconfirmed: dict[bytes, int] = {}
        """How often each was asked for without an answer: only the last answer is about the present listeners."""
        self._interrupted: deque[Topic] = deque()

    def __len__(self) -> int:
        """Return how many identities are listened to."""
        return len(self._by_key)

    def find(self, identity: Identity, /) -> Topic | None:
        """Return what is known of *identity*, None where nobody listens."""
        return self._by_key.get(identity.key)

    def by_channel(self, channel: bytes, /) -> Topic | None:
        """Return whose channel it is."""
        return self._by_channel.get(channel)

    def join(self, identity: Identity, channel: bytes, listener: Listener, heard: Callable[[], None], /) -> None:
        """Add *listener*; *heard* is called, perhaps at once, when it misses nothing any more."""
        topic = self._by_key.get(identity.key)
        if topic is None:
            topic = self._by_key[identity.key] = self._by_channel[channel] = Topic(identity, channel)
        if topic.is_heard:
            topic.listeners = (*topic.listeners, listener)
            heard()
            return
        topic.joining.append((listener, heard))
        if not topic.is_asked:
            topic.is_asked = True
            self._leaves.pop(channel, None)
            self._asks[channel] = None

    def leave(self, identity: Identity, listener: Listener, /) -> None:
        """Take this very listener off; harmless when it is not there."""
        topic = self._by_key.get(identity.key)
        if topic is None:
            return
        topic.listeners = tuple(other for other in topic.listeners if other is not listener)
        topic.joining = [(other, heard) for other, heard in topic.joining if other is not listener]
        if not topic.listeners and not topic.joining:
            del self._by_key[identity.key], self._by_channel[topic.channel]
            self._asks.pop(topic.channel, None)
            self._leaves[topic.channel] = None  # also where the engine has not heard of it yet: that does no harm

    def commands(self, *, sharded: bool = False) -> Iterator[tuple[str, list[bytes]]]:
        """
        Yield what is to be said to the engine now, ``SUBSCRIBE`` or ``UNSUBSCRIBE`` with channels; only once.

        Args:
            sharded: ``SSUBSCRIBE`` and ``SUNSUBSCRIBE``, and only channels of one tag together: they have one slot.
        """
        for word, channels in (("UNSUBSCRIBE", self._leaves), ("SUBSCRIBE", self._asks)):
            wanted = list(channels)
            channels.clear()
            if word == "SUBSCRIBE":
                for channel in wanted:
                    self._unconfirmed[channel] = self._unconfirmed.get(channel, 0) + 1
            for group in _by_tag(wanted) if sharded else (wanted,):
                for start in range(0, len(group), BATCH):
                    yield f"S{word}" if sharded else word, group[start : start + BATCH]

    @property
    def has_commands(self) -> bool:
        """Whether something is to be said to the engine."""
        return bool(self._asks or self._leaves)

    def confirmed(self, channel: bytes, /) -> None:
        """Hear that the engine has begun to announce what is said on *channel*."""
        more = self._unconfirmed.pop(channel, 1) - 1
        if more:
            self._unconfirmed[channel] = more
        topic = self._by_channel.get(channel)
        if topic is None or topic.is_heard or more or channel in self._asks:
            return  # released, or asked for again, meanwhile
        topic.is_heard = True
        joining, topic.joining = topic.joining, []
        if topic.was_heard and topic.listeners:
            self._interrupted.append(topic)
        topic.was_heard = True
        topic.listeners = (*topic.listeners, *(listener for listener, _ in joining))
        for _, heard in joining:
            heard()

    def lost(self) -> None:
        """Hear that the connection is lost: all is to be asked for again."""
        self._leaves.clear()
        self._unconfirmed.clear()
        self._interrupted.clear()
        self._asks = dict.fromkeys(self._by_channel)
        for topic in self._by_key.values():
            topic.is_heard, topic.is_asked = False, True

    def left(self, channel: bytes, /) -> bool:
        """Hear that the engine does not announce *channel* any more; True where nobody had asked for that."""
        topic = self._by_channel.get(channel)
        if topic is None or not topic.is_heard:
            return False
        topic.is_heard = topic.is_asked = False
        return True

    def give_up(self, wanted: Callable[[str], bool] | None = None, /) -> list[Topic]:
        """Take off, and return, those whose channel *wanted* tells; all where None."""
        topics = [one for one in self._by_key.values() if wanted is None or wanted(one.channel.decode())]
        for topic in topics:
            del self._by_key[topic.identity.key], self._by_channel[topic.channel]
            self._asks.pop(topic.channel, None)
            self._unconfirmed.pop(topic.channel, None)
        return topics

    def adopt(self, topic: Topic, /) -> None:
        """Take what was listened to elsewhere: it is asked for, and its listeners may have missed something."""
        topic.is_heard, topic.is_asked = False, True
        self._by_key[topic.identity.key] = self._by_channel[topic.channel] = topic
        self._leaves.pop(topic.channel, None)
        self._asks[topic.channel] = None

    def ask_again(self) -> None:
        """Ask once more for whatever is not announced: it was refused, or ended."""
        for topic in self._by_key.values():
            if not topic.is_heard:
                topic.is_asked = True
                self._unconfirmed.pop(topic.channel, None)
                self._asks[topic.channel] = None

    @property
    def is_interrupted(self) -> bool:
        """Whether listeners are to be told that they may have missed something."""
        return bool(self._interrupted)

    def interrupted(self, most: int, /) -> int:
        """Tell the listeners of *most* identities that they may have missed something; return how many are left."""
        for _ in range(min(most, len(self._interrupted))):
            for listener in self._interrupted.popleft().listeners:
                listener.interrupted()
        return len(self._interrupted)


def _by_tag(channels: list[bytes]) -> Iterator[list[bytes]]:
    tags: dict[bytes, list[bytes]] = {}
    for channel in channels:
        tags.setdefault(channel.partition(b"}")[0], []).append(channel)
    yield from tags.values()
