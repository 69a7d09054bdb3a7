"""
Doing what a page says: its files are written, its commands typed, and what it shows must appear.

``…`` in what a page shows stands for anything.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import websockets

from tests.docs.blocks import Block
from tests.layers import PACKAGE

WALKED: Final = frozenset({"tutorial.md", "deploy.md", "gunicorn.md", "kubernetes.md", "many-processes.md"})
"""The pages that are done as they say: each has a test module of its own."""

SCRIPTED: Final = frozenset({"authenticate.md", "tickets.md"})
"""The pages whose scripts a browser runs, in a test module of their own."""

LIMIT: Final = 20.0
"""Seconds for one line to appear; a failure names the line."""

_ENVIRONMENT: Final = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(PACKAGE.parent)}
"""The library under test, wherever the process works."""

_TERMINAL: Final = re.compile(r"\x1b(?:[78]|\[[0-9]*[A-Za-z])|\r")
_ADDRESS: Final = "127.0.0.1:8000"
"""What the pages write; each walk has a port of its own."""


def pattern(line: str, /) -> re.Pattern[str]:
    """
    Return what matches *line*, with ``…`` for anything.
    """
    return re.compile(".*".join(re.escape(part) for part in line.split("…")))


class Output:
    """
    The lines that a process writes, as they come.
    """

    def __init__(self, stream: asyncio.StreamReader | None) -> None:
        assert stream
        self._stream = stream
        self.seen: list[str] = []

    async def wait_for(self, wanted: re.Pattern[str], /) -> re.Match[str]:
        """
        Read until a line matches *wanted*.
        """
        try:
            async with asyncio.timeout(LIMIT):
                while raw := await self._stream.readline():
                    line = _TERMINAL.sub("", raw.decode()).rstrip("\n")
                    self.seen.append(line)
                    if match := wanted.search(line):
                        return match
        except TimeoutError:
            pass
        raise AssertionError("never came: " + wanted.pattern + "\n" + "\n".join(self.seen))


@asynccontextmanager
async def server(folder: Path, *command: str) -> AsyncGenerator[tuple[int, Output, Process]]:
    """
    Run *command* in *folder* until the block is left; gives port, log and process.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=folder, stdout=DEVNULL, stderr=PIPE, env=_ENVIRONMENT
    )
    log = Output(process.stderr)
    try:
        await log.wait_for(
            re.compile("Application startup complete|ASGI server listening|Running on http|Listening on TCP")
        )
        # uvicorn writes the address before or after that, as its command line or a script of ours starts it; hypercorn
        # writes nothing else.
        address = re.compile(
            r"(?:Running on http://|running on http://|Listening at: http://|TCP address )127\.0\.0\.1:([0-9]+)"
        )
        match = next(filter(None, map(address.search, log.seen)), None) or await log.wait_for(address)
        await _accepting(int(match[1]))
        yield int(match[1]), log, process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(LIMIT):
                await process.communicate()


async def _accepting(port: int) -> None:
    """
    Wait until *port* takes connections: uvicorn may name it before it listens.
    """
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)  # between two looks, not instead of one
            else:
                writer.close()
                await writer.wait_closed()
                return


class Walk:
    """
    One reader in one folder: follows a page from block to block.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, block: Block, /) -> None:
        """
        Append the block to the file that its caption names.
        """
        with (self._folder / block.file).open("a", encoding="utf-8") as file:
            file.write(block.text)

    async def type(self, block: Block, port: int, /) -> None:
        """
        Type the commands of a console block at a server on *port*, and see what the block shows.
        """
        commands = re.split(r"^\$ ", block.text.replace(_ADDRESS, f"127.0.0.1:{port}"), flags=re.MULTILINE)
        for text in commands[1:]:
            command, _, shown = text.partition("\n")
            words = shlex.split(command)
            if words[:3] == ["python", "-m", "websockets"]:
                await self._chat(words[1:], shown.splitlines())
            else:
                assert "curl" == words[0], command
                assert pattern(shown.strip()).fullmatch(await _curl(words)), (command, shown)

    async def _chat(self, words: list[str], shown: list[str]) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, cwd=self._folder, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
        )
        output = Output(process.stdout)
        assert process.stdin
        for line in shown:
            if line.startswith("> "):
                process.stdin.write(line.removeprefix("> ").encode() + b"\n")
                await process.stdin.drain()
            else:
                await output.wait_for(pattern(line))
        process.stdin.close()
        async with asyncio.timeout(LIMIT):
            await process.wait()


async def _curl(words: list[str]) -> str:
    """
    Send the request that curl would send, and return the body.
    """
    method, headers, url = "GET", dict[str, str](), ""
    rest = iter(words[1:])
    for word in rest:
        match word:
            case "-X":
                method = next(rest)
            case "-H":
                name, _, value = next(rest).partition(": ")
                headers[name] = value
            case _:
                url = word
    async with httpx.AsyncClient() as client:
        return (await client.request(method, url, headers=headers)).text


@asynccontextmanager
async def page(port: int, token: str) -> AsyncGenerator[websockets.ClientConnection]:
    """
    Connect as the tutorial's page does in a browser, and read the greeting.
    """
    async with websockets.connect(
        f"ws://127.0.0.1:{port}/ws?thread=t1",
        origin=websockets.Origin(f"http://127.0.0.1:{port}"),
        subprotocols=[websockets.Subprotocol("ws-isolation.v1"), websockets.Subprotocol(f"bearer.{token}")],
    ) as client:
        yield client


def shown_by_page(text: str, /) -> str:
    """
    Return the line that the tutorial's page shows for a frame.
    """
    frame: dict[str, Any] = json.loads(text)
    body = json.dumps(frame.get("data", frame), separators=(",", ":"))
    return f"{frame.get('seq', '-')} {frame['type']} {body}"
