"""
What ``ws-isolation demo`` does in a terminal.
"""

from __future__ import annotations

import signal
import webbrowser

import pytest

from ws_isolation.demo.command import check_and_report, serve
from ws_isolation.demo.server import listen


@pytest.mark.scenario("S26")
def test_ctrl_c_ends_it_in_order(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The URL is printed and opened once the page is there; Ctrl-C, also twice, ends it without a traceback.
    """
    opened: list[str] = []

    def interrupt(url: str) -> bool:
        opened.append(url)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return True

    monkeypatch.setattr(webbrowser, "open", interrupt)
    serve("127.0.0.1", 0, open_browser=True)
    printed = capsys.readouterr().out

    assert f"The demo is at {opened[0]}. Ctrl-C ends it." in printed
    assert "is taken" not in printed
    assert printed.endswith("Stopped: every socket was told goodbye (4200) first.\n")


def test_taken_port_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Where the port is taken, the page is at the next free one, and the terminal says so.
    """

    def terminate(_url: str) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(webbrowser, "open", terminate)
    with listen("127.0.0.1", 0) as other:
        port = other.getsockname()[1]
        serve("127.0.0.1", port, open_browser=True)

    assert f"Port {port} is taken" in capsys.readouterr().out


def test_nothing_opens_by_itself(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Without --open no browser is started.
    """
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr("ws_isolation.demo.command.Console.print", _interrupt_after_the_url)
    serve("localhost", 0, open_browser=False)

    assert [] == opened


def _interrupt_after_the_url(_console: object, text: object = "") -> None:
    if "Below" in str(text):
        signal.raise_signal(signal.SIGINT)


async def test_check_reports_success(capsys: pytest.CaptureFixture[str]) -> None:
    """
    The check prints its tables and gives the exit code 0.
    """
    assert 0 == await check_and_report()
    assert "Isolation held" in capsys.readouterr().out
