"""
The demo without a browser, which says whether isolation holds here and now.

A real server, real clients over loopback, several users with several tabs each,
all their agents at once, and Mallory in between. Each event carries its user's
canary; a leak is somebody else's canary in the raw bytes of a socket, whatever
the server believes.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final, final

import attrs

from ..handshake import Handshake, Headers
from .accounts import Account
from .agent import QUESTION
from .app import MALLORY, Demo, create_demo
from .attacks import ATTACKS, Outcome, Target
from .client import Client, connected
from .server import running

__all__ = ("USERS", "UserRow", "Verdict", "check")

USERS: Final = ("alice", "bob", "carol", "dave", "erin")
"""Who chats while Mallory tries."""

_TABS: Final = 3
_AGENTS: Final = 2
"""Agents of each user that run at once, asked for in different tabs."""
_PACE: Final = 0.2
_ENDS: Final = frozenset({"agent_completed", "agent_error", "agent_cancelled"})


@final
@attrs.frozen(kw_only=True)
class UserRow:
    """
    What one user's tabs saw.

    Attributes:
        user_id: Who.
        tabs: How many sockets.
        sent: Events that the server sent for this user.
        received: Events that all tabs together received.
        foreign: Messages with somebody else's canary.
        closes: How the tabs were closed: code and slug, and how often.
        problems: What is wrong, in words; empty when all is well.
    """

    user_id: str
    tabs: int
    sent: int
    received: int
    foreign: int
    closes: Counter[str]
    problems: tuple[str, ...]


@final
@attrs.frozen(kw_only=True)
class Verdict:
    """What the check found."""

    users: tuple[UserRow, ...]
    attacks: tuple[Outcome, ...]
    at_once: int
    """Agents that were running at the same moment."""
    seconds: float

    @property
    def failures(self) -> tuple[str, ...]:
        """What is wrong, in words; empty when isolation held."""
        found = [f"{row.user_id}: {problem}" for row in self.users for problem in row.problems]
        wanted = len(self.users) * _AGENTS
        if self.at_once < wanted:
            found.append(f"only {self.at_once} of {wanted} agents ran at once: isolation was not put to the test")
        for outcome in self.attacks:
            if not outcome.refused:
                saw = f", {outcome.foreign} foreign messages" if outcome.foreign else ""
                error = outcome.error or "no error"
                found.append(f"attack {outcome.attack!r} was not refused ({error}, close {outcome.close_code}{saw})")
        return tuple(found)


async def check(make: Callable[..., Demo] = create_demo, /) -> Verdict:
    """
    Run the whole demo once and look at every byte.

    Args:
        make: Makes the demo, called as ``create_demo`` is. Tests hand in a broken one.
    """
    began = time.perf_counter()
    demo = make((*USERS, MALLORY), pace=_PACE)
    tabs: dict[str, list[Client]] = {}
    async with AsyncExitStack() as sockets:
        async with running(demo) as address:
            for user_id in USERS:
                token = demo.accounts.of(user_id).token
                opening = [sockets.enter_async_context(connected(address, token)) for _ in range(_TABS)]
                tabs[user_id] = [await tab for tab in opening]
            everybody = [tab for own in tabs.values() for tab in own]
            await asyncio.gather(*(tab.until(_is_welcome) for tab in everybody))
            for asking in (tab for own in tabs.values() for tab in own[:_AGENTS]):
                await asking.send(type="ask", data={"text": QUESTION})
            outcomes = await _attack(demo, address)
            await asyncio.gather(*(tab.until(_is_answered) for tab in everybody))
        # The server has drained: every tab was told goodbye, and its managers were counted.
        await asyncio.gather(*(tab.closed() for tab in everybody))
    return Verdict(
        users=tuple(_row(demo, demo.accounts.of(user_id), own) for user_id, own in tabs.items()),
        attacks=outcomes,
        at_once=_at_once([own[0] for own in tabs.values()]),
        seconds=round(time.perf_counter() - began, 2),
    )


async def _attack(demo: Demo, address: str) -> tuple[Outcome, ...]:
    """Let Mallory try everything at once, with her own credential, while the others' agents run."""
    hers = demo.accounts.of(MALLORY)
    handshake = Handshake(headers=Headers([("authorization", f"Bearer {hers.token}")]))
    target = Target(
        address=address,
        factory=demo.factory,
        log=demo.log,
        token=hers.token,
        manager=demo.factory.create_manager(await demo.accounts.authenticate(handshake)),
        canaries=demo.accounts.canaries_but(MALLORY),
    )
    return tuple(await asyncio.gather(*(attack.run(target) for attack in ATTACKS.values())))


def _is_welcome(client: Client) -> bool:
    return client.control("ws.welcome") is not None


def _is_answered(client: Client) -> bool:
    return client.close_code is not None or sum('"final":true' in text for text in client.raw) >= _AGENTS


def _row(demo: Demo, account: Account, tabs: Sequence[Client]) -> UserRow:
    sent = demo.sent[account.user_id]
    foreign = sum(tab.count(demo.accounts.canaries_but(account.user_id)) for tab in tabs)
    problems = [f"{foreign} foreign messages"] if foreign else []
    for number, tab in enumerate(tabs, start=1):
        problems += [f"tab {number}: {problem}" for problem in _problems(tab, account.canary, sent)]
    return UserRow(
        user_id=account.user_id,
        tabs=len(tabs),
        sent=sent,
        received=sum(len(tab.events) for tab in tabs),
        foreign=foreign,
        closes=Counter(f"{tab.close_code} {tab.close_reason.partition(';')[0]}".strip() for tab in tabs),
        problems=tuple(problems),
    )


def _problems(tab: Client, canary: str, sent: int) -> list[str]:
    """Say what is wrong with what one tab received."""
    frames, received = tab.frames, tab.events
    found: list[str] = []
    if len(received) != sent or not sent:
        found.append(f"{len(received)} of {sent} events received")
    if unmarked := sum(canary not in text for text in tab.raw if '"type":"ws.' not in text):
        found.append(f"{unmarked} events without the user's own canary")
    places = [event["seq"] for event in received if "seq" in event]
    if places != list(range(1, len(places) + 1)):
        found.append("order not kept")
    if [frame["type"] for frame in frames[:1]] != ["ws.welcome"]:
        found.append("no welcome")
    goodbye = frames[-1] if frames else {}
    if goodbye.get("type") != "ws.goodbye" or goodbye.get("code") != tab.close_code:
        found.append(f"closed with {tab.close_code} and no goodbye that says so")
    return found


def _at_once(tabs: Sequence[Client]) -> int:
    """Return how many agents were running at the same moment, at most."""
    moments = sorted(
        (event["time"], -1 if event["type"] in _ENDS else 1)
        for tab in tabs
        for event in tab.events
        if event["type"] in _ENDS or event["type"] == "agent_started"
    )
    open_now = most = 0
    for _, step in moments:
        open_now += step
        most = max(most, open_now)
    return most
