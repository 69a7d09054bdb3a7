"""
The demo's agent: a legal run, and its user's canary in each of its events.
"""

from __future__ import annotations

import json

import pytest

from ws_isolation import Handshake, ManagerFactory
from ws_isolation.demo.accounts import Accounts
from ws_isolation.demo.agent import QUESTION, answer
from ws_isolation.handshake import Headers
from ws_isolation.testing import RecordingTransport


async def _events_of_an_answer() -> tuple[str, list[dict[str, object]]]:
    accounts = Accounts(["alice"])
    (account,) = accounts
    handshake = Handshake(headers=Headers([("authorization", f"Bearer {account.token}")]))
    context = await accounts.authenticate(handshake)
    transport = RecordingTransport()
    async with ManagerFactory() as factory, factory.attach(context, transport) as session:
        await answer(session.manager, QUESTION, pace=0)
    return account.canary, transport.events


@pytest.mark.scenario("S44", "S63")
async def test_answer_is_one_whole_run() -> None:
    """
    An answer is one run: a start, thoughts and a message in pieces, three tools that end, one end.
    """
    _, events = await _events_of_an_answer()
    types = [event["type"] for event in events]

    assert "agent_started" == types[0]
    assert "agent_completed" == types[-1]
    assert 1 == len({event["run_id"] for event in events})
    assert 3 == types.count("tool_executing") == types.count("tool_completed")
    assert {"agent_thinking", "agent_message_delta"} <= set(types)


async def test_tools_overlap() -> None:
    """
    Two tools are at work at once: the second begins before the first has ended.
    """
    _, events = await _events_of_an_answer()
    tools = [event["type"] for event in events if str(event["type"]).startswith("tool_")]

    assert ["tool_executing", "tool_executing"] == tools[:2]


async def test_canary_is_everywhere() -> None:
    """
    Each event holds the user's canary, and each durable one holds it in its payload too.
    """
    canary, events = await _events_of_an_answer()

    assert [] == [event for event in events if canary not in json.dumps(event)]
    assert [] == [event for event in events if "seq" in event and canary not in json.dumps(event["data"])]
