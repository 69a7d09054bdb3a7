"""
The demo's agent: scripted, so that it needs no model, and slow, so that people can watch.

It knows who asks from its manager's context and from nowhere else.
"""

from __future__ import annotations

import asyncio
import random
import re
import secrets
from typing import Final

from .. import IsolatedManager, Run, events
from .accounts import Profile

__all__ = ("QUESTION", "answer")

QUESTION: Final = "Which of my invoices are open?"
"""What the page asks for both users."""

_WORD: Final = re.compile(r"\S+\s*")


async def answer(manager: IsolatedManager, question: str, /, *, pace: float = 1.0) -> None:
    """
    Answer *question* as one run of the manager's user.

    Args:
        manager: The asking user's; it can reach nobody else.
        question: What was asked.
        pace: 1 for people; smaller is faster.
    """
    who = manager.context.claims_as(Profile)
    # The run's id stands in each of its events, so each of them carries the canary.
    run_id = f"{who.canary}.{secrets.token_hex(4)}"
    async with manager.run("invoice-agent", run_id=run_id, model=f"scripted ({who.canary})") as run:
        async with run.thought() as thought:
            for word in _words(
                f"{who.name} asks: {question} I open the books of {who.name} only, whose secret is {who.canary}."
            ):
                await thought.write(word)
                await _wait(pace, 0.05)
        async with asyncio.TaskGroup() as tools:  # both at once; they end in the order in which they end
            tools.create_task(_search(run, who, pace))
            tools.create_task(_convert(run, who, pace))
        await _remind(run, who, pace)
        found = f"{len(who.invoices)} invoices are open: {', '.join(who.invoices)}"
        text = f"{who.name}, {found}. Your secret is {who.canary}."
        async with run.message() as message:
            for word in _words(text):
                await message.write(word)
                await _wait(pace, 0.07)
        await run.complete(text, stop_reason="end_turn")


async def _search(run: Run, who: Profile, pace: float) -> None:
    async with run.tool("search_invoices", {"status": "open", "canary": who.canary}) as tool:
        await _wait(pace, 1.1)
        tool.result = {"invoices": who.invoices, "canary": who.canary}


async def _convert(run: Run, who: Profile, pace: float) -> None:
    async with run.tool("exchange_rate", {"to": "EUR", "canary": who.canary}) as tool:
        await _wait(pace, 0.6)
        tool.result = {"rate": 0.92, "canary": who.canary}


async def _remind(run: Run, who: Profile, pace: float) -> None:
    async with run.tool("send_reminder", {"invoice": who.invoices[0], "canary": who.canary}) as tool:
        await _wait(pace, 0.3)
        tool.status = "denied"
        tool.summary = f"Nothing was sent for {who.canary}."
        tool.error = events.Problem(title="Reminders need the user's approval.", code="approval_required")


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


async def _wait(pace: float, seconds: float) -> None:
    # Uneven, so that two agents that start together drift apart, as real ones do.
    await asyncio.sleep(pace * seconds * random.uniform(0.4, 1.6))  # noqa: S311  # a rhythm is no secret
