"""
The opt-in for uvicorn: frames straight to the server's transport.

It reads attributes of uvicorn that are not public. So it acts only on the very class and
the very releases that the tests of this library ran on, and everything else is served the
plain way: ``UvicornFrames`` never fails, it only does not help.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from types import MappingProxyType, MethodType
from typing import Any, Final, cast, final

from ..errors import MissingExtraError
from ..oplog import report
from ._asgi import Receive, Send
from ._frames import EXTENSION, Line, Reason, ServerProtocol

try:
    import uvicorn
    import websockets.version
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
except ImportError as _error:
    _MESSAGE = (
        "UvicornFrames needs uvicorn 0.54 and websockets. Install them with: pip install 'uvicorn>=0.54.0' websockets"
    )
    raise MissingExtraError(_MESSAGE) from _error

__all__ = ("TESTED", "UvicornFrames")

TESTED: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {"uvicorn": frozenset({"0.54.0"}), "websockets": frozenset({"17.4"})}
)
"""The releases on which frames are written; on others the server's own ``send`` is called."""

_SEND: Final = WebSocketsSansIOProtocol.send
_WHY: Final[Mapping[Reason, str]] = {
    "version": "this release of uvicorn or websockets was not tested",
    "server": "the server is another, or something wraps its send: put UvicornFrames around everything else",
    "compression": "the connection negotiated compression: start uvicorn with ws_per_message_deflate=False",
    "logging": "the server logs each frame",
}


@final
class UvicornFrames:
    """
    ASGI middleware under which sessions write their frames on uvicorn's transport.

    Opt-in: it relies on private attributes of uvicorn. Put it around the whole
    application: ``app = UvicornFrames(app)``, or ``app.add_middleware(UvicornFrames)``
    as the last one added. Middleware inside it does not see the text messages of sessions.
    It acts where the connection is of uvicorn's ``websockets-sansio`` (its
    default where ``websockets`` is installed), of a release in ``TESTED``, and
    without compression; otherwise the server's ``send`` is called as without it.
    Messages, order, back-pressure and closing are the same in both cases.

    Where the server was recognised, a session that is cut for not reading also
    drops its TCP connection, which ASGI cannot.

    Args:
        app: The ASGI application.
    """

    __slots__ = ("_app", "_refused", "_taken", "_tested")

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]], /) -> None:
        self._app = app
        self._taken = 0
        self._refused: dict[str, int] = {}
        self._tested = uvicorn.__version__ in TESTED["uvicorn"] and websockets.version.version in TESTED["websockets"]

    @property
    def taken(self) -> int:
        """How many sockets write frames, or did, since the start."""
        return self._taken

    @property
    def refused(self) -> Mapping[str, int]:
        """
        How many sockets were served the plain way since the start, by reason.

        ``version``, ``server``, ``compression`` or ``logging``. The first of each is also logged.
        """
        return dict(self._refused)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send, /) -> None:
        """Serve one connection; for servers."""
        if scope["type"] == "websocket":
            reason = self._reason(send)
            if reason is None:
                protocol = cast("ServerProtocol", cast("MethodType", send).__self__)
                extensions = {**(scope.get("extensions") or {}), EXTENSION: Line(protocol, self._note)}
                scope = {**scope, "extensions": extensions}
            else:
                self._note(reason)
        await self._app(scope, receive, send)

    def _reason(self, send: Send) -> Reason | None:
        if not self._tested:
            return "version"
        # Exact: a subclass, a wrapper or a patched send may do more than write.
        if type(send) is not MethodType or type(send.__self__) is not WebSocketsSansIOProtocol:
            return "server"
        return None if send.__func__ is _SEND else "server"

    def _note(self, reason: Reason | None) -> None:
        if reason is None:
            self._taken += 1
            return
        count = self._refused[reason] = self._refused.get(reason, 0) + 1
        if count == 1:
            report(
                logging.INFO,
                "frames are sent the plain way",
                reason=_WHY[reason],
                uvicorn=uvicorn.__version__,
                websockets=websockets.version.version,
            )
