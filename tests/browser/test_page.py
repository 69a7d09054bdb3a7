"""
What a person sees on the demo's page: each lane has its own events, each attack its refusal.
"""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.chromium import Scheme, opened, screenshots
from tests.demo.broken import share_one_stream
from ws_isolation import UserExecutionContext
from ws_isolation.demo.app import Demo
from ws_isolation.demo.attacks import ATTACKS

pytestmark = pytest.mark.browser

TABS = ("alice-1", "alice-2", "bob-1", "bob-2")
EXPECTED = {
    "same-name": ("ContextTypeError", 4310, "same name, different class; import it from ws_isolation"),
    "subclass": ("ContextTypeError", 4310, "subclasses are refused"),
    "mock": ("ContextTypeError", 4310, "a mock is no context"),
    "edited": ("ContextIntegrityError", 4310, "changed afterwards"),
    "new": ("ContextIntegrityError", 4310, "its constructor did not make"),
    "dict": ("ContextTypeError", 4310, "build one with UserExecutionContext(user_id=...)"),
    "none": ("ContextTypeError", 4001, "there is no default user"),
    "claim": ("SchemaViolationError", 4022, "the member user_id is reserved"),
    "crash": ("DeliberateError", 4300, "the demo's handler fails because a client asked it to"),
    "stall": ("slow_consumer", 4213, "the outbox is full"),
}


async def _answer_both(page: Page, *, times: int = 1) -> None:
    await page.get_by_role("button", name="Start both agents").click()
    for tab in TABS:
        await expect(page.locator(f'[data-tab="{tab}"] .run-end.good')).to_have_count(times, timeout=20_000)


async def _cable(page: Page, what: str, user: str, number: int) -> None:
    await page.get_by_role("button", name=re.compile(f"^{what} {user}.s tab {number}$")).click()


async def _see_only_their_own(page: Page, demo: Demo) -> None:
    for tab in TABS:
        own = demo.accounts.of(tab.split("-", maxsplit=1)[0])
        text = await page.locator(f'[data-tab="{tab}"]').inner_text()

        assert own.canary in text
        assert not [canary for canary in demo.accounts.canaries_but(own.user_id) if canary in text]


@pytest.mark.requirement("P1")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
async def test_each_lane_has_its_own_events(scheme: Scheme, width: int, height: int) -> None:
    """
    Both users' agents run at once; each tab and each lane has its user's canary only, and nothing overflows.
    """
    async with opened(scheme=scheme, width=width, height=height) as it:
        await it.page.get_by_role("button", name="Start both agents").click()
        await expect(it.page.locator('[data-tab="bob-2"] .tool').first).to_be_visible()
        await it.page.screenshot(path=screenshots() / f"running-{scheme}-{width}.png")
        for tab in TABS:
            await expect(it.page.locator(f'[data-tab="{tab}"] .run-end.good')).to_have_count(1, timeout=20_000)
        await _see_only_their_own(it.page, it.demo)
        await it.page.screenshot(path=screenshots() / f"answered-{scheme}-{width}.png", full_page=True)

        await expect(it.page.locator('[data-score="foreign"]')).to_have_text("0")
        for row in range(4):
            count = it.page.locator(".lane-counts li").nth(row)
            await expect(count).to_have_text(re.compile(r"^[1-9]\d* own, 0 foreign$"))
        # Whose a mark is says its canary, so the rows of the picture tell where each user's events went.
        assert {"alice": {0, 1}, "bob": {2, 3}} == await _rows_of_marks(it.page)
        assert await it.page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
        assert [] == it.complaints


async def _rows_of_marks(page: Page) -> dict[str, set[int]]:
    rows: dict[str, list[int]] = await page.evaluate(
        """() => {
            const rows = { alice: [], bob: [] };
            for (const mark of document.querySelectorAll(".lanes .event")) {
                const user = ["alice", "bob"].find((name) => mark.classList.contains(name));
                rows[user].push(Math.floor(mark.transform.baseVal.getItem(0).matrix.f / 38));
            }
            return rows;
        }"""
    )
    return {user: set(places) for user, places in rows.items()}


@pytest.mark.scenario("S14", "S15", "S35", "S56", "S63")
@pytest.mark.requirement("P2", "P6")
async def test_every_attack_shows_its_refusal() -> None:
    """
    Each button shows that its attack was refused: the error in full, the close code, no event of anybody else.
    """
    assert list(EXPECTED) == list(ATTACKS)
    async with opened() as it:
        for name, (error, code, text) in EXPECTED.items():
            await it.page.locator(f'[data-attack="{name}"]').click()
            result = it.page.locator(f'[data-result="{name}"].result')
            await expect(result.locator(".verdict")).to_have_text("refused", timeout=15_000)
            await expect(result.locator("summary .error")).to_have_text(error)
            await expect(result.locator("summary .code")).to_have_text(str(code))
            await expect(result.locator(".error-text")).to_contain_text(text)
            await expect(result.locator(".frame")).to_contain_text(f'"code": {code}')
            await expect(result.locator(".sides")).to_contain_text("events of others: 0")
        await expect(it.page.locator('[data-score="refused"]')).to_have_text(str(len(EXPECTED)))
        await expect(it.page.locator(".lane-counts li").last).to_have_text("10 refused, 0 passed")
        await it.page.screenshot(path=screenshots() / "attacked.png", full_page=True)

        await expect(it.page.locator('[data-score="open"]')).to_have_text("4 of 4")
        assert [] == it.complaints


@pytest.mark.requirement("P5")
async def test_attacks_disturb_nobody() -> None:
    """
    While everything is tried, both agents finish on all four tabs, which stay connected.
    """
    async with opened() as it:
        await it.page.get_by_role("button", name="Try everything").click()
        await _answer_both(it.page)
        await _see_only_their_own(it.page, it.demo)
        await expect(it.page.locator('[data-score="refused"]')).to_have_text(str(len(EXPECTED)), timeout=30_000)

        await expect(it.page.locator('[data-score="open"]')).to_have_text("4 of 4")
        await expect(it.page.locator('[data-score="foreign"]')).to_have_text("0")
        assert [] == it.complaints


@pytest.mark.scenario("S52")
@pytest.mark.requirement("P3")
async def test_cut_cable_resumes_or_says_what_is_missing() -> None:
    """
    A tab that missed nothing hears so when it comes back; one that missed events gets them, or hears which are gone.
    """
    async with opened() as it:
        await _cable(it.page, "Cut the cable of", "Alice", 1)
        await expect(it.page.locator('[data-score="open"]')).to_have_text("3 of 4")
        await _cable(it.page, "Reconnect", "Alice", 1)
        await expect(it.page.locator('[data-tab="alice-1"] .note.good')).to_contain_text("ws.resumed")

        await _cable(it.page, "Cut the cable of", "Bob", 1)
        await it.page.locator("#ask-bob").click()
        await expect(it.page.locator('[data-tab="bob-2"] .run-end.good')).to_be_visible(timeout=20_000)
        await _cable(it.page, "Reconnect", "Bob", 1)
        resumed = it.page.locator('[data-tab="bob-1"] .note', has_text="ws.resumed")
        await expect(resumed).to_contain_text(re.compile(r"\d+ missed events came above"))
        await expect(it.page.locator('[data-tab="bob-1"] .run-end.good')).to_be_visible()

        await _cable(it.page, "Cut the cable of", "Alice", 1)
        manager = it.demo.factory.create_manager(UserExecutionContext(user_id="alice"))
        async with manager.run("ticker") as run:
            for _ in range(it.demo.factory.settings.replay_events // 2):
                async with run.tool("tick"):
                    pass
        await _cable(it.page, "Reconnect", "Alice", 1)
        gap = it.page.locator('[data-tab="alice-1"] .note', has_text="ws.gap")
        await expect(gap).to_contain_text(re.compile(r"replay_limit: events \d+ to \d+ were missed"))
        await it.page.screenshot(path=screenshots() / "reconnected.png")

        await expect(it.page.locator(".answer.resumed")).to_have_count(2)
        await expect(it.page.locator(".answer.gap")).to_have_count(1)
        assert [] == it.complaints


async def test_agent_goes_on_without_a_tab() -> None:
    """
    With both cables cut, the agent goes on; who comes back in time sees its end. Nobody can start one meanwhile.
    """
    async with opened(pace=0.6) as it:
        await it.page.locator("#ask-alice").click()
        await expect(it.page.locator('[data-tab="alice-2"] .run')).to_be_visible()
        for number in (1, 2):
            await _cable(it.page, "Cut the cable of", "Alice", number)
        await it.page.locator("#ask-alice").click()
        await expect(it.page.locator('[data-tab="alice-1"]')).to_contain_text("No tab is connected")
        await _cable(it.page, "Reconnect", "Alice", 2)

        await expect(it.page.locator('[data-tab="alice-2"] .run-end.good')).to_be_visible(timeout=20_000)


@pytest.mark.scenario("S65")
async def test_a_leak_would_be_seen() -> None:
    """
    One event with a foreign canary turns the counter, draws a mark into the wrong lane, and is said aloud.
    """
    async with opened() as it:
        await it.page.get_by_role("button", name="What would a leak look like?").click()
        await expect(it.page.locator('[data-score="foreign"]')).to_have_text("1")
        await expect(it.page.locator(".lane-counts li").first).to_have_text("0 own, 1 foreign")
        await expect(it.page.get_by_role("alert")).to_have_text(
            re.compile("An event of Bob is in the lane of Alice.s tab 1, simulated")
        )
        await it.page.screenshot(path=screenshots() / "leak.png")

        assert {"alice": set(), "bob": {0}} == await _rows_of_marks(it.page)

        await it.page.get_by_role("button", name="Clear the simulation").click()
        await expect(it.page.locator('[data-score="foreign"]')).to_have_text("0")
        assert {"alice": set(), "bob": set()} == await _rows_of_marks(it.page)


@pytest.mark.scenario("S65")
async def test_a_real_leak_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With a server whose users share one stream, the page shows each foreign event, in the lane that it came to.
    """
    share_one_stream(monkeypatch)
    async with opened() as it:
        await it.page.locator("#ask-bob").click()
        await expect(it.page.locator("#score-foreign")).to_have_class(re.compile("bad"))
        await expect(it.page.locator(".lane-counts li").first).to_have_text(re.compile(r"^0 own, [1-9]\d* foreign$"))
        await it.page.screenshot(path=screenshots() / "leaking.png")

        assert {0, 1, 2, 3} == (await _rows_of_marks(it.page))["bob"]


@pytest.mark.scenario("S26")
async def test_end_of_the_server_is_explained() -> None:
    """
    When the server goes away, each tab shows the goodbye and tries to come back by itself.
    """
    async with opened() as it:
        await it.demo.factory.stop()
        for tab in TABS:
            goodbye = it.page.locator(f'[data-tab="{tab}"] .note', has_text="ws.goodbye")
            await expect(goodbye).to_contain_text("4200 drain: resume")
        await it.demo.factory.__aenter__()

        await expect(it.page.locator('[data-score="open"]')).to_have_text("4 of 4", timeout=15_000)


async def test_keyboard_alone_is_enough() -> None:
    """
    Everything can be reached and used with the keyboard, and what has the focus shows it.
    """
    async with opened(calm=True) as it:
        await it.page.keyboard.press("Tab")
        await expect(it.page.get_by_role("link", name="Skip to the attacks")).to_be_focused()
        await it.page.locator("#question").focus()
        await it.page.keyboard.press("Enter")
        for tab in TABS:
            await expect(it.page.locator(f'[data-tab="{tab}"] .run-end.good')).to_be_visible(timeout=20_000)
        names = await it.page.evaluate(
            """() => [...document.querySelectorAll("button, input, summary, a")]
                .filter((it) => !(it.getAttribute("aria-label") || it.innerText || it.labels?.length))
                .map((it) => it.outerHTML)"""
        )
        await it.page.locator('[data-attack="mock"]').focus()
        outline = await it.page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
        await it.page.keyboard.press("Space")
        await expect(it.page.locator("#attack-status")).to_have_text("Mock: refused, ContextTypeError, close code 4310")

        assert [] == names
        assert "solid" == outline
        assert [] == it.complaints
