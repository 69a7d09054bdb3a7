"""
An engine that answers what a test wants: old, odd, or out of order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, suppress
from typing import Any

import attrs
import hiredis

from ws_isolation.backplanes.redis import record_scripts

OK = b"+OK\r\n"
AGREE = [b"EVALSHA", record_scripts.AGREE.sha.encode()]


def bulk(text: str, /) -> bytes:
    """
    Return *text* as the protocol writes it.
    """
    return b"$%d\r\n%b\r\n" % (len(text.encode()), text.encode())


def hello(version: str = "8.2.0", mode: str = "standalone", role: str = "master") -> bytes:
    """
    Return an answer to ``HELLO``.
    """
    members = {"server": "redis", "version": version, "mode": mode, "role": role}
    return b"%%%d\r\n" % len(members) + b"".join(bulk(name) + bulk(value) for name, value in members.items())


def going_on() -> asyncio.Event:
    """
    Return an event that is set.
    """
    event = asyncio.Event()
    event.set()
    return event


@attrs.define
class Liar:
    """
    Answers each command by its first word.
    """

    answers: dict[str, bytes] = attrs.field(factory=dict[str, bytes])
    heard: list[list[bytes]] = attrs.field(factory=list[list[bytes]])
    port: int = 0
    agreed: bytes = b"*0\r\n"
    """What it answers to what a node says of its settings."""
    goes_on: asyncio.Event = attrs.field(factory=going_on)
    """Cleared, it answers nothing; then everything, in order."""
    writers: list[asyncio.StreamWriter] = attrs.field(factory=list[asyncio.StreamWriter])

    async def stop(self, server: asyncio.Server) -> None:
        """
        End all connections, those that are just being made too.
        """
        server.close()
        self.goes_on.set()
        for _ in range(5):
            await asyncio.sleep(0.002)
            for writer in self.writers:
                writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """
        Serve one connection.
        """
        self.writers.append(writer)
        parser = hiredis.Reader()
        with suppress(ConnectionError), closing(writer.transport):
            while data := await reader.read(65_536):
                parser.feed(data)
                while (command := parser.gets()) is not False:
                    await self.goes_on.wait()
                    if command[:2] == AGREE:  # what nodes say of their settings is no subject of most tests
                        writer.write(self.agreed)
                        continue
                    self.heard.append(command)
                    writer.write(self.answer(command))

    def say(self, answer: bytes, /) -> None:
        """
        Write on the newest connection.
        """
        self.writers[-1].write(answer)

    def answer(self, command: list[Any]) -> bytes:
        """
        Return the answer to *command*.
        """
        word = command[0].decode()
        if word in self.answers:
            return self.answers[word]
        if word == "HELLO":
            return hello()
        if word in ("UNSUBSCRIBE", "SUNSUBSCRIBE"):
            return b""  # what it announces then is of no interest
        if word in ("SUBSCRIBE", "SSUBSCRIBE"):
            said = b">3\r\n" + bulk(word.lower())
            return b"".join(said + bulk(one.decode()) + b":1\r\n" for one in command[1:])
        if word == "PUBLISH":
            return b":1\r\n>3\r\n" + bulk("message") + bulk(command[1].decode()) + bulk(command[2].decode())
        return OK


@asynccontextmanager
async def liar(**answers: bytes) -> AsyncGenerator[Liar]:
    """
    Run one, with these answers.
    """
    made = Liar(answers)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        await made.stop(server)
