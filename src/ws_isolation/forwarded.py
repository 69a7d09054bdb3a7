"""
What proxies in front say of a client: its address, its scheme, the host it asked for.

Rule 1: a header counts only as far as proxies that the application names have
carried it; whatever a stranger wrote stands to the left of what they add, and
is never read. Rule 2: what a named proxy says and nobody can read ends the
handshake, since whoever went on would guess. Rule 3: ``Forwarded`` (RFC 7239)
is not read: a proxy that writes ``X-Forwarded-For`` passes it through unseen.

Source: RFC 7239 §8.1 (a list of proxies that are trusted, read from the right);
SECURITY requirement WS-25.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, final

import attrs

from .networks import Networks, address_of

if TYPE_CHECKING:
    from .handshake import Handshake

__all__ = ("Proxies", "Unreadable")

_MOST_HOPS: Final = 32
"""Entries of a header that are read; ten proxies in a row are many."""
_SCHEMES: Final = {"ws": "ws", "http": "ws", "wss": "wss", "https": "wss"}
_HTTP: Final = {"ws": "http", "wss": "https"}
_HOST: Final = re.compile(r"[A-Za-z0-9._~\[\]:-]{1,255}")
_WITH_PORT: Final = re.compile(r"\[([^\]]+)\](?::\d{1,5})?|([0-9.]+):\d{1,5}")
"""An IPv6 address in brackets, or an IPv4 address with a port: some gateways write them."""
_SILENT: Final = re.compile(r"unknown|_[A-Za-z0-9._-]{1,64}")
"""RFC 7239 §6.2 and §6.3: a proxy that does not say, or says it in a name of its own."""


class Unreadable(Exception):  # noqa: N818  # no error of the application: the door answers it
    """A named proxy said something that cannot be read. Its text names the header, never the value."""


@final
class Proxies:
    """
    The proxies that an application names. A value; lives as long as its factory.

    Args:
        names: As ``networks.Networks`` takes them; none, and nothing is read, where empty.
    """

    __slots__ = ("_networks",)

    def __init__(self, names: tuple[str, ...]) -> None:
        self._networks = Networks(names) if names else None

    def see_through(self, handshake: Handshake, /) -> Handshake:
        """
        Return the handshake as the named proxies tell it, the same where none of them sent it.

        Raises:
            Unreadable: A named proxy's header is malformed.
        """
        networks = self._networks
        if networks is None or not networks.holds(handshake.client):
            return handshake
        return attrs.evolve(
            handshake,
            client=_client(handshake, networks),
            scheme=_scheme(handshake),
            public_host=_host(handshake),
        )


def _client(handshake: Handshake, networks: Networks) -> str | None:
    """Return the first address from the right that is no proxy's."""
    client = handshake.client
    for hop in reversed(_listed(handshake, "x-forwarded-for")):
        client = _address_in(hop)
        if client is None or not networks.holds(client):
            break
    return client


def _listed(handshake: Handshake, name: str) -> list[str]:
    """Return the entries of a list header, those of several lines in order."""
    entries = [entry.strip() for line in handshake.headers.get_all(name) for entry in line.split(",")]
    if len(entries) > _MOST_HOPS:
        raise Unreadable(f"{name} has {len(entries)} entries, {_MOST_HOPS} are read")
    return entries


def _last(handshake: Handshake, name: str) -> str | None:
    """
    Return what the nearest proxy says; None where it says nothing.

    Never what stands before: not every proxy adds to these lists, so no place in them is a certain proxy's.
    """
    entries = _listed(handshake, name)
    return entries[-1] if entries else None


def _scheme(handshake: Handshake) -> str:
    said = _last(handshake, "x-forwarded-proto")
    if said is None:
        return handshake.scheme
    scheme = _SCHEMES.get(said.lower())
    if scheme is None:
        raise Unreadable("x-forwarded-proto is none of http, https, ws and wss")
    return _HTTP[scheme] if handshake.scheme.startswith("http") else scheme


def _host(handshake: Handshake) -> str | None:
    said = _last(handshake, "x-forwarded-host")
    if said is not None and _HOST.fullmatch(said) is None:
        raise Unreadable("x-forwarded-host is no host")
    return said


def _address_in(hop: str) -> str | None:
    """Return the address of an entry without port and brackets; None where the proxy does not say."""
    if _SILENT.fullmatch(hop):
        return None
    match = _WITH_PORT.fullmatch(hop)
    text = hop if match is None else match[1] or match[2]
    address = address_of(text)
    if address is None:
        raise Unreadable("x-forwarded-for has an entry that is no address")
    return str(address)
