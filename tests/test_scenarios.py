"""
Each acceptance scenario that is due has a test, and the tool that says so can be trusted.
"""

from __future__ import annotations

import pytest

from tests.scenarios import DUE, LATER, REQUIREMENTS, SCENARIOS, covered, named_by


@pytest.mark.scenario("S65")
def test_every_due_scenario_has_a_test() -> None:
    """
    No scenario of this release is without a test that names it.
    """
    found = covered()
    missing = {name: SCENARIOS[name] for name in DUE if not found[name]}

    assert {} == missing


@pytest.mark.scenario("S65")
def test_every_requirement_has_a_test() -> None:
    """
    No promise and no security requirement is without a test that names it, but for those that are said to be later.
    """
    found = covered("requirement")

    assert list(LATER) == [name for name in REQUIREMENTS if not found[name]]


def test_requirements_are_complete() -> None:
    """
    The table has exactly P1 to P6 and WS-01 to WS-35, in order.
    """
    assert [*(f"P{number}" for number in range(1, 7)), *(f"WS-{number:02}" for number in range(1, 36))] == list(
        REQUIREMENTS
    )


def test_kinds_are_kept_apart() -> None:
    """
    A mark of one kind says nothing about the other.
    """
    source = "@pytest.mark.scenario('S01')\n@pytest.mark.requirement('P1')\ndef test(): ..."

    assert ({"S01"}, {"P1"}) == (named_by(source), named_by(source, "requirement"))


def test_ids_are_complete() -> None:
    """
    The table has exactly S01 to S65, in order, and only these can be due.
    """
    expected = [f"S{number:02}" for number in range(1, 66)]

    assert expected == list(SCENARIOS)
    assert set(DUE) <= set(SCENARIOS)
    assert sorted(set(DUE)) == list(DUE)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("@pytest.mark.scenario('S01', 'S02')\ndef test(): ...", {"S01", "S02"}),
        ("pytestmark = pytest.mark.scenario('S03')", {"S03"}),
        ("pytestmark = [pytest.mark.browser, pytest.mark.scenario('S04')]", {"S04"}),
        ("pytest.param(1, marks=pytest.mark.scenario('S05'))", {"S05"}),
        ("class Test:\n    @mark.scenario('S06')\n    async def test(self): ...", set[str]()),
        ("'''scenario S07'''  # pytest.mark.scenario('S08')", set[str]()),
    ],
)
def test_marks_are_found_where_they_stand(source: str, expected: set[str]) -> None:
    """
    Marks count on functions, modules, lists and parameters; words in texts and comments do not.
    """
    assert expected == named_by(source)


def test_computed_ids_are_refused() -> None:
    """
    An id that is not a literal cannot be searched for, so it is an error.
    """
    with pytest.raises(TypeError, match="line 1: write scenario ids as literals"):
        named_by("pytestmark = pytest.mark.scenario(*IDS)")
