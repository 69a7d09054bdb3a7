"""
The demo's application over real HTTP and WebSockets: the page, who may ask, and what is answered.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest

from ws_isolation.demo.app import MALLORY, Demo, create_demo
from ws_isolation.demo.attacks import ATTACKS
from ws_isolation.demo.client import connected
from ws_isolation.demo.server import running


@asynccontextmanager
async def _served() -> AsyncGenerator[tuple[Demo, str, httpx.AsyncClient]]:
    demo = create_demo(pace=0.01)
    async with running(demo) as address, httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as http:
        yield demo, address, http


async def test_page_needs_nothing_from_elsewhere() -> None:
    """
    The page and each file it names come from this server, under a policy that allows no other.
    """
    async with _served() as (_, _, http):
        page = await http.get("/")
        files = re.findall(r'(?:href|src)="([^"#]+)"', page.text)

        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'; script-src 'self'" in page.headers["content-security-policy"]
        assert {"style.css", "app.js", "icon.svg"} == set(files)
        for name in [*files, "attacks.js", "connection.js", "dom.js", "lanes.js", "tab.js"]:
            answer = await http.get(f"/{name}")
            assert 200 == answer.status_code, name
            assert "https://" not in answer.text


async def test_page_has_no_inline_code() -> None:
    """
    Scripts and styles are files: a policy without unsafe-inline can be kept.
    """
    async with _served() as (_, _, http):
        text = (await http.get("/")).text

    assert not re.search(r"<script>|<style|\sstyle=|\son[a-z]+=", text)


async def test_foreign_host_is_refused() -> None:
    """
    A page of another name that points to this machine gets nothing (DNS rebinding).
    """
    async with _served() as (_, _, http):
        assert 400 == (await http.get("/setup", headers={"Host": "evil.example"})).status_code


async def test_setup_names_users_and_attacks() -> None:
    """
    The page learns the users, whose canaries differ, and every attack there is.
    """
    async with _served() as (demo, _, http):
        setup = (await http.get("/setup")).json()

    assert ["alice", "bob", MALLORY] == [user["user_id"] for user in setup["users"]]
    assert [account.canary for account in demo.accounts] == [user["canary"] for user in setup["users"]]
    assert list(ATTACKS) == [attack["name"] for attack in setup["attacks"]]


@pytest.mark.scenario("S28", "S36")
async def test_answer_reaches_all_tabs_of_the_user() -> None:
    """
    An answer that one tab asked for reaches both tabs of its user, and no tab of anybody else.
    """
    async with (
        _served() as (demo, address, _),
        connected(address, demo.accounts.of("alice").token) as asking,
        connected(address, demo.accounts.of("alice").token) as other,
        connected(address, demo.accounts.of("bob").token) as stranger,
    ):
        for tab in (asking, other, stranger):
            await tab.until(lambda it: it.raw)
        await asking.send(type="ask", data={"text": "Which of my invoices are open?"})
        for tab in (asking, other):
            assert await tab.until(lambda it: '"final":true' in it.raw[-1])

        assert asking.events == other.events
        assert [] == stranger.events
        assert 0 == stranger.count(demo.accounts.canaries_but("bob"))


@pytest.mark.scenario("S41")
@pytest.mark.parametrize(
    ("message", "slug"),
    [
        ({"type": "ask"}, "invalid_data"),
        ({"type": "ask", "data": {"text": 7}}, "invalid_data"),
        ({"type": "ask", "data": {"text": "x" * 201}}, "invalid_data"),
        ({"type": "dance"}, "unknown_type"),
    ],
)
async def test_what_cannot_be_served_is_answered(message: dict[str, object], slug: str) -> None:
    """
    A message that the handler cannot serve is answered, and the session stays open.
    """
    async with _served() as (demo, address, _), connected(address, demo.accounts.of("alice").token) as client:
        await client.send(**message)
        assert await client.until(lambda it: it.control("ws.error"))
        error = client.control("ws.error")

        assert error is not None
        assert slug == error["slug"]
        assert client.close_code is None


async def test_unknown_token_is_told() -> None:
    """
    A socket without a valid token gets a goodbye with 4001, at each endpoint.
    """
    async with _served() as (_, address, _):
        for path in ("/ws", "/forged/mock"):
            async with connected(address, "guessed", path=path) as client:
                assert await client.closed()
            assert 4001 == client.close_code


async def test_attack_needs_an_account() -> None:
    """
    Only who has a token may attack.
    """
    async with _served() as (_, _, http):
        assert 401 == (await http.post("/attacks/mock")).status_code


async def test_unknown_attack() -> None:
    """
    There is no attack of another name, and none by GET.
    """
    async with _served() as (demo, _, http):
        headers = {"Authorization": f"Bearer {demo.accounts.of(MALLORY).token}"}

        assert 404 == (await http.post("/attacks/dance", headers=headers)).status_code
        assert 404 == (await http.get("/attacks/mock", headers=headers)).status_code


@pytest.mark.scenario("S63")
async def test_attack_is_reported() -> None:
    """
    The answer to an attack has the operator's error in full, and the peer's code and goodbye without it.
    """
    async with _served() as (demo, _, http):
        headers = {"Authorization": f"Bearer {demo.accounts.of(MALLORY).token}"}
        outcome = (await http.post("/attacks/same-name", headers=headers)).json()

    assert outcome["refused"]
    assert "ContextTypeError" == outcome["error"]
    assert "same name, different class" in outcome["message"]
    assert 4310 == outcome["close_code"] == outcome["goodbye"]["code"]
    assert outcome["goodbye"]["incident_id"] in outcome["log"]
    assert "class" not in outcome["reason"]
