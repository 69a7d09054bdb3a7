"""
Which node of a Cluster serves a name, without any I/O.

A Cluster has 16,384 slots; a name lies in the slot of its tag, the part between
the first braces (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/,
"Hash tags"). Each run of slots has one master at a time.
"""

from __future__ import annotations

from binascii import crc_hqx
from functools import lru_cache
from typing import Final, cast, final

from .jobs import MalformedError

__all__ = ("SlotMap", "slot_of")

SLOTS: Final = 16_384
_PORTS: Final = range(1, 65_536)
_MOST_TAGS: Final = 1_024
"""Tags that are remembered; an application has 257."""


def slot_of(name: str, /) -> int:
    """Return the slot of a key or channel that has a tag, as all of ours have."""
    return _slot_of_tag(name[name.index("{") + 1 : name.index("}")])


@lru_cache(maxsize=_MOST_TAGS)
def _slot_of_tag(tag: str) -> int:
    return crc_hqx(tag.encode(), 0) % SLOTS  # CRC-16/XMODEM, as the specification has it


@final
class SlotMap:
    """
    What a node said of who serves which slots. A value.

    Args:
        ranges: First slot, last slot, host, port.
    """

    __slots__ = ("_ranges",)

    def __init__(self, ranges: tuple[tuple[int, int, str, int], ...] = ()) -> None:
        self._ranges = ranges

    def find(self, slot: int, /) -> tuple[str, int] | None:
        """Return host and port of the master of *slot*; None where nobody serves it."""
        for first, last, host, port in self._ranges:
            if first <= slot <= last:
                return host, port
        return None

    @property
    def masters(self) -> frozenset[tuple[str, int]]:
        """All who serve a slot."""
        return frozenset((host, port) for _, _, host, port in self._ranges)

    @classmethod
    def parse(cls, reply: object, asked: str, /) -> SlotMap:
        """
        Read the answer to ``CLUSTER SLOTS``.

        Args:
            reply: For each run of slots: first, last, the master, replicas; of a node host, port and more.
            asked: The host that said so: a node that does not know its own name leaves it out.

        Raises:
            MalformedError: It has another form.
        """
        if type(reply) is not list:
            raise MalformedError
        return cls(tuple(_range(one, asked) for one in cast("list[object]", reply)))


def _range(one: object, asked: str) -> tuple[int, int, str, int]:
    match _list(one):
        case [int(first), int(last), master, *_] if 0 <= first <= last < SLOTS:
            match _list(master):
                case [None | b"", int(port), *_] if port in _PORTS:
                    return first, last, asked, port
                case [bytes() as host, int(port), *_] if port in _PORTS:
                    return first, last, str(host, "ascii", "replace"), port
                case _:
                    pass
        case _:
            pass
    raise MalformedError


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if type(value) is list else []
