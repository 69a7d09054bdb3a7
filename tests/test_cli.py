"""
The command line: what it prints, its exit codes, and what it says where an extra is missing.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

import ws_isolation
from tests.demo.broken import share_one_stream
from ws_isolation import cli


def _exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exited:
        cli.main(arguments)
    assert isinstance(exited.value.code, int)
    return exited.value.code


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """
    ``--version`` prints the version of the library.
    """
    assert 0 == _exit_code("--version")
    assert f"ws-isolation, version {ws_isolation.__version__}\n" == capsys.readouterr().out


def test_only_what_works_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    """
    The help lists the demo and nothing that does not exist yet.
    """
    assert 0 == _exit_code("--help")
    assert ["demo"] == list(cli.command().commands)
    assert "demo" in capsys.readouterr().out


def test_arguments_of_the_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Without arguments of its own, the command takes those of the process.
    """
    monkeypatch.setattr(sys, "argv", ["ws-isolation", "demo", "--port", "eighty"])
    with pytest.raises(SystemExit, match="2"):
        cli.main()

    assert "'eighty' is not a valid integer" in capsys.readouterr().err


@pytest.mark.requirement("P1")
def test_check_succeeds() -> None:
    """
    ``ws-isolation demo --check`` in a process of its own prints the tables and exits with 0.
    """
    program = "import sys; from ws_isolation.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, "demo", "--check"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr), done.stdout
    assert "Isolation held" in done.stdout


@pytest.mark.scenario("S65")
def test_check_fails_where_isolation_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    In a server whose users share one stream, ``demo --check`` exits with 1 and says what failed.
    """
    share_one_stream(monkeypatch)

    assert 1 == _exit_code("demo", "--check")
    printed = capsys.readouterr().out
    assert "Isolation did NOT hold" in printed
    assert "alice: " in printed


def test_address_that_is_not_ours(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Where it cannot listen, it says where and why in one line, and exits with 1.
    """
    assert 1 == _exit_code("demo", "--host", "203.0.113.1")
    assert capsys.readouterr().err.startswith("Error: cannot listen on 203.0.113.1 port 8765: ")


def test_demo_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    ``demo`` hands host, port and the wish for a browser on, and leaves with 0.
    """
    asked: list[tuple[str, int, bool]] = []

    def serve(host: str, port: int, /, *, open_browser: bool) -> None:
        asked.append((host, port, open_browser))

    monkeypatch.setattr("ws_isolation.demo.command.serve", serve)

    assert 0 == _exit_code("demo")
    assert 0 == _exit_code("demo", "--host", "localhost", "--port", "0", "--open")
    assert [("127.0.0.1", 8765, False), ("localhost", 0, True)] == asked


@pytest.mark.parametrize("missing", ["rich", "starlette", "uvicorn", "websockets"])
def test_missing_demo_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str) -> None:
    """
    Where something that the demo needs is not installed, the command says how to install it, and exits with 1.
    """
    for module in [name for name in sys.modules if name.startswith("ws_isolation.demo")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)

    assert 1 == cli.main(["demo"])
    assert capsys.readouterr().err.endswith("pip install 'ws-isolation[demo]'\n")


def test_missing_cli_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Without click, the command says how to install it, and exits with 1.
    """
    monkeypatch.setitem(sys.modules, "click", None)

    assert 1 == cli.main([])
    printed = capsys.readouterr().err
    assert "ws-isolation: the command line needs click and rich." in printed
    assert "pip install 'ws-isolation[demo]'" in printed
