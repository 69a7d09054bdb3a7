"""
The table of ways out: each class of failure, how it is brought about, and the code that it must end with.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, NoReturn, TypeAlias, cast

import attrs

from tests.logs import put
from tests.servers.running import Authenticate, Client, Handler, by_token, until_gone
from ws_isolation import (
    Handshake,
    IsolatedManager,
    ManagerFactory,
    Session,
    Settings,
    UserExecutionContext,
    closing,
    errors,
    events,
)
from ws_isolation.keys import identity_of
from ws_isolation.stream import Stream
from ws_isolation.testing import FakeClock, make_context

CANARY: Final = "canary-6f1d2c"
"""Stands in whatever the client must not see."""

MOVED: Final = closing.CloseCode(4910, "moved", "resume", "The conversation went to another service.")


@attrs.frozen
class Stage:
    """
    What a case may act on.
    """

    client: Client
    factory: ManagerFactory
    clock: FakeClock


Act: TypeAlias = Callable[[Stage], Awaitable[None]]


async def _nothing(_stage: Stage) -> None:
    pass


@attrs.frozen(kw_only=True)
class Case:
    """
    One way out and what must come of it.
    """

    code: int
    slug: str
    welcomed: bool = True
    settings: Settings = attrs.field(factory=Settings)
    authenticate: Authenticate = by_token
    handler: Handler | None = until_gone
    manager: Callable[[IsolatedManager], IsolatedManager] | None = None
    user: str | None = "alice"
    query: str = ""
    subprotocols: tuple[str, ...] = ("ws-isolation.v1",)
    act: Act = _nothing


class CanaryError(Exception):
    """
    A defect of the application, with what nobody else may read in its text.
    """


class OddError(BaseException):
    """
    What no ``except Exception`` catches.
    """


class UserExecutionContextCanary:
    """
    No context, with a name that must not be seen.
    """

    user_id = CANARY


def refusing(error: BaseException) -> Authenticate:
    """
    Return an ``authenticate`` that raises.
    """

    async def authenticate(_handshake: Handshake) -> UserExecutionContext | None:
        raise error

    return authenticate


def returning(value: object) -> Authenticate:
    """
    Return an ``authenticate`` that returns *value*, whatever it is.
    """

    async def authenticate(_handshake: Handshake) -> UserExecutionContext | None:
        return cast("UserExecutionContext | None", value)

    return authenticate


async def _never(_handshake: Handshake) -> UserExecutionContext | None:
    await asyncio.Event().wait()
    raise AssertionError(CANARY)


async def _of_a_cancelled_future(_handshake: Handshake) -> UserExecutionContext | None:
    future: asyncio.Future[UserExecutionContext] = asyncio.get_running_loop().create_future()
    future.cancel(CANARY)
    return await future


async def _bad_id(_handshake: Handshake) -> UserExecutionContext | None:
    return UserExecutionContext(user_id=f"{CANARY} with blanks")


async def _soon_over(_handshake: Handshake) -> UserExecutionContext | None:
    return make_context(expires_at=datetime.fromtimestamp(FakeClock().unix() + 60, UTC))


def raising(error: BaseException) -> Handler:
    """
    Return a handler that raises.
    """

    async def handler(_session: Session) -> None:
        raise error

    return handler


async def _returns(_session: Session) -> None:
    pass


async def _closes(session: Session) -> None:
    session.close(MOVED, retry_after_ms=250)
    session.close(closing.FORBIDDEN)


async def _floods(session: Session) -> None:
    # More than what socket, server and client take in before the client's test reads on.
    # Random, since the sockets compress.
    wave = events.Custom(name="flood.wave", value=os.urandom(30_000).hex())
    await asyncio.gather(*(session.manager.send(wave) for _ in range(400)))
    await until_gone(session)


async def _does_not_read(session: Session) -> None:
    await session.wait_closed()


async def _edits(session: Session) -> None:
    object.__setattr__(session.context, "user_id", CANARY)
    own = Stream(session._live.identity, "own")
    envelope = put(own, events.Custom(name="after.edit", value=CANARY), "e" * 8)
    session.offer(envelope)
    await until_gone(session)


async def _is_given_a_foreign_envelope(session: Session) -> None:
    other = Stream(identity_of(make_context(CANARY)), "other")
    envelope = put(other, events.Custom(name="foreign.event", value=CANARY), "f" * 8)
    session.offer(envelope)
    await until_gone(session)


def _fails(_manager: IsolatedManager) -> NoReturn:
    raise CanaryError(CANARY)


def sends(*texts: str | bytes) -> Act:
    """
    Return an act that sends texts as they are.
    """

    async def act(stage: Stage) -> None:
        for text in texts:
            await stage.client.connection.send(text)

    return act


async def _is_silent(stage: Stage) -> None:
    await stage.clock.advance(25)
    await stage.client.until("ws.ping")
    await stage.clock.advance(8)


async def _time_passes(stage: Stage) -> None:
    await stage.client.until("ws.welcome")
    await stage.clock.advance(60 + 30)


async def _the_factory_stops(stage: Stage) -> None:
    await stage.client.until("ws.welcome")
    await stage.factory.stop()


_PAST: Final = datetime.fromtimestamp(FakeClock().unix() - 1, UTC)

CASES: Final[dict[str, Case]] = {
    # the handshake
    "no credential": Case(code=4001, slug="unauthenticated", welcomed=False, user=None),
    "None": Case(code=4001, slug="unauthenticated", welcomed=False, authenticate=returning(None)),
    "UnauthenticatedError": Case(
        code=4001, slug="unauthenticated", welcomed=False, authenticate=refusing(errors.UnauthenticatedError(CANARY))
    ),
    "ForbiddenError": Case(
        code=4003, slug="forbidden", welcomed=False, authenticate=refusing(errors.ForbiddenError(CANARY))
    ),
    "ExpiredError": Case(
        code=4101, slug="token_expired", welcomed=False, authenticate=refusing(errors.ExpiredError(CANARY))
    ),
    "an expired context": Case(
        code=4101, slug="token_expired", welcomed=False, authenticate=returning(make_context(expires_at=_PAST))
    ),
    "another class": Case(
        code=4310, slug="context_rejected", welcomed=False, authenticate=returning(UserExecutionContextCanary())
    ),
    "a dict": Case(code=4310, slug="context_rejected", welcomed=False, authenticate=returning({"user_id": CANARY})),
    "a bad id": Case(code=4310, slug="context_rejected", welcomed=False, authenticate=_bad_id),
    "authenticate raises": Case(
        code=4300, slug="internal_error", welcomed=False, authenticate=refusing(CanaryError(CANARY))
    ),
    "authenticate waits for what was cancelled": Case(
        code=4300, slug="internal_error", welcomed=False, authenticate=_of_a_cancelled_future
    ),
    "authenticate takes too long": Case(
        code=4300, slug="internal_error", welcomed=False, authenticate=_never, settings=Settings(auth_seconds=0.1)
    ),
    "the manager's maker raises": Case(code=4300, slug="internal_error", welcomed=False, manager=_fails),
    "another subprotocol": Case(code=4006, slug="subprotocol", welcomed=False, subprotocols=("graphql-ws",)),
    "a malformed cursor": Case(code=4022, slug="schema_violation", welcomed=False, query="?cursor=1"),
    # the handler
    "return": Case(code=1000, slug="normal", handler=_returns),
    "exception": Case(code=4300, slug="internal_error", handler=raising(CanaryError(CANARY))),
    "no Exception": Case(code=4300, slug="internal_error", handler=raising(OddError(CANARY))),
    "cancellation": Case(code=4300, slug="internal_error", handler=raising(asyncio.CancelledError(CANARY))),
    "access withdrawn": Case(code=4003, slug="forbidden", handler=raising(errors.ForbiddenError(CANARY))),
    "context expired": Case(code=4101, slug="token_expired", handler=raising(errors.ContextExpiredError(CANARY))),
    "its own code": Case(code=4910, slug="moved", handler=_closes),
    # the client
    "no JSON": Case(code=4000, slug="bad_frame", act=sends("{")),
    "binary": Case(code=4000, slug="bad_frame", act=sends(b"{}")),
    "ws.auth out of turn": Case(code=4000, slug="bad_frame", act=sends('{"type":"ws.auth"}')),
    "too big": Case(code=4013, slug="message_too_big", act=sends('{"type":"x","data":{"t":"' + "x" * 65_536 + '"}}')),
    "reserved name": Case(code=4022, slug="schema_violation", act=sends('{"type":"x","user_id":"bob"}')),
    "thread of its own": Case(code=4003, slug="forbidden", act=sends('{"type":"x","thread_id":"bobs"}')),
    "rate": Case(code=4329, slug="rate_limited", act=sends(*['{"type":"x"}'] * 21)),
    "inbox": Case(
        code=4329,
        slug="rate_limited",
        handler=_does_not_read,
        act=sends(*['{"type":"x"}'] * 3),
        settings=Settings(inbox_messages=2),
    ),
    "too many that cannot be served": Case(
        code=4022,
        slug="schema_violation",
        handler=None,
        act=sends(*['{"type":"x"}'] * 21),
        settings=Settings(message_burst=50),
    ),
    # life
    "heartbeat": Case(code=4208, slug="heartbeat_timeout", act=_is_silent),
    "expiry": Case(code=4101, slug="token_expired", authenticate=_soon_over, act=_time_passes, subprotocols=()),
    "slow reader": Case(code=4213, slug="slow_consumer", handler=_floods, settings=Settings(outbox_events=8)),
    "shutdown": Case(code=4200, slug="drain", act=_the_factory_stops),
    "foreign envelope": Case(code=4300, slug="internal_error", handler=_is_given_a_foreign_envelope),
    "edited context": Case(code=4310, slug="context_rejected", handler=_edits),
}
