"""
A TCP proxy that does to a connection what networks do: faults by connection, direction and byte.

It holds one chunk per direction and at most ``LINKS`` connections, decides nothing by chance on
its own (``random_faults`` draws from a seed) and closes all that it opened with its block.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, Literal, TypeAlias

import attrs

from tests.chaos.closing_frames import ServerStream

Kind: TypeAlias = Literal["delay", "split", "truncate", "reset", "blackhole", "stall", "half_close"]
Way: TypeAlias = Literal["up", "down"]
Ending: TypeAlias = Literal["orderly", "truncate", "reset"]

KINDS: Final[tuple[Kind, ...]] = ("delay", "split", "truncate", "reset", "blackhole", "stall", "half_close")
WAYS: Final[tuple[Way, ...]] = ("up", "down")
"""Up is from the client to the server."""
LINKS: Final = 1_024
CHUNK: Final = 16_384
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with 0 seconds: closing sends RST instead of FIN."""


@attrs.frozen
class Fault:
    """
    What goes wrong in one direction of a connection once *offset* bytes have passed.

    delay: each chunk waits *seconds*. split: each byte travels alone. truncate: the rest is dropped
    and both ends are closed (one with unread bytes sees RST). reset: both ends get RST. blackhole:
    everything is taken and nothing passed on, a FIN neither. stall: nothing is read any more.
    half_close: FIN in this direction, the other goes on.
    """

    kind: Kind
    way: Way = "down"
    offset: int = 0
    seconds: float = 0.01


Plan: TypeAlias = Callable[[int], tuple[Fault, ...]]
"""Which faults the connection with this number has; the first one has number 0."""


def no_faults(_number: int) -> tuple[Fault, ...]:
    """
    Let everything pass.
    """
    return ()


def dead(offset: int = 0) -> tuple[Fault, ...]:
    """
    Return the faults of a peer that vanished without a word: both directions lead nowhere.
    """
    return (Fault("blackhole", "up", offset), Fault("blackhole", "down", offset))


def random_faults(seed: int, number: int, *, kinds: tuple[Kind, ...] = KINDS, most: int = 2_000) -> tuple[Fault, ...]:
    """
    Draw one or two faults; the same ones for the same seed and number.
    """
    rng = random.Random(f"{seed}-{number}")
    return tuple(
        Fault(rng.choice(kinds), rng.choice(WAYS), rng.randrange(most), rng.random() * 0.02)
        for _ in range(rng.choice((1, 1, 2)))
    )


class Link:
    """
    One connection through the proxy.
    """

    def __init__(self, number: int, faults: tuple[Fault, ...], near: socket.socket, far: socket.socket) -> None:
        self.number = number
        self.passed: dict[Way, int] = {"up": 0, "down": 0}
        """Bytes that were passed on."""
        self.sent = ServerStream()
        """What the server sent, passed on or not."""
        self.ending: Ending | None = None
        """How it was ended; None while it is open."""
        self._over: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._ends: dict[Way, tuple[socket.socket, socket.socket]] = {"up": (near, far), "down": (far, near)}
        self._faults: dict[Way, list[Fault]] = {
            way: sorted((fault for fault in faults if fault.way == way), key=lambda fault: fault.offset) for way in WAYS
        }

    def cut(self, how: Ending) -> None:
        """
        End the connection at both ends.
        """
        if not self._over.done():
            self._over.set_result(how)

    def strike(self, *faults: Fault) -> None:
        """
        Let *faults* begin with the next byte of their direction, whatever their offset.
        """
        for fault in faults:
            self._faults[fault.way].append(attrs.evolve(fault, offset=self.passed[fault.way]))

    @property
    def server_close(self) -> int | None:
        """
        The code of the close frame that the server sent; None where it sent none, 1005 where it had no code.
        """
        return self.sent.close

    async def carry(self) -> None:
        """
        Pass bytes on until both directions have ended or one of them breaks off.
        """
        both = asyncio.gather(*(asyncio.create_task(self._pump(way)) for way in WAYS))
        try:
            ends: set[asyncio.Future[object]] = {both, self._over}  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            try:
                both.cancel()
                await asyncio.gather(both, return_exceptions=True)
            finally:
                self._close()

    def _close(self) -> None:
        self.ending = self._over.result() if self._over.done() else "orderly"
        for end in self._ends["up"]:
            if self.ending == "reset":
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.close()

    async def _pump(self, way: Way) -> None:
        source, _ = self._ends[way]
        loop = asyncio.get_running_loop()
        try:
            await self._pass(way, b"")  # what goes wrong at byte 0 needs no byte
            while data := await loop.sock_recv(source, CHUNK):
                if way == "down":
                    self.sent.feed(data)
                await self._pass(way, data)
            self._finish(way)
        except OSError:
            if not self._active(way, "blackhole"):
                self.cut("reset")

    async def _pass(self, way: Way, data: bytes) -> None:
        """
        Send *data* on, fault by fault; each begins at its very byte.
        """
        while True:
            reached = [fault for fault in self._faults[way] if fault.offset <= self.passed[way]]
            later = [fault.offset - self.passed[way] for fault in self._faults[way] if fault not in reached]
            kinds = {fault.kind for fault in reached}
            if "reset" in kinds or "truncate" in kinds:
                self.cut("reset" if "reset" in kinds else "truncate")
            if kinds & {"reset", "truncate", "stall"}:
                await asyncio.Event().wait()  # reads no more; carry() or the proxy ends this
            if "half_close" in kinds:
                self._finish(way)
            if not data or kinds & {"half_close", "blackhole"}:
                return
            for fault in reached:
                if fault.kind == "delay":
                    await asyncio.sleep(fault.seconds)
            size = min([1 if "split" in kinds else len(data), *later])
            await asyncio.get_running_loop().sock_sendall(self._ends[way][1], data[:size])
            if "split" in kinds:
                await asyncio.sleep(0)  # the other end reads this byte before the next one is there
            self.passed[way] += size
            data = data[size:]

    def _finish(self, way: Way) -> None:
        """
        Say in this direction that nothing more comes, unless nobody is to know.
        """
        if not self._active(way, "blackhole"):
            self._ends[way][1].shutdown(socket.SHUT_WR)

    def _active(self, way: Way, kind: Kind) -> bool:
        return any(fault.kind == kind and fault.offset <= self.passed[way] for fault in self._faults[way])


class Proxy:
    """
    The running proxy: its address and its connections, also those that have ended.
    """

    def __init__(self, target: str, plan: Plan, listener: socket.socket) -> None:
        self.address: str = f"127.0.0.1:{listener.getsockname()[1]}"
        self.links: list[Link] = []
        self.plan = plan
        """May be exchanged at any time; counts for the connections to come."""
        self._target = target
        self._listener = listener
        self._carried: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> list[Link]:
        """
        The connections that have not ended.
        """
        return [link for link in self.links if link.ending is None]

    async def accept(self) -> None:
        """
        Accept connections until cancelled; one too many is reset at once.
        """
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(self._listener)
            if len(self._carried) >= LINKS:
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                near.close()
                continue
            carrying = asyncio.create_task(self._carry(near))
            self._carried.add(carrying)
            carrying.add_done_callback(self._carried.discard)

    async def _carry(self, near: socket.socket) -> None:
        far = socket.socket()
        for end in (near, far):
            end.settimeout(0)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host, port = self._target.split(":")
        try:
            await asyncio.get_running_loop().sock_connect(far, (host, int(port)))
        except (OSError, asyncio.CancelledError):
            near.close()
            far.close()
            return
        link = Link(len(self.links), self.plan(len(self.links)), near, far)
        self.links.append(link)
        await link.carry()

    async def stop(self) -> None:
        """
        Drop what is still open.
        """
        carried = list(self._carried)
        for task in carried:
            task.cancel()
        await asyncio.gather(*carried, return_exceptions=True)


@asynccontextmanager
async def chaos(target: str, plan: Plan = no_faults) -> AsyncGenerator[Proxy]:
    """
    Run a proxy in front of *target* (``host:port``) until the block is left.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        listener.settimeout(0)
        proxy = Proxy(target, plan, listener)
        accepting = asyncio.create_task(proxy.accept())
        try:
            yield proxy
        finally:
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
            await proxy.stop()
