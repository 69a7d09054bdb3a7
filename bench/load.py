"""
The load generator: raw sockets in one process, on the other core; it reads frames and checks each event.

No WebSocket library: its cost would hide the servers' from the clock, and its bugs would be theirs.
"""

from __future__ import annotations

import base64
import selectors
import socket
import time
from collections.abc import Iterable, Mapping
from typing import Final

from .framing import PING, FrameParser, Ledger

_HANDSHAKE_SECONDS: Final = 30.0
_MASK: Final = b"\0\0\0\0"
_AT_ONCE: Final = 64
"""Handshakes that are under way together."""


def text_frame(text: str, opcode: int = 0x1, /) -> bytes:
    """Return a client's frame of at most 125 bytes, masked with zeros (which is a mask)."""
    payload = text.encode()
    return bytes((0x80 | opcode, 0x80 | len(payload))) + _MASK + payload


def request(path: str, host: str, credential: str, /) -> bytes:
    """Return the opening handshake of a client."""
    key = base64.b64encode(b"0123456789abcdef").decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {credential}\r\n\r\n"
    ).encode("ascii")


class Client:
    """One session."""

    __slots__ = ("parser", "sock", "user")

    def __init__(self, user: str, sock: socket.socket) -> None:
        self.user = user
        self.sock = sock
        self.parser = FrameParser()


class Load:
    """Many sessions and one ledger."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._clients: list[Client] = []
        self._stalled: list[socket.socket] = []
        self.ledger = Ledger()
        self.latencies_ns: list[int] = []
        self.ended = 0
        self.first: dict[str, bytes] = {}
        """The first frame that came, by user."""

    def connect(
        self, credentials: Iterable[tuple[str, str]], path: str, hello: str, paths: Mapping[str, str] | None = None
    ) -> None:
        """
        Open a session for each user and credential, some at a time, and answer what the peer's protocol wants.

        Args:
            credentials: User and credential.
            path: Where it connects.
            hello: What it says first.
            paths: By user, where it connects instead.

        Raises:
            RuntimeError: The server refused one.
        """
        waiting: list[tuple[str, socket.socket]] = []
        for user, credential in credentials:
            waiting.append((user, self._dial((paths or {}).get(user, path), credential)))
            if len(waiting) >= _AT_ONCE:
                self._settle(waiting, hello)
                waiting.clear()
        self._settle(waiting, hello)

    def stall(self, credential: str, path: str, hello: str) -> None:
        """Open a session with small buffers that reads its handshake and then nothing more."""
        sock = self._dial(path, credential, buffer=4_096)
        sock.recv(1_024)
        if hello:
            sock.sendall(text_frame(hello))
        self._stalled.append(sock)

    def _dial(self, path: str, credential: str, buffer: int = 0) -> socket.socket:
        sock = socket.socket()
        sock.settimeout(_HANDSHAKE_SECONDS)
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.connect(("127.0.0.1", self._port))
        sock.sendall(request(path, f"127.0.0.1:{self._port}", credential))
        return sock

    def _settle(self, waiting: list[tuple[str, socket.socket]], hello: str) -> None:
        for user, sock in waiting:
            got = b""
            while b"\r\n\r\n" not in got:
                data = sock.recv(4_096)
                if not data:
                    break
                got += data
            head, _, rest = got.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101"):
                msg = f"the server refused a handshake: {head[:120]!r}"
                raise RuntimeError(msg)
            if hello:
                sock.sendall(text_frame(hello))
            sock.settimeout(0)
            client = Client(user, sock)
            self._clients.append(client)
            self._selector.register(sock, selectors.EVENT_READ, client)
            self._take(client, rest)

    def pump(self, seconds: float) -> None:
        """Read whatever comes for *seconds*, or until nothing more is there to read."""
        for key, _ in self._selector.select(seconds):
            client: Client = key.data
            try:
                data = client.sock.recv(262_144)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self.ended += 1
                self._selector.unregister(client.sock)
                client.sock.close()
                continue
            self._take(client, data)

    def _take(self, client: Client, data: bytes) -> None:
        now = time.monotonic_ns()
        for opcode, payload in client.parser.feed(data):
            if opcode == PING:
                client.sock.send(text_frame(payload.decode("latin-1"), 0xA))
            self.first.setdefault(client.user, payload)
            stamp = self.ledger.note(client.user, payload)
            if stamp is not None:
                self.latencies_ns.append(now - stamp.at_ns)

    def close(self) -> None:
        """Close every socket."""
        for client in self._clients:
            client.sock.close()
        for sock in self._stalled:
            sock.close()
        self._selector.close()
