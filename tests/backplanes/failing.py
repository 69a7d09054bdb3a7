"""
An engine that fails as real ones do: it loses its last entries, and announcements get lost, repeated and late.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import attrs

from tests.shell import note
from ws_isolation.backplanes.base import Listener
from ws_isolation.events import Envelope
from ws_isolation.keys import Identity
from ws_isolation.stream import NIL_ID, Draft, Limits, Page, Start, Stream
from ws_isolation.streams import LiveStream

TIME: Final = "2026-11-22T21:09:00.123456Z"


@attrs.define
class FailingEngine:
    """
    One stream, kept by an engine whose replica may lag.

    Nothing is announced by itself: ``announce`` lets the oldest waiting announcement out. What was sent has a number,
    its value, by which a test finds it again, whatever became of its place.
    """

    identity: Identity
    stream: Stream = attrs.field(init=False)
    listeners: list[Listener] = attrs.field(factory=list[Listener])
    waiting: list[Envelope] = attrs.field(factory=list[Envelope])
    """Announcements on the way."""
    ids: int = 0
    failed: bool = False
    """Whether it was ever anything but sound: lost what it had stored."""
    copied: int = 0
    """Entries that the replica has."""

    def __attrs_post_init__(self) -> None:
        self.stream = Stream(self.identity, "epoch-1", Limits())

    def append(self, number: int) -> Envelope:
        """
        Store an event and put its announcement on the way.
        """
        self.ids += 1
        draft = Draft(event=note(number), owner=self.identity, id=f"{self.ids:036d}", time=TIME)
        envelope = self.stream.append(draft, 0.0)
        self.waiting.append(envelope)
        return envelope

    def fall_back(self, count: int) -> None:
        """
        Lose the last *count* entries, as a lagging replica that is promoted has; their places are given out again.
        """
        kept = self.stream.read("window", 0.0).entries
        left = kept[: max(0, len(kept) - count)]
        self.failed = self.failed or len(left) < len(kept)
        self.stream = Stream(self.identity, "epoch-1", Limits())
        for envelope in left:
            draft = Draft(event=envelope.event, owner=self.identity, id=envelope.id, time=TIME)
            self.stream.append(draft, 0.0)
        assert (left[-1].id if left else NIL_ID) == self.stream.last_id

    def copy(self) -> None:
        """
        Let the replica have one entry more, if there is one.
        """
        self.copied = min(self.copied + 1, len(self.stream))

    def fail_over(self) -> None:
        """
        Promote the replica, as far as it has got; its own replica begins with what it has.
        """
        self.fall_back(len(self.stream) - self.copied)

    def announce(self) -> None:
        """
        Let the oldest announcement out.
        """
        if self.waiting:
            envelope = self.waiting.pop(0)
            for listener in self.listeners:
                listener.arrived(envelope)

    def page(self, start: Start) -> Page:
        """
        Return what is behind *start*.
        """
        return self.stream.read(start, 0.0)


@attrs.define
class LateReader:
    """
    Reads histories when it is told to, not at once.
    """

    engine: FailingEngine
    asked: list[LiveStream] = attrs.field(factory=list[LiveStream])
    held: list[tuple[LiveStream, Page]] = attrs.field(factory=list[tuple[LiveStream, Page]])

    def read_soon(self, live: LiveStream, /) -> None:
        """
        Note that *live* wants to know.
        """
        self.asked.append(live)

    def check_soon(self, live: LiveStream, /) -> None:
        """
        Look at no record.
        """

    def replaced(self, live: LiveStream, connection_id: str, /) -> None:
        """
        End nobody.
        """

    def read(self) -> None:
        """
        Read for all who asked; the answers are on the way then.
        """
        asked, self.asked = self.asked, []
        for live in asked:
            assert live.chain is not None
            self.held.append((live, self.engine.page(live.chain.cursor)))

    def answer(self) -> None:
        """
        Hand over what was read.
        """
        held, self.held = self.held, []
        for live, page in held:
            live.caught_up(page, 300)


Step = Callable[[random.Random, FailingEngine, LateReader], None]


def _drop(dice: random.Random, engine: FailingEngine, _reader: LateReader) -> None:
    if engine.waiting:
        engine.waiting.pop(dice.randrange(len(engine.waiting)))


def _repeat(dice: random.Random, engine: FailingEngine, _reader: LateReader) -> None:
    if engine.waiting:
        engine.waiting.insert(dice.randrange(len(engine.waiting) + 1), dice.choice(engine.waiting))


def _delay(_dice: random.Random, engine: FailingEngine, _reader: LateReader) -> None:
    if engine.waiting:
        engine.waiting.append(engine.waiting.pop(0))


def _announce(_dice: random.Random, engine: FailingEngine, _reader: LateReader) -> None:
    engine.announce()


def _read(_dice: random.Random, _engine: FailingEngine, reader: LateReader) -> None:
    reader.read()


def _answer(_dice: random.Random, _engine: FailingEngine, reader: LateReader) -> None:
    reader.answer()


NETWORK: Final[tuple[Step, ...]] = (_announce, _announce, _announce, _drop, _repeat, _delay, _read, _answer, _answer)
"""What may happen between engine and node."""
