"""
Where an application says that its engine is: one server, a master that Sentinels know, or a Cluster.
"""

from __future__ import annotations

import ssl
from typing import Final, Literal, NoReturn, final
from urllib.parse import unquote

import attrs

from ...errors import SettingsError
from .address import Address

__all__ = ("Where",)

_SENTINEL_PORT: Final = 26_379
_MOST_SEEDS: Final = 64


@final
@attrs.frozen
class Where:
    """
    What the url says. Printed without credentials.

    Attributes:
        kind: What stands there.
        seeds: The server itself, or the Sentinels, or nodes of the Cluster; at least one.
        node: How a server that is found later is spoken to: like this one, with another host and port.
        master: What the Sentinels call it.
    """

    kind: Literal["server", "sentinel", "cluster"]
    seeds: tuple[Address, ...]
    node: Address
    master: str = ""

    def at(self, host: str, port: int, /) -> Address:
        """Return the address of a server that was found."""
        return attrs.evolve(self.node, host=host, port=port)

    @classmethod
    def parse(
        cls, url: str, tls: ssl.SSLContext | None = None, sentinel_login: tuple[str, str] | None = None, /
    ) -> Where:
        """
        Read the url of one server, or of several.

        Args:
            url: As ``Address.parse()`` reads it, or
                ``redis+sentinel://user:password@host1:26379,host2:26379/master/database``, or
                ``redis+cluster://user:password@host1:6379,host2:6379``; ``rediss+`` for TLS.
            tls: For ``rediss``; Python's default context where None.
            sentinel_login: User and password of the Sentinels; None: they have none.

        Raises:
            SettingsError: It is no such URL, or has no Sentinels to log in to. The message does not repeat it: it may
                hold a password.
        """
        user, password = _login(sentinel_login)
        scheme, _, rest = url.partition("://") if type(url) is str else ("", "", "")
        base, plus, kind = scheme.partition("+")
        if password is not None and kind != "sentinel":
            _refuse("names no Sentinels: leave out sentinel_login=, or write redis+sentinel://")
        if not plus:
            address = Address.parse(url, tls)
            return cls("server", (address,), address)
        if base not in ("redis", "rediss") or kind not in ("sentinel", "cluster"):
            _refuse("must begin with redis+sentinel://, rediss+sentinel://, redis+cluster:// or rediss+cluster://")
        place, _, path = rest.partition("/")
        login, at, hosts = place.rpartition("@")
        master, _, database = path.partition("/") if kind == "sentinel" else ("", "", path)
        names = hosts.split(",")
        if not all(names) or len(names) > _MOST_SEEDS:
            _refuse(f"must name 1 to {_MOST_SEEDS} hosts, with commas in between")
        if kind == "sentinel" and not master:
            _refuse("must name the master: redis+sentinel://host1:26379,host2:26379/mymaster/0")
        if kind == "cluster" and database not in ("", "0"):
            _refuse("names a database: a Cluster has none but 0")
        if kind == "sentinel":
            names = [name if name.rpartition("]")[2].count(":") else f"{name}:{_SENTINEL_PORT}" for name in names]
        found = tuple(Address.parse(f"{base}://{login}{at}{name}/{database}", tls) for name in names)
        if kind == "cluster":
            return cls("cluster", found, found[0])
        # The login is the master's: Sentinels have one of their own, or none.
        sentinels = tuple(attrs.evolve(one, username=user, password=password, database=0) for one in found)
        return cls("sentinel", sentinels, found[0], unquote(master))


def _login(login: object) -> tuple[str, str] | tuple[None, None]:
    match login:
        case None:
            return None, None
        case (str() as user, str() as password) if user and password:
            return user, password
        case _:
            msg = "sentinel_login must be a pair of texts, user and password: ('default', password) without a user"
            raise SettingsError(msg)


def _refuse(problem: str) -> NoReturn:
    msg = f"the url of RedisBackplane {problem}"
    raise SettingsError(msg)
