"""
Engines that tests share, and engines that a test may break.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines.running import Engine


@pytest.fixture(scope="session")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """
    Run one server for all tests that do not break it.
    """
    engine = Engine(tmp_path_factory.mktemp("redis"))
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """
    Run a server that the test may kill.
    """
    engine = Engine(tmp_path_factory.mktemp("redis"))
    engine.start()
    yield engine
    engine.stop()
