"""
From handshake to session: what every adapter does, once.

Rule 1: the door, the room and the credential are decided in this order, and
nothing of a user exists before ``authenticate`` has returned its context.
Rule 2: a refusal that the client can act on is accepted, said as goodbye, then
closed with its code, because a browser cannot read the status of a failed
handshake; who may not even knock gets a status instead. Rule 3: no way out of
here is silent, cancellation included.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from . import closing
from .closing import CloseCode
from .context import UserExecutionContext, require_context
from .door import Refusal, check_door
from .errors import AccessError, ContextError, IsolationError, PeerError, UnauthenticatedError
from .frames import Goodbye
from .handshake import Handshake, choose_subprotocol
from .ids import new_incident_id
from .oplog import report
from .wire import DEFAULT_WIRE, SUBPROTOCOL, Wire

if TYPE_CHECKING:
    from .factory import ManagerFactory
    from .session import Handler
    from .stream import Start
    from .typing import Transport

__all__ = ("Authenticate", "Opening", "identify", "serve_opening")

Authenticate: TypeAlias = Callable[[Handshake], Awaitable[UserExecutionContext | None]]
"""
The application's own check of a credential.

Returns the context, or refuses: ``UnauthenticatedError`` or None → 4001,
``ForbiddenError`` → 4003, ``ExpiredError`` → 4101. Anything else that it raises
→ 4300, since then the client's credential is not at fault.
"""

_RETRY_AFTER: Final = 1
"""Seconds in the Retry-After of a 503; clients spread themselves with jitter."""


class Opening(Protocol):
    """A handshake that is not answered yet, as an adapter gives it."""

    @property
    def handshake(self) -> Handshake:
        """What the client said."""
        ...

    async def accept(self, subprotocol: str | None, /) -> Transport:
        """
        Accept the socket, answering *subprotocol*, and return it.

        Raises:
            TransportClosedError: The client is gone.
        """
        ...

    async def refuse(self, status: int, retry_after: int | None, /) -> None:
        """Answer with an HTTP status instead, as well as the server below can."""
        ...


class _Denied(Exception):  # noqa: N818  # a decision, never seen outside this module
    """The client is accepted only to be told *code*."""

    def __init__(self, code: CloseCode, why: str, cause: BaseException | None = None) -> None:
        super().__init__(code, why)
        self.code = code
        self.why = why
        self.cause = cause


async def serve_opening(
    opening: Opening,
    factory: ManagerFactory,
    authenticate: Authenticate,
    handler: Handler | None,
    wire: Wire = DEFAULT_WIRE,
) -> None:
    """
    Answer a handshake and run its session to the end.

    Returns when the socket is closed, whatever happened; what went wrong is in
    the log. Cancelling it closes the socket first.
    """
    refusal = check_door(opening.handshake, factory.settings)
    if refusal is None and not factory.begin_handshake():
        refusal = Refusal(503, "no room, or a drain goes on")
    if refusal is not None:
        await _refuse(opening, factory, refusal)
        return
    pending = True
    try:
        subprotocol, spoken = choose_subprotocol(opening.handshake.subprotocols, wire.subprotocol)
        try:
            if not spoken:
                raise _Denied(closing.SUBPROTOCOL, "none of the offered subprotocols is spoken here")
            start, context = await _admit(opening.handshake, factory, authenticate)
        except _Denied as denied:
            await _tell(opening, factory, wire, subprotocol, denied)
            return
        transport = await opening.accept(subprotocol)
        enforce = subprotocol == SUBPROTOCOL
        session = factory.open_session(
            context, transport, wire=wire, start=start, handshake=opening.handshake, enforce_pongs=enforce
        )
        pending = False
        factory.end_handshake()
        await session.serve(handler)
    except asyncio.CancelledError:
        if pending:
            await _cancelled(opening)
        raise
    except IsolationError as error:
        report(logging.INFO, "handshake ended", error=error, path=opening.handshake.path)
    finally:
        if pending:
            factory.end_handshake()


async def identify(
    handshake: Handshake, factory: ManagerFactory, authenticate: Authenticate, caller: str
) -> UserExecutionContext:
    """
    Run ``authenticate`` within its deadline and pass the gate.

    Raises:
        AccessError: It refused.
        ContextError: It returned something that is no intact context.
        TimeoutError: It took longer than ``Settings.auth_seconds``.
        Exception: Whatever else it raised.
    """
    async with asyncio.timeout(factory.settings.auth_seconds):
        context = await authenticate(handshake)
    if context is None:
        detail = "authenticate() returned None"
        raise UnauthenticatedError(detail)
    return require_context(context, caller=caller)


async def _admit(
    handshake: Handshake, factory: ManagerFactory, authenticate: Authenticate
) -> tuple[Start, UserExecutionContext]:
    try:
        start = handshake.start
        context = await identify(handshake, factory, authenticate, "serve()")
    except (AccessError, PeerError, ContextError) as error:
        why = "refused by authenticate" if isinstance(error, AccessError) else "rejected"
        raise _Denied(closing.code_of(error.close_code), why, error) from None
    except Exception as error:  # noqa: BLE001  # whatever authenticate raises is not the client's fault
        raise _Denied(closing.INTERNAL_ERROR, "authenticate failed", error) from None
    if context.is_expired(factory.utc_now()):
        raise _Denied(closing.TOKEN_EXPIRED, "authenticate returned an expired context")
    if not factory.has_room(context):
        raise _Denied(closing.CONNECTION_LIMIT, "the identity has as many sessions as it may have")
    return start, context


async def _refuse(opening: Opening, factory: ManagerFactory, refusal: Refusal) -> None:
    factory.count_refusal(refusal.status)
    report(
        logging.WARNING,
        "handshake refused",
        status=refusal.status,
        problem=refusal.problem,
        path=opening.handshake.path,
        origin=opening.handshake.origin,
        client=opening.handshake.client,
    )
    await opening.refuse(refusal.status, _RETRY_AFTER if refusal.status == 503 else None)


async def _tell(
    opening: Opening, factory: ManagerFactory, wire: Wire, subprotocol: str | None, denied: _Denied
) -> None:
    """Accept, say goodbye, close: within ``Settings.close_seconds``, whatever the peer does."""
    code = denied.code
    incident = new_incident_id()
    ours = code.action == "back_off"
    factory.count_refusal(code.code)
    report(
        logging.ERROR if ours else logging.WARNING,
        f"handshake ended: {denied.why}",
        # A refusal is the ordinary business of authenticate: its text, no traceback. A failure is not.
        error=denied.cause if ours else None,
        refusal=None if denied.cause is None or ours else str(denied.cause),
        code=code.code,
        incident_id=incident,
        path=opening.handshake.path,
        sources=",".join(opening.handshake.credential_sources()),
        client=opening.handshake.client,
    )
    shown_incident = incident if ours else ""
    wait = closing.retry_after(code, None)
    transport: Transport | None = None
    try:
        async with asyncio.timeout(factory.settings.close_seconds):
            transport = await opening.accept(subprotocol)
            text = wire.control(Goodbye(code=code, incident_id=shown_incident))
            if text is not None:
                await transport.send(text)
            await transport.close(code.code, closing.reason(code, incident_id=shown_incident, retry_after_ms=wait))
    except Exception as error:  # noqa: BLE001  # a peer that is gone or stalled; the refusal stands either way
        report(logging.INFO, "the refusal could not be told", error=error, incident_id=incident)
        if transport is not None:
            transport.abort()


async def _cancelled(opening: Opening) -> None:
    # The server is going away, or the peer left: one try to answer, bounded by the caller's own cancellation.
    try:
        async with asyncio.timeout(1):
            await asyncio.shield(opening.refuse(503, _RETRY_AFTER))
    except Exception as error:  # noqa: BLE001
        report(logging.INFO, "a cancelled handshake could not be answered", error=error)
