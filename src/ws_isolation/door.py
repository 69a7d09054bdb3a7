"""
Who may knock: Origin, Host and TLS, before anything else happens.

Decided from the handshake alone, before accept and before ``authenticate``. A
browser sends cookies along with any page's WebSocket (there is no CORS for
them), so the page's origin is what keeps a foreign site from acting as the
user.

Source: RFC 6455 §4.2.2 and §10.2; OWASP WebSocket Security Cheat Sheet.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, final

import msgspec

from .networks import address_of

if TYPE_CHECKING:
    from .handshake import Handshake
    from .settings import Settings

__all__ = ("Refusal", "check_door", "is_plain")

_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://([^/@\s?#\\]+)")
_DEFAULT_PORTS: Final = {"http": ":80", "ws": ":80", "https": ":443", "wss": ":443"}


@final
class Refusal(msgspec.Struct, frozen=True):
    """
    A handshake that ends before accept.

    Attributes:
        status: The HTTP status: 400, 403 or 503.
        problem: Why, for the operator's log; the peer sees the status only.
    """

    status: int
    problem: str


def check_door(handshake: Handshake, settings: Settings, /) -> Refusal | None:
    """Return why the handshake is refused, None where it may go on. Proxies were seen through before."""
    hosts = handshake.headers.get_all("host")
    if len(hosts) != 1:
        return Refusal(400, f"{len(hosts)} Host headers; HTTP wants exactly one")
    host = hosts[0] if handshake.public_host is None else handshake.public_host
    if settings.hosts and host not in settings.hosts:
        return Refusal(403, "the host that was asked for is not in Settings.hosts")
    if settings.require_tls and is_plain(handshake):
        return Refusal(403, "plain ws, and Settings.require_tls is set; a trusted proxy says X-Forwarded-Proto: https")
    return _check_origin(handshake, host, settings)


def is_plain(handshake: Handshake, /) -> bool:
    """Tell whether the handshake came unencrypted from another machine."""
    return handshake.scheme in ("ws", "http") and not _is_loopback(handshake.client)


def _check_origin(handshake: Handshake, host: str, settings: Settings) -> Refusal | None:
    origins = handshake.headers.get_all("origin")
    if not origins:
        if settings.missing_origin == "refuse":
            return Refusal(403, "no Origin, and Settings.missing_origin is 'refuse': browsers only")
        if "cookie" in handshake.headers:
            return Refusal(403, "a Cookie without an Origin; browsers send both, other clients should send neither")
        return None
    origin, *others = origins
    if others:
        return Refusal(403, f"{len(origins)} Origin headers")
    if origin in settings.origins or _same_host(origin, host):
        return None
    return Refusal(403, "a page of another origin; list it in Settings.origins if it is yours")


def _same_host(origin: str, host: str) -> bool:
    """Compare host and port exactly; the scheme does not count, since proxies end TLS."""
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        return False
    default = _DEFAULT_PORTS.get(match[1])
    if default is None:
        return False
    return match[2].removesuffix(default) == host.removesuffix(default)


def _is_loopback(client: str | None) -> bool:
    address = None if client is None else address_of(client)
    return address is not None and address.is_loopback
