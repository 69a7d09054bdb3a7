"""
The cookie of Starlette's sessions: what the middleware signed lets somebody in, and nothing else.
"""

from __future__ import annotations

import base64
import importlib
import json
import pickle
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import itsdangerous
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.openings import handshake
from ws_isolation import Handshake, UserExecutionContext, errors
from ws_isolation.credentials.starlette_sessions import CookieSession, SessionAuthenticate
from ws_isolation.testing import FakeClock

KEY: Final = "canary-canary-canary-canary"
NOW: Final = int(time.time())


class Signer(itsdangerous.TimestampSigner):
    """
    Signs at a time of the test's.
    """

    at: int = NOW

    def get_timestamp(self) -> int:
        """
        Return that time.
        """
        return self.at


def cookie(data: Any = None, *, key: str = KEY, at: int = NOW) -> str:
    """
    Return the cookie as the middleware makes it.
    """
    signer = Signer(key)
    signer.at = at
    raw = data if type(data) is bytes else json.dumps({"user_id": "alice"} if data is None else data).encode()
    return signer.sign(base64.b64encode(raw)).decode()


def checking(**options: Any) -> SessionAuthenticate:
    """
    Return the application's check.
    """
    return SessionAuthenticate(KEY, clock=FakeClock(unix=NOW), **options)


def bearing(value: str, name: str = "session") -> Handshake:
    """
    Return a handshake with the cookie.
    """
    return handshake(("cookie", f"theme=dark; {name}={value}"), query="thread=t")


async def refused(value: str, **options: Any) -> str:
    """
    Return why it does not count.
    """
    with pytest.raises(errors.UnauthenticatedError) as caught:
        await checking(**options)(bearing(value))
    assert caught.value.__cause__ is None
    return str(caught.value)


@pytest.mark.scenario("S53")
async def test_session() -> None:
    """
    The user of the session, in the thread of the query, until the cookie ends.
    """
    made = await checking()(bearing(cookie()))
    named = await checking(cookie="sid", max_age=60)(bearing(cookie(), "sid"))

    assert made is not None
    assert named is not None
    assert ("alice", "t") == (made.user_id, made.thread_id)
    assert datetime.fromtimestamp(NOW, UTC) + timedelta(days=14) == made.expires_at
    assert datetime.fromtimestamp(NOW + 60, UTC) == named.expires_at
    for nobody in ({}, {"user_id": 7}):
        assert None is await checking()(bearing(cookie(nobody)))
    with pytest.raises(errors.UnauthenticatedError, match="no session cookie"):
        await checking(cookie="sid")(bearing(cookie()))


@pytest.mark.requirement("WS-04", "WS-28")
@given(st.data())
async def test_any_change_is_refused(data: st.DataObject) -> None:
    """
    Whatever character is changed, put in or taken out, the cookie is refused.
    """
    right = cookie()
    at = data.draw(st.integers(0, len(right) - 1))
    put = data.draw(st.sampled_from("ABCxyz019-_=."))
    how = data.draw(st.sampled_from(["change", "insert", "delete", "cut"]))
    changed = {
        "change": right[:at] + put + right[at + 1 :],
        "insert": right[:at] + put + right[at:],
        "delete": right[:at] + right[at + 1 :],
        "cut": right[:at],
    }[how]

    # The last characters of base64 have bits to spare: itsdangerous reads the same signature there.
    if changed.rstrip("=") != right and at < len(right) - 1:
        assert "signed" in await refused(changed) or "session" in await refused(changed)


@pytest.mark.requirement("WS-04", "WS-09")
async def test_what_is_refused() -> None:
    """
    Another key, no session in it, too long, too old, or from the future.
    """
    assert "not signed with this key" in await refused(cookie(key="another"))
    for text in (b"", b"[]", b"\xff", b"null", b"[" * 5_000):
        assert "holds no session" in await refused(cookie(text))
    assert "8,192" in await refused("x" * 8_193)
    assert "from the future" in await refused(cookie(at=NOW + 61))
    assert None is not await checking()(bearing(cookie(at=NOW + 60)))
    with pytest.raises(errors.ExpiredError, match="too old"):
        await checking(max_age=60)(bearing(cookie(at=NOW - 60)))
    assert "signed" in await refused(cookie(key="another", at=NOW - 60), max_age=60)


async def test_own_context() -> None:
    """
    The application makes the context, async if it likes; one that outlives its session is a defect.
    """

    async def slowly(session: CookieSession, shaken: Handshake) -> UserExecutionContext | None:
        user = session.data["user"]["id"]
        return UserExecutionContext(user_id=user, expires_at=session.expires_at) if user == "bob" else None

    made = await checking(context=slowly)(bearing(cookie({"user": {"id": "bob"}})))

    assert made is not None
    assert "bob" == made.user_id
    assert None is await checking(context=slowly)(bearing(cookie({"user": {"id": "carol"}})))
    ends = [None, datetime.fromtimestamp(NOW + 1_300_000, UTC)]

    def late(_: CookieSession, __: Handshake) -> UserExecutionContext:
        return UserExecutionContext(user_id="alice", expires_at=ends.pop())

    while ends:
        with pytest.raises(errors.UsageError, match="outlives its session"):
            await checking(context=late)(bearing(cookie()))


@pytest.mark.parametrize(
    ("key", "options", "problem"),
    [("", {}, "secret_key"), (KEY, {"max_age": 0}, "max_age=0"), (KEY, {"max_age": None}, "max_age=None")],
)
def test_settings_that_are_refused(key: str, options: dict[str, Any], problem: str) -> None:
    """
    A check that would accept everything, or for ever, is not made.
    """
    with pytest.raises(errors.SettingsError, match=problem):
        SessionAuthenticate(key, **options)


@pytest.mark.requirement("WS-28")
def test_secrets_are_not_shown() -> None:
    """
    Neither key nor session is shown, and nothing that holds a key can be pickled.
    """
    assert "canary" not in repr(checking())
    assert "CookieSession(1 members)" == repr(CookieSession({"card": "canary"}, datetime.now(UTC)))
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(checking())


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without itsdangerous the error says what to install.
    """
    monkeypatch.setitem(sys.modules, "itsdangerous", None)
    monkeypatch.delitem(sys.modules, "ws_isolation.credentials.starlette_sessions")
    with pytest.raises(errors.MissingExtraError, match=r"pip install 'ws-isolation\[sessions\]'"):
        importlib.import_module("ws_isolation.credentials.starlette_sessions")
