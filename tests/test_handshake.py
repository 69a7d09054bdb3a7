"""
What a client said when it connected: nothing is guessed, nothing secret is shown.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.openings import handshake
from ws_isolation import Handshake, errors
from ws_isolation.handshake import Credential, Headers, choose_subprotocol
from ws_isolation.stream import NIL_ID, Cursor


def test_headers() -> None:
    """
    Names are case-insensitive, the first value wins, and all of them can be had.
    """
    headers = Headers([("X-One", "1"), ("x-two", "2"), ("x-ONE", "3")])

    assert "1" == headers["x-one"] == headers["X-ONE"]
    assert ("1", "3") == headers.get_all("X-One")
    assert () == headers.get_all("absent")
    assert ["x-one", "x-two"] == list(headers)
    assert 2 == len(headers)
    assert "absent" not in headers
    assert {} == dict(Headers())


@pytest.mark.requirement("WS-28")
def test_nothing_secret_is_shown() -> None:
    """
    The printed form has names of headers and kinds of credentials, and no value.
    """
    shaken = handshake(
        ("authorization", "Bearer canary"),
        ("cookie", "session=canary"),
        query="token=canary",
        subprotocols=("bearer.canary",),
    )

    assert "Handshake(path='/ws', sources=authorization, subprotocol, query, cookie)" == repr(shaken)
    assert "Headers(authorization, cookie, host)" == repr(shaken.headers)
    assert "Handshake(path='/', sources=none)" == repr(Handshake())


def test_what_a_browser_says() -> None:
    """
    Origin, host, query and cookies as they came; of the query the last value counts, of the cookies the first.
    """
    shaken = handshake(
        ("origin", "https://app.example.com"),
        ("cookie", "a=1; b = 2 ;a=3;nothing; =4"),
        ("cookie", "c=5=6"),
        query="thread=t1&thread=t2&empty=&plus=a+b&percent=%C3%A4",
    )

    assert ("https://app.example.com", "chat.example.com") == (shaken.origin, shaken.host)
    assert {"thread": "t2", "empty": "", "plus": "a b", "percent": "ä"} == shaken.query
    assert {"a": "1", "b": "2", "c": "5=6"} == shaken.cookies
    assert (None, None) == (Handshake().origin, Handshake().host)


def test_query_with_too_many_parameters() -> None:
    """
    More parameters than anybody needs are not read at all.
    """
    assert {} == handshake(query="&".join(f"a{n}=1" for n in range(101))).query
    assert 100 == len(handshake(query="&".join(f"a{n}=1" for n in range(100))).query)


@pytest.mark.requirement("WS-07", "WS-08")
@pytest.mark.parametrize(
    ("headers", "subprotocols", "query", "token"),
    [
        ((), (), "", None),
        ((("authorization", "Bearer one"),), (), "", "one"),
        ((("Authorization", "bEaReR  one "),), (), "", "one"),
        ((("authorization", "Bearer "),), (), "", None),
        ((("authorization", "Basic one"),), (), "", None),
        ((("authorization", "Bearer"),), (), "", None),
        ((), ("ws-isolation.v1", "bearer.one"), "", "one"),
        ((), ("BEARER.One",), "", "One"),
        ((), ("bearer.",), "", None),
        ((("authorization", "Bearer one"),), ("bearer.one",), "", "one"),
        ((("authorization", "Bearer one"),), ("bearer.two",), "", None),
        ((("authorization", "Bearer one"), ("authorization", "Bearer two")), (), "", None),
        ((("authorization", "Bearer one"), ("authorization", "Bearer one")), (), "", "one"),
        ((), ("bearer.one", "bearer.two"), "", None),
        ((("cookie", "token=one"),), (), "token=one&access_token=one", None),
    ],
)
def test_bearer_token(
    headers: tuple[tuple[str, str], ...], subprotocols: tuple[str, ...], query: str, token: str | None
) -> None:
    """
    One token from header or subprotocol; two that differ are none; a URL never holds one.
    """
    assert token == handshake(*headers, subprotocols=subprotocols, query=query).bearer_token


@pytest.mark.requirement("WS-07")
@pytest.mark.parametrize(
    ("query", "token"),
    [
        ("access_token=one", "one"),
        ("Token=one&x=2", "one"),
        ("%74oken=one", "one"),
        ("jwt=one&id_token=one", "one"),
        ("token=one&token=two", None),
        ("token=one&access_token=two", None),
        ("token=", None),
        ("tokens=one", None),
    ],
)
def test_query_token(query: str, token: str | None) -> None:
    """
    A token in the query counts only where that is opted in; it is always seen to be there.
    """
    shaken = handshake(query=query)

    assert (None, token) == (shaken.bearer_token, shaken.with_query_tokens().bearer_token)
    assert ("tokens=" not in query) is shaken.has_query_token is shaken.carries_credential(())
    assert ("tokens=" not in query) is ("query" in shaken.credential_sources())
    assert None is handshake(("authorization", "Bearer other"), query="token=one").with_query_tokens().bearer_token


@pytest.mark.requirement("WS-06", "WS-08")
@pytest.mark.parametrize(
    ("query", "subprotocols", "ticket"),
    [
        ("", (), None),
        ("ticket=one", (), "one"),
        ("ticket=one&ticket=two", (), None),
        ("ticket=", ("ticket.",), None),
        ("", ("ws-isolation.v1", "Ticket.One"), "One"),
        ("ticket=one", ("ticket.one",), "one"),
        ("ticket=one", ("ticket.two",), None),
        ("Ticket=one", (), None),
    ],
)
def test_ticket(query: str, subprotocols: tuple[str, ...], ticket: str | None) -> None:
    """
    One ticket from query or subprotocol; two that differ are none; it is no token, and it is never answered.
    """
    shaken = handshake(query=query, subprotocols=subprotocols)

    assert (ticket, None) == (shaken.ticket, shaken.with_query_tokens().bearer_token)
    assert not shaken.has_query_token
    assert ticket is None or shaken.carries_credential(())
    assert ticket is None or set(shaken.credential_sources()) <= {"query", "subprotocol"}
    assert (None, not subprotocols) == choose_subprotocol(tuple(n for n in subprotocols if "." in n[:7]), None)


@pytest.mark.requirement("WS-10")
def test_refreshed_handshake_has_one_credential() -> None:
    """
    What a refresh carries stands alone: no token or ticket of the address or the subprotocol is left beside it.
    """
    first = handshake(query="thread=t&token=old&%74icket=old&cursor=window", subprotocols=("a", "ticket.x", "bearer.x"))
    later = first.with_credential(Credential("bearer", "new"))

    assert ("new", None, ("a",)) == (later.with_query_tokens().bearer_token, later.ticket, later.subprotocols)
    assert {"thread": "t", "cursor": "window"} == later.query
    assert "a=%41&b=" == handshake(query="a=%41&b=").with_credential(Credential("ticket", "x")).query_string


def test_start() -> None:
    """
    The parameter ``cursor`` says where to begin; what is malformed raises.
    """
    assert handshake().start is None
    assert "window" == handshake(query="cursor=window").start
    assert Cursor("epoch", 7, NIL_ID) == handshake(query=f"cursor=epoch.7.{NIL_ID}").start
    with pytest.raises(errors.SchemaViolationError):
        _ = handshake(query="cursor=epoch.7").start


@pytest.mark.scenario("S55")
@pytest.mark.requirement("WS-08")
@given(
    offered=st.lists(
        st.sampled_from(["ws-isolation.v1", "mqtt", "bearer.canary", "Ticket.canary", "not a token", "é", "x" * 25, ""])
    ),
    spoken=st.sampled_from(["ws-isolation.v1", "mqtt", None]),
)
def test_choose_subprotocol(offered: list[str], spoken: str | None) -> None:
    """
    What is answered was offered, is a short token and no credential; the session goes on only with what is spoken.
    """
    answered, goes_on = choose_subprotocol(tuple(offered), spoken)

    assert answered is None or answered in offered
    assert answered in {None, "ws-isolation.v1", "mqtt"}
    assert goes_on == (not offered or spoken in offered)
    assert answered == spoken if goes_on and offered else True
    assert answered is not None or not {"ws-isolation.v1", "mqtt"} & set(offered)
