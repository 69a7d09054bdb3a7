"""
What the endpoints that give connect tickets share: one request in, one answer out.

Rule 1: who asks is found by the application's own ``authenticate``, and never by a ticket: a ticket that bought the
next one would have no end. Rule 2: only a POST, and only from a page that may connect, gets one; so no other site
takes tickets in a user's name. Rule 3: the answer is stored nowhere on its way.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, final

import attrs
import msgspec

from ..door import check_door
from ..errors import AccessError, EngineUnavailableError, ForbiddenError, RateLimitedError
from ..forwarded import Unreadable
from ..oplog import report
from ..serving import Authenticate, identify

if TYPE_CHECKING:
    from ..credentials.tickets import Tickets
    from ..factory import ManagerFactory
    from ..handshake import Handshake

_ALWAYS: Final = {"Cache-Control": "no-store", "Content-Type": "application/json"}
_RETRY: Final = {"Retry-After": "1"}


@final
@attrs.frozen(repr=False)
class Answer:
    """An HTTP answer: status, headers, and a body of JSON. Not shown: it may hold the ticket."""

    status: int
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Answer({self.status})"


async def issued(
    handshake: Handshake, factory: ManagerFactory, authenticate: Authenticate, tickets: Tickets, /
) -> Answer:
    """
    Return the answer to a POST that asks for a ticket: 200, or 400, 401, 403, 429, 503.

    Raises:
        Exception: Whatever else ``authenticate`` raises.
    """
    try:
        handshake = factory.see_through(handshake)
    except Unreadable as error:
        return _refused(400, str(error), handshake)
    refusal = check_door(handshake, factory.settings)
    if refusal is not None:
        return _refused(refusal.status, refusal.problem, handshake)
    if handshake.ticket is not None:
        return _refused(401, "a ticket, where another credential is due", handshake)
    try:
        context = await identify(handshake, factory, authenticate, "ticket()")
        ticket = await tickets.issue(context, origin=handshake.origin)
    except AccessError as error:
        # identify() has logged it.
        return _answer(403 if isinstance(error, ForbiddenError) else 401)
    except (RateLimitedError, EngineUnavailableError) as error:
        return _refused(429 if isinstance(error, RateLimitedError) else 503, str(error), handshake)
    body = msgspec.json.encode({"ticket": ticket.value, "seconds": ticket.seconds})
    return Answer(200, _ALWAYS, body)


def _refused(status: int, problem: str, handshake: Handshake) -> Answer:
    report(
        logging.WARNING,
        "ticket refused",
        status=status,
        problem=problem,
        path=handshake.path,
        sources=",".join(handshake.credential_sources()),
        client=handshake.client,
    )
    return _answer(status)


def _answer(status: int) -> Answer:
    more = {401: {"WWW-Authenticate": "Bearer"}, 429: _RETRY, 503: _RETRY}.get(status, {})
    return Answer(status, _ALWAYS | more, b"{}")
