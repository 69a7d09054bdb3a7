"""
The figures of those who stop a process fit each other and those of the server's script.
"""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Final

from tests.docs.blocks import ROOT, blocks
from ws_isolation import Settings

HOWTO: Final = ROOT / "docs" / "howto"


def written(page: Path, pattern: str, /) -> int:
    """
    Return the one figure that *pattern* finds in the blocks of *page*, however often it is written.
    """
    (figure,) = {found for block in blocks(page) for found in re.findall(pattern, block.text)}
    return int(figure)


def test_a_pod_has_time_to_end() -> None:
    """
    The grace period is longer than all that happens in it, one after the other.
    """
    kubernetes = HOWTO / "kubernetes.md"
    grace = written(kubernetes, r"terminationGracePeriodSeconds: (\d+)")
    sleep = written(kubernetes, r"sleep: \{seconds: (\d+)\}")
    drain = written(kubernetes, r"drain_seconds=(\d+)")
    patience = written(HOWTO / "deploy.md", r"timeout_graceful_shutdown=(\d+)")

    assert sleep + drain + patience < grace


def test_a_service_of_systemd_has_time_to_end() -> None:
    """
    So is systemd's time-out; and its file is one that systemd could read.
    """
    deploy = HOWTO / "deploy.md"
    (unit,) = (block.text for block in blocks(deploy) if block.language == "ini")
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.read_string(unit)
    drain = Settings().drain_seconds
    patience = written(deploy, r"timeout_graceful_shutdown=(\d+)")

    assert drain + patience < int(parsed["Service"]["TimeoutStopSec"])


def test_a_worker_of_gunicorn_has_time_to_end() -> None:
    """
    So is gunicorn's, with the drain that is the default.
    """
    gunicorn = HOWTO / "gunicorn.md"
    grace = written(gunicorn, r"graceful_timeout = (\d+)")
    patience = written(gunicorn, r'"timeout_graceful_shutdown": (\d+)')
    drain = int(re.findall(r"Settings\.drain_seconds \((\d+)\)", gunicorn.read_text("utf-8"))[0])

    assert drain + patience < grace
