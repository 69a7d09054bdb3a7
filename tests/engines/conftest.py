"""
Engines that tests share, and engines that a test may break.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines.running import Engine, found


@pytest.fixture(scope="session", params=found())
def shared_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """
    Run one server of each kind for all tests that do not break it.
    """
    yield from running(Engine(tmp_path_factory.mktemp("shared"), request.param))


@pytest.fixture(params=found())
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """
    Run a server of each kind that the test may kill.
    """
    yield from running(Engine(tmp_path_factory.mktemp("engine"), request.param))


def running(engine: Engine) -> Iterator[Engine]:
    """
    Run it until the test is over, whatever comes of its start.
    """
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()
