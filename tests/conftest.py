"""
What every test of the suite gets: Hypothesis' profile and checked scenario marks.
"""

from __future__ import annotations

import hypothesis
import pytest

from tests.scenarios import SCENARIOS

# No deadline: two busy cores make a fast test look slow, and pytest-timeout ends one that hangs.
# Not derandomised, in CI neither: each run looks somewhere else, and prints how to come back.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=False, print_blob=True)
hypothesis.settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Refuse marks that name nothing, and record the scenarios of each test in its report.
    """
    for item in items:
        for mark in item.iter_markers():
            if mark.name not in {"scenario", "requirement"}:
                continue
            if not mark.args or not all(type(name) is str for name in mark.args):
                message = f"{item.nodeid}: {mark.name}() takes ids, each a str: {mark.args!r}"
                raise pytest.UsageError(message)
            if mark.name == "scenario":
                if unknown := set(mark.args) - SCENARIOS.keys():
                    message = f"{item.nodeid}: no such scenario: {', '.join(sorted(unknown))}"
                    raise pytest.UsageError(message)
                item.user_properties += [("scenario", name) for name in mark.args]
