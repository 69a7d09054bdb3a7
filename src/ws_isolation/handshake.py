"""
What a client said when it connected, as an adapter hands it to ``authenticate``.

Rule 1: nothing here decides who the client is. Rule 2: what is ambiguous (two
different credentials, a header twice) counts as absent, since whichever one was
taken would be a guess. Rule 3: no ``repr`` shows a value that may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, final
from urllib.parse import parse_qsl, urlencode

import attrs

from .stream import Cursor, Start, parse_start

__all__ = ("Credential", "Handshake", "Headers", "choose_subprotocol")

_ANSWERABLE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,24}")
"""
A subprotocol that may be answered although it is not spoken: a token of RFC 9110, and too short for
a credential that somebody offers without ``bearer.``; names of protocols in use are shorter still.
"""
_BEARER_SUBPROTOCOL: Final = "bearer."
_TICKET_SUBPROTOCOL: Final = "ticket."
_TICKET_NAME: Final = "ticket"
_TOKEN_NAMES: Final = frozenset(
    {"access_token", "auth_token", "authorization", "bearer", "bearer_token", "id_token", "jwt", "token"}
)
"""Query parameters that are tokens, in any case: RFC 6750 §2.3 has the first, habit the others."""
_CREDENTIAL_HEADERS: Final = frozenset({"authorization", "cookie"})
_MOST_PAIRS: Final = 100
"""Query parameters that are read; more than anybody needs, few enough to parse for a stranger."""


@final
class Headers(Mapping[str, str]):
    """
    Request headers: case-insensitive, first value wins, ``get_all`` for the rest.

    Lives as long as its handshake. ``repr`` shows names only.
    """

    __slots__ = ("_values",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        values: dict[str, tuple[str, ...]] = {}
        for name, value in pairs:
            key = name.lower()
            values[key] = (*values.get(key, ()), value)
        self._values = values

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({', '.join(sorted(self._values))})"

    def get_all(self, name: str, /) -> tuple[str, ...]:
        """Return every value of a header, in order; empty where it is absent."""
        return self._values.get(name.lower(), ())


@final
@attrs.frozen(repr=False)
class Credential:
    """
    What a client gave as its credential in a frame. Its ``repr`` shows the scheme only.

    Attributes:
        scheme: ``bearer``, ``ticket``, or another lower-case word that client and application agreed on.
        value: The secret, at least one character.
    """

    scheme: str
    value: str

    def __repr__(self) -> str:
        return f"Credential({self.scheme})"


@final
@attrs.frozen(kw_only=True, repr=False)
class Handshake:
    """
    The request with which a client asks for a socket (or an HTTP endpoint for a manager).

    A value; lives as long as the request. Adapters make it.
    """

    headers: Headers = attrs.field(factory=Headers)
    """The request's headers."""
    path: str = "/"
    """The request's path, without the query."""
    query_string: str = ""
    """The raw query, without the question mark."""
    subprotocols: tuple[str, ...] = ()
    """The WebSocket subprotocols that the client offers, tokens included."""
    scheme: str = "ws"
    """``ws`` or ``wss`` (``http``, ``https`` for an endpoint), as this process or a trusted proxy was reached."""
    client: str | None = None
    """
    The peer's address; behind a proxy, the proxy's, or the client's own where ``Settings.trusted_proxies`` names the
    proxy. Never an identity.
    """
    public_host: str | None = None
    """The host that the client asked a proxy for, as a trusted one says; None where none does."""
    credential: Credential | None = None
    """What the client's ``ws.auth`` or ``ws.refresh`` carried; None where it sent none, see ``Settings.auth_frame``."""
    cursor: Cursor | None = None
    """Where the client wants to begin, from its ``ws.auth`` frame."""
    query_tokens: bool = False
    """Whether a token in the query counts: ``Settings.query_tokens``."""
    framework: object = attrs.field(default=None, eq=False)
    """What the web framework knows of the request, for functions of its adapter; None after a ``ws.refresh``."""
    query: Mapping[str, str] = attrs.field(init=False)
    """The query's parameters, last value wins. No token belongs in a URL, and with one the handshake is refused."""
    cookies: Mapping[str, str] = attrs.field(init=False)
    """The request's cookies, first value wins."""

    def __attrs_post_init__(self) -> None:
        """Parse query and cookies once."""
        object.__setattr__(self, "query", _parse_query(self.query_string))
        object.__setattr__(self, "cookies", _parse_cookies(self.headers.get_all("cookie")))

    def __repr__(self) -> str:
        return f"Handshake(path={self.path!r}, sources={', '.join(self.credential_sources()) or 'none'})"

    @property
    def origin(self) -> str | None:
        """The page's origin as the browser states it, None where there is none."""
        return self.headers.get("origin")

    @property
    def host(self) -> str | None:
        """The host that the client asked for: ``public_host``, else the Host header."""
        return self.headers.get("host") if self.public_host is None else self.public_host

    @property
    def bearer_token(self) -> str | None:
        """
        The token from ``Authorization: Bearer …``, from the subprotocol ``bearer.…`` or from a frame.

        With ``Settings.query_tokens`` the query counts as well, as ``access_token`` for example. None where there is
        none, or where more than one is given and they differ.
        """
        found = {value[7:].strip() for value in self.headers.get_all("authorization") if value[:7].lower() == "bearer "}
        found |= self._offered(_BEARER_SUBPROTOCOL, "bearer")
        if self.query_tokens:
            found |= {value for name, value in _pairs(self.query_string) if name.lower() in _TOKEN_NAMES}
        return _only(found)

    @property
    def ticket(self) -> str | None:
        """
        The one-time ticket from the subprotocol ``ticket.…``, from the query parameter ``ticket`` or from a frame.

        None where there is none, or where more than one is given and they differ.
        """
        found = self._offered(_TICKET_SUBPROTOCOL, _TICKET_NAME)
        return _only(found | {value for name, value in _pairs(self.query_string) if name == _TICKET_NAME})

    @property
    def has_query_token(self) -> bool:
        """Whether the query carries a token, which servers and proxies write into their logs."""
        return any(name.lower() in _TOKEN_NAMES for name in self.query)

    @property
    def start(self) -> Start:
        """
        Where the client wants to begin: the cursor of its ``ws.auth``, else the query parameter ``cursor``.

        Raises:
            SchemaViolationError: It is malformed.
        """
        return parse_start(self.query.get("cursor")) if self.cursor is None else self.cursor

    def credential_sources(self) -> tuple[str, ...]:
        """Return which kinds of credential are present, never a value; for logs."""
        sources: list[str] = []
        if "authorization" in self.headers:
            sources.append("authorization")
        if any(map(_is_secret, self.subprotocols)):
            sources.append("subprotocol")
        if self.has_query_token or _TICKET_NAME in self.query:
            sources.append("query")
        if "cookie" in self.headers:
            sources.append("cookie")
        if self.credential is not None:
            sources.append("frame")
        return tuple(sources)

    def carries_credential(self, names: tuple[str, ...], /) -> bool:
        """
        Tell whether the request itself carried a credential, so that no ``ws.auth`` is due.

        Args:
            names: Cookies, headers and query parameters that count, beside
                ``Authorization``, the subprotocol, and tokens and tickets in the
                query. Cookies do not count otherwise: a page has some that say
                nothing about its user.
        """
        if "authorization" in self.headers or any(map(_is_secret, self.subprotocols)):
            return True
        if self.has_query_token or _TICKET_NAME in self.query:
            return True
        return any(name in self.cookies or name in self.headers or name in self.query for name in names)

    def with_credential(self, credential: Credential, /) -> Handshake:
        """
        Return the same handshake with *credential* alone: none in a cookie, header, query or subprotocol.

        Nor what the framework knows: who it says signed in may rest on any of these.
        """
        pairs = [(name, value) for name in self.headers for value in self.headers.get_all(name)]
        return Handshake(
            headers=Headers((name, value) for name, value in pairs if name not in _CREDENTIAL_HEADERS),
            path=self.path,
            query_string=_without_credentials(self.query_string),
            subprotocols=tuple(name for name in self.subprotocols if not _is_secret(name)),
            scheme=self.scheme,
            client=self.client,
            public_host=self.public_host,
            credential=credential,
        )

    def with_query_tokens(self) -> Handshake:
        """Return the same handshake, in which a token in the query counts."""
        return attrs.evolve(self, query_tokens=True)

    def _offered(self, prefix: str, scheme: str) -> set[str]:
        """Return what subprotocols and frame carry of one kind."""
        found = {name[len(prefix) :] for name in self.subprotocols if name.lower().startswith(prefix)}
        if self.credential is not None and self.credential.scheme == scheme:
            found.add(self.credential.value)
        return found


def choose_subprotocol(offered: tuple[str, ...], spoken: str | None, /) -> tuple[str | None, bool]:
    """
    Choose the subprotocol to answer.

    Args:
        offered: What the client offers, in its order.
        spoken: What the wire speaks, None where it has no name.

    Returns:
        The name to answer, and whether the session may go on. A name is
        answered also where it may not: a browser fails the handshake when none
        of its names comes back, and then cannot read the close code 4006. A
        bearer token is never answered (RFC 6455 §4.2.2 would allow it, logs of
        proxies would keep it).
    """
    if spoken is not None and spoken in offered:
        return spoken, True
    if not offered:
        return None, True
    names = [name for name in offered if not _is_secret(name) and _ANSWERABLE.fullmatch(name)]
    return (names[0] if names else None), False


def _is_secret(name: str) -> bool:
    return name.lower().startswith((_BEARER_SUBPROTOCOL, _TICKET_SUBPROTOCOL))


def _only(found: set[str]) -> str | None:
    """Return the one value that there is, None where there is none or more than one."""
    values = found - {""}
    return values.pop() if len(values) == 1 else None


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_PAIRS)
    except ValueError:
        return []


def _parse_query(text: str) -> Mapping[str, str]:
    return dict(_pairs(text))


def _without_credentials(text: str) -> str:
    """Return a query without its tokens and tickets; where there is none, the same text."""
    pairs = _pairs(text)
    kept = [(name, value) for name, value in pairs if name.lower() not in _TOKEN_NAMES and name != _TICKET_NAME]
    return text if len(kept) == len(pairs) else urlencode(kept)


def _parse_cookies(headers: tuple[str, ...]) -> Mapping[str, str]:
    cookies: dict[str, str] = {}
    for pair in ";".join(headers).split(";"):
        name, separator, value = pair.partition("=")
        if separator and name.strip():
            cookies.setdefault(name.strip(), value.strip())
    return cookies
