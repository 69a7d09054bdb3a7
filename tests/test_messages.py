"""
The client's messages at the session: retries, failures, acknowledgements.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from tests.shell import Bench, Served, note
from ws_isolation import Message, Session, Settings
from ws_isolation.testing.clock import settle

ONE, TWO = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


def slugs(served: Served) -> list[str]:
    """
    Return the answers' slugs.
    """
    return [frame["slug"] for frame in served.transport.frames if "ws.error" == frame["type"]]


async def fails() -> None:
    """
    Fail, as spawned work may.
    """
    raise LookupError


class Reader:
    """
    Reads what comes, and keeps it.
    """

    def __init__(self) -> None:
        self.got: list[Message] = []

    async def __call__(self, session: Session) -> None:
        """
        Serve.
        """
        async for message in session:
            self.got.append(message)


async def test_a_retry_is_told() -> None:
    """
    An id is taken once in all sessions of its user; another user's same id, and messages without one, are their own.
    """
    bench, reader = Bench.new(), Reader()
    served = [await bench.serve(reader, user) for user in ("alice", "alice", "bob")]
    for one in served:
        one.transport.client_sends({"type": "ask", "id": ONE})
        one.transport.client_sends({"type": "ask"})
    await settle()

    assert [[], ["duplicate"], []] == [slugs(one) for one in served]
    assert [ONE, ONE] == [message.id for message in reader.got if message.id]
    assert 3 == len([message for message in reader.got if not message.id])
    frame = next(frame for frame in served[1].transport.frames if "ws.error" == frame["type"])
    assert (ONE, "ask") == (frame["causation_id"], frame["refused_type"])


async def test_the_window_of_ids() -> None:
    """
    An id is known for ``message_id_seconds``, and among the last ``message_ids``.
    """
    bench, reader = Bench.new(Settings(message_ids=1, message_id_seconds=60.0)), Reader()
    served = await bench.serve(reader)
    for message_id in (ONE, ONE, TWO, ONE):
        served.transport.client_sends({"type": "ask", "id": message_id})
    await settle()
    await bench.clock.advance(60)
    served.transport.client_sends({"type": "ask", "id": ONE})
    await settle()

    assert ["duplicate"] == slugs(served)
    assert [ONE, TWO, ONE, ONE] == [message.id for message in reader.got]


@pytest.mark.requirement("P2")
async def test_what_ends_no_session() -> None:
    """
    Duplicates and the server's own failures do not count among the 20 answers of a minute: only rejections do.
    """
    bench, reader = Bench.new(Settings(message_burst=100)), Reader()
    served = await bench.serve(reader)
    for _ in range(32):
        served.transport.client_sends({"type": "ask", "id": ONE})
        await settle()
    for _ in range(21):
        served.session.report_failure(Message(type="ask"), LookupError())
    served.session.spawn(fails())
    await settle()
    still_open = served.session.is_open
    for _ in range(21):
        served.session.reject(Message(type="ask"))
    await served.over()

    assert still_open
    assert (31, 22, 20) == tuple(map(slugs(served).count, ("duplicate", "handler_error", "unknown_type")))
    assert served.ended_with(4022)


async def test_what_may_be_sent_again() -> None:
    """
    A message that was rejected, forgotten, or whose handling failed may come again under its id; no other may.
    """
    bench, reader = Bench.new(), Reader()
    served = await bench.serve(reader)
    session = served.session
    session.forget(Message(type="early", id=ONE))
    session.forget(Message(type="early"))

    def fail(message: Message) -> None:
        session.report_failure(message, LookupError())

    actions: tuple[Callable[[Message], None], ...] = (session.reject, session.forget, fail, lambda _: None)
    for act in actions:
        served.transport.client_sends({"type": "ask", "id": ONE})
        await settle()
        act(reader.got[-1])
    served.transport.client_sends({"type": "ask", "id": ONE})
    await settle()

    assert 4 == len(reader.got)
    assert ["unknown_type", "handler_error", "duplicate"] == slugs(served)


async def test_a_late_failure_takes_back_no_success() -> None:
    """
    One that fails after its id has left the window does not let in a third, where the second has succeeded.
    """
    bench, reader = Bench.new(Settings(message_id_seconds=60.0)), Reader()
    served = await bench.serve(reader)

    async def ask() -> None:
        served.transport.client_sends({"type": "ask", "id": ONE})
        await settle()

    await ask()
    await bench.clock.advance(60)
    await ask()
    first, second = reader.got
    served.session.report_failure(first, LookupError())
    await ask()
    before = slugs(served)
    served.session.report_failure(second, LookupError())
    await ask()

    assert ["handler_error", "duplicate"] == before
    assert 3 == len(reader.got)


async def test_a_failure_is_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    """
    ``report_failure`` returns the incident id that log and client have; the text of the error stays here.
    """
    served = await Bench.new().serve()
    incident = served.session.report_failure(Message(type="ask", id=ONE), LookupError("canary"))
    await settle()
    frame = served.transport.frames[-1]

    assert ("handler_error", "ask", ONE, incident) == (
        frame["slug"],
        frame["refused_type"],
        frame["causation_id"],
        frame["incident_id"],
    )
    assert any(incident in record.getMessage() and record.exc_info for record in caplog.records)
    assert "canary" not in repr(served.transport.sent)
    assert incident != served.session._core.incident_id


async def test_acknowledged() -> None:
    """
    An ack counts up to what was written, never down, and costs nothing of the rate where it says something new.
    """
    bench = Bench.new(Settings(message_burst=4, messages_per_minute=1.0))
    served = await bench.serve()
    manager = bench.manager()
    for _ in range(6):
        await manager.send(note())
    await settle()
    seen = [served.session.acknowledged]
    for seq in (1, 2, 3, 4, 5, 9, 4, 6):
        served.transport.client_sends({"type": "ws.ack", "seq": seq})
        await settle()
        seen.append(served.session.acknowledged)

    assert [0, 1, 2, 3, 4, 5, 5, 5, 6] == seen
    assert served.session.is_open
    for _ in range(3):
        served.transport.client_sends({"type": "ws.ack", "seq": 6})
    await served.over()
    assert served.ended_with(4329)
