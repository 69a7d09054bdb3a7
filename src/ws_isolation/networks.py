"""
Addresses of peers, and lists of networks that an application names.

:mod:`ipaddress` costs 3 ms of import time: it is imported by the first call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias, final

if TYPE_CHECKING:
    import ipaddress

__all__ = ("UNIX", "Networks", "address_of", "source_of")

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

UNIX: Final = "unix"
"""In a list of networks: whoever connects over a Unix socket, and so has no address."""
_PREFIX: Final = 64
"""Bits of an IPv6 address that tell one customer's network from another's (RFC 6177)."""


@final
class Networks:
    """
    Networks and addresses, parsed once. A value.

    Args:
        names: ``10.0.0.0/8``, ``::1``; ``unix`` for peers without an address.

    Raises:
        ValueError: One is no network, or has bits beyond its mask: ``10.0.0.1/8``.
    """

    __slots__ = ("_networks", "_unix")

    def __init__(self, names: tuple[str, ...]) -> None:
        import ipaddress  # noqa: PLC0415  # see above

        self._unix = UNIX in names
        self._networks = tuple(ipaddress.ip_network(name) for name in names if name != UNIX)

    def holds(self, client: str | None, /) -> bool:
        """Tell whether the peer's address is in one of them; None is a peer without an address."""
        if client is None:
            return self._unix
        address = address_of(client)
        return address is not None and any(address in network for network in self._networks)


def address_of(text: str, /) -> Address | None:
    """Return the address that *text* is, None where it is none; an IPv4 address in IPv6's clothes is itself."""
    import ipaddress  # noqa: PLC0415  # see above

    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # What a dual-stack socket shows of an IPv4 peer: ::ffff:10.0.0.1.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


def source_of(client: str | None, /) -> str | None:
    """
    Return where a handshake counts: its address, of IPv6 the network; None where it is not counted by source.

    Addresses that are not public are not counted: what connects from one is a proxy, as far as anybody can
    tell, and stands for many. Behind a proxy that ``Settings.trusted_proxies`` names it is the client's own.
    """
    import ipaddress  # noqa: PLC0415  # see above

    address = None if client is None else address_of(client)
    if address is None or not address.is_global:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _PREFIX), strict=False))
    return str(address)
