"""
Connect tickets: who is known over HTTP gets a word with which one socket opens, once and soon.

A page that logs in over HTTP asks an endpoint for a ticket and connects with it, so no token of the session stands in
an address or a subprotocol. Rule 1: a ticket is 128 random bits, counts once, for seconds, for the context that asked
and from the page that asked. Rule 2: what is kept of it is its hash. Rule 3: a ticket lets somebody in, and is no
credential for another ticket.

Source: OWASP WebSocket Security Cheat Sheet; ASVS 5.0, 4.4.4 and 7.2.3.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final, final

import attrs
import msgspec

from ..clockwork import SystemClock
from ..context import UserExecutionContext, require_context
from ..errors import ContextExpiredError, RateLimitedError, SettingsError, UnauthenticatedError, shown
from ..identifiers import DEFAULT_POLICY, IdPolicy
from ..keys import identity_of
from ..serving import Authenticate
from .ticket_table import MemoryTickets, TicketTable

if TYPE_CHECKING:
    from ..handshake import Handshake
    from ..typing import Clock

__all__ = ("Ticket", "TicketAuthenticate", "Tickets")

_BYTES: Final = 16
"""128 bits: ASVS 5.0, 7.2.3."""
_FORM: Final = re.compile(r"[A-Za-z0-9_-]{22}")
_MOST_SECONDS: Final = 300.0
_MOST_EACH: Final = 10_000
_MOST_ORIGIN: Final = 300
_NOTHING: Final = msgspec.Raw(b"{}")


@final
@attrs.frozen(repr=False)
class Ticket:
    """
    A ticket on its way to the client. Its ``repr`` does not show it.

    Attributes:
        value: 22 characters of ``A-Za-z0-9_-``.
        seconds: How long it counts.
    """

    value: str
    seconds: float

    def __repr__(self) -> str:
        return f"<ticket for {self.seconds:g} s>"


class _Grant(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Whom a ticket lets in, as it is kept."""

    user_id: str
    ends: float
    tenant_id: str | None = None
    thread_id: str | None = None
    run_id: str | None = None
    expires_at: datetime | None = None
    origin: str | None = None
    claims: msgspec.Raw = _NOTHING


@final
class Tickets:
    """
    Gives tickets out and takes them back. Share one per application, with its factory.

    Args:
        table: Where they wait: this process's memory unless given. A service of several processes hands in its
            ``RedisBackplane``, or a ticket of one process is unknown to the others.
        seconds: How long a ticket counts, 1 to 300 (ASVS: a page connects at once).
        most: How many an identity may be given in that time, used or not, 1 to 10,000: tabs reconnect together.
        policy: Which user and tenant ids the contexts may have.
        clock: Where time comes from; the process's clocks where None.

    Raises:
        SettingsError: An argument is not allowed; says what would be.
    """

    __slots__ = ("_clock", "_most", "_policy", "_seconds", "_table")

    def __init__(
        self,
        table: TicketTable | None = None,
        /,
        *,
        seconds: float = 30.0,
        most: int = 60,
        policy: IdPolicy = DEFAULT_POLICY,
        clock: Clock | None = None,
    ) -> None:
        if type(seconds) not in (int, float) or not 1 <= seconds <= _MOST_SECONDS:
            raise SettingsError(f"seconds={shown(seconds)} must be from 1 to {_MOST_SECONDS:g}")
        if type(most) is not int or not 1 <= most <= _MOST_EACH:
            raise SettingsError(f"most={shown(most)} must be an int from 1 to {_MOST_EACH:,}")
        self._clock: Clock = SystemClock() if clock is None else clock
        self._table: TicketTable = MemoryTickets(clock=self._clock) if table is None else table
        self._seconds = seconds
        self._most = most
        self._policy = policy

    async def issue(self, context: UserExecutionContext, /, *, origin: str | None = None) -> Ticket:
        """
        Return a ticket with which one client may come in as *context*.

        What it opens has the context's identity, thread, run, claims and expiry, and a request id of its own.

        Args:
            context: Exactly a ``UserExecutionContext``, intact.
            origin: The page that may use it, as its browser says it; any client where None.

        Raises:
            ContextTypeError, ContextIntegrityError: As ``ManagerFactory.create_manager()``.
            ContextExpiredError: The context's time is over.
            RateLimitedError: The identity has had as many as it may have, or there is no room; none was made.
            EngineUnavailableError: The engine did not answer; nobody has the ticket.

        Cancelling is safe: nobody has the ticket.
        """
        genuine = require_context(context, caller="issue()")
        now = self._clock.unix()
        if genuine.is_expired(datetime.fromtimestamp(now, UTC)):
            raise ContextExpiredError(genuine.request_id)
        if origin is not None and len(origin) > _MOST_ORIGIN:
            raise UnauthenticatedError(f"an Origin of more than {_MOST_ORIGIN} characters")
        value = secrets.token_urlsafe(_BYTES)
        grant = msgspec.json.encode(_grant(genuine, origin, now + self._seconds))
        whose = identity_of(genuine)
        if not await self._table.put_ticket(_key(value), whose, grant, seconds=self._seconds, most=self._most):
            raise RateLimitedError(f"no more tickets for now: {self._most} in {self._seconds:g} s, or no room")
        return Ticket(value, self._seconds)

    async def redeem(self, value: str, /, *, origin: str | None = None) -> UserExecutionContext:
        """
        Return the context that the ticket lets in. It is used up, also where it is then refused.

        Args:
            value: What the client sent.
            origin: From which page, as its browser says it.

        Raises:
            UnauthenticatedError: It is no ticket, unknown, used, too old, or another page's.
            InvalidContextError: Its context is refused here, by another policy for example.
            EngineUnavailableError: The engine did not answer; the ticket may be used up.
        """
        if _FORM.fullmatch(value) is None:
            raise UnauthenticatedError("the ticket has not the form of one")
        kept = await self._table.take_ticket(_key(value))
        grant = None if kept is None else _read(kept)
        # The time once more: a table may keep for longer than it should, and its clock may stand still.
        if grant is None or self._clock.unix() >= grant.ends:
            raise UnauthenticatedError("the ticket is unknown, used or too old: get a new one for each connection")
        if grant.origin is not None and grant.origin != origin:
            raise UnauthenticatedError("the ticket was given to a page of another origin")
        return UserExecutionContext(
            user_id=grant.user_id,
            tenant_id=grant.tenant_id,
            thread_id=grant.thread_id,
            run_id=grant.run_id,
            expires_at=grant.expires_at,
            claims=msgspec.json.decode(grant.claims),
            policy=self._policy,
        )


@final
class TicketAuthenticate:
    """
    An ``authenticate`` that takes tickets, and leaves whoever has none to another.

    A ticket comes as the subprotocol ``ticket.…``, in a ``ws.auth`` frame, or as the query parameter ``ticket``.

    Args:
        tickets: What gave them out.
        otherwise: Asked where there is no ticket; without one, everybody needs a ticket.
    """

    __slots__ = ("_otherwise", "_tickets")

    def __init__(self, tickets: Tickets, otherwise: Authenticate | None = None, /) -> None:
        self._tickets = tickets
        self._otherwise = otherwise

    async def __call__(self, handshake: Handshake, /) -> UserExecutionContext | None:
        """
        Return the context of the handshake's ticket.

        Raises:
            Exception: As ``Tickets.redeem()``, or whatever the other one raises.
        """
        if handshake.ticket is not None:
            return await self._tickets.redeem(handshake.ticket, origin=handshake.origin)
        if self._otherwise is None:
            raise UnauthenticatedError("no ticket, or several that differ")
        return await self._otherwise(handshake)


def _key(value: str) -> str:
    return sha256(b"ws_isolation ticket v1\n" + value.encode()).hexdigest()


def _grant(context: UserExecutionContext, origin: str | None, ends: float) -> _Grant:
    return _Grant(
        user_id=context.user_id,
        ends=ends,
        tenant_id=context.tenant_id,
        thread_id=context.thread_id,
        run_id=context.run_id,
        expires_at=context.expires_at,
        origin=origin,
        claims=msgspec.Raw(msgspec.json.encode(context.claims)),
    )


def _read(kept: bytes) -> _Grant | None:
    try:
        return msgspec.json.decode(kept, type=_Grant)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
