"""
One measured process, as the orchestrator sees it: started, asked, ended.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any, Final, Self

_START_SECONDS: Final = 60.0


class MeasuredServer:
    """A server of one peer. Use it as a context manager: leaving it ends the process."""

    def __init__(self, peer: str, *, token: bool = False, engine: str = "") -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # until the process ends
        with socket.socket() as control, socket.socket() as listener:
            control.bind(("127.0.0.1", 0))
            control.listen(1)
            control.settimeout(_START_SECONDS)
            listener.bind(("127.0.0.1", 0))
            listener.listen(4_096)  # clients that come before the server accepts wait in the backlog
            self.port: int = listener.getsockname()[1]
            command = [sys.executable, "-m", "bench.server", peer, "--control", str(control.getsockname()[1])]
            command += ["--listen", str(listener.fileno()), *(["--token"] if token else [])]
            command += ["--engine", engine] if engine else []
            self._process = subprocess.Popen(command, pass_fds=[listener.fileno()], stderr=self._said)
            try:
                self._socket, _ = control.accept()
            except TimeoutError:
                self._process.kill()
                raise
        self._socket.settimeout(_START_SECONDS)
        self._answers = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._socket.close()
        self._answers.close()
        self._process.kill()
        self._process.wait(10)
        self._said.close()

    def tell(self, do: str, /, **options: object) -> None:
        """Ask without waiting for the answer."""
        self._socket.sendall(json.dumps({"do": do, **options}).encode() + b"\n")

    def answer(self) -> dict[str, Any]:
        """
        Return the answer to the first question that has none yet.

        Raises:
            RuntimeError: The server is gone.
        """
        line = self._answers.readline()
        if not line:
            self._said.seek(0)
            last = (self._said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            msg = f"the measured server ended: {last}"
            raise RuntimeError(msg)
        return dict(json.loads(line))

    def has_answered(self) -> bool:
        """Tell whether an answer is there."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def ask(self, do: str, /, **options: object) -> dict[str, Any]:
        """Ask and wait for the answer."""
        self.tell(do, **options)
        return self.answer()

    def settle(self, seconds: float, /) -> None:
        """Give the server time to finish what handshakes left to do."""
        time.sleep(seconds)
