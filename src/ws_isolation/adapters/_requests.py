"""
What the adapters' ``manager`` share: an HTTP request's own manager, or why it is refused.

Rule: what a request is told is as little as a status can say; why stands in the log of whoever raised it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, final

from ..errors import AccessError, EngineUnavailableError, ForbiddenError
from ..serving import Authenticate, identify
from ..signals import drain_first

if TYPE_CHECKING:
    from ..factory import ManagerFactory
    from ..handshake import Handshake
    from ..manager import IsolatedManager


@final
class Refused(Exception):  # noqa: N818  # a status on its way to the framework's own exception, and no failure
    """
    A request that gets no manager.

    Attributes:
        status: The HTTP status: 401, 403 or 503.
        text: The body: one word, which says no more than the status.
        headers: What belongs to the status.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = None if headers is None else dict(headers)


async def manager_of(handshake: Handshake, factory: ManagerFactory, authenticate: Authenticate, /) -> IsolatedManager:
    """
    Return the manager of the request's own user.

    Raises:
        Refused: With 401 or 403 by ``authenticate``; with 503 where the
            backplane does not say whether the user is revoked.
        ContextError: ``authenticate`` returned something that is no intact context.
        Exception: Whatever else it raised.
    """
    try:
        context = await identify(handshake, factory, authenticate, "manager()")
    except ForbiddenError:
        raise Refused(403, "forbidden") from None
    except AccessError:
        raise Refused(401, "unauthenticated", {"WWW-Authenticate": "Bearer"}) from None
    except EngineUnavailableError as error:
        raise Refused(503, "unavailable", {"Retry-After": "1"}) from error
    return factory.create_manager(context)


@asynccontextmanager
async def running(factory: ManagerFactory, /) -> AsyncGenerator[None]:
    """While the block runs, so does *factory*; the signals that end the server drain it first."""
    async with factory, drain_first(factory):
        yield
