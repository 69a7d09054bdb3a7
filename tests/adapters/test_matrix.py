"""
Every adapter on its servers, as real clients see it; ``make matrix`` runs all of them, with more cycles.
"""

from __future__ import annotations

import json

import pytest

from tests.adapters.apps import APPS
from tests.adapters.differences import IMPOSSIBLE, differences
from tests.adapters.matrix import PAGE, PAIRINGS, RESULTS, pairing
from tests.adapters.page import page
from ws_isolation.testing import check_adapter
from ws_isolation.testing.check_adapter import CHECKS, AdapterCheckError

FIRST = [(name, next(iter(app.servers))) for name, app in APPS.items()]
"""Each adapter on one server: run on every Python."""

FAMILIES = [("starlette", server) for server in ("uvicorn wsproto uvloop", "hypercorn", "daphne", "granian")]
"""One adapter on one server of each kind."""


@pytest.mark.timeout(180)
@pytest.mark.requirement("P2", "WS-34")
@pytest.mark.parametrize(
    ("name", "server"), [*FIRST, *(pytest.param(*which, marks=pytest.mark.load) for which in FAMILIES)]
)
async def test_each_adapter_keeps_its_promises_on_its_server(name: str, server: str) -> None:
    """
    Every check passes, or shows the difference that is named for the server.
    """
    report = await check_adapter(pairing(name, server), cycles=24)

    assert CHECKS == tuple(outcome.check for outcome in report.outcomes)
    assert set(differences(name, server)) == {o.check for o in report.outcomes if o.verdict == "difference"}


def test_the_page_is_made_of_the_results() -> None:
    """
    The feature matrix has every pairing and every check, and says what its results say.
    """
    found = json.loads(RESULTS.read_text())

    assert page(found) == PAGE.read_text()
    assert list(CHECKS) == list(found["checks"])
    assert list(PAIRINGS) == [(entry["adapter"], entry["server"]) for entry in found["pairings"]]
    assert [set(differences(*which)) for which in PAIRINGS] == [
        set(entry["differences"]) for entry in found["pairings"]
    ]
    assert dict(IMPOSSIBLE) == {(entry["adapter"], entry["server"]): entry["reason"] for entry in found["impossible"]}


@pytest.mark.timeout(180)
@pytest.mark.load
@pytest.mark.parametrize("which", IMPOSSIBLE)
async def test_what_is_said_to_be_impossible_is(which: tuple[str, str]) -> None:
    """
    A pairing that is left out ends no session as it should.
    """
    with pytest.raises(AdapterCheckError) as caught:
        await check_adapter(pairing(*which), only=("plain return", "authenticate refuses", "bad JSON"))

    assert {"failed"} == {outcome.verdict for outcome in caught.value.report.outcomes}
