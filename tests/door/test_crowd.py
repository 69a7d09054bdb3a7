"""
How many strangers there may be, in all and from one source.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_isolation import Settings
from ws_isolation.crowd import Crowd
from ws_isolation.networks import Networks, source_of


@pytest.mark.requirement("WS-13")
def test_in_all() -> None:
    """
    Above ``pending_handshakes`` there is no place, until one is given back.
    """
    crowd = Crowd(Settings(pending_handshakes=2))

    assert [None, None] == [crowd.enter(None, 0), crowd.enter(None, 0)]
    assert "2 handshakes are pending (Settings.pending_handshakes)" == crowd.enter(None, 0)
    crowd.leave(None)
    assert (None, 2) == (crowd.enter(None, 0), crowd.pending)


@pytest.mark.requirement("WS-13")
def test_sockets_of_the_process() -> None:
    """
    ``connections`` counts open sessions as well.
    """
    crowd = Crowd(Settings(connections=3))

    assert crowd.enter(None, 2) is None
    assert "3 sockets are open (Settings.connections)" == crowd.enter(None, 2)
    assert crowd.enter(None, 1) is None


@pytest.mark.requirement("WS-13")
def test_of_one_source() -> None:
    """
    One source cannot take everybody's places; what it has given back is forgotten.
    """
    crowd = Crowd(Settings(pending_per_source=2))

    assert [None, None] == [crowd.enter("1.1.1.1", 0), crowd.enter("1.1.1.1", 0)]
    text = crowd.enter("1.1.1.1", 0)
    assert text is not None
    assert text.startswith("2 handshakes of this source")
    assert "Settings.trusted_proxies" in text
    assert [None, None] == [crowd.enter("2.2.2.2", 0), crowd.enter(None, 0)]
    crowd.leave("1.1.1.1")
    assert crowd.enter("1.1.1.1", 0) is None
    for source in ("1.1.1.1", "1.1.1.1", "2.2.2.2", None):
        crowd.leave(source)
    assert (0, {}) == (crowd.pending, crowd._by_source)


@pytest.mark.requirement("WS-13")
@pytest.mark.parametrize(
    ("client", "source"),
    [
        ("8.8.8.8", "8.8.8.8"),
        ("::ffff:8.8.8.8", "8.8.8.8"),
        ("2a00:1450:4001:80b::200e", "2a00:1450:4001:80b::/64"),
        ("2a00:1450:4001:80b:1::1", "2a00:1450:4001:80b::/64"),
        ("127.0.0.1", None),
        ("10.1.1.1", None),
        ("192.168.0.1", None),
        ("fd00::1", None),
        ("::1", None),
        ("testclient", None),
        ("", None),
        (None, None),
    ],
)
def test_source(client: str | None, source: str | None) -> None:
    """
    A public address counts, of IPv6 its network; what can only be a proxy's or nobody's does not.
    """
    assert source == source_of(client)


@pytest.mark.requirement("WS-13")
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([None, "1.1.1.1", "2.2.2.2"])), max_size=60))
def test_counts_never_drift(steps: list[tuple[bool, str | None]]) -> None:
    """
    Whoever has a place has exactly one: whatever the order, the counts are those of the places held.
    """
    crowd = Crowd(Settings(pending_handshakes=10, pending_per_source=4))
    held: list[str | None] = []
    for comes, source in steps:
        if comes and crowd.enter(source, 0) is None:
            held.append(source)
        elif not comes and source in held:
            held.remove(source)
            crowd.leave(source)
        assert len(held) == crowd.pending <= 10
        assert {one: held.count(one) for one in held if one is not None} == crowd._by_source
        assert all(count <= 4 for count in crowd._by_source.values())


@pytest.mark.requirement("WS-25")
def test_networks() -> None:
    """
    Networks hold their addresses, also in IPv6's clothes; an address of the other family is in none of them.
    """
    networks = Networks(("10.0.0.0/8", "::1", "2001:db8::/32"))

    assert all(networks.holds(client) for client in ("10.255.0.1", "::ffff:10.0.0.1", "::1", "2001:db8:1::2"))
    assert not any(networks.holds(client) for client in ("11.0.0.1", "::2", "localhost", "", None))
    assert Networks(("unix",)).holds(None)
