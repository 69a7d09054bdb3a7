"""
What each server does otherwise, and why: each is checked to be so.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from types import MappingProxyType
from typing import Final

from ws_isolation.testing import Difference

_KEPT: Final = {
    "stalled peer": Difference(
        "session freed, connection kept",
        "ASGI has no abort: the kernel ends the connection, see `TCP_USER_TIMEOUT`",
    ),
}
_WSPROTO_UTF8: Final = {
    "invalid UTF-8": Difference("1006 without goodbye", "wsproto drops the connection before the adapter hears of it"),
}
_ENDS: Final = ("1006 without goodbye", "4200 drain", "goodbye 4200 drain, then 1006")
_CUT_OFF: Final = tuple(", ".join(some) for count in (1, 2, 3) for some in combinations(_ENDS, count))
"""What a crowd sees of which each one is told, or not, by chance."""


def _no_compression(reason: str) -> dict[str, Difference]:
    sizes = (65_535, 65_536, 65_537)
    return {f"compressed message of {size} bytes": Difference("no compression", reason) for size in sizes}


DIFFERENCES: Final[Mapping[str, Mapping[str, Difference]]] = MappingProxyType(
    {
        "uvicorn websockets-sansio asyncio": _KEPT,
        "uvicorn websockets-sansio uvloop": _KEPT,
        "uvicorn websockets asyncio": _KEPT,
        "uvicorn websockets uvloop": _KEPT,
        "uvicorn wsproto asyncio": _KEPT | _WSPROTO_UTF8,
        "uvicorn wsproto uvloop": _KEPT | _WSPROTO_UTF8,
        "uvicorn UvicornFrames": _no_compression("UvicornFrames writes only on connections without compression"),
        "hypercorn": _KEPT | _WSPROTO_UTF8,
        "daphne": _no_compression("daphne does not offer compression")
        | {
            "invalid UTF-8": Difference("1006 without goodbye", "Autobahn drops the connection"),
            "2 MiB message": Difference("1006 without goodbye", "daphne's own limit is below: it drops the connection"),
            "longest reason": Difference("4999 with none", "daphne drops close reasons; the goodbye says it all"),
            "incident id in goodbye and reason": Difference("no reason", "daphne drops close reasons"),
            "two Hosts": Difference("HTTP 403", "daphne refuses with 403 only"),
            "overload": Difference("HTTP 403", "daphne refuses with 403 only"),
            "stalled peer": Difference("session kept", "daphne takes all that is written into memory: no backpressure"),
            "SIGTERM under load": Difference("1006 without goodbye", "daphne knows no lifespan: nobody hears of it"),
        },
        "granian": _no_compression("granian does not offer compression")
        | {
            "invalid UTF-8": Difference("1005 without goodbye", "granian closes without a code"),
            "SIGTERM under load": Difference(
                "1006 without goodbye",
                "granian hears of the signal as the drain begins: which clients are still told is chance",
                others=_CUT_OFF,
            ),
        },
        "aiohttp": {
            "invalid UTF-8": Difference("4000 bad_frame", "the adapter hears of it, and says goodbye"),
        },
        "websockets": {
            "2 MiB message": Difference("1009 without goodbye", "the library closes before the adapter hears of it"),
        },
    }
)
"""By server, whatever adapter is on it."""

IMPOSSIBLE: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("quart", "daphne"): 'Quart wants `scope["extensions"]`, which daphne leaves out: HTTP 500',
        ("quart", "granian"): "Quart reads ahead in a task of its own, and granian sends no close while somebody reads",
    }
)
"""What cannot be served at all, and why: no session ends as it should there."""


def differences(adapter: str, server: str, /) -> Mapping[str, Difference]:
    """
    Return what a pairing does otherwise: what its server does, but for what the adapter makes of it.
    """
    found = dict(DIFFERENCES.get(server, {}))
    if (adapter, server) == ("channels", "daphne"):
        del found["SIGTERM under load"]  # Channels' first request tells the adapter of the process that serves it
    if (adapter, server) == ("quart", "uvicorn UvicornFrames"):
        found |= _KEPT  # Quart's own send stands between
    return found
