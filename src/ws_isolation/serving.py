"""
From handshake to session: what every adapter does, once.

Rule 1: the door, the room and the credential are decided in this order, and
nothing of a user exists before ``authenticate`` has returned its context.
Rule 2: a refusal that the client can act on is accepted, said as goodbye, then
closed with its code, because a browser cannot read the status of a failed
handshake; who may not even knock gets a status instead. Rule 3: no way out of
here is silent, cancellation included. Rule 4: no code of the application runs
with the context variables that a server or another request left behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from . import closing
from .admission import Admission, Admitted, Denied, Left, awaits_frame
from .auth_frame import AuthWire
from .context import UserExecutionContext, require_context
from .door import Refusal, check_door, is_plain
from .entrance import Entrance
from .errors import (
    AccessError,
    ContextError,
    EngineUnavailableError,
    ExpiredError,
    ForbiddenError,
    PeerError,
    RevokedError,
    TransportClosedError,
    UnauthenticatedError,
    UsageError,
)
from .finishing import finish
from .forwarded import Unreadable
from .handshake import Credential, Handshake, choose_subprotocol
from .networks import source_of
from .oplog import report
from .refusing import NO_ROOM, refuse, tell
from .wire import DEFAULT_WIRE, SUBPROTOCOL, Wire

if TYPE_CHECKING:
    from .factory import ManagerFactory
    from .session import Handler, Session
    from .typing import Transport

__all__ = ("Authenticate", "Opening", "identify", "serve_opening")

Authenticate: TypeAlias = Callable[[Handshake], Awaitable[UserExecutionContext | None]]
"""
The application's own check of a credential.

Returns the context, or refuses: ``UnauthenticatedError`` or None → 4001,
``ForbiddenError`` → 4003, ``ExpiredError`` → 4101. Anything else that it raises
→ 4300, since then the client's credential is not at fault.
"""


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
    # A task for its variables' sake; cancelled, this one cancels that one and waits for it.
    serving = _serve(opening, factory, authenticate, handler, wire)
    await asyncio.create_task(serving, name="ws-serve", context=factory.clean_context())


async def identify(
    handshake: Handshake, factory: ManagerFactory, authenticate: Authenticate, caller: str
) -> UserExecutionContext:
    """
    Run ``authenticate`` within its deadline, with clean context variables, and pass the gate. For adapters.

    A refusal is logged, with the sources of credentials and without their values.

    Raises:
        AccessError: It refused, or returned None or an expired context; or a trusted proxy's header is malformed.
        ContextError: It returned something that is no intact context.
        EngineUnavailableError: The engine does not say whether the identity is revoked.
        TimeoutError: It took longer than ``Settings.auth_seconds``.
        Exception: Whatever else it raised.
    """
    try:
        seen = factory.see_through(handshake)
    except Unreadable as error:
        raise ForbiddenError(str(error)) from error
    identifying = _identify(seen, factory, authenticate, caller)
    try:
        return await asyncio.create_task(identifying, name="ws-identify", context=factory.clean_context())
    except AccessError as error:
        report(
            logging.WARNING,
            f"{caller}: refused by authenticate",
            error=error,
            path=seen.path,
            sources=",".join(seen.credential_sources()),
            client=seen.client,
        )
        raise


async def _serve(
    opening: Opening, factory: ManagerFactory, authenticate: Authenticate, handler: Handler | None, wire: Wire
) -> None:
    try:
        handshake = factory.see_through(opening.handshake)
    except Unreadable as error:
        await refuse(opening.refuse, opening.handshake, factory, Refusal(400, str(error)))
        return
    source = source_of(handshake.client)
    refusal = _knock(handshake, source, factory)
    if refusal is not None:
        await refuse(opening.refuse, handshake, factory, refusal)
        return
    try:
        session = await _open(opening, handshake, factory, authenticate, wire)
    finally:
        factory.end_handshake(source)
    if session is not None:
        session.refresh_by(partial(_refresh, factory, authenticate, handshake))
        await session.serve(handler)


async def _identify(
    handshake: Handshake, factory: ManagerFactory, authenticate: Authenticate, caller: str
) -> UserExecutionContext:
    with factory.span("authenticate"):
        shaken = _with_query_judged(handshake, factory)
        async with asyncio.timeout(factory.settings.auth_seconds):
            context = await authenticate(shaken)
        if context is None:
            detail = "authenticate() returned None"
            raise UnauthenticatedError(detail)
        genuine = require_context(context, caller=caller)
        if genuine.is_expired(factory.utc_now()):
            detail = "authenticate() returned an expired context"
            raise ExpiredError(detail)
        if await factory.bars(genuine):
            detail = "the identity is revoked"
            raise RevokedError(detail)
    return genuine


def _with_query_judged(handshake: Handshake, factory: ManagerFactory) -> Handshake:
    """
    Return the handshake as ``authenticate`` may have it.

    Raises:
        UnauthenticatedError: There is a token in the query, and that is not opted in.
    """
    if not handshake.has_query_token:
        return handshake
    if factory.settings.query_tokens:
        return handshake.with_query_tokens()
    detail = "a token in the query, where logs keep it: send it otherwise, or set Settings.query_tokens"
    raise UnauthenticatedError(detail)


def _knock(handshake: Handshake, source: str | None, factory: ManagerFactory) -> Refusal | None:
    """Decide what needs no credential; None where a place among the pending handshakes was taken."""
    refusal = check_door(handshake, factory.settings)
    if refusal is not None:
        return refusal
    try:
        problem = factory.begin_handshake(source)
    except UsageError as error:
        problem = str(error)
    if problem is not None:
        return Refusal(NO_ROOM, problem)
    if is_plain(handshake):
        factory.warn_plain()
    return None


async def _open(
    opening: Opening, handshake: Handshake, factory: ManagerFactory, authenticate: Authenticate, wire: Wire
) -> Session | None:
    """Return the session, None where the handshake ended otherwise."""
    subprotocol, spoken = choose_subprotocol(handshake.subprotocols, wire.subprotocol)
    pongs = subprotocol == SUBPROTOCOL
    by_frame = False
    outcome: Admitted | Denied = Denied(closing.SUBPROTOCOL, "none of the offered subprotocols is spoken here")
    if spoken:
        try:
            if not await factory.is_ready():
                outcome = Denied(closing.OVERLOADED, "the application is not ready")
            elif not (by_frame := awaits_frame(handshake, factory.settings, wire)):
                outcome = await _admit(handshake, factory, authenticate)
        except asyncio.CancelledError:
            # The server is going away, or its client left: nothing was accepted yet.
            refusal = Refusal(NO_ROOM, "cancelled before it was authenticated")
            await finish(refuse(opening.refuse, handshake, factory, refusal))
            raise
    transport = await _accept(opening, factory, wire, subprotocol)
    if transport is None:
        return None
    if by_frame:
        return await _open_by_frame(handshake, transport, factory, authenticate, wire, enforce_pongs=pongs)
    return await _settle(outcome, handshake, transport, factory, wire, enforce_pongs=pongs)


async def _open_by_frame(
    handshake: Handshake,
    transport: Transport,
    factory: ManagerFactory,
    authenticate: Authenticate,
    wire: Wire,
    *,
    enforce_pongs: bool,
) -> Session | None:
    """Wait for ``ws.auth`` on an accepted socket, and go on with the credential that it carries."""
    settings = factory.settings
    try:
        _ = handshake.start
    except PeerError as error:
        denied = Denied(closing.code_of(error.close_code), "rejected", error)
        await finish(tell(transport, handshake, factory, wire, denied))
        return None
    admission = Admission(
        handshake=handshake,
        wire=cast("AuthWire", wire),
        seconds=settings.auth_seconds,
        now=factory.clock.monotonic(),
    )
    entrance = Entrance(admission, transport, factory.clock, settings.close_seconds)
    factory.begin_entrance(entrance)
    try:
        try:
            outcome = await entrance.admit(lambda full: _admit(full, factory, authenticate))
        except asyncio.CancelledError:
            code = closing.DRAIN if factory.is_draining else closing.INTERNAL_ERROR
            denied = Denied(code, "cancelled before it was authenticated")
            await finish(tell(transport, entrance.handshake, factory, wire, denied))
            raise
        if isinstance(outcome, Left):
            report(logging.INFO, "the client left before it was authenticated", code=outcome.code, path=handshake.path)
            return None
        return await _settle(outcome, entrance.handshake, transport, factory, wire, enforce_pongs=enforce_pongs)
    finally:
        factory.end_entrance(entrance)
        entrance.leave()


async def _settle(
    outcome: Admitted | Denied,
    handshake: Handshake,
    transport: Transport,
    factory: ManagerFactory,
    wire: Wire,
    *,
    enforce_pongs: bool,
) -> Session | None:
    """Open the session of an accepted socket, or say why not. Cancelled meanwhile, the client is told so."""
    denied = outcome
    if isinstance(outcome, Admitted):
        try:
            opened = await _opened(outcome, handshake, transport, factory, wire, enforce_pongs=enforce_pongs)
        except asyncio.CancelledError:
            code = closing.DRAIN if factory.is_draining else closing.INTERNAL_ERROR
            cut = Denied(code, "cancelled while the session was opened")
            await finish(tell(transport, handshake, factory, wire, cut))
            raise
        if not isinstance(opened, Denied):
            return opened
        denied = opened
    await finish(tell(transport, handshake, factory, wire, cast("Denied", denied)))
    return None


async def _opened(
    admitted: Admitted,
    handshake: Handshake,
    transport: Transport,
    factory: ManagerFactory,
    wire: Wire,
    *,
    enforce_pongs: bool,
) -> Session | Denied:
    """Take a place for the session and put it on its stream; without an engine nothing is awaited in between."""
    connection_id = ""
    try:
        connection_id = await _admitted(factory, admitted.context) or ""
        denied = _last_check(factory, admitted, connection_id)
        if denied is None:
            return await factory.open_session(
                admitted.context,
                transport,
                wire=wire,
                start=admitted.start,
                handshake=handshake,
                enforce_pongs=enforce_pongs,
                connection_id=connection_id,
            )
    except Exception as error:  # noqa: BLE001  # the engine, a factory that has stopped, the application's manager
        number = error.close_code if isinstance(error, EngineUnavailableError) else closing.INTERNAL_ERROR.code
        denied = Denied(closing.code_of(number), "the session could not be opened", error)
    factory.give_back(connection_id)
    return denied


async def _refresh(
    factory: ManagerFactory, authenticate: Authenticate, handshake: Handshake, session: Session, credential: Credential
) -> None:
    """Ask *authenticate* about the new credential of an open session; what it refuses ends the session."""
    try:
        context = await _identify(handshake.with_credential(credential), factory, authenticate, "ws.refresh")
        # From here nothing is awaited: a revocation cannot come between the check and the renewal.
        session.renew(context, factory.create_manager(context), factory.expires_in(context))
    except EngineUnavailableError as error:
        report(logging.ERROR, "a refresh could not be checked", error=error)
        session.close(closing.code_of(error.close_code))
    except Exception as error:  # noqa: BLE001  # whatever authenticate raises is not the client's fault
        session.end_by(error)


async def _admit(handshake: Handshake, factory: ManagerFactory, authenticate: Authenticate) -> Admitted | Denied:
    try:
        start = handshake.start
        context = await _identify(handshake, factory, authenticate, "serve()")
    except (AccessError, PeerError, ContextError, EngineUnavailableError) as error:
        why = "refused by authenticate" if isinstance(error, AccessError) else "rejected"
        return Denied(closing.code_of(error.close_code), why, error)
    except (Exception, asyncio.CancelledError) as error:  # whatever it raises is not the client's fault
        if _is_cancelled():
            raise
        return Denied(closing.INTERNAL_ERROR, "authenticate failed", error)
    return Admitted(context, start)


def _is_cancelled() -> bool:
    """Tell whether somebody cancels this very task, and not something that authenticate waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _admitted(factory: ManagerFactory, context: UserExecutionContext) -> str | None:
    """Return the connection id under which the context has a place, None where it may not have one."""
    if factory.is_draining or factory.bars_here(context):
        return None
    return await factory.admit(context)


def _last_check(factory: ManagerFactory, admitted: Admitted, connection_id: str) -> Denied | None:
    if factory.is_draining:
        return Denied(closing.DRAIN, "a drain has begun")
    if factory.bars_here(admitted.context):
        return Denied(closing.REVOKED, "the identity was revoked meanwhile")
    if not connection_id:
        return Denied(closing.CONNECTION_LIMIT, "the identity has as many sessions as it may have")
    return None


async def _accept(opening: Opening, factory: ManagerFactory, wire: Wire, subprotocol: str | None) -> Transport | None:
    """Accept the socket; None where its client is gone. Cancelled, what was accepted is told so and closed."""
    transport: Transport | None = None

    async def accept() -> None:
        nonlocal transport
        async with asyncio.timeout(factory.settings.close_seconds):
            transport = await opening.accept(subprotocol)

    try:
        await finish(accept())
    except asyncio.CancelledError:
        code = closing.DRAIN if factory.is_draining else closing.INTERNAL_ERROR
        if transport is not None:
            await finish(tell(transport, opening.handshake, factory, wire, Denied(code, "cancelled during accept")))
        raise
    except Exception as error:  # noqa: BLE001  # a peer that is gone, or a server that failed: nobody to tell
        level = logging.INFO if isinstance(error, TransportClosedError) else logging.ERROR
        report(level, "the socket could not be accepted", error=error, path=opening.handshake.path)
    return transport
