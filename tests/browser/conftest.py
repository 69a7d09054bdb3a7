"""
Where the browser tests can run, and where their screenshots are.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest

# The environments of the built wheel and of the lowest bounds have no Playwright. Where these tests
# are wanted, `make test-browser`, collecting none of them is a failure.
collect_ignore_glob = [] if find_spec("playwright") else ["test_*.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """
    Print where the screenshots are, if any were taken.
    """
    chromium = sys.modules.get("tests.browser.chromium")
    if chromium is not None and chromium.screenshots.cache_info().currsize:
        terminalreporter.write_line(f"screenshots: {chromium.screenshots()}")
