"""
Every bound and time-out of the library, with its unit, limits and source.

A ``Settings`` is a frozen value handed to the factory. Nothing is read from the
environment, so what a test sees is what production does.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NoReturn, TypeAlias, cast, final
from urllib.parse import urlsplit

import attrs

from .errors import SettingsError, shown
from .networks import Networks

__all__ = ("MissingOrigin", "SessionLimit", "Settings")

MissingOrigin: TypeAlias = Literal["allow", "refuse"]
"""What happens to a handshake without an Origin header, and without a Cookie."""

SessionLimit: TypeAlias = Literal["reject_new", "replace_oldest"]
"""What happens where an identity has as many sessions as it may have."""

_SECONDS: Final = {
    "heartbeat_seconds": (1.0, 600.0),
    "pong_timeout_seconds": (1.0, 600.0),
    "proxy_idle_seconds": (2.0, 86_400.0),
    "auth_seconds": (0.1, 600.0),
    "ready_seconds": (0.05, 60.0),
    "write_seconds": (0.1, 600.0),
    "close_seconds": (0.1, 60.0),
    "engine_seconds": (0.05, 60.0),
    "drain_seconds": (0.1, 3_600.0),
    "detached_seconds": (0.0, 86_400.0),
    "stream_seconds": (1.0, 86_400.0),
    "window_seconds": (0.0, 86_400.0),
    "tip_seconds": (1.0, 3_600.0),
    "lease_seconds": (1.0, 3_600.0),
    "message_id_seconds": (1.0, 86_400.0),
    "expiry_skew_seconds": (0.0, 300.0),
}
_COUNTS: Final = {
    "message_bytes": (1_024, 16_777_216),
    "event_bytes": (1_024, 16_777_216),
    "outbox_events": (8, 1_000_000),
    "outbox_bytes": (4_096, 1_073_741_824),
    "inbox_messages": (1, 10_000),
    "message_burst": (1, 100_000),
    "window_events": (0, 1_000_000),
    "window_bytes": (0, 1_073_741_824),
    "replay_events": (0, 100_000),
    "streams_bytes": (0, 1_099_511_627_776),
    "message_ids": (1, 100_000),
    "sessions_per_identity": (1, 100_000),
    "identity_message_burst": (1, 100_000),
    "revocations": (1, 10_000_000),
    "pending_handshakes": (1, 1_000_000),
    "pending_per_source": (1, 1_000_000),
    "connections": (1, 1_000_000),
}
_RATES: Final = {
    "messages_per_minute": (1.0, 1_000_000.0),
    "identity_messages_per_minute": (1.0, 1_000_000.0),
    "drain_share": (0.001, 1.0),
}
_OPTIONAL: Final = {
    "server_ping_seconds": (2.0, 86_400.0),
    "max_age_seconds": (1.0, 2_592_000.0),
    "inactivity_seconds": (1.0, 2_592_000.0),
}
"""Seconds as well; None is no bound."""
_WORDS: Final = {
    "session_limit": ("reject_new", "replace_oldest"),
    "session_scope": ("identity", "thread"),
    "missing_origin": ("allow", "refuse"),
}
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9._\[\]:-]*[a-z0-9._\]]")
"""Lower case and ASCII, as RFC 6454 §6.2 serialises it; hosts of other scripts in punycode."""
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@final
@attrs.frozen(kw_only=True)
class Settings:
    """
    The bounds of one factory. A value; lives as long as the factory.

    Raises:
        SettingsError: A value is out of its bounds, or two contradict each
            other. The message says which and what would do.

    Source: a field names its own; the other numbers are starting points of
    ours, not measurements.
    """

    origins: tuple[str, ...] = ()
    """Other origins whose pages may connect, exactly: ``https://app.example.com``. The page's own host always may."""
    hosts: tuple[str, ...] = ()
    """Host headers that are served, exactly, with their port if any; empty: all. Set it against DNS rebinding."""
    missing_origin: MissingOrigin = "allow"
    """
    ``refuse`` where browsers are the only clients. Without an Origin but with a Cookie nobody may connect either way:
    browsers send both (RFC 6455 §10.1).
    """
    trusted_proxies: tuple[str, ...] = ()
    """
    Networks of the proxies in front, ``10.0.0.0/8`` or ``::1``, and ``unix`` for those without an address: what they
    say in ``X-Forwarded-For``, ``-Proto`` and ``-Host`` counts as the client's address, scheme and host. Nobody
    else's does.
    """
    require_tls: bool = False
    """Refuse plain ``ws`` from other machines. A trusted proxy that ends TLS has to say so in ``X-Forwarded-Proto``."""
    auth_frame: bool = False
    """Let a client whose handshake carried no credential send it as its first frame, ``ws.auth``."""
    auth_names: tuple[str, ...] = ()
    """Cookies, headers and query parameters that carry a credential; with one of them no ``ws.auth`` is due."""
    query_tokens: bool = False
    """
    Take a token in the query, such as ``?access_token=…``, where all else is refused. Addresses get into the logs of
    servers and proxies (RFC 6750 §2.3).
    """

    heartbeat_seconds: float = 25.0
    """Seconds between pings, 1 to 600. With the pong's 8 s it beats the 40 s of uvicorn's own keepalive."""
    pong_timeout_seconds: float = 8.0
    """Seconds to a sign of life after a ping, 1 to 600."""
    proxy_idle_seconds: float = 60.0
    """Seconds after which a proxy in front drops an idle connection (nginx: 60). Must exceed the heartbeat."""
    server_ping_seconds: float | None = 40.0
    """
    Seconds after which the server below gives a silent client up by its own pings, 2 to 86,400; None for no pings.

    Must exceed heartbeat and pong together, or the client is closed with the server's 1011. uvicorn: the sum of
    ``ws_ping_interval`` and ``ws_ping_timeout``, 20 s each by default.
    """
    auth_seconds: float = 10.0
    """
    Seconds that ``authenticate`` may take, 0.1 to 600; those before it, to the end of a ``ws.auth`` frame; and those
    for each answer of the backplane's engine on the way in.
    """
    ready_seconds: float = 1.0
    """Seconds that ``ManagerFactory(ready=...)`` may take, 0.05 to 60; without an answer the client is told 4303."""
    write_seconds: float = 10.0
    """Seconds that one write may take before the reader counts as stalled, 0.1 to 600."""
    close_seconds: float = 2.0
    """Seconds for goodbye and close together, 0.1 to 60."""
    engine_seconds: float = 1.0
    """
    Seconds that the engine may take for one answer, 0.05 to 60: where a stream stands when a session joins it, who is
    revoked, who has a place. Then 4304: a client is better told to come back than kept waiting.
    """
    drain_seconds: float = 10.0
    """Seconds that ending all sessions may take, 0.1 to 3,600. Give the process that much before it is killed."""
    drain_share: float = 0.02
    """
    Share of all sessions that a drain ends in a second (at least 10), 0.001 to 1; more where ``drain_seconds`` is
    short.
    """
    max_age_seconds: float | None = None
    """Seconds after which a session has to resume (4201), 1 to 2,592,000; None: it may get as old as it likes."""
    inactivity_seconds: float | None = None
    """
    Seconds without a message of the client after which it has to authenticate anew (4102), 1 to 2,592,000; None: it
    may listen as long as it likes. Pongs, acks and ``ws.refresh`` are no messages: programs send them, not people.
    Source: OWASP ASVS 5.0, 7.3.1.
    """
    detached_seconds: float = 300.0
    """Seconds that spawned work goes on after the last session of its identity has ended."""
    stream_seconds: float = 300.0
    """Seconds that a stream is kept after its last session or event."""
    window_seconds: float = 300.0
    """Seconds that an event can be replayed, 0 to 86,400; its stream's end ends that sooner."""
    tip_seconds: float = 40.0
    """Seconds between looks whether the engine holds more than was delivered, spread by half of it, 1 to 3,600."""
    lease_seconds: float = 75.0
    """
    Seconds that a session counts for ``sessions_per_identity`` after its node was last heard of, 1 to 3,600: three
    heartbeats. A node renews three times as often; only with a backplane that counts for several nodes.
    """
    expiry_skew_seconds: float = 30.0
    """Seconds that a session may live past ``expires_at``, for clocks that differ."""

    message_bytes: int = 65_536
    """Decoded bytes of one message from a client (OWASP WebSocket Security Cheat Sheet: at most 64 KiB)."""
    event_bytes: int = 65_536
    """Encoded bytes of one event (CloudEvents 1.0: what intermediaries must forward)."""
    outbox_events: int = 1_024
    """Events that may wait for one socket."""
    outbox_bytes: int = 1_048_576
    """Bytes that may wait for one socket."""
    window_events: int = 512
    """Durable events of one identity that are kept for clients that come back."""
    window_bytes: int = 1_048_576
    """Their bytes."""
    replay_events: int = 300
    """Events that one resume may replay; a client further behind gets a gap."""
    streams_bytes: int = 536_870_912
    """Bytes in all windows of a process; above it, those that were written to longest ago are forgotten first."""
    session_scope: Literal["identity", "thread"] = "identity"
    """``thread``: a session gets only the events of its context's thread, and those that belong to none."""
    inbox_messages: int = 32
    """Messages that may wait for the handler of one session (what uvicorn queues as well)."""
    messages_per_minute: float = 100.0
    """Messages per minute that one session may send on average (OWASP: start at 100)."""
    message_burst: int = 20
    """Messages that one session may send at once."""
    identity_messages_per_minute: float = 300.0
    """Messages per minute that all sessions of one identity may send together on average: three busy tabs."""
    identity_message_burst: int = 60
    """Messages that all sessions of one identity may send at once."""
    message_ids: int = 512
    """Ids of messages that are kept for each identity, to tell a retry: about 200 bytes each."""
    message_id_seconds: float = 300.0
    """Seconds that the id of a message is kept, 1 to 86,400; never longer than the identity's stream."""
    sessions_per_identity: int = 20
    """Sessions of one identity, on all nodes where the backplane counts: 5 to 8 tabs are normal, reconnects overlap."""
    session_limit: SessionLimit = "reject_new"
    """
    At the limit, ``reject_new`` refuses the next session (4029) and ``replace_oldest`` ends the identity's oldest
    one (4009).
    """
    revocations: int = 100_000
    """Revoked identities that are remembered; about 150 bytes each."""
    pending_handshakes: int = 1_000
    """Sockets of the whole process that are not authenticated yet; above it they are refused with 503."""
    pending_per_source: int = 50
    """
    Of those, how many of one public address (of IPv6: of one /64), 503 above it. Private addresses are not counted:
    they are those of proxies; name yours in ``trusted_proxies``, and its clients are.
    """
    connections: int = 50_000
    """Sockets of the whole process, authenticated or not; above it they are refused with 503."""

    def __attrs_post_init__(self) -> None:
        """Check each value, then the values against each other."""
        for name, (low, high) in {**_SECONDS, **_RATES}.items():
            _check_number(name, getattr(self, name), low, high)
        for name, (least, most) in _COUNTS.items():
            _check_count(name, getattr(self, name), least, most)
        for name, (low, high) in _OPTIONAL.items():
            value: object = getattr(self, name)
            if value is not None:
                _check_number(name, value, low, high)
        for name, words in _WORDS.items():
            _check_word(name, getattr(self, name), words)
        for name in ("require_tls", "auth_frame", "query_tokens"):
            if type(getattr(self, name)) is not bool:
                _fail(name, getattr(self, name), "a bool")
        for origin in _strings("origins", self.origins):
            _check_origin(origin)
        _strings("hosts", self.hosts)
        _check_networks(_strings("trusted_proxies", self.trusted_proxies))
        _strings("auth_names", self.auth_names)
        self._check_together()

    def _check_together(self) -> None:
        if self.heartbeat_seconds >= self.proxy_idle_seconds:
            msg = (
                f"heartbeat_seconds={self.heartbeat_seconds:g} must be below proxy_idle_seconds="
                f"{self.proxy_idle_seconds:g}: set it to {self.proxy_idle_seconds * 0.8:g} or less"
            )
            raise SettingsError(msg)
        silence = self.heartbeat_seconds + self.pong_timeout_seconds
        if self.server_ping_seconds is not None and silence >= self.server_ping_seconds:
            msg = (
                f"heartbeat_seconds={self.heartbeat_seconds:g} and pong_timeout_seconds={self.pong_timeout_seconds:g} "
                f"must together be below server_ping_seconds={self.server_ping_seconds:g}, after which the server "
                "itself closes with 1011: lower them, or say what your server does, None for no pings"
            )
            raise SettingsError(msg)
        if self.close_seconds > self.drain_seconds:
            msg = (
                f"close_seconds={self.close_seconds:g} must not exceed drain_seconds={self.drain_seconds:g}: "
                "a drain waits for every close"
            )
            raise SettingsError(msg)
        if self.max_age_seconds is not None and self.max_age_seconds <= self.heartbeat_seconds:
            msg = (
                f"max_age_seconds={self.max_age_seconds:g} must exceed heartbeat_seconds={self.heartbeat_seconds:g}: "
                "a session that ends before its first ping is a poll"
            )
            raise SettingsError(msg)
        if self.event_bytes > self.outbox_bytes:
            msg = (
                f"event_bytes={self.event_bytes} must not exceed outbox_bytes={self.outbox_bytes}: "
                "one event would not fit"
            )
            raise SettingsError(msg)


def _fail(name: str, value: object, wanted: str) -> NoReturn:
    msg = f"{name}={shown(value)} must be {wanted}"
    raise SettingsError(msg)


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if type(value) is not int and type(value) is not float:
        _fail(name, value, "a number")
    if not low <= value <= high:
        _fail(name, value, f"from {low:g} to {high:g}")


def _check_count(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int:
        _fail(name, value, "an int")
    if not least <= value <= most:
        _fail(name, value, f"from {least} to {most}")


def _check_word(name: str, value: object, words: tuple[str, ...]) -> None:
    if type(value) is not str or value not in words:  # the type first: comparing runs code of the value's class
        _fail(name, value, " or ".join(map(repr, words)))


def _strings(name: str, value: object) -> tuple[str, ...]:
    items = cast("tuple[object, ...]", value)
    if type(value) is not tuple or not all(type(item) is str for item in items):
        _fail(name, items, 'a tuple of str, such as ("https://app.example.com",)')
    return cast("tuple[str, ...]", items)


def _check_networks(names: tuple[str, ...]) -> None:
    for name in names:
        try:
            Networks((name,))
        except ValueError:
            _fail("trusted_proxies", name, "a network or an address, such as 10.0.0.0/8 or ::1, or unix")


def _check_origin(origin: str) -> None:
    wanted = "scheme://host or scheme://host:port, exactly as browsers send it"
    if _ORIGIN.fullmatch(origin) is None:
        _fail("origins", origin, wanted)
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        _fail("origins", origin, wanted)
    if not parts.hostname or port in (0, _DEFAULT_PORTS.get(parts.scheme, 0)):
        # A port that is the scheme's own is left out by browsers, so this entry would never match.
        _fail("origins", origin, wanted)
