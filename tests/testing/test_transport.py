"""
The recording transport does what the protocol says, and what a client does to it.
"""

from __future__ import annotations

import asyncio

import pytest

from ws_isolation import ManagerFactory, closing
from ws_isolation.errors import TransportClosedError
from ws_isolation.events import Custom
from ws_isolation.testing import FakeClock, RecordingTransport, make_context
from ws_isolation.testing.clock import settle
from ws_isolation.typing import Transport


async def test_what_is_written() -> None:
    """Texts are kept in order, as they are and decoded, events apart from control frames."""
    transport = RecordingTransport()
    given: Transport = transport
    for text in ('{"type":"ws.welcome"}', '{"type":"custom","n":1}', '{"value":"a wire of its own"}'):
        await given.send(text)

    assert ["ws.welcome", "custom", ""] == transport.types()
    assert '{"type":"custom","n":1}' == transport.sent[1]
    assert [{"type": "custom", "n": 1}, {"value": "a wire of its own"}] == transport.events
    assert 3 == len(transport.frames)


async def test_what_the_client_sends() -> None:
    """Mappings arrive as JSON, texts and bytes as they are, in order; a read waits for them."""
    transport = RecordingTransport()
    first = asyncio.create_task(transport.receive())
    await settle()
    assert not first.done()

    for message in ({"type": "hello"}, "no json", b"\x00"):
        transport.client_sends(message)

    assert ['{"type": "hello"}', "no json", b"\x00"] == [
        await first,
        await transport.receive(),
        await transport.receive(),
    ]


async def test_client_leaves() -> None:
    """Reads end with the client's code, writes fail, and a close frame goes nowhere."""
    transport = RecordingTransport()
    transport.client_sends("before")
    transport.client_leaves(1005)
    assert "before" == await transport.receive()
    with pytest.raises(TransportClosedError) as caught:
        await transport.receive()
    assert 1005 == caught.value.code
    with pytest.raises(TransportClosedError):
        await transport.send("late")
    await transport.close(1000, "normal")

    assert transport.closed is None
    assert [] == transport.sent


async def test_client_stops_reading() -> None:
    """Writes and the close frame wait until the client reads again."""
    transport = RecordingTransport()
    transport.client_stops_reading()
    write = asyncio.create_task(transport.send("x"))
    await settle()
    assert [] == transport.sent

    transport.client_reads_again()
    await write
    await transport.close(4200, "drain")

    assert (["x"], (4200, "drain")) == (transport.sent, transport.closed)


async def test_closed() -> None:
    """The first close frame counts; after it nothing is written, and reads end with its code."""
    transport = RecordingTransport()
    await transport.close(4200, "drain")
    await transport.close(1000, "normal")
    with pytest.raises(TransportClosedError):
        await transport.send("late")
    with pytest.raises(TransportClosedError) as caught:
        await transport.receive()

    assert (4200, "drain") == transport.closed
    assert 4200 == caught.value.code


async def test_aborted() -> None:
    """After an abort nothing is written and reads end as if the cable was cut."""
    transport = RecordingTransport()
    transport.abort()
    with pytest.raises(TransportClosedError):
        await transport.send("late")
    with pytest.raises(TransportClosedError) as caught:
        await transport.receive()

    assert transport.aborted
    assert 1006 == caught.value.code


async def test_with_a_session() -> None:
    """A session on it is seen from welcome to goodbye."""
    transport = RecordingTransport()
    async with ManagerFactory(clock=FakeClock()) as factory:
        async with factory.attach(make_context(), transport) as session:
            await session.manager.send(Custom(name="test.note", value=1))
            await settle()

    assert ["ws.welcome", "custom", "ws.goodbye"] == transport.types()
    assert transport.closed is not None
    assert closing.NORMAL.code == transport.closed[0]
