"""
What is announced while an answer of the engine is on its way.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.backplanes.shared import nodes
from tests.shell import note, until_over
from ws_isolation.keys import Identity
from ws_isolation.stream import Cursor
from ws_isolation.testing import RecordingTransport, make_context
from ws_isolation.testing.clock import settle
from ws_isolation.wire import DEFAULT_WIRE


@pytest.mark.scenario("S51")
@pytest.mark.requirement("P3")
async def test_an_answer_that_was_overtaken() -> None:
    """
    A client resumes, and what is announced to its node meanwhile is newer than the answer: it gets all, and no gap.
    """
    engine, (a, b) = nodes()
    alice = a.factory.create_manager(make_context("alice"))
    await b.visit()
    first = await alice.send(note("first"))
    engine.slow["read"] = asyncio.Event()
    socket = RecordingTransport()
    opening = asyncio.create_task(
        b.factory.open_session(
            make_context("alice"),
            socket,
            wire=DEFAULT_WIRE,
            start=Cursor((await engine.inner.read(Identity(None, "alice"), None)).top.epoch, first.seq, first.event_id),
            handshake=None,
            enforce_pongs=False,
        )
    )
    await settle()
    await alice.send(note("while it was away"))
    engine.slow["read"].set()
    session = await opening
    serving = asyncio.create_task(session.serve(until_over))
    await settle()

    assert ["ws.welcome", "ws.resumed", "custom"] == socket.types()
    assert "while it was away" == socket.frames[2]["data"]["value"]
    session.close()
    await asyncio.gather(serving, a.stop(), b.stop())
