"""
``check_adapter()`` finds the defects that it is for, and says what it found.
"""

from __future__ import annotations

import sys

import pytest

from tests.adapters import broken
from tests.adapters.broken import WrappedOpening, in_this_loop, with_transport
from ws_isolation.testing import Adapter, Difference, check_adapter
from ws_isolation.testing.check_adapter import AdapterCheckError, StartServer, command

BROKEN: dict[str, tuple[StartServer, str, str]] = {
    "forgets goodbye": (
        in_this_loop(with_transport(broken.ForgetsGoodbye)), "raise after accept", "4300 without goodbye",
    ),
    "says goodbye twice": (
        in_this_loop(with_transport(broken.SaysGoodbyeTwice)), "plain return", "2 goodbyes, 1000 normal, then 1000",
    ),
    "talks after goodbye": (
        in_this_loop(with_transport(broken.TalksAfterGoodbye)), "plain return",
        "goodbye 1000 normal is not the last message",
    ),
    "closes with another code": (
        in_this_loop(with_transport(broken.ClosesNormally)), "raise before accept",
        "goodbye 4300 internal_error, then 1000",
    ),
    "swallows errors": (in_this_loop(with_transport(broken.NeverCloses)), "bad JSON", "hang"),
    "cuts reasons": (
        in_this_loop(with_transport(broken.CutsReasons)), "longest reason", "4999 with the_longest_name_that_a_c",
    ),
    "cuts incident ids": (
        in_this_loop(with_transport(broken.CutsReasons)), "incident id in goodbye and reason", "another",
    ),
    "greets twice": (in_this_loop(with_transport(broken.GreetsTwice)), "greetings", "2, first"),
    "loses the first message": (
        in_this_loop(with_transport(broken.LosesFirstMessage)), "a message right after the handshake", "hang",
    ),
    "cuts messages": (in_this_loop(with_transport(broken.CutsMessages)), "message of 65536 bytes", "cut"),
    "never pings": (
        in_this_loop(with_transport(broken.NeverPings)), "heartbeat", "4208 heartbeat_timeout, never pinged",
    ),
    "never aborts": (
        in_this_loop(WrappedOpening), "stalled peer", "session freed, connection kept",
    ),
    "answers the token": (in_this_loop(broken.AnswersToken), "answered subprotocol", "the token"),
    "answers nothing": (in_this_loop(broken.InventsSubprotocol), "answered subprotocol", "none"),
    "answers without an offer": (
        in_this_loop(broken.InventsSubprotocol), "answered subprotocol where none is offered", "own",
    ),
    "accepts before the door": (in_this_loop(broken.AcceptsFirst), "foreign Origin", "HTTP 101"),
    "refuses without hope": (in_this_loop(broken.RefusesWithoutHope), "overload", "HTTP 503"),
    "refuses everybody": (in_this_loop(broken.RefusesEverybody), "plain return", "HTTP 403"),
    "refuses in place of closing": (in_this_loop(broken.RefusesInPlaceOfClosing), "no credential", "HTTP 403"),
    "swaps contexts": (
        in_this_loop(WrappedOpening, swaps=True), "contexts of handshakes at the same time", "swapped",
    ),
    "does not end as a process": (in_this_loop(WrappedOpening), "SIGTERM under load", "no process"),
}  # fmt: skip
"""What is broken: the adapter, the check that finds it, and what it observes."""


@pytest.mark.requirement("P1", "P2", "WS-09")
@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_adapter_is_found(name: str) -> None:
    """
    The check fails, with what was observed in the error.
    """
    start, check, observed = BROKEN[name]

    with pytest.raises(AdapterCheckError) as failed:
        await check_adapter(Adapter(name=name, start=start), only=(check,), cycles=8)

    assert [(check, observed)] == [(outcome.check, outcome.observed) for outcome in failed.value.report.failed]
    assert observed in str(failed.value)


async def test_what_is_left_behind_is_found() -> None:
    """
    An adapter that keeps something of each connection is found by the count of it.
    """
    adapter = Adapter(name="keeps", start=in_this_loop(with_transport(broken.KeepsEverything)))

    with pytest.raises(AdapterCheckError) as failed:
        await check_adapter(adapter, only=("left behind",), cycles=8)

    broken.KEPT.clear()
    assert "8 contexts" == failed.value.report.failed[0].observed


async def test_differences_are_observed() -> None:
    """
    A difference that is named passes as such; one that is gone, or is another, fails and says so.
    """
    seen = Difference("no process", "it runs in the process of the checks")
    differences = {"SIGTERM under load": seen}
    adapter = Adapter(name="whole", start=in_this_loop(WrappedOpening), differences=differences)
    wrong = {"plain return": Difference("hang", "gone"), "SIGTERM under load": Difference("hang", "another")}

    report = await check_adapter(adapter, only=("plain return", "SIGTERM under load"), cycles=8)
    with pytest.raises(AdapterCheckError) as failed:
        await check_adapter(Adapter(name="wrong", start=adapter.start, differences=wrong), only=tuple(wrong), cycles=8)

    assert ["passed", "difference"] == [outcome.verdict for outcome in report.outcomes]
    assert seen.reason == report.outcomes[1].reason
    assert [] == [*report.failed]
    assert ["the named difference is gone: remove it", "the named difference is 'hang'"] == [
        outcome.reason for outcome in failed.value.report.failed
    ]


async def test_unknown_names_are_refused() -> None:
    """
    A name of no check is refused before anything starts.
    """
    adapter = Adapter(name="none", start=command("false"), differences={"nothing": Difference("", "")})

    with pytest.raises(ValueError, match="no such check: nothing, other"):
        await check_adapter(adapter, only=("other",))


async def test_a_command_that_does_not_serve_is_said() -> None:
    """
    A process that ends in place of listening is told with its exit code.
    """
    adapter = Adapter(name="ends", start=command(sys.executable, "-c", "raise SystemExit(3)"))

    with pytest.raises(RuntimeError, match=r"does not listen on port \d+ \(exit code 3\)"):
        await check_adapter(adapter)
