"""
Whether an engine may be spoken to as it was named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import SettingsError

if TYPE_CHECKING:
    from .address import Address

__all__ = ("require_safe",)


def require_safe(address: Address, *, is_signed: bool, plain: bool, unsigned: bool) -> None:
    """
    See that an engine on another machine is spoken to by TLS and with keys, unless somebody said by name that not.

    Raises:
        SettingsError: It would not be; says what to set.
    """
    if address.is_local:
        return
    if address.tls is None and not plain:
        msg = "the engine is on another machine: use rediss://, or set allow_plain=True where the network is trusted"
        raise SettingsError(msg)
    if not is_signed and not unsigned:
        msg = (
            "the engine is on another machine: give every process the same secret, "
            "RedisBackplane(url, keys=(secret,)) of 32 bytes or more, or set allow_unsigned=True"
        )
        raise SettingsError(msg)
