"""
Where the engine is, and whether it may be spoken to in the clear.
"""

from __future__ import annotations

import ipaddress
import ssl
from typing import Final, NoReturn, final
from urllib.parse import parse_qs, unquote, urlsplit

import attrs

from ...errors import SettingsError, shown

__all__ = ("Address",)

_PORT: Final = 6379
_MOST_DATABASE: Final = 65_535


@final
@attrs.frozen
class Address:
    """
    One engine. Printed without its credentials.

    Attributes:
        host: Name or IP address; empty where a Unix socket is used.
        port: TCP port.
        path: Unix socket; empty where TCP is used.
        database: Its number.
        username: For ``AUTH``; None: the default user.
        password: For ``AUTH``; None: none.
        tls: How it is spoken to; None: in the clear.
    """

    host: str
    port: int
    path: str
    database: int
    username: str | None = attrs.field(repr=False)
    password: str | None = attrs.field(repr=False)
    tls: ssl.SSLContext | None = attrs.field(repr=False)

    @property
    def is_local(self) -> bool:
        """Whether what is said does not leave this machine."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @classmethod
    def parse(cls, url: str, tls: ssl.SSLContext | None = None, /) -> Address:
        """
        Read ``redis://``, ``rediss://`` or ``unix://``.

        Args:
            url: ``redis://user:password@host:port/database``; user, password, port and database may be left out.
            tls: For ``rediss``; Python's default context, which checks certificate and name, where None.

        Raises:
            SettingsError: It is no such URL. The message does not repeat it: it may hold a password.
        """
        if type(url) is not str:
            _refuse(f"must be a str, not {shown(url)}")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            _refuse("is no URL")
        if parts.scheme not in ("redis", "rediss", "unix"):
            _refuse("must begin with redis://, rediss:// (TLS) or unix://")
        is_unix = parts.scheme == "unix"
        if (parts.path in ("", "/")) if is_unix else not parts.hostname:
            _refuse("names no socket" if is_unix else "names no host")
        query = parse_qs(parts.query)
        if set(query) - ({"db"} if is_unix else set()):
            _refuse("has options that are not known: set them as arguments of RedisBackplane")
        number = query.get("db", ["0"])[-1] if is_unix else parts.path.strip("/") or "0"
        if not (number.isascii() and number.isdecimal() and len(number) <= 5 and int(number) <= _MOST_DATABASE):  # noqa: PLR2004
            _refuse("must name the database by its number: redis://host:6379/0")
        if parts.scheme == "rediss" and tls is None:
            tls = ssl.create_default_context()
        return cls(
            host="" if is_unix else parts.hostname or "",
            port=port or _PORT,
            path=unquote(parts.path) if is_unix else "",
            database=int(number),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=tls if parts.scheme == "rediss" else None,
        )


def _refuse(problem: str) -> NoReturn:
    msg = f"the url of RedisBackplane {problem}"
    raise SettingsError(msg)
