"""What ``manager()`` of every adapter does: an HTTP request's own manager, or the status that refuses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, final

from ..errors import AccessError, EngineUnavailableError, ForbiddenError
from ..serving import Authenticate, identify

if TYPE_CHECKING:
    from ..factory import ManagerFactory
    from ..handshake import Handshake
    from ..manager import IsolatedManager


@final
class Refused(Exception):  # noqa: N818  # no failure: the answer, which each adapter says in its framework's words
    """
    A request that gets no manager.

    Attributes:
        status: The HTTP status: 401, 403 or 503.
        text: What the client may read.
        headers: What goes with it.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, text)
        self.status: int = status
        self.text: str = text
        self.headers: Mapping[str, str] = headers or {}


async def manager_of(handshake: Handshake, factory: ManagerFactory, authenticate: Authenticate, /) -> IsolatedManager:
    """
    Return the manager of the request's own user.

    Raises:
        Refused: 401 or 403 as ``authenticate`` says; 503 where the backplane does not say whether the user is revoked.
        Exception: Whatever else ``authenticate`` raised.
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
