"""
How the driver of a soak tells a process what to send: one line of JSON for each order, and one for each answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import attrs

from ws_isolation import Delivery, IsolatedManager, UserExecutionContext, errors, events
from ws_isolation.testing import make_context

Orders: TypeAlias = Callable[[], Awaitable[None]]
_LINE: Final = 65_536
_SECONDS: Final = 120.0


class Lost(Exception):  # noqa: N818  # not an error of the process: it has gone
    """
    The process went away before it answered: perhaps done, perhaps not.
    """


async def obey(
    port: int, name: str, create: Callable[[UserExecutionContext], IsolatedManager], drain: Orders | None = None
) -> None:
    """
    Connect to the driver, then send what it says, to whom it says, until it goes away.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_LINE)
    tasks: set[asyncio.Task[None]] = set()

    def answer(**said: Any) -> None:
        writer.write(json.dumps(said).encode() + b"\n")

    async def order(said: dict[str, Any]) -> None:
        try:
            if "drain" in said:
                assert drain is not None
                began = time.monotonic()
                await drain()
                answer(n=said["n"], ok=[time.monotonic() - began])
                return
            event = events.Custom(name="soak.event", value=said["value"])
            done: Delivery = await create(make_context(said["user"])).send(event)
        except (errors.EngineUnavailableError, errors.UsageError) as error:
            answer(n=said["n"], error=type(error).__name__)
        else:
            answer(n=said["n"], ok=[done.seq, done.event_id])

    answer(name=name, pid=os.getpid())
    try:
        while line := await reader.readline():
            task = asyncio.create_task(order(json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    finally:
        writer.close()


@attrs.define(eq=False)
class Post:
    """
    The driver's end of one process that sends.
    """

    name: str
    pid: int
    writer: asyncio.StreamWriter
    is_leaving: bool = False
    is_gone: bool = False
    _waiting: dict[int, asyncio.Future[list[Any]]] = attrs.field(factory=dict[int, asyncio.Future[list[Any]]])
    _count: int = 0

    async def ask(self, **order: Any) -> list[Any]:
        """
        Give an order; return what came of it.

        Raises:
            Refused: It raised.
            Lost: The process went away.
        """
        if self.is_gone:
            raise Lost
        self._count += 1
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting[self._count] = answer
        self.writer.write(json.dumps({"n": self._count, **order}).encode() + b"\n")
        async with asyncio.timeout(_SECONDS):
            return await answer

    def answered(self, said: dict[str, Any]) -> None:
        """
        Take an answer.
        """
        waiting = self._waiting.pop(said["n"])
        if waiting.done():
            return
        if "ok" in said:
            waiting.set_result(said["ok"])
        else:
            waiting.set_exception(Refused(said["error"]))

    def gone(self) -> None:
        """
        Hear that the process went away.
        """
        self.is_gone = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Lost())
        self._waiting.clear()


class Refused(Exception):  # noqa: N818  # what the process said, word for word
    """
    The send raised; the text is the name of its error.
    """


class Hub:
    """
    Where the processes that send report: each is a post while its connection lasts.
    """

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """
        Listen.
        """
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_LINE)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """
        End all connections.
        """
        assert self._server is not None
        self._server.close()
        for post in self.posts:
            post.writer.close()
        async with asyncio.timeout(_SECONDS):
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        post: Post | None = None
        try:
            said = json.loads(await reader.readline())
            post = Post(said["name"], said["pid"], writer)
            self.posts.append(post)
            while line := await reader.readline():
                post.answered(json.loads(line))
        except (ConnectionError, json.JSONDecodeError):
            pass
        finally:
            if post is not None:
                self.posts.remove(post)
                post.gone()
            writer.close()

    async def reached(self, count: int, *, seconds: float = 60) -> None:
        """
        Wait until *count* processes are ready to send.
        """
        async with asyncio.timeout(seconds):
            while sum(not post.is_leaving for post in self.posts) < count:  # noqa: ASYNC110  # other processes
                await asyncio.sleep(0.02)

    def named(self, name: str) -> Post | None:
        """
        Return the post of the process with this name, None where it has gone.
        """
        return next((post for post in self.posts if post.name == name), None)
