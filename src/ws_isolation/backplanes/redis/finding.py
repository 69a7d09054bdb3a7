"""
Asking Sentinels who the master is, and a Cluster who serves what.

Rule 1: whoever answers is believed in where a server is, and in nothing else:
what is found has to be as safe to speak to as what was named. Rule 2: one that
does not answer goes to the end of the row.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeVar, final

from .jobs import MalformedError
from .line import Line
from .opening import asking, greeted
from .slots import SlotMap

if TYPE_CHECKING:
    from .address import Address
    from .where import Where

__all__ = ("Finder", "NotFoundError")

_T = TypeVar("_T")

_PORT_RANGE: Final = range(1, 65_536)


class NotFoundError(ConnectionError):
    """Nobody says where the engine is. Says so in words for the operator."""


@final
class Finder:
    """
    Lives as long as the connections that it finds servers for.

    Args:
        where: What the application named.
        require_safe: Raises ``SettingsError`` where an address may not be spoken to.
        seconds: How long one of those who are asked may take.
    """

    def __init__(self, where: Where, require_safe: Callable[[Address], None], seconds: float) -> None:
        self._where = where
        self._require_safe = require_safe
        self._seconds = seconds
        self._row = deque(where.seeds)

    async def server(self) -> Address:
        """
        Return the one server, or the master as the Sentinels know it now.

        Raises:
            NotFoundError: No Sentinel knows it.
            SettingsError: It may not be spoken to as it would have to be.
        """
        if self._where.kind == "server":
            return self._where.node
        host, port = await self._ask(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._where.master), self._row, _place)
        found = self._where.at(host, port)
        self._require_safe(found)
        return found

    async def slots(self, trusted: Iterable[tuple[str, int]], doubtful: Iterable[tuple[str, int]], /) -> SlotMap:
        """
        Return who serves what.

        Args:
            trusted: Nodes that were found before, and can be spoken to.
            doubtful: Those that cannot: one that is cut off may still answer with what was. They are asked last, after
                the nodes that the application named.

        Raises:
            NotFoundError: No node of the Cluster answers.
        """
        last = [self._where.at(host, port) for host, port in doubtful]
        row = deque(self._where.at(host, port) for host, port in trusted)
        row.extend(address for address in self._row if address not in row and address not in last)
        row.extend(last)
        return await self._ask(("CLUSTER", "SLOTS"), row, lambda reply, asked: SlotMap.parse(reply, asked.host))

    def node(self, host: str, port: int, /) -> Address:
        """
        Return the address of a node of the Cluster.

        Raises:
            SettingsError: It may not be spoken to as it would have to be.
        """
        found = self._where.at(host, port)
        self._require_safe(found)
        return found

    async def _ask(self, words: tuple[str, ...], row: deque[Address], read: Callable[[object, Address], _T]) -> _T:
        """Return what the first one says whose answer can be read."""
        for _ in range(len(row)):
            address = row[0]
            try:
                async with asyncio.timeout(self._seconds):
                    return read(await _answer(address, words), address)
            except Exception:  # noqa: BLE001  # whatever it is, the next one may do
                row.rotate(-1)
        whom = (
            "Sentinel knows a master of this name" if self._where.kind == "sentinel" else "node of the Cluster answers"
        )
        msg = f"no {whom}"
        raise NotFoundError(msg)


def _place(reply: object, _asked: Address) -> tuple[str, int]:
    match reply:
        case [bytes() as host, bytes() as port] if port.isdigit() and int(port) in _PORT_RANGE:
            return str(host, "ascii", "replace"), int(port)
        case _:
            raise MalformedError


async def _answer(address: Address, words: tuple[str, ...]) -> object:
    line = Line(_ignored, lambda: None)
    try:
        ask = await asking(line, address, asyncio.get_running_loop().time)
        await greeted(ask, address)
        reply = await ask(*words)
        if reply is None or reply == []:
            raise MalformedError  # a Sentinel or node that was just started: it knows nobody yet
        return reply
    finally:
        line.abort()


def _ignored(push: list[object]) -> None:
    del push
