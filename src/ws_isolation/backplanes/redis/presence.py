"""
``Presence`` on the engine: leases that somebody signed who has a key.

Rule 1: the engine decides in one step who comes and who goes, by entries that
this process believes. Rule 2: what nobody signed takes nobody's place, ends no
session and is not told as present; it is counted, and removed by whoever enters
at the limit. Rule 3: each renewal writes the lease anew, so what somebody did to
it, or a key that has gone, is made up for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

from ...errors import EngineUnavailableError
from ..base import Lease
from .jobs import MalformedError
from .lease_scripts import ENTER, LEAVE, PRESENT, RENEW
from .letters import Signal
from .records import milliseconds
from .tickets import TicketRecords

if TYPE_CHECKING:
    from ...keys import Identity

__all__ = ("Presence",)

_LOOKS: Final = 200
"""How often one who enters looks at what stands there, 1,000 entries each time."""
_RENEWALS: Final = 3
"""How often a lease is taken again that somebody forges to be gone, in one renewal."""
_UNBELIEVED: Final = "no lease that somebody signed who has a key"

_Pairs = list[tuple[str, str]]


class Presence(TicketRecords):
    """``Presence``, for a backplane that has the rest."""

    async def enter(
        self, lease: Lease, /, *, most: int | None, replace: bool, seconds: float
    ) -> tuple[str, ...] | None:
        """Do the same as ``Presence.enter()``."""
        whose = lease.identity
        keys = self._names.leases(whose)
        limit = "" if most is None else most
        words = (*self._entry(lease), limit, int(replace), milliseconds(seconds))
        verdicts: list[bytes | str] = []
        for _ in range(_LOOKS):
            gone = await self._ask("enter()", ENTER, keys, (*words, *verdicts), _decided)
            if not isinstance(gone, list):
                break
            for connection_id, value in gone:
                is_ours = self._read_lease(whose, connection_id, value) is not None
                taken = self._letters.seal(whose, "gone", connection_id) if is_ours and replace else ""
                verdicts += (_bytes(connection_id), _bytes(value), "1" if is_ours else "0", taken)
        else:
            call, state = "enter()", "more stands where leases are than can be looked at; nobody was let in"
            raise EngineUnavailableError(call, state)
        for connection_id in gone or ():
            signal = Signal("replaced", connection_id)
            self._signal(whose, signal)
            channel = self._names.stream(whose)[2]
            self._tell("replaced()", channel, (self._say, channel, self._letters.say(whose, signal)))
        return gone

    async def renew(self, leases: Sequence[Lease], /, *, seconds: float) -> tuple[str, ...]:
        """Do the same as ``Presence.renew()``."""
        by_identity: dict[Identity, list[Lease]] = {}
        for lease in leases:
            by_identity.setdefault(lease.identity, []).append(lease)
        replies = await asyncio.gather(*(self._renew(some, milliseconds(seconds)) for some in by_identity.values()))
        return tuple(one for reply in replies for one in reply)

    async def _renew(self, leases: list[Lease], span: int) -> list[str]:
        """Renew the leases of one identity, and return which of them are gone."""
        whose = leases[0].identity
        left = {lease.connection_id: (lease, "") for lease in leases}
        gone: list[str] = []
        for _ in range(_RENEWALS):
            words = [word for lease, forged in left.values() for word in (*self._entry(lease), _bytes(forged))]
            said = await self._ask("renew()", RENEW, self._names.leases(whose), (span, *words), _pairs)
            forged = dict[str, tuple[Lease, str]]()
            for connection_id, value in said:
                signature = value.removeprefix("gone ")
                if connection_id in left and self._letters.is_sealed(signature, whose, "gone", connection_id):
                    gone.append(connection_id)
                elif connection_id in left:
                    self._refuse(_UNBELIEVED)
                    forged[connection_id] = (left[connection_id][0], value)
            left = forged
            if not left:
                break
        return gone

    def leave(self, lease: Lease, /) -> None:
        """Do the same as ``Presence.leave()``."""
        keys = self._names.leases(lease.identity)
        self._tell("leave()", keys[0], ("EVALSHA", LEAVE.sha, 2, *keys, lease.connection_id))

    async def present(self, identity: Identity, /) -> tuple[Lease, ...]:
        """Do the same as ``Presence.present()``."""
        said = await self._ask("present()", PRESENT, self._names.leases(identity), (), _pairs)
        found = [self._read_lease(identity, connection_id, value) for connection_id, value in said]
        there = sorted((one for one in found if one is not None), key=lambda one: (one[0].since, one[1]))
        return tuple(lease for lease, _ in there)

    def _entry(self, lease: Lease) -> tuple[str, str, str]:
        since = repr(lease.since)
        return lease.connection_id, since, self._letters.seal(lease.identity, "lease", lease.connection_id, since)

    def _read_lease(self, identity: Identity, connection_id: str, value: str) -> tuple[Lease, int] | None:
        """Return a lease and its number; None, and count it, where nobody signed it who has a key."""
        match value.split(" "):
            case [since, number, signature] if number.isdecimal() and self._letters.is_sealed(
                signature, identity, "lease", connection_id, since
            ):
                return Lease(identity, connection_id, float(since)), int(number)
            case _:
                self._refuse(_UNBELIEVED)
                return None


def _text(one: object) -> str:
    if type(one) is not bytes:
        raise MalformedError
    return str(one, "utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    """Return what ``_text()`` was made of: somebody else's need not be text."""
    return text.encode("utf-8", "surrogateescape")


def _pairs(reply: object) -> _Pairs:
    if type(reply) is not list:
        raise MalformedError
    texts = [_text(one) for one in cast("list[object]", reply)]
    return list(zip(texts[::2], texts[1::2], strict=True))


def _decided(reply: object) -> tuple[str, ...] | _Pairs | None:
    """Return who has to go; None where there is no room; or, as a list, what is to be looked at first."""
    if reply == 0:
        return None
    if type(reply) is not list:
        raise MalformedError
    items = cast("list[object]", reply)
    if items and type(items[0]) is list:
        return [pair for item in items for pair in _pairs(item)]
    return tuple(_text(one) for one in items)
