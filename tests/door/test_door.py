"""
The door, as a function: each Origin, Host and scheme, and properties over all that resemble a good one.
"""

from __future__ import annotations

from typing import Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.openings import handshake
from ws_isolation import Settings
from ws_isolation.door import Refusal, check_door, is_plain

OURS: Final = "https://app.example.com"
HOST: Final = "chat.example.com"
SETTINGS: Final = Settings(origins=(OURS, "https://app.example.com:8443", "capacitor://localhost"))


def status(*headers: tuple[str, str], host: str | None = HOST, settings: Settings = SETTINGS) -> int:
    """
    Return the status of the refusal, 0 where the handshake may go on.
    """
    refusal = check_door(handshake(*headers, host=host), settings)
    return 0 if refusal is None else refusal.status


@pytest.mark.requirement("WS-01")
@pytest.mark.parametrize(
    "origin",
    [
        OURS,
        "https://app.example.com:8443",
        "capacitor://localhost",
        f"https://{HOST}",
        f"http://{HOST}",
        f"http://{HOST}:80",
        f"https://{HOST}:443",
    ],
)
def test_origin_that_may_knock(origin: str) -> None:
    """
    Listed origins exactly as listed, and the page's own host with any of the schemes of the web.
    """
    assert 0 == status(("origin", origin))


@pytest.mark.requirement("WS-01")
@pytest.mark.parametrize(
    "origin",
    [
        "",
        " ",
        "null",
        "*",
        HOST,
        f"//{HOST}",
        f"https://{HOST}:444",
        f"http://{HOST}:443",
        f"https://{HOST}:80",
        f"https://{HOST}.",
        f"https://{HOST}/",
        f"https://{HOST}?",
        f"https://{HOST}#",
        f"https://{HOST}\\",
        f"https://{HOST} ",
        f" https://{HOST}",
        f"https://{HOST}\x00",
        f"https://{HOST}\n",
        f"https://{HOST}\t",
        f"https://user@{HOST}",
        f"https://{HOST}@evil.com",
        f"https://evil{HOST}",
        f"https://{HOST}.evil.com",
        f"https://evil.com/{HOST}",
        f"https://{HOST.upper()}",
        f"HTTPS://{HOST}",
        f"file://{HOST}",
        f"chrome-extension://{HOST}",
        "http://app.example.com",
        "https://app.example.com:443",
        "https://app.example.com:8444",
        "https://APP.example.com",
        "https://app.example.com.",
        "https://www.app.example.com",
        "https://example.com",
        "https://xn--app-5ra.example.com",
        "https://аpp.example.com",  # noqa: RUF001  # the first letter is Cyrillic
        "https://[::1]",
        f"{OURS}, https://evil.com",
        f"{OURS} {OURS}",
    ],
)
def test_origin_that_may_not(origin: str) -> None:
    """
    What differs from an allowed origin in any character is refused.
    """
    assert 403 == status(("origin", origin))


@pytest.mark.requirement("WS-01")
@given(before=st.text(max_size=8), after=st.text(max_size=8), good=st.sampled_from([OURS, f"https://{HOST}"]))
def test_nothing_around_a_good_origin(before: str, after: str, good: str) -> None:
    """
    A good origin with anything before or after it is another origin, unless that is its default port.
    """
    origin = before + good + after
    allowed = {good, f"https://{HOST}:443", "https://app.example.com:8443"}

    assert (0 if origin in allowed else 403) == status(("origin", origin))


@pytest.mark.requirement("WS-01")
@given(
    host=st.text(st.characters(codec="ascii"), max_size=12), other=st.text(st.characters(codec="ascii"), max_size=12)
)
def test_only_its_own_host(host: str, other: str) -> None:
    """
    Whatever the Host header says, a page of another host does not get in.
    """
    refusal = check_door(handshake(("origin", f"http://{other}"), host=host), Settings())

    assert refusal is not None or host.removesuffix(":80") == other.removesuffix(":80")


@pytest.mark.requirement("WS-01")
def test_two_origins() -> None:
    """
    An Origin header that comes twice is refused, also where both say the same.
    """
    assert Refusal(403, "2 Origin headers") == check_door(handshake(("origin", OURS), ("Origin", OURS)), SETTINGS)


@pytest.mark.requirement("WS-02")
def test_no_origin() -> None:
    """
    A client that is no browser sends none, and no cookie either; a cookie alone is refused.
    """
    assert 0 == status()
    assert 403 == status(("cookie", "session=1"))
    assert 0 == status(("cookie", "session=1"), ("origin", OURS))


@pytest.mark.requirement("WS-02")
def test_browsers_only() -> None:
    """
    Where only browsers are served, a client without an Origin is refused, with or without a cookie.
    """
    settings = Settings(missing_origin="refuse", origins=(OURS,))

    assert 403 == status(settings=settings)
    assert 403 == status(("cookie", "session=1"), settings=settings)
    assert 0 == status(("origin", OURS), settings=settings)


@pytest.mark.requirement("WS-01", "WS-03", "WS-25")
def test_the_host_that_a_proxy_names() -> None:
    """
    Behind a trusted proxy the page's own host is the one that the proxy was asked for, and ``hosts`` is about that one.
    """
    shaken = attrs.evolve(handshake(("origin", "https://app.example"), host="10.0.0.5:8000"), public_host="app.example")

    assert check_door(shaken, Settings()) is None
    assert check_door(shaken, Settings(hosts=("app.example",))) is None
    assert 403 == getattr(check_door(shaken, Settings(hosts=("10.0.0.5:8000",))), "status", 0)
    assert 403 == getattr(check_door(attrs.evolve(shaken, public_host="b.example"), Settings()), "status", 0)


@pytest.mark.requirement("WS-03")
def test_host() -> None:
    """
    Exactly one Host header, and one of those in ``Settings.hosts`` where that is set.
    """
    settings = Settings(hosts=(HOST, "chat.example.com:8443"))

    assert [0, 0] == [status(host=host, settings=settings) for host in settings.hosts]
    assert {403} == {
        status(host=host, settings=settings)
        for host in ("evil.com", "", HOST.upper(), f"{HOST}.", f"{HOST}:443", f"{HOST},evil.com", f"{HOST}.evil.com")
    }
    assert [400, 400] == [status(host=None), status(("host", HOST))]
    assert 403 == status(("origin", "http://evil.com"), host="evil.com", settings=settings)


@pytest.mark.requirement("WS-24")
@pytest.mark.parametrize(
    ("scheme", "client", "plain"),
    [
        ("ws", "192.0.2.7", True),
        ("http", "192.0.2.7", True),
        ("ws", None, True),
        ("ws", "unix:", True),
        ("ws", "2001:db8::1", True),
        ("ws", "127.0.0.1", False),
        ("ws", "127.9.9.9", False),
        ("ws", "::1", False),
        ("ws", "::ffff:127.0.0.1", False),
        ("wss", "192.0.2.7", False),
        ("https", None, False),
    ],
)
def test_tls(scheme: str, client: str | None, plain: bool) -> None:  # noqa: FBT001  # the expected answer
    """
    With ``require_tls`` unencrypted handshakes from other machines are refused, and only those.
    """
    shaken = handshake(scheme=scheme, client=client)

    assert plain == is_plain(shaken)
    assert plain == (check_door(shaken, Settings(require_tls=True)) is not None)
    assert check_door(shaken, Settings()) is None
