"""
Who is measured. Each peer is written as its own documentation shows it, one file each.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import socket
from typing import Any, Final, NamedTuple, Protocol, cast


class Peer(Protocol):
    """One way to bring an event to the socket of its user."""

    async def serve(self, listener: socket.socket, /) -> None:
        """Serve WebSockets on *listener* until cancelled."""
        ...

    async def emit(self, user: str, n: int, size: int, /) -> None:
        """Emit event *n* to *user*, its text *size* bytes long."""
        ...


class Entry(NamedTuple):
    """
    What the harness knows of a peer without importing it.

    ``app`` says that W1 drives it as an ASGI application (or by its ``attach``), ``null`` that W1 can measure it
    at all, ``sockets`` that it has a server, ``lifespan``
    that it must be started first.
    ``engine`` says that it needs one, and is measured across two nodes only, ``resumes``
    that a client which comes back gets what it missed, ``keeps`` that it keeps events of users who are not there.
    ``pair`` is the framework in which W8 compares it, ``source`` where it is made if not in a module of its name.
    ``hello`` is what a client says first, ``path`` where it connects.
    """

    title: str
    needs: tuple[str, ...]
    app: bool = True
    null: bool = True
    lifespan: bool = False
    sockets: bool = True
    path: str = "/ws"
    hello: str = ""
    engine: bool = False
    resumes: bool = False
    keeps: bool = False
    pair: str = ""
    source: str = ""


def _paired(framework: str, package: str, *needs: str) -> dict[str, Entry]:
    """Return both peers of a framework, for W8 alone."""
    needs = (package, "attrs", "msgspec", *needs)
    return {
        f"{package}_{name}": Entry(
            title, needs, app=False, null=False, sockets=False, pair=framework, source=f"paired.{package}:{made}"
        )
        for name, title, made in (
            ("by_hand", f"{framework} by hand", f"{package.title()}ByHand"),
            ("adapter", f"**ws_isolation** on {framework}", f"{package.title()}Ours"),
        )
    }


def _on_redis(title: str, needs: tuple[str, ...], path: str = "/ws", hello: str = "") -> Entry:
    needs = (*needs, "uvicorn", "websockets")
    return Entry(title, needs, app=False, null=False, sockets=False, path=path, hello=hello, engine=True)


PEERS: Final = {
    "floor": Entry("floor: frames written ahead, to the asyncio transport", (), app=False),
    "by_hand": Entry("by hand: FastAPI, `send_json`", ("fastapi", "uvicorn", "websockets"), pair="FastAPI"),
    "by_hand_msgspec": Entry("by hand with msgspec, `send_text`", ("fastapi", "uvicorn", "websockets", "msgspec")),
    "ws_isolation": Entry(
        "**ws_isolation**", ("attrs", "msgspec", "starlette", "uvicorn", "websockets"), keeps=True, pair="FastAPI"
    ),
    "ws_isolation_frames": Entry(
        "**ws_isolation**, `UvicornFrames`",
        ("attrs", "msgspec", "starlette", "uvicorn", "websockets"),
        null=False,
    ),
    "ws_isolation_attach": Entry(
        "**ws_isolation**, `attach()`", ("attrs", "msgspec", "starlette", "uvicorn"), sockets=False
    ),
    "aiohttp": Entry("aiohttp by hand", ("aiohttp",), app=False, null=False, pair="aiohttp"),
    "websockets_broadcast": Entry("`websockets.broadcast`", ("websockets",), app=False, null=False),
    "litestar": Entry("Litestar channels, in memory", ("litestar", "uvicorn", "websockets"), lifespan=True),
    "broadcaster": Entry(
        "broadcaster, in memory", ("broadcaster", "starlette", "uvicorn", "websockets"), lifespan=True
    ),
    "socketio": Entry(
        "python-socketio",
        ("python-socketio", "uvicorn", "websockets"),
        path="/socket.io/?EIO=4&transport=websocket",
        hello="40",
    ),
    "channels": Entry("Django Channels, in memory", ("channels", "django", "uvicorn", "websockets")),
    "redis_by_hand": _on_redis("by hand: FastAPI and redis-py, `publish`", ("fastapi", "redis")),
    "ws_isolation_redis": _on_redis(
        "**ws_isolation**, `RedisBackplane`", ("attrs", "hiredis", "msgspec", "starlette")
    )._replace(resumes=True),
    "socketio_redis": _on_redis(
        "python-socketio, `AsyncRedisManager`",
        ("python-socketio", "redis"),
        "/socket.io/?EIO=4&transport=websocket",
        "40",
    ),
    "channels_redis": _on_redis("Django Channels, channels_redis pub/sub", ("channels", "channels_redis", "django")),
    **_paired("Litestar", "litestar", "uvicorn", "websockets"),
    **_paired("Quart", "quart", "uvicorn", "websockets"),
    **_paired("Django Channels", "channels", "django", "uvicorn", "websockets"),
    "aiohttp_adapter": _paired("aiohttp", "aiohttp")["aiohttp_adapter"],
    **_paired("websockets", "websockets"),
}
"""By name, in the order in which they are measured."""

BASE: Final = "by_hand"
"""The peer that is 1.00."""

ACROSS_BASE: Final = "redis_by_hand"
"""The same across two nodes."""


def missing(name: str, /) -> list[str]:
    """Return the packages that *name* needs and that are not installed."""
    absent: list[str] = []
    for package in PEERS[name].needs:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            absent.append(package)
    return absent


def make_peer(name: str, /, *, token: bool, engine: str = "") -> Peer:
    """Import and make a peer; with *token*, its handshakes carry an HS256 token. *engine* is the URL of its engine."""
    entry = PEERS[name]
    source, _, made = (entry.source or f"{name}_peer:make").partition(":")
    module: Any = importlib.import_module(f"{__name__}.{source}")
    options = {"engine": engine} if entry.engine else {}
    return cast("Peer", getattr(module, made)(token=token, **options))
