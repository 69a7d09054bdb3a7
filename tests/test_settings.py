"""
Settings: each value within its bounds, and none against another.
"""

from __future__ import annotations

import ast
import inspect
from typing import Any, Final, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import MAKE_HOSTILE, Something, anything
from ws_isolation import Settings, settings
from ws_isolation.errors import SettingsError

# The constructor as callers without a type checker see it.
build = cast("Any", Settings)

NUMBERS: Final = {
    "heartbeat_seconds": (1, 600),
    "pong_timeout_seconds": (1, 600),
    "proxy_idle_seconds": (2, 86_400),
    "auth_seconds": (0.1, 600),
    "ready_seconds": (0.05, 60),
    "write_seconds": (0.1, 600),
    "close_seconds": (0.1, 60),
    "engine_seconds": (0.05, 60),
    "drain_seconds": (0.1, 3_600),
    "detached_seconds": (0, 86_400),
    "stream_seconds": (1, 86_400),
    "message_id_seconds": (1, 86_400),
    "window_seconds": (0, 86_400),
    "tip_seconds": (1, 3_600),
    "lease_seconds": (1, 3_600),
    "expiry_skew_seconds": (0, 300),
    "messages_per_minute": (1, 1_000_000),
    "identity_messages_per_minute": (1, 1_000_000),
    "drain_share": (0.001, 1),
}
COUNTS: Final = {
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
ROOM: Final[dict[str, dict[str, float | None]]] = {
    "heartbeat_seconds": {"proxy_idle_seconds": 86_400, "server_ping_seconds": None},
    "pong_timeout_seconds": {"server_ping_seconds": None},
    "proxy_idle_seconds": {"heartbeat_seconds": 1},
    "close_seconds": {"drain_seconds": 3_600},
    "drain_seconds": {"close_seconds": 0.1},
    "event_bytes": {"outbox_bytes": 1_073_741_824},
    "outbox_bytes": {"event_bytes": 1_024},
}
"""What must be set as well, so that a field's whole range is free."""
ITSELF: Final = (
    ", after which the server itself closes with 1011: lower them, or say what your server does, None for no pings"
)


def refusal(**values: object) -> str:
    """
    Return the text with which *values* are refused.
    """
    with pytest.raises(SettingsError) as caught:
        build(**values)
    text = str(caught.value)
    assert len(text) <= 300
    assert text.isprintable()
    return text


def test_defaults_are_the_documented_ones() -> None:
    """
    The defaults are the numbers of the design, and agree with each other.
    """
    made = Settings()

    assert (25, 8, 60) == (made.heartbeat_seconds, made.pong_timeout_seconds, made.proxy_idle_seconds)
    assert (10, 10, 2, 10) == (made.auth_seconds, made.write_seconds, made.close_seconds, made.drain_seconds)
    assert 1 == made.engine_seconds
    assert (65_536, 65_536) == (made.message_bytes, made.event_bytes)
    assert (1_024, 1_048_576, 32) == (made.outbox_events, made.outbox_bytes, made.inbox_messages)
    assert (100, 20, 1_000) == (made.messages_per_minute, made.sessions_per_identity, made.pending_handshakes)
    assert ((), (), False) == (made.origins, made.hosts, made.require_tls)
    assert (False, ()) == (made.auth_frame, made.auth_names)
    assert False is made.query_tokens


def test_every_field_is_checked() -> None:
    """
    No field is without a row in the tables of this module, and so without a check.
    """
    names = {field.name for field in attrs.fields(Settings)}

    assert names == {
        *NUMBERS,
        *COUNTS,
        "origins",
        "hosts",
        "auth_names",
        "trusted_proxies",
        "missing_origin",
        "require_tls",
        "auth_frame",
        "query_tokens",
        "session_scope",
        "max_age_seconds",
        "inactivity_seconds",
        "server_ping_seconds",
        "session_limit",
    }


@pytest.mark.parametrize("name", [*NUMBERS, *COUNTS])
def test_bounds(name: str) -> None:
    """
    Both bounds of a number are accepted; the next value beyond each is refused by field and range.
    """
    low, high = (NUMBERS | COUNTS)[name]
    room = ROOM.get(name, {})

    for value in (low, high):
        assert value == getattr(build(**{name: value}, **room), name)
    for value in (low - 1, high + 1):
        text = refusal(**{name: value}, **room)
        assert text.startswith(f"{name}=")
        assert f"must be from {low:g} to" in text.replace(str(low), f"{low:g}")


@pytest.mark.parametrize(
    "name",
    [
        *NUMBERS,
        *COUNTS,
        "require_tls",
        "auth_frame",
        "query_tokens",
        "session_scope",
        "origins",
        "hosts",
        "auth_names",
        "trusted_proxies",
    ],
)
@pytest.mark.parametrize("value", [None, "25", b"25", [], float("nan"), 10**400, -(10**400), ("a", 1), float("inf")])
def test_types(name: str, value: object) -> None:
    """
    What is no number, no finite number, or no tuple of ``str`` is refused by field, and nothing else is raised.
    """
    assert refusal(**{name: value}).startswith(f"{name}=")


@pytest.mark.parametrize("name", [*NUMBERS, *COUNTS])
def test_a_bool_is_no_number(name: str) -> None:
    """
    True is not 1.
    """
    assert refusal(**{name: True}).startswith(f"{name}=True must be a")


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_whole(name: str) -> None:
    """
    Counts and sizes are ``int``, also where a ``float`` would be in range.
    """
    assert f"{name}=8192.0 must be an int" == refusal(**{name: 8192.0})


@pytest.mark.parametrize("value", [0, 1, "yes", None])
def test_require_tls_is_a_bool(value: object) -> None:
    """
    A switch that is set by anything but a ``bool`` is refused.
    """
    assert "require_tls=" in refusal(require_tls=value)
    assert "auth_frame=" in refusal(auth_frame=value)
    assert "query_tokens=" in refusal(query_tokens=value)


@given(st.sampled_from([field.name for field in attrs.fields(Settings)]), anything())
def test_nothing_else_is_ever_raised(name: str, something: Something) -> None:
    """
    Whatever a field is set to: settings, or the library's own error.
    """
    try:
        build(**{name: something.make()})
    except SettingsError as error:
        assert str(error)  # noqa: PT017  # both outcomes are right


@pytest.mark.parametrize("name", sorted(MAKE_HOSTILE))
def test_hostile_values(name: str) -> None:
    """
    Objects that raise, lie or never end are refused by field.
    """
    assert refusal(heartbeat_seconds=MAKE_HOSTILE[name]()).startswith("heartbeat_seconds=")
    assert refusal(origins=(MAKE_HOSTILE[name](),)).startswith("origins=")
    for field in attrs.fields(Settings):
        assert refusal(**{field.name: MAKE_HOSTILE[name]()}).startswith(f"{field.name}=")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"heartbeat_seconds": 60},
            "heartbeat_seconds=60 must be below proxy_idle_seconds=60: set it to 48 or less",
        ),
        (
            {"proxy_idle_seconds": 20},
            "heartbeat_seconds=25 must be below proxy_idle_seconds=20: set it to 16 or less",
        ),
        (
            {"heartbeat_seconds": 30, "pong_timeout_seconds": 10},
            f"heartbeat_seconds=30 and pong_timeout_seconds=10 must together be below server_ping_seconds=40{ITSELF}",
        ),
        (
            {"server_ping_seconds": 33},
            f"heartbeat_seconds=25 and pong_timeout_seconds=8 must together be below server_ping_seconds=33{ITSELF}",
        ),
        (
            {"close_seconds": 11},
            "close_seconds=11 must not exceed drain_seconds=10: a drain waits for every close",
        ),
        (
            {"event_bytes": 65_537, "outbox_bytes": 65_536},
            "event_bytes=65537 must not exceed outbox_bytes=65536: one event would not fit",
        ),
        (
            {"max_age_seconds": 25},
            "max_age_seconds=25 must exceed heartbeat_seconds=25: a session that ends before its first ping is a poll",
        ),
    ],
)
def test_contradictions(values: dict[str, object], problem: str) -> None:
    """
    Two values that cannot work together are refused, with what would do.
    """
    assert problem == refusal(**values)


def test_pings_of_the_server() -> None:
    """
    None is a server that sends none; a number must be one and within its range.
    """
    assert None is build(server_ping_seconds=None, heartbeat_seconds=59, pong_timeout_seconds=600).server_ping_seconds
    assert 86_400 == build(server_ping_seconds=86_400).server_ping_seconds
    for value, wanted in ((1.5, "from 2 to"), (86_401, "from 2 to"), (True, "a number"), ("40", "a number")):
        assert f"must be {wanted}" in refusal(server_ping_seconds=value)


@pytest.mark.parametrize("name", ["max_age_seconds", "inactivity_seconds"])
def test_maximum_age(name: str) -> None:
    """
    None is no bound; a number must be one and within its range.
    """
    assert None is getattr(build(), name)
    assert 2_592_000 == getattr(build(**{name: 2_592_000}), name)
    for value, wanted in ((0.5, "from 1 to"), (2_592_001, "from 1 to"), (True, "a number"), ("1h", "a number")):
        assert f"must be {wanted}" in refusal(**{name: value})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("session_limit", ("reject_new", "replace_oldest")),
        ("session_scope", ("identity", "thread")),
        ("missing_origin", ("allow", "refuse")),
    ],
)
def test_words(name: str, words: tuple[str, ...]) -> None:
    """
    A policy is one of its words; anything else is refused, and the message has the words.
    """
    assert list(words) == [getattr(build(**{name: word}), name) for word in words]
    for value in ("", words[0].upper(), None, 1, words):
        text = refusal(**{name: value})
        assert text.startswith(f"{name}=")
        assert text.endswith(f"must be {words[0]!r} or {words[1]!r}")


@pytest.mark.requirement("WS-25")
def test_trusted_proxies() -> None:
    """
    Networks, addresses and ``unix`` are accepted; names, wildcards and bits beyond the mask are refused.
    """
    good = ("10.0.0.0/8", "127.0.0.1", "::1", "2001:db8::/32", "unix")
    assert good == Settings(trusted_proxies=good).trusted_proxies
    for name in ("", "*", "localhost", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.*", "UNIX", "10.0.0.0/8 "):
        text = refusal(trusted_proxies=("10.0.0.0/8", name))
        assert text == f"trusted_proxies={name!r} must be a network or an address, such as 10.0.0.0/8 or ::1, or unix"


@pytest.mark.requirement("WS-01")
@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com",
        "http://localhost:3000",
        "https://app.example.com.",
        "https://[::1]:8443",
        "https://192.0.2.1",
        "https://xn--bcher-kva.example",
        "capacitor://localhost",
        "chrome-extension://abcdefghijklmnop",
        "http://a.example:443",
    ],
)
def test_origins(origin: str) -> None:
    """
    Origins as browsers send them are accepted.
    """
    assert (origin,) == Settings(origins=(origin,)).origins


@pytest.mark.requirement("WS-01")
@pytest.mark.parametrize(
    "origin",
    [
        "",
        "*",
        "null",
        "app.example.com",
        "https://",
        "https://*.example.com",
        "https://app.example.com/",
        "https://app.example.com/app",
        "https://app.example.com?x",
        "https://app.example.com#x",
        "https://user@app.example.com",
        "https://app.example.com:",
        "https://app.example.com:0",
        "https://app.example.com:70000",
        "https://app.example.com:443",
        "http://app.example.com:80",
        "https://:8443",
        "https://[::1",
        "https://[nothing]",
        "HTTPS://app.example.com",
        "https://App.example.com",
        "https://bücher.example",
        "https://app.example.com ",
        "https://app.example.com\n",
        "https://a.example,https://b.example",
        "https://a.example\\@b.example",
    ],
    ids=ascii,
)
def test_origins_that_never_match(origin: str) -> None:
    """
    Wildcards, paths, user names, default ports, upper case and spaces are refused: no browser sends them.
    """
    assert "must be scheme://host or scheme://host:port, exactly as browsers send it" in refusal(origins=(origin,))


@pytest.mark.parametrize("name", ["origins", "hosts"])
def test_one_text_is_no_list(name: str) -> None:
    """
    A single ``str`` in place of a tuple would be a list of its characters, and is refused.
    """
    assert "must be a tuple of str, such as" in refusal(**{name: "https://app.example.com"})


def test_is_a_value() -> None:
    """
    Settings are equal by content, cannot change, and take keywords only.
    """
    assert Settings() == Settings(heartbeat_seconds=25)
    assert Settings() != Settings(heartbeat_seconds=20)
    with pytest.raises(AttributeError):
        setattr(Settings(), "heartbeat_seconds", 1)  # noqa: B010  # what a careless caller does
    with pytest.raises(TypeError):
        build(())


@pytest.mark.scenario("S65")
def test_reads_no_environment() -> None:
    """
    The module imports nothing with which it could look around.
    """
    tree = ast.parse(inspect.getsource(settings))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}

    assert {"attrs", "re"} == modules
