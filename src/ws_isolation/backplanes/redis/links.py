"""
The links of one process to the nodes of a Cluster, taken together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from .link import Link
    from .opening import Checked
    from .pending import Job

__all__ = ("Links", "Node")

Node = tuple[str, int]
"""Host and port."""


@final
class Links(dict[Node, "Link"]):
    """By node: one for each master, and for each that was asked on a slot's way."""

    __slots__ = ("_ended",)

    def __init__(self) -> None:
        super().__init__()
        self._ended = 0
        """Connections of links that are no more."""

    @property
    def have_connected(self) -> bool:
        """Whether each is up, or has had no time to fail."""
        return all(link.is_up or not link.problem for link in self.values())

    @property
    def problem(self) -> str:
        """Why there is no connection to one of them."""
        return next((link.problem for link in self.values() if link.problem), "")

    @property
    def doubtful(self) -> list[Node]:
        """Those that cannot be spoken to."""
        return [node for node, link in self.items() if link.problem]

    @property
    def checked(self) -> Checked | None:
        """What one of the nodes said of itself; the first that has something to say."""
        said = [link.checked for link in self.values() if link.checked is not None]
        return next((one for one in said if one.notes), said[0] if said else None)

    @property
    def waiting(self) -> int:
        """How many calls wait for the engine."""
        return sum(link.waiting for link in self.values())

    @property
    def listening(self) -> int:
        """How many identities are listened to."""
        return sum(link.listening for link in self.values())

    @property
    def connections(self) -> int:
        """How many connections were made, by those that are no more as well."""
        return self._ended + sum(link.connections for link in self.values())

    def host_of(self, link: Link, /) -> str:
        """Return the host that *link* goes to."""
        return next((host for (host, _), one in self.items() if one is link), "")

    def outstanding(self) -> Iterator[Job]:
        """Yield what is not answered yet."""
        for link in tuple(self.values()):
            yield from link.outstanding()

    def take(self, node: Node, /) -> Link:
        """Take off the link to *node*."""
        link = self.pop(node)
        self._ended += link.connections
        return link
