"""
What every test of the suite gets: Hypothesis' profile and checked scenario marks.
"""

from __future__ import annotations

import gc
from collections.abc import Generator

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """
    Let the collector of cycles wait until a test and its loop are over.

    Nothing but the test's own function holds the sessions that it leaves open: with a transport in memory
    no selector does. Between the function's return and the end of its loop, which cancels them, a collection
    would destroy their tasks while they wait, and that is reported as an error of whichever test runs then.
    Servers hold theirs, and those that the tests start as processes collect as always.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
