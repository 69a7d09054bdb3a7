"""
Connect tickets on the engine: whichever process gave one out, any of them takes it, once.

Rule 1: a ticket is taken by one command that reads and deletes; asked again after a lost connection, it is gone, and
its client gets another. Rule 2: what a ticket grants is signed, for this very ticket; what somebody else wrote lets
nobody in. Rule 3: the engine has the hash of a ticket, never the ticket.

An engine that fails over to a replica which lags behind may have a ticket again that was taken: for as long as it
would have counted, and for whoever knows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .jobs import Ask, MalformedError
from .letters import RefusedError
from .records import Records
from .scripts import Script

if TYPE_CHECKING:
    from ...keys import Identity

__all__ = ("GIVE", "TicketRecords")

# KEYS: when each that was given ends, by the engine's clock. ARGV: the ticket's hash, milliseconds, most.
GIVE: Final = Script("""
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
""")


class TicketRecords(Records):
    """``TicketTable``, for a backplane that has the rest. How many wait in all is the engine's memory to bound."""

    async def put_ticket(self, key: str, identity: Identity, grant: bytes, /, *, seconds: float, most: int) -> bool:
        """Do the same as ``TicketTable.put_ticket()``."""
        lasts = max(1, int(seconds * 1_000))
        given = await self._ask("put_ticket()", GIVE, (self._names.given(identity),), (key, lasts, most), _number)
        if not given:
            return False
        name, link = self._names.ticket(key), self._connected()
        words = ("SET", name, self._letters.endorse(key, grant), "PX", lasts)
        return await link.do(Ask("put_ticket()", lambda _again: words, _is_ok, link.due(), key=name))

    async def take_ticket(self, key: str, /) -> bytes | None:
        """Do the same as ``TicketTable.take_ticket()``; None as well for what nobody signed who has a key."""
        name, link = self._names.ticket(key), self._connected()
        kept = await link.do(Ask("take_ticket()", lambda _again: ("GETDEL", name), _text, link.due(), key=name))
        if kept is None:
            return None
        try:
            return self._letters.endorsed(key, kept)
        except RefusedError as error:
            self._refuse(f"a ticket: {error}")
            return None


def _number(reply: object) -> int:
    if type(reply) is not int:
        raise MalformedError
    return reply


def _is_ok(reply: object) -> bool:
    if reply != b"OK":
        raise MalformedError
    return True


def _text(reply: object) -> bytes | None:
    if reply is not None and type(reply) is not bytes:
        raise MalformedError
    return reply
