"""
Proxies that are named, and what strangers write where only proxies should.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.openings import handshake
from ws_isolation import Handshake
from ws_isolation.forwarded import Proxies, Unreadable
from ws_isolation.networks import Networks, address_of

PROXIES: Final = Proxies(("10.0.0.0/8", "::1"))
CLIENT: Final = "198.51.100.7"


def seen(*headers: tuple[str, str], client: str | None = "10.1.2.3", scheme: str = "ws") -> Handshake:
    """
    Return what is left of a handshake once the proxies are seen through.
    """
    return PROXIES.see_through(handshake(*headers, client=client, scheme=scheme))


@pytest.mark.requirement("WS-25")
@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ((CLIENT,), CLIENT),
        ((f"6.6.6.6, {CLIENT}",), CLIENT),
        ((f"6.6.6.6, {CLIENT}, 10.9.9.9",), CLIENT),
        ((f"10.4.4.4, {CLIENT}, 10.9.9.9, 10.8.8.8",), CLIENT),
        (("6.6.6.6", f"{CLIENT},10.9.9.9"), CLIENT),
        ((f"what a stranger wrote, {CLIENT}",), CLIENT),
        (("10.4.4.4, 10.9.9.9",), "10.4.4.4"),
        ((f"{CLIENT}:61234",), CLIENT),
        (("[2001:db8::1]:443",), "2001:db8::1"),
        (("[2001:db8::1]",), "2001:db8::1"),
        (("2001:DB8::1",), "2001:db8::1"),
        (("::ffff:198.51.100.7",), CLIENT),
        (("6.6.6.6, unknown",), None),
        (("6.6.6.6, _hidden",), None),
        ((), "10.1.2.3"),
    ],
)
def test_client(lines: tuple[str, ...], client: str | None) -> None:
    """
    The client is the first address from the right that is no proxy's; what stands to the left of it is not read.
    """
    assert client == seen(*(("X-Forwarded-For", line) for line in lines)).client


@pytest.mark.requirement("WS-25")
@pytest.mark.parametrize("client", ["198.51.100.1", "11.0.0.1", "::2", "nonsense", "", None])
def test_nobody_else_is_believed(client: str | None) -> None:
    """
    What comes from any other peer is the peer's own, whatever it says of itself.
    """
    headers = (("x-forwarded-for", CLIENT), ("x-forwarded-proto", "https"), ("x-forwarded-host", "bank.example"))
    shaken = handshake(*headers, client=client, scheme="ws")

    assert shaken is PROXIES.see_through(shaken)
    assert shaken is Proxies(()).see_through(shaken)
    assert "chat.example.com" == shaken.host


@pytest.mark.requirement("WS-25")
def test_forwarded_is_not_read() -> None:
    """
    ``Forwarded`` (RFC 7239) of a stranger passes a proxy that writes ``X-Forwarded-For``: it counts for nothing.
    """
    through = seen(("forwarded", "for=6.6.6.6;proto=https;host=bank.example"), ("x-forwarded-for", CLIENT))

    assert (CLIENT, "ws", "chat.example.com") == (through.client, through.scheme, through.host)


@pytest.mark.requirement("WS-25")
def test_unix_socket() -> None:
    """
    A peer without an address is a proxy where ``unix`` is named.
    """
    shaken = handshake(("x-forwarded-for", CLIENT), client=None)

    assert CLIENT == Proxies(("unix",)).see_through(shaken).client
    assert None is Proxies(("10.0.0.0/8",)).see_through(shaken).client
    assert "192.0.2.7" == Proxies(("unix",)).see_through(handshake(("x-forwarded-for", CLIENT))).client


@pytest.mark.requirement("WS-25")
@pytest.mark.parametrize(
    ("hops", "said", "scheme"),
    [
        (CLIENT, "https", "wss"),
        (CLIENT, "WSS", "wss"),
        (CLIENT, "http", "ws"),
        (CLIENT, "https, http", "ws"),  # what a stranger sent, then the proxy's own word
        (f"{CLIENT}, 10.9.9.9", "https, http", "ws"),  # the nearest says that the one before it came plain
        (f"{CLIENT}, 10.9.9.9", "https", "wss"),
        (f"{CLIENT}, 10.9.9.9", "https, https", "wss"),
        (f"6.6.6.6, {CLIENT}, 10.9.9.9", "https, https, http", "ws"),
    ],
)
def test_scheme(hops: str, said: str, scheme: str) -> None:
    """
    The scheme is what the nearest proxy says: no place before it is a certain proxy's.
    """
    assert scheme == seen(("x-forwarded-for", hops), ("x-forwarded-proto", said)).scheme


@pytest.mark.requirement("WS-25")
def test_scheme_of_an_http_request() -> None:
    """
    An endpoint's request keeps the words of HTTP.
    """
    said = (("x-forwarded-for", CLIENT), ("x-forwarded-proto", "https"))

    assert ("https", "http") == (seen(*said, scheme="http").scheme, seen(said[0], scheme="http").scheme)


@pytest.mark.requirement("WS-25", "WS-01")
def test_host() -> None:
    """
    The host that the client asked for is the one that the proxy says; without its word the Host header.
    """
    through = seen(("x-forwarded-for", CLIENT), ("x-forwarded-host", "evil.example, app.example.com:8443"))

    assert ("app.example.com:8443", "app.example.com:8443") == (through.public_host, through.host)
    # The first proxy adds to the list and the second does not: the length of the other list proves nothing.
    two = (
        ("x-forwarded-for", f"6.6.6.6, {CLIENT}, 10.9.9.9"),
        ("x-forwarded-host", "a.example, b.example, app.example"),
    )
    assert "app.example" == seen(*two).host
    assert (None, "chat.example.com") == (seen().public_host, seen().host)


@pytest.mark.requirement("WS-25")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-forwarded-for", ""),
        ("x-forwarded-for", "localhost"),
        ("x-forwarded-for", "6.6.6.6, "),
        ("x-forwarded-for", "1.2.3.4.5"),
        ("x-forwarded-for", "[1.2.3"),
        ("x-forwarded-for", "1.2.3.4:port"),
        ("x-forwarded-for", ",".join(["10.0.0.1"] * 33)),
        ("x-forwarded-proto", "ftp"),
        ("x-forwarded-proto", ""),
        ("x-forwarded-host", "a b"),
        ("x-forwarded-host", "user@host"),
        ("x-forwarded-host", "a" * 256),
        ("x-forwarded-host", ""),
        ("x-forwarded-host", "b\u00fccher.example"),
    ],
)
def test_unreadable(name: str, value: str) -> None:
    """
    What a named proxy says and nobody can read is no client: the reason names the header, and not its value.
    """
    with pytest.raises(Unreadable) as caught:
        seen((name, value))

    assert str(caught.value).startswith(name)
    assert not value.strip() or len(value) < 4 or value not in str(caught.value)


_address = st.ip_addresses().map(str)
_anything = st.text(st.characters(codec="ascii", exclude_characters=","), max_size=12)


def _is_outside(text: str) -> bool:
    """Tell whether *text* is an address that is no proxy's, as it is written."""
    return address_of(text) == ipaddress.ip_address(text) and not Networks(("10.0.0.0/8", "::1")).holds(text)


def _leftmost(shaken: Handshake) -> str | None:
    """Broken variant: believe what stands first, which anybody can write."""
    return shaken.headers["x-forwarded-for"].split(",")[0].strip()


def _next_to_last(shaken: Handshake) -> str | None:
    """Broken variant: count proxies instead of naming them."""
    return shaken.headers["x-forwarded-for"].split(",")[-1].strip()


def _ours(shaken: Handshake) -> str | None:
    return PROXIES.see_through(shaken).client


def _spoof(find: Callable[[Handshake], str | None], forged: list[str], client: str, inner: list[str]) -> bool:
    """
    Tell whether *find* names the client, whatever it wrote itself before proxies added what they saw.
    """
    text = ", ".join([*forged, client, *inner])
    return find(handshake(("x-forwarded-for", text), client="10.1.2.3")) == client


@pytest.mark.requirement("WS-25")
@given(
    forged=st.lists(_address | _anything, max_size=4),
    client=_address.filter(_is_outside),
    inner=st.lists(st.ip_addresses(network=ipaddress.ip_network("10.0.0.0/8")).map(str), max_size=3),
)
def test_nothing_that_a_client_writes_counts(forged: list[str], client: str, inner: list[str]) -> None:
    """
    For any client outside the proxies' networks: whatever it forged, its own address is found.
    """
    assert _spoof(_ours, forged, client, inner)


@pytest.mark.requirement("WS-25")
@pytest.mark.parametrize(
    ("broken", "forged", "inner"), [(_leftmost, ["6.6.6.6"], []), (_next_to_last, [], ["10.9.9.9"])]
)
def test_broken_variants_are_caught(
    broken: Callable[[Handshake], str | None], forged: list[str], inner: list[str]
) -> None:
    """
    Negative control: who believes the first entry, or always the last, takes a stranger's word or a proxy for it.
    """
    assert _spoof(_ours, forged, CLIENT, inner)
    assert not _spoof(broken, forged, CLIENT, inner)
